/** The lock between processes. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { acquireLock, bootId, lockOwner } from "../../src/io/lock.ts";
import { SlipwayError } from "../../src/model/errors.ts";

async function folder(t: import("node:test").TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "slipway-lock-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

const isHeld = (error: unknown): boolean => error instanceof SlipwayError && error.code === "lock_held";

test("65 a held lock is refused with its owner, and is free after release", async (t) => {
  const path = await folder(t);
  const lock = await acquireLock(path, "install", { waitMs: 0 });
  await assert.rejects(acquireLock(path, "resume", { waitMs: 250 }), isHeld);
  assert.equal((await lockOwner(path))?.operation, "install");
  await lock.release();
  await (await acquireLock(path, "resume", { waitMs: 0 })).release();
  assert.deepEqual(await readdir(path), []);
});

test("65 the record of a process that is gone, of another boot, or of a reused process id holds nothing", async (t) => {
  const path = await folder(t);
  const dead = await runCommand(["sh", "-c", "echo $$"], { timeoutMs: 5000 });
  const base = { bootId: await bootId(), processStart: "1", startedAt: new Date().toISOString(), operation: "install" };
  await writeFile(join(path, "lock.dead"), JSON.stringify({ ...base, pid: Number(dead.stdout) }));
  await writeFile(join(path, "lock.reused"), JSON.stringify({ ...base, pid: process.pid }));
  await writeFile(join(path, "lock.boot"), JSON.stringify({ ...base, pid: process.pid, bootId: "another" }));
  await (await acquireLock(path, "install", { waitMs: 0 })).release();
  assert.deepEqual(await readdir(path), []);
});

test("65 of many contenders at once exactly one is inside at any moment", async (t) => {
  const path = await folder(t);
  let inside = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      const lock = await acquireLock(path, "install", { waitMs: 60_000 });
      inside += 1;
      most = Math.max(most, inside);
      await new Promise((resolve) => setTimeout(resolve, 5));
      inside -= 1;
      await lock.release();
    }),
  );
  assert.equal(most, 1);
});
