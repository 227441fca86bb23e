/** What a command is: a row of the table in commands.ts with its words, and a `run` that is loaded only when it is called. */
import type { Output } from "./output.ts";

export type ArgumentRow = { readonly name: string; readonly text: string; readonly isOptional?: boolean; readonly isVariadic?: boolean };

export type OptionRow = {
  /** Commander's form: `--product <name>`, `--dry-run`, `--only <formats>`. */
  readonly flags: string;
  readonly text: string;
  readonly default?: string;
  readonly choices?: readonly string[];
  /** Environment variable that stands in for the flag. */
  readonly env?: string;
  readonly isRequired?: boolean;
};

export type CommandRow = {
  /** The words after `slipway`: `build`, `key issue`. */
  readonly name: string;
  readonly summary: string;
  /** More than the summary says: what it writes, what it needs, exit codes. */
  readonly description?: string;
  readonly arguments?: readonly ArgumentRow[];
  readonly options?: readonly OptionRow[];
  /** Whole command lines shown by --help and tried by the tests. */
  readonly examples?: readonly string[];
  /** Imported on call, so that `--version` and `--help` load nothing else. */
  readonly load: () => Promise<{ readonly run: CommandRun }>;
};

export type OptionValues = Readonly<Record<string, string | boolean | undefined>>;

export type Invocation = {
  readonly args: readonly string[];
  /** Keys in camelCase, as commander names them: `--dry-run` is `dryRun`. */
  readonly options: OptionValues;
  readonly output: Output;
  /** Aborted by the first Ctrl-C or SIGTERM; a command then stops at the next safe point and leaves nothing half-done. */
  readonly signal: AbortSignal;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Slipway's own. */
  readonly version: string;
};

/** Returns the exit code, 0 where it returns nothing. Failures are thrown as SlipwayError and printed by main.ts. */
export type CommandRun = (invocation: Invocation) => Promise<number | undefined>;

export function textOption(options: OptionValues, name: string): string | undefined {
  const value = options[name];
  return typeof value === "string" ? value : undefined;
}

export function flagOption(options: OptionValues, name: string): boolean {
  return options[name] === true;
}

/** `deb,rpm` as a list; empty pieces are dropped. */
export function listOption(options: OptionValues, name: string): readonly string[] | undefined {
  return textOption(options, name)
    ?.split(",")
    .map((piece) => piece.trim())
    .filter((piece) => piece !== "");
}
