/** tar.gz and zip archives: read by the real tools, reported file by file, and refused where their paths are unsafe. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { ArchiveEntry } from "../../src/formats/archive.ts";
import { writeTarArchive } from "../../src/formats/tar-archive.ts";
import { writeZip } from "../../src/formats/zip.ts";
import { requireCommand } from "../../src/io/command.ts";
import { needClient } from "../support/clients.ts";
import { gzip, temporaryFolder, text, writeFileBy, zstd } from "./sample.ts";

const epochSeconds = 1_700_000_000;
const entries: readonly ArchiveEntry[] = [
  { kind: "directory", path: "toy-v1.0.0", mode: 0o755 },
  { kind: "file", path: "toy-v1.0.0/README.md", mode: 0o644, source: text("read me\n") },
  { kind: "file", path: "toy-v1.0.0/bin/toy", mode: 0o755, source: text("binary".repeat(50_000)) },
  { kind: "file", path: "toy-v1.0.0/empty", mode: 0o644, source: text("") },
  { kind: "file", path: "toy-v1.0.0/ünicode.txt", mode: 0o644, source: text("ü") },
];
const run = (...argv: readonly string[]): Promise<string> =>
  requireCommand(argv, { timeoutMs: 30_000, env: { PATH: process.env["PATH"] ?? "", TZ: "UTC", LC_ALL: "C.UTF-8" } });
const sha256 = (content: string): string => createHash("sha256").update(content).digest("hex");

for (const compression of [gzip, zstd]) {
  test(`J6 tar lists and unpacks a ${compression.codec} archive, links included, and the report names every file's digest`, async (t) => {
    if (!needClient(t, "tar", compression.codec)) return;
    const folder = await temporaryFolder(t);
    const link: ArchiveEntry = { kind: "symlink", path: "toy-v1.0.0/toy", target: "bin/toy" };
    const spec = { entries: [...entries, link], compression, epochSeconds };
    let files: Awaited<ReturnType<typeof writeTarArchive>> = [];
    const path = await writeFileBy(join(folder, "toy.tar"), async (sink) => {
      files = await writeTarArchive(spec, sink);
    });
    const listed = (await run("tar", "-tvf", path)).trimEnd().split("\n");
    assert.equal(listed.length, 6);
    assert.match(listed[2] ?? "", /^-rwxr-xr-x root\/root +300000 2023-11-14 22:13 toy-v1\.0\.0\/bin\/toy$/);
    assert.match(listed[5] ?? "", /toy-v1\.0\.0\/toy -> bin\/toy$/);
    await run("tar", "-C", folder, "-xf", path);
    assert.equal(await readFile(join(folder, "toy-v1.0.0/toy"), "utf8"), "binary".repeat(50_000));
    assert.deepEqual(files[1], { path: "toy-v1.0.0/bin/toy", sha256: sha256("binary".repeat(50_000)), mode: 0o755, size: 300_000 });
    assert.deepEqual(
      files.map((one) => one.path),
      entries.filter((entry) => entry.kind === "file").map((entry) => entry.path),
    );
  });
}

test("J6 unzip accepts the zip, with modes and the time in UTC, and the report names every file's digest", async (t) => {
  if (!needClient(t, "unzip")) return;
  const folder = await temporaryFolder(t);
  let files: Awaited<ReturnType<typeof writeZip>> = [];
  const path = await writeFileBy(join(folder, "toy.zip"), async (sink) => {
    files = await writeZip({ entries, level: 6, epochSeconds }, sink);
  });
  assert.match(await run("unzip", "-t", path), /No errors detected/);
  const listed = await run("unzip", "-Z", "-T", path);
  assert.match(listed, /^-rwxr-xr-x .* 20231114\.221320 toy-v1\.0\.0\/bin\/toy$/m);
  assert.match(listed, /^drwxr-xr-x .* toy-v1\.0\.0\/$/m);
  assert.equal(await run("unzip", "-p", path, "toy-v1.0.0/README.md"), "read me\n");
  assert.deepEqual(files[0], { path: "toy-v1.0.0/README.md", sha256: sha256("read me\n"), mode: 0o644, size: 8 });
});

test("unsafe and repeated paths are refused by both writers, and links by zip", async () => {
  const file = (path: string): ArchiveEntry => ({ kind: "file", path, mode: 0o644, source: text("x") });
  for (const path of ["/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "", "C:/x", "a\\b", "a\nb"]) {
    await assert.rejects(
      writeTarArchive({ entries: [file(path)], compression: gzip, epochSeconds }, () => undefined),
      { code: "path_unsafe" },
    );
    await assert.rejects(
      writeZip({ entries: [file(path)], level: 6, epochSeconds }, () => undefined),
      { code: "path_unsafe" },
    );
  }
  await assert.rejects(
    writeZip({ entries: [file("a"), file("a")], level: 6, epochSeconds }, () => undefined),
    { code: "path_unsafe" },
  );
  await assert.rejects(
    writeZip({ entries: [{ kind: "symlink", path: "a", target: "b" }], level: 6, epochSeconds }, () => undefined),
    { code: "recipe_invalid" },
  );
});

test("a source that changes, a source that fails and a sink that fails all end the zip with their own error", async () => {
  const write = (source: (ArchiveEntry & { kind: "file" })["source"], sink = (): void => undefined): Promise<unknown> =>
    writeZip({ entries: [{ kind: "file", path: "a", mode: 0o644, source }, ...entries], level: 6, epochSeconds }, sink);
  await assert.rejects(write({ ...text("xyz"), size: 2 }), { code: "source_unusable" });
  await assert.rejects(write({ ...text("xyz"), size: 9 }), { code: "source_unusable" });
  const broken = {
    size: 5,
    open: async function* (): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(1);
      throw new Error("disk gone");
    },
  };
  await assert.rejects(write(broken), /disk gone/);
  const fail = (): never => {
    throw new Error("no space");
  };
  await assert.rejects(write(text("x"), fail), /no space/);
});
