/** A folder that is dear to make and the same for every run: made once under the system's temporary folder, found again by its recipe. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const buildLimitMs = 240_000;

/**
 * Returns the folder for `recipe` (any text that says all that went into it), making it with `build` where it is missing. Test files run
 * side by side: a lock file with the owner's process id lets one build and the others wait; the lock of a dead owner is taken over.
 */
export async function cachedFolder(recipe: string, build: (folder: string) => Promise<void>): Promise<string> {
  const base = join(tmpdir(), "slipway-test-roots");
  await mkdir(base, { recursive: true, mode: 0o755 });
  const folder = join(base, createHash("sha256").update(recipe).digest("hex").slice(0, 16));
  const lock = `${folder}.lock`;
  const deadline = Date.now() + buildLimitMs;
  while (!existsSync(folder)) {
    if (Date.now() > deadline) throw new Error(`no ${folder} after ${buildLimitMs} ms; is ${lock} left over?`);
    if (!(await takeLock(lock))) {
      await sleep(200);
      continue;
    }
    const unfinished = `${folder}.building`;
    try {
      if (existsSync(folder)) break;
      await rm(unfinished, { recursive: true, force: true });
      await build(unfinished);
      await rename(unfinished, folder);
    } finally {
      await rm(unfinished, { recursive: true, force: true });
      await rm(lock, { force: true });
    }
  }
  return folder;
}

async function takeLock(lock: string): Promise<boolean> {
  try {
    const file = await open(lock, "wx");
    await file.writeFile(String(process.pid));
    await file.close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  const owner = Number((await readFile(lock, "utf8").catch(() => "")) || Number.NaN);
  if (Number.isNaN(owner) || isAlive(owner)) return false;
  await rm(lock, { force: true }); // its owner died; whoever takes it next builds
  return false;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
