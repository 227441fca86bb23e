/** Runs another program: argument array, clean environment, time limit, capped output; never a shell. */
import { spawn } from "node:child_process";
import { SlipwayError } from "../model/errors.ts";

export type CommandOptions = {
  readonly cwd?: string;
  /** The whole environment of the child; by default only PATH, HOME, LANG and TMPDIR are passed on. */
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly input?: string | Uint8Array;
  /** Bytes kept of stdout and of stderr each; the rest is read and dropped. Default 1 MiB. */
  readonly outputLimit?: number;
  readonly signal?: AbortSignal;
  /** Called with each piece of output as it comes, for live display. */
  readonly onOutput?: (text: string) => void;
};

export type CommandResult = {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly isTimedOut: boolean;
};

/** The function's type, so that tests can pass a fake runner. */
export type RunCommand = (argv: readonly string[], options: CommandOptions) => Promise<CommandResult>;

const inherited = ["PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT"] as const;

/** The environment that commands get unless told otherwise. */
export function cleanEnvironment(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of inherited) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

/** Never rejects for a program that ran: look at `exitCode`. Rejects with `command_failed` where it could not be started. */
export const runCommand: RunCommand = (argv, options) =>
  new Promise((resolve, reject) => {
    const [program, ...args] = argv;
    if (program === undefined) {
      reject(new SlipwayError("command_failed", "an empty command cannot be run"));
      return;
    }
    const limit = options.outputLimit ?? 1024 * 1024;
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: options.env ?? cleanEnvironment(),
      stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
      detached: true, // its own process group, so that the time limit also ends grandchildren
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    const sizes = { out: 0, err: 0 };
    let isTimedOut = false;
    const killGroup = (): void => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch {
        child.kill("SIGKILL"); // the group is gone already
      }
    };
    const timer = setTimeout(() => {
      isTimedOut = true;
      killGroup();
    }, options.timeoutMs);
    options.signal?.addEventListener("abort", killGroup, { once: true });
    const collect = (pieces: Buffer[], which: "out" | "err") => (piece: Buffer) => {
      options.onOutput?.(piece.toString("utf8"));
      const room = limit - sizes[which];
      if (room > 0) pieces.push(piece.subarray(0, room));
      sizes[which] += piece.length;
    };
    child.stdout?.on("data", collect(out, "out"));
    child.stderr?.on("data", collect(err, "err"));
    child.stdin?.on("error", () => undefined); // a child that reads nothing closes its end: EPIPE is its right
    child.stdin?.end(options.input);
    const finish = (): void => {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", killGroup);
    };
    child.on("error", (error) => {
      finish();
      reject(new SlipwayError("command_failed", `cannot run ${program}: ${error.message}`, { cause: error }));
    });
    child.on("close", (exitCode, signal) => {
      finish();
      resolve({ exitCode, signal, stdout: Buffer.concat(out).toString("utf8"), stderr: Buffer.concat(err).toString("utf8"), isTimedOut });
    });
  });

/** Runs and throws `command_failed` with the last lines of the output unless it exits 0; returns stdout. */
export async function requireCommand(argv: readonly string[], options: CommandOptions): Promise<string> {
  const result = await runCommand(argv, options);
  if (result.exitCode === 0) return result.stdout;
  const why = result.isTimedOut ? `no end after ${options.timeoutMs} ms` : `exit ${result.exitCode ?? result.signal}`;
  const tail = (result.stderr || result.stdout).trim().split("\n").slice(-5).join("\n");
  throw new SlipwayError("command_failed", `${argv[0]}: ${why}${tail === "" ? "" : `: ${tail}`}`);
}
