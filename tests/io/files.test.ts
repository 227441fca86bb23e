/** Effects on files: durable writes, bounded reads, safe joins, commands. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { writeFileAtomic } from "../../src/io/atomic-file.ts";
import { readFileBounded } from "../../src/io/bounded-read.ts";
import { requireCommand, runCommand } from "../../src/io/command.ts";
import { hashFile, readHandleInPlace, readSizeBytes } from "../../src/io/hash-file.ts";
import { safeJoin } from "../../src/io/safe-path.ts";
import { SlipwayError } from "../../src/model/errors.ts";

const refusedWith =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof SlipwayError && error.code === code;

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-io-"));
  try {
    await body(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test("an atomic write replaces the file, sets the mode whatever the umask, and leaves no temporary file", () =>
  withFolder(async (folder) => {
    const old = process.umask(0o077);
    try {
      await writeFileAtomic(join(folder, "a"), "one", { mode: 0o644 });
      await writeFileAtomic(join(folder, "a"), "two", { mode: 0o644 });
    } finally {
      process.umask(old);
    }
    assert.equal(await readFile(join(folder, "a"), "utf8"), "two");
    assert.equal((await stat(join(folder, "a"))).mode & 0o777, 0o644);
    assert.deepEqual(await readdir(folder), ["a"]);
  }));

test("an atomic write that fails leaves the old state and no temporary file", () =>
  withFolder(async (folder) => {
    await mkdir(join(folder, "taken", "x"), { recursive: true });
    await assert.rejects(writeFileAtomic(join(folder, "taken"), "x"));
    assert.deepEqual(await readdir(folder), ["taken"]);
  }));

test("bounded reads refuse large files, folders, links where asked, and do not hang on a FIFO", () =>
  withFolder(async (folder) => {
    await writeFile(join(folder, "big"), "x".repeat(101));
    await assert.rejects(readFileBounded(join(folder, "big"), 100), refusedWith("format_limit"));
    assert.equal((await readFileBounded(join(folder, "big"), 101)).length, 101);
    await assert.rejects(readFileBounded(folder, 100), refusedWith("source_unusable"));
    await symlink("big", join(folder, "link"));
    await assert.rejects(readFileBounded(join(folder, "link"), 1000, { isLinkAllowed: false }), /ELOOP/);
    assert.equal(spawnSync("mkfifo", [join(folder, "fifo")]).status, 0);
    await assert.rejects(readFileBounded(join(folder, "fifo"), 100), refusedWith("source_unusable"));
  }));

test("safeJoin stays inside its root", () => {
  assert.equal(safeJoin("/srv/x", "a/b"), "/srv/x/a/b");
  for (const bad of ["", "/etc/passwd", "..", "a/../../b", "a/..", "a\\b", "C:x", "a\u0000b", "x".repeat(5000)]) {
    assert.throws(() => safeJoin("/srv/x", bad), refusedWith("path_unsafe"), JSON.stringify(bad.slice(0, 20)));
  }
});

test("hashFile agrees with sha256sum, also around the size of a read", () =>
  withFolder(async (folder) => {
    const path = join(folder, "f");
    for (const size of [0, 1, readSizeBytes - 1, readSizeBytes, readSizeBytes + 1, 3 * readSizeBytes + 17]) {
      await writeFile(path, randomBytes(size));
      const expected = spawnSync("sha256sum", [path], { encoding: "utf8" }).stdout.split(" ")[0];
      assert.deepEqual(await hashFile(path), { digest: `sha256:${expected}`, size });
    }
  }));

test("a file that is read in place keeps each piece until the next is asked for, and may be left in the middle", () =>
  withFolder(async (folder) => {
    const path = join(folder, "f");
    const content = randomBytes(3 * readSizeBytes);
    await writeFile(path, content);
    const handle = await open(path);
    let at = 0;
    for await (const piece of readHandleInPlace(handle)) {
      await new Promise((resolve) => setTimeout(resolve, 20)); // the next read is over by now
      assert.ok(content.subarray(at, at + piece.length).equals(piece));
      at += piece.length;
      if (at > readSizeBytes) break;
    }
    await handle.close(); // no read is under way
  }));

test("commands get a clean environment, a time limit that ends grandchildren too, and a cap on output", async () => {
  process.env["SLIPWAY_SECRET_FOR_TEST"] = "s3cret";
  try {
    assert.doesNotMatch(await requireCommand(["env"], { timeoutMs: 5000 }), /s3cret/);
  } finally {
    delete process.env["SLIPWAY_SECRET_FOR_TEST"];
  }
  const startedAt = performance.now();
  const slow = await runCommand(["sh", "-c", "sleep 30 & sleep 30"], { timeoutMs: 200 });
  assert.ok(slow.isTimedOut && performance.now() - startedAt < 5000);
  const flood = await runCommand(["sh", "-c", "head -c 3000000 /dev/zero"], { timeoutMs: 5000, outputLimit: 1000 });
  assert.equal(flood.stdout.length, 1000);
  await assert.rejects(requireCommand(["sh", "-c", "echo why >&2; exit 3"], { timeoutMs: 5000 }), /exit 3: why/);
  await assert.rejects(runCommand(["/nonexistent/program"], { timeoutMs: 100 }), refusedWith("command_failed"));
});
