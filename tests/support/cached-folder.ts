/** A folder that is dear to make and the same for every run: made once under the system's temporary folder, found again by its recipe. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** How long others wait for the one that builds: a little longer than that may take. */
const buildLimitMs = 660_000;

/** Where they lie. A test run gives every test file a temporary folder of its own, and this one to all. */
export const rootsFolder = (process.env["SLIPWAY_TEST_ROOTS"] ??= join(tmpdir(), "slipway-test-roots"));

/** A name for a copy of such a folder, which lies beside it (links do not cross file systems); `removeDeadCopies` knows by it whose it is. */
export const copyPrefix = (name: string): string => join(rootsFolder, `copy-${name}-${process.pid}-`);

/** Copies whose process was killed before it could remove them. */
export async function removeDeadCopies(): Promise<void> {
  for (const name of await readdir(rootsFolder)) {
    const owner = /^copy-.*-(\d+)-\w+$/.exec(name)?.[1];
    if (owner !== undefined && !isAlive(Number(owner))) await rm(join(rootsFolder, name), { recursive: true, force: true });
  }
}

/**
 * Returns the folder for `recipe` (any text that says all that went into it), making it with `build` where it is missing. Test files run
 * side by side: a lock file with the owner's process id lets one build and the others wait; the lock of a dead owner is taken over.
 */
export async function cachedFolder(recipe: string, build: (folder: string) => Promise<void>): Promise<string> {
  await mkdir(rootsFolder, { recursive: true, mode: 0o755 });
  const folder = join(rootsFolder, createHash("sha256").update(recipe).digest("hex").slice(0, 16));
  const lock = `${folder}.lock`;
  const deadline = Date.now() + buildLimitMs;
  while (!existsSync(folder)) {
    if (Date.now() > deadline) throw new Error(`no ${folder} after ${buildLimitMs} ms; is ${lock} left over?`);
    const deadOwner = await takeLock(lock);
    if (deadOwner === "held") {
      await sleep(200);
      continue;
    }
    const unfinished = `${folder}.building-${process.pid}`;
    try {
      if (deadOwner !== undefined) await rm(`${folder}.building-${deadOwner}`, { recursive: true, force: true });
      await build(unfinished);
      // Two that both took a dead owner's lock both build; the second finds the place taken by the same thing.
      await rename(unfinished, folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
      });
    } finally {
      await rm(unfinished, { recursive: true, force: true });
      await rm(lock, { force: true });
    }
  }
  return folder;
}

/** "held" while its owner lives; otherwise it is ours, and the result is the dead owner that it was taken from, if any. */
async function takeLock(lock: string): Promise<"held" | number | undefined> {
  const owner = await readFile(lock, "utf8").then(Number, () => undefined);
  if (owner !== undefined && (owner === 0 || isAlive(owner))) return "held"; // 0: made a moment ago, not yet written
  if (owner !== undefined) await rm(lock, { force: true });
  try {
    const file = await open(lock, "wx");
    await file.writeFile(String(process.pid));
    await file.close();
    return owner;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return "held";
    throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
