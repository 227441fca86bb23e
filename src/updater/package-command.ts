/** Runs a package manager's program: its own environment, no questions, and a lock that somebody else holds told apart from a failure. */
import type { CommandResult } from "../io/command.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Machine } from "./machine.ts";

/** A large package with slow scripts on a slow disk. */
const timeoutMs = 30 * 60_000;
const queryTimeoutMs = 60_000;
const outputLimitBytes = 1024 * 1024;

/** Nobody is there to answer; messages are read by us, so they are not translated. needrestart would restart services in the middle of ours. */
const fixedEnvironment = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/root",
  LC_ALL: "C",
  DEBIAN_FRONTEND: "noninteractive",
  APT_LISTCHANGES_FRONTEND: "none",
  UCF_FORCE_CONFFOLD: "1",
  NEEDRESTART_SUSPEND: "1",
} as const;

/** What apt, dpkg, rpm, dnf and apk say when another one works (their sources, and seen with apt 2.6, rpm 4.18, dnf 4.14, apk 2.14 and 3.0). */
const lockPattern =
  /could not get lock|is locked by another process|was locked by another process|can't create transaction lock|existing lock|unable to lock database/i;

/** Asks; never throws for an exit code. */
export function askPackages(machine: Machine, argv: readonly string[]): Promise<CommandResult> {
  return machine.runCommand(argv, { timeoutMs: queryTimeoutMs, outputLimit: 16 * outputLimitBytes, env: fixedEnvironment });
}

/** Changes; returns the result where the program ended by itself. Throws `lock_held`, and `command_failed` for one that does not end. */
export async function changePackages(machine: Machine, argv: readonly string[]): Promise<CommandResult> {
  const result = await machine.runCommand(argv, { timeoutMs, outputLimit: outputLimitBytes, env: fixedEnvironment });
  if (result.isTimedOut) throw new SlipwayError("command_failed", `${argv[0] ?? ""}: no end after ${timeoutMs / 60_000} minutes`);
  if (result.exitCode !== 0 && lockPattern.test(`${result.stderr}\n${result.stdout}`)) {
    throw new SlipwayError("lock_held", `another package manager is at work: ${lastWords(result)}`, { detail: "package_manager", hint: "wait for it to end" });
  }
  return result;
}

/** The same, and anything but exit 0 is `command_failed`. */
export async function requirePackages(machine: Machine, argv: readonly string[]): Promise<void> {
  const result = await changePackages(machine, argv);
  if (result.exitCode !== 0) throw packageFailure(argv, result);
}

export function packageFailure(argv: readonly string[], result: CommandResult): SlipwayError {
  return new SlipwayError("command_failed", `${argv[0] ?? ""}: exit ${result.exitCode ?? result.signal ?? "?"}: ${lastWords(result)}`);
}

/** The last lines of what a program said, errors before the rest. */
export function lastWords(result: CommandResult): string {
  return (result.stderr.trim() || result.stdout.trim()).split("\n").slice(-4).join("; ").slice(-1000);
}
