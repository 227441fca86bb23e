/**
 * What executables/build.ts builds into a single-file executable; from source there is none of it.
 *
 * The bundler replaces the two names below by literals. `typeof` of a name that nobody declared is "undefined" and no error.
 */
import { resolve } from "node:path";

declare const SLIPWAY_VERSION: string | undefined;
declare const SLIPWAY_SHELL_GUARD: string | undefined;

/** The version that the executable was built as. */
export const builtInVersion: string | undefined = typeof SLIPWAY_VERSION === "undefined" ? undefined : SLIPWAY_VERSION;

/** The text of src/updater/guard.sh. */
export const builtInShellGuard: string | undefined = typeof SLIPWAY_SHELL_GUARD === "undefined" ? undefined : SLIPWAY_SHELL_GUARD;

/** The program that starts this copy of Slipway again: the executable itself, or bin/slipway of the sources. */
export function ownProgram(): string {
  return builtInVersion === undefined ? resolve(import.meta.dirname, "../../bin/slipway") : process.execPath;
}
