/** Turns the table of commands into commander's program. */
import { Command, Option } from "commander";
import { SlipwayError } from "../model/errors.ts";
import type { CommandRow, OptionValues } from "./command.ts";
import { commandGroups, commands } from "./commands.ts";
import { createOutput } from "./output.ts";
import { requireSystemFor } from "./windows.ts";

export type Outcome = { exitCode: number };

/** By the first word of commands that have two. */
export const groupSummaries: Readonly<Record<string, string>> = {
  advisory: "Security advisories: write, publish, who is affected",
  backup: "Backups of an installation's state",
  drill: "Rehearse on a copy what must work when it matters",
  fleet: "Several hosts one after another",
  guard: "What stands outside of a new version and goes back when it fails",
  grant: "Grants: what a customer reads of a product, and until when",
  keys: "Release keys: make, list, export",
  release: "Releases on the server: look, publish, withdraw, retain",
  channel: "Channels: which there are, and how they rank",
  customer: "Customers: who may read",
  image: "Images of a release: push to a registry",
  mirror: "A customer's copy of what the vendor publishes: sync, carry over an air gap, serve",
  notice: "Notices: who is told what, and what was sent",
  "repository-key": "The keys that sign the indexes: rotate, finish",
  server: "The server's data folder: check it",
  tuf: "TUF metadata: the ceremony of its offline keys, renewal, export",
  webhook: "Webhooks: who is called, and what was delivered",
  key: "Access pairs: issue, rotate, revoke",
  product: "Products on the server",
  trust: "Whom an installation trusts",
  verify: "Check signatures and checksums from the outside",
  upgrade: "Upgrade an installation, and go back",
};

/**
 * The rows that a command line can mean: to set up every command with its options takes longer than most of them do.
 * `--version` means none; what is no command means all of them, or all of its group, for help and for the nearest name.
 */
function meantRows([first = "", second = ""]: readonly string[]): typeof commands {
  if (first === "-V" || first === "--version") return [];
  const whole = commands.filter(({ name }) => name === `${first} ${second}`);
  if (whole.length > 0) return whole;
  const meant = commands.filter(({ name }) => name.split(" ")[0] === first);
  return meant.length > 0 ? meant : commands;
}

/** Builds the program for the words of one command line; `outcome.exitCode` is set by the command that ran. */
export function createProgram(options: {
  readonly version: string;
  readonly words: readonly string[];
  readonly signal: AbortSignal;
  readonly outcome: Outcome;
}): Command {
  const { version, words, signal, outcome } = options;
  const rows = meantRows(words);
  const program = new Command("slipway")
    .description("From a git tag to a verified upgrade on a customer's machine, and back again if the upgrade is bad.")
    .version(version, "-V, --version", "print the version")
    .showHelpAfterError("(add --help for the words of this command)")
    .showSuggestionAfterError(true)
    .enablePositionalOptions()
    .exitOverride();
  const parents = new Map<string, Command>();
  for (const group of commandGroups) {
    for (const row of rows.filter((candidate) => candidate.group === group)) {
      const [first = "", leaf = first] = row.name.split(" ");
      const isAlone = first === row.name;
      const parent = isAlone ? program : parentFor(program, parents, { word: first, group });
      // `slipway verify` has commands of its own and can be called itself.
      const isParent = isAlone && rows.some(({ name }) => name.startsWith(`${row.name} `));
      const command = isParent ? parentFor(program, parents, { word: leaf, group }) : parent.command(leaf).helpGroup(`${isAlone ? group : "Commands"}:`);
      // Its name may also begin others: `audit` and `audit export`.
      if (isAlone) parents.set(leaf, command.enablePositionalOptions());
      describe(command, row);
      command.action(async (...values: unknown[]) => {
        requireSystemFor(row.name, process.platform);
        const chosen = command.optsWithGlobals() as OptionValues;
        const args = command.args;
        const { run } = await row.load();
        const output = createOutput(chosen["json"] === true);
        outcome.exitCode = (await run({ args, options: chosen, output, signal, cwd: process.cwd(), env: process.env, version })) ?? 0;
        void values;
      });
    }
  }
  return program;
}

function parentFor(program: Command, parents: Map<string, Command>, at: { readonly word: string; readonly group: string }): Command {
  const known = parents.get(at.word);
  if (known !== undefined) return known;
  const created = program
    .command(at.word)
    .description(groupSummaries[at.word] ?? at.word)
    .helpGroup(`${at.group}:`)
    .exitOverride();
  parents.set(at.word, created);
  return created;
}

function describe(command: Command, row: CommandRow): void {
  command
    .summary(row.summary)
    .description(row.description === undefined ? row.summary : `${row.summary}\n\n${row.description}`)
    .exitOverride();
  for (const argument of row.arguments ?? []) {
    const dots = argument.isVariadic === true ? "..." : "";
    command.argument(argument.isOptional === true ? `[${argument.name}${dots}]` : `<${argument.name}${dots}>`, argument.text);
  }
  for (const option of row.options ?? []) {
    const made = new Option(option.flags, option.text);
    if (option.default !== undefined) made.default(option.default);
    if (option.choices !== undefined) made.choices([...option.choices]);
    if (option.env !== undefined) made.env(option.env);
    if (option.isRequired === true) made.makeOptionMandatory();
    command.addOption(made);
  }
  command.option("--json", "print JSON lines instead of text; the last line is the result");
  if (row.examples !== undefined) command.addHelpText("after", `\nExamples:\n${row.examples.map((example) => `  $ ${example}`).join("\n")}`);
}

/** A commander failure as ours; undefined for --help and --version, which are no failures. */
export function usageError(error: { readonly code: string; readonly message: string }): SlipwayError | undefined {
  if (["commander.helpDisplayed", "commander.help", "commander.version"].includes(error.code)) return undefined;
  return new SlipwayError("usage", error.message.replace(/^error: /, ""));
}
