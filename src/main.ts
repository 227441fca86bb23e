/** The entry of the `slipway` command: reads the words, runs one command, prints failures, sets the exit code. */
import { CommanderError } from "commander";
import packageFile from "../package.json" with { type: "json" };
import { createOutput } from "./cli/output.ts";
import { createProgram, type Outcome, usageError } from "./cli/program.ts";
import { builtInVersion } from "./io/built-in.ts";
import { asSlipwayError, type SlipwayError } from "./model/errors.ts";

const controller = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.on(name, () => {
    if (controller.signal.aborted) process.exit(130); // the second Ctrl-C means it
    controller.abort();
  });
}
// A reader that went away (`slipway plan | head`) is no failure of ours.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));

const outcome: Outcome = { exitCode: 0 };
const isJson = process.argv.includes("--json");

/** Where it happened, unless the message says so itself. */
const placeOf = ({ place, message }: SlipwayError): string => (place === undefined || message.includes(place) ? "" : `${place} `);

function report(thrown: unknown): void {
  const failure = thrown instanceof CommanderError ? usageError(thrown) : asSlipwayError(thrown);
  if (failure === undefined) return;
  outcome.exitCode = controller.signal.aborted ? 130 : failure.exitCode;
  const output = createOutput(isJson);
  output.result({ error: failure.toJSON() });
  if (thrown instanceof CommanderError) return; // commander has printed it
  output.note(`${output.colors.red("error:")} ${placeOf(failure)}${failure.message} ${output.colors.dim(`[${failure.code}]`)}`);
  output.note(`  ${output.colors.dim(failure.hint)}`);
  if (failure.code === "internal" && process.env["SLIPWAY_DEBUG"] !== undefined) output.note(String((thrown as Error).stack));
}

// What escapes every await still ends with a message, a result line and its exit code; journals and drafts are made for being resumed.
process.on("uncaughtException", (thrown) => {
  report(thrown);
  process.exit(outcome.exitCode);
});

async function main(): Promise<void> {
  try {
    const words = process.argv.slice(2);
    await createProgram({ version: builtInVersion ?? packageFile.version, words, signal: controller.signal, outcome }).parseAsync(process.argv);
  } catch (thrown) {
    report(thrown);
  }
  process.exitCode = outcome.exitCode;
}

void main();
