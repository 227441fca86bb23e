/** `slipway verify outcome` and `slipway verify --outcome`: does the product do what it is for? */
import { SlipwayError } from "../model/errors.ts";
import { type CommandRun, textOption } from "./command.ts";
import { updaterFor } from "./open-updater.ts";

const exitCodes = { PASS: 0, FAIL: 45, INCOMPLETE: 44 } as const;

export const run: CommandRun = async (invocation) => {
  const { output, options, args, signal } = invocation;
  const name = args[0] ?? textOption(options, "outcome");
  if (name === undefined)
    throw new SlipwayError("usage", "name an outcome, or auto", { hint: "`slipway verify --outcome auto`, or one of the commands of `slipway verify --help`" });
  const report = await (await updaterFor(invocation)).prove({ name, signal });
  output.result(report);
  const { green, red, yellow, bold } = output.colors;
  const paint = { PASS: green, FAIL: red, SKIP: yellow, INCOMPLETE: yellow } as const;
  for (const check of report.checks) {
    output.line(`${paint[check.result](check.result)}  ${check.name}  ${check.detail}  (${check.ms} ms)`);
    if (check.next !== "") output.note(`      ${check.next}`);
  }
  if (report.checks.length === 0) output.line("no check was run: nothing is proven; name `outcomes:` in the installation file where the release has none");
  output.line(bold(`outcome ${report.outcome} of ${report.version ?? "nothing installed"}: ${paint[report.result](report.result)}`));
  return exitCodes[report.result];
};
