/**
 * Runs one test file as a process of its own, with a temporary folder of its own, and ends it when it takes too long.
 *
 * Where root may, the file has its mounts for itself, too (mount_namespaces(7)): what it mounts and forgets is no matter for this machine, and what
 * it started and left, in whatever process group, is found by that name space and ended.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmod, type FileHandle, mkdir, open, readdir, readFile, readlink, rm } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { TestOutcome } from "./test-events.ts";

export type TestFileOptions = {
  readonly path: string;
  /** Made for the file, and removed with all that is left in it. */
  readonly folder: string;
  readonly limitMs: number;
  readonly signal: AbortSignal;
  readonly onOutcome: (outcome: TestOutcome) => void;
  readonly isStderrShown: boolean;
};

/** `failure`: what went wrong beside the tests that failed. `leftovers`: what lay in the temporary folder or still ran at the end. */
export type TestFileEnd = { readonly ms: number; readonly failure?: string | undefined; readonly leftovers: readonly string[] };

const reporter = join(import.meta.dirname, "test-events.ts");
const keptStderr = 4_000;
const withOwnMounts = ["unshare", "--mount", "--propagation", "private"] as const;

let isProbed: boolean | undefined;
/** False for other users, on other systems, and in containers that may not. */
function canOwnMounts(): boolean {
  const [program, ...words] = withOwnMounts;
  isProbed ??= process.getuid?.() === 0 && spawnSync(program, [...words, "true"]).status === 0;
  return isProbed;
}

const mountSpaceOf = (pid: number | string): Promise<string | undefined> => readlink(`/proc/${pid}/ns/mnt`).catch(() => undefined);

/** Never rejects for a file that fails. */
export async function runTestFile(options: TestFileOptions): Promise<TestFileEnd> {
  const { path, folder, limitMs, signal, onOutcome } = options;
  await mkdir(folder);
  await chmod(folder, 0o1777); // some tests become another user
  const from = performance.now();
  const node = [process.execPath, "--disable-warning=ExperimentalWarning", `--test-reporter=${reporter}`, "--test-reporter-destination=stdout", path];
  const [program = "", ...argv] = canOwnMounts() ? [...withOwnMounts, ...node] : node;
  const child = spawn(program, argv, { env: { ...process.env, TMPDIR: folder }, stdio: ["ignore", "ignore", "pipe", "pipe"], detached: true });
  let stderr = "";
  child.stderr?.on("data", (piece: Buffer) => {
    stderr = (stderr + piece.toString("utf8")).slice(-keptStderr);
    if (options.isStderrShown) process.stderr.write(piece);
  });
  const underWay = new Set<string>();
  let hasFailed = false;
  const mountSpace = canOwnMounts() ? mountSpaceBegun(child) : undefined;
  const lines = createInterface({ input: child.stdio[3] as Readable });
  lines.on("line", (line) => {
    const outcome = JSON.parse(line) as TestOutcome;
    if (outcome.kind === "started") underWay.add(outcome.name);
    else underWay.delete(outcome.name);
    hasFailed ||= outcome.kind === "failed";
    onOutcome(outcome);
  });
  const isRead = new Promise((resolve) => lines.once("close", resolve));
  const endGroup = (): void => {
    try {
      process.kill(-(child.pid ?? 0), "SIGKILL");
    } catch {
      // it is gone already
    }
  };
  let isTooLong = false;
  const timer = setTimeout(() => {
    isTooLong = true;
    endGroup();
  }, limitMs);
  signal.addEventListener("abort", endGroup, { once: true });
  const exitCode = await new Promise<number | null>((resolve) => child.once("exit", resolve));
  clearTimeout(timer);
  signal.removeEventListener("abort", endGroup);
  // A grandchild may hold the pipe open; what the file itself wrote comes within a moment.
  await Promise.race([isRead, sleep(500)]);
  endGroup(); // what it started and left
  const space = await mountSpace;
  const leftovers = [...(await endProcessesOf(space?.name)), ...(await readdir(folder))];
  await space?.handle.close();
  await rm(folder, { recursive: true, force: true, maxRetries: 3 }).catch((error: Error) => leftovers.push(error.message));
  const text = failureText({ isTooLong, limitMs, underWay, exitCode, hasFailed, stderr });
  return { ms: performance.now() - from, leftovers, ...(signal.aborted || text === undefined ? {} : { failure: text }) };
}

/**
 * The mount name space that a child makes for itself in its first moments; undefined where it ended before. As long as the handle is open the kernel
 * gives its name to no other one, whose processes would be taken for this file's.
 */
async function mountSpaceBegun(child: ChildProcess): Promise<{ readonly name: string; readonly handle: FileHandle } | undefined> {
  const ours = await mountSpaceOf("self");
  while (child.exitCode === null && child.signalCode === null) {
    const handle = await open(`/proc/${child.pid ?? 0}/ns/mnt`).catch(() => undefined);
    const name = handle === undefined ? undefined : await readlink(`/proc/self/fd/${handle.fd}`);
    if (handle !== undefined && name !== undefined && name !== ours) return { name, handle };
    await handle?.close();
    await sleep(2);
  }
  return undefined;
}

/** Ends what is in a mount name space, and returns the programs' names. */
async function endProcessesOf(space: string | undefined): Promise<readonly string[]> {
  if (space === undefined) return [];
  const names: string[] = [];
  for (let round = 0; round < 100; round += 1) {
    const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
    const spaces = await Promise.all(pids.map(mountSpaceOf));
    const left = pids.filter((_, index) => spaces[index] === space);
    if (left.length === 0) break;
    for (const pid of left) {
      if (round === 0) names.push(`process ${(await readFile(`/proc/${pid}/comm`, "utf8").catch(() => pid)).trim()}`);
      try {
        process.kill(Number(pid), "SIGKILL");
      } catch {
        // it is gone already
      }
    }
    await sleep(20);
  }
  return names;
}

function failureText(end: {
  readonly isTooLong: boolean;
  readonly limitMs: number;
  readonly underWay: ReadonlySet<string>;
  readonly exitCode: number | null;
  readonly hasFailed: boolean;
  readonly stderr: string;
}): string | undefined {
  if (end.isTooLong) return `not over after ${end.limitMs / 1000} s; under way: ${[...end.underWay].join("; ") || "nothing that was named"}`;
  if (end.exitCode === 0 || end.hasFailed) return undefined;
  return `ended with ${end.exitCode ?? "a signal"}\n${end.stderr.trimEnd()}`;
}
