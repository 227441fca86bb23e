/** Stops and starts the product's service: a systemd unit, what `slipway guard exec` runs, or the operator's own commands, which must return and be allowed to run twice. */
import { SlipwayError } from "../model/errors.ts";
import type { Installation } from "./installation.ts";
import type { Machine } from "./machine.ts";
import type { StateDirectory } from "./state-directory.ts";
import { askSupervisor } from "./supervisor-client.ts";

export type Service = {
  readonly stop: () => Promise<void>;
  readonly start: () => Promise<void>;
  /** How often the supervisor has restarted it by itself; undefined where nobody counts. */
  readonly restarts: () => Promise<number | undefined>;
  /** Does it run now? Undefined where nobody can say. */
  readonly isRunning: () => Promise<boolean | undefined>;
};

const temporaryFailureExit = 75; // sysexits(3) EX_TEMPFAIL: a hook asks to be called again
const hookTries = 3;
const hookPauseMs = 1_000;
const outputLimitBytes = 64 * 1024;

/** Runs a command of the installation file; exit 75 means again, a little later. Throws `hook_failed` with its last words. */
export async function runHook(machine: Machine, argv: readonly string[], options: { readonly what: string; readonly timeoutSeconds: number }): Promise<string> {
  const timeoutMs = options.timeoutSeconds * 1000;
  for (let attempt = 1; ; attempt += 1) {
    const result = await machine.runCommand(argv, { timeoutMs, outputLimit: outputLimitBytes }).catch((error: unknown) => {
      throw new SlipwayError("hook_failed", `${options.what}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    });
    if (result.exitCode === 0) return result.stdout;
    if (result.exitCode === temporaryFailureExit && !result.isTimedOut && attempt < hookTries) {
      await machine.sleep(hookPauseMs);
      continue;
    }
    const why = result.isTimedOut ? `no end after ${options.timeoutSeconds} s` : `exit ${result.exitCode ?? result.signal ?? "?"}`;
    const tail = (result.stderr || result.stdout).trim().split("\n").slice(-5).join("\n").slice(-2000);
    throw new SlipwayError("hook_failed", `${options.what} (${argv[0] ?? ""}): ${why}${tail === "" ? "" : `: ${tail}`}`, {
      detail: result.isTimedOut ? "timeout" : "exit",
      ...(result.isTimedOut ? { hint: "a start command must return; send its service's output to a file or to /dev/null" } : {}),
    });
  }
}

const unknown = { restarts: () => Promise.resolve(undefined), isRunning: () => Promise.resolve(undefined) } as const;

export function serviceOf(installation: Installation, machine: Machine, directory: StateDirectory): Service {
  const { service } = installation;
  if (service === undefined) return { stop: () => Promise.resolve(), start: () => Promise.resolve(), ...unknown };
  const run = async (what: string, argv: readonly string[]): Promise<void> => {
    await runHook(machine, argv, { what, timeoutSeconds: service.timeout_seconds });
    machine.observe({ event: "step", step: what, text: argv.join(" ").slice(0, 200) });
  };
  const { systemd } = service;
  if (service.supervisor === true) {
    const ask = async (request: "stop" | "start"): Promise<void> => {
      await askSupervisor(directory.supervisor, request, service.timeout_seconds * 1000);
      machine.observe({ event: "step", step: request, text: "by the supervisor" });
    };
    return {
      stop: () => ask("stop"),
      start: () => ask("start"),
      restarts: async () => (await askSupervisor(directory.supervisor, "status", 10_000)).restarts,
      isRunning: async () => (await askSupervisor(directory.supervisor, "status", 10_000)).isRunning,
    };
  }
  if (systemd === undefined) {
    return {
      stop: () => run("stop", service.stop ?? []),
      start: () => run("start", service.start ?? []),
      ...unknown,
    };
  }
  return {
    isRunning: async () => (await machine.runCommand(["systemctl", "is-active", "--quiet", "--", systemd], { timeoutMs: 10_000 })).exitCode === 0,
    stop: () => run("stop", ["systemctl", "stop", "--", systemd]),
    start: async () => {
      // A unit that crashed too often refuses to start until its counter is reset; our own counter bounds the tries.
      await machine.runCommand(["systemctl", "reset-failed", "--", systemd], { timeoutMs: 10_000 });
      await run("start", ["systemctl", "start", "--", systemd]);
    },
    restarts: async () => {
      const result = await machine.runCommand(["systemctl", "show", "--property=NRestarts", "--value", "--", systemd], { timeoutMs: 10_000 });
      const count = Number(result.stdout.trim());
      return result.exitCode === 0 && result.stdout.trim() !== "" && Number.isInteger(count) ? count : undefined;
    },
  };
}
