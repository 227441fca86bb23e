/** Staged folders, hashed files, spools and git's facts, on a real disk and a real repository. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { requireCommand, runCommand } from "../../src/io/command.ts";
import { readGitFacts, readTagSeconds } from "../../src/io/git.ts";
import { createHashedFile } from "../../src/io/hashed-file.ts";
import { createSpool, lentFileBytes } from "../../src/io/spool.ts";
import { stageFolder } from "../../src/io/staged-folder.ts";
import { needClient } from "../support/clients.ts";

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-io-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

test("a staged folder appears whole on commit, replaces the older one, and leaves nothing else", async (t) => {
  const parent = join(await temporaryFolder(t), "dist");
  await mkdir(join(parent, "1.0.0"), { recursive: true });
  await writeFile(join(parent, "1.0.0", "old"), "");
  const staged = await stageFolder(parent, "1.0.0");
  await writeFile(join(staged.files, "new"), "");
  await writeFile(join(staged.work, "spool"), "");
  assert.deepEqual(await readdir(join(parent, "1.0.0")), ["old"]);
  await staged.commit();
  await staged.discard();
  assert.deepEqual(await readdir(parent), ["1.0.0"]);
  assert.deepEqual(await readdir(join(parent, "1.0.0")), ["new"]);
  assert.equal((await stat(join(parent, "1.0.0"))).mode & 0o777, 0o755);
});

test("a staged folder of a living process stays, one of a dead process goes", async (t) => {
  const parent = await temporaryFolder(t);
  const living = await stageFolder(parent, "1.0.0");
  await mkdir(join(parent, ".1.0.0.tmp-999999999-aa", "files"), { recursive: true });
  const second = await stageFolder(parent, "1.0.0");
  assert.equal((await readdir(parent)).length, 2);
  await living.discard();
  await second.discard();
  assert.deepEqual(await readdir(parent), []);
});

test("a hashed file has the mode it was asked for, its size and its digest, and refuses to overwrite", async (t) => {
  const path = join(await temporaryFolder(t), "file");
  const file = await createHashedFile(path, 0o664);
  file.write(Buffer.from("ab"));
  file.write(Buffer.from("c"));
  assert.deepEqual(await file.close(), { digest: "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", size: 3 });
  assert.equal((await stat(path)).mode & 0o777, 0o664);
  await assert.rejects(createHashedFile(path, 0o664), { code: "EEXIST" });
});

test("a spool gives back what was written, as often as asked, and can be removed at any time", async (t) => {
  const folder = await temporaryFolder(t);
  const spool = await createSpool(join(folder, "spool"));
  const buffer = Buffer.alloc(4);
  for (const text of ["abcd", "efgh"]) {
    buffer.write(text);
    spool.write(buffer); // the writer's own buffer, used again
  }
  const bytes = await spool.finish();
  for (let round = 0; round < 2; round += 1) assert.equal(await textOf(bytes.open()), "abcdefgh");
  assert.equal(bytes.size, 8);
  await spool.remove();
  await spool.remove();
  const unfinished = await createSpool(join(folder, "other"));
  unfinished.write(buffer);
  await unfinished.remove();
  assert.deepEqual(await readdir(folder), []);
});

test("a file's lent pieces are its bytes, whatever its size, and more or fewer than announced are given as they are", async (t) => {
  const path = join(await temporaryFolder(t), "file");
  for (const size of [0, 1, 4096, 262_143, 262_144, 262_145, 600_000]) {
    const bytes = Buffer.from(Array.from({ length: size }, (_, place) => place % 251));
    await writeFile(path, bytes);
    for (const announced of [size, size + 1, Math.max(0, size - 1)]) {
      const read: Uint8Array[] = [];
      for await (const piece of lentFileBytes(path, announced).open()) read.push(Uint8Array.from(piece));
      const all = Buffer.concat(read);
      assert.ok(all.equals(bytes.subarray(0, all.length)), `${size} bytes, announced as ${announced}`);
      assert.ok(announced >= size ? all.length === size : all.length > announced, `${all.length} of ${size} bytes, announced as ${announced}`);
    }
  }
  const [one, other] = [lentFileBytes(path, 600_000).open(), lentFileBytes(path, 600_000).open()].map((bytes) => bytes[Symbol.asyncIterator]());
  const first = (await one?.next())?.value as Uint8Array;
  const kept = Uint8Array.from(first);
  await other?.next();
  await other?.next();
  assert.deepEqual(Uint8Array.from(first), kept, "two files under way share no memory");
  await one?.return?.();
  await other?.return?.();
});

test("git's facts: tags at HEAD, the description, the commit's time, and a dirty tree that has no tag", async (t) => {
  if (!needClient(t, "git")) return;
  const folder = await temporaryFolder(t);
  assert.equal(await readGitFacts(runCommand, folder), undefined, "no repository");
  const git = (...args: readonly string[]): Promise<string> =>
    requireCommand(["git", "-c", "user.name=t", "-c", "user.email=t@t.example", ...args], {
      cwd: folder,
      timeoutMs: 60_000,
      env: { PATH: process.env["PATH"] ?? "", HOME: folder, GIT_AUTHOR_DATE: "1700000000 +0100", GIT_COMMITTER_DATE: "1700000000 +0100" },
    });
  await git("init", "-q");
  assert.equal(await readGitFacts(runCommand, folder), undefined, "no commit");
  await writeFile(join(folder, "a"), "1");
  await git("add", ".");
  await git("commit", "-qm", "one");
  assert.equal((await readGitFacts(runCommand, folder))?.description, undefined, "no tag");
  await git("tag", "-a", "v1.2.0", "-m", "x");
  await git("tag", "nightly");
  const tagged = await readGitFacts(runCommand, folder);
  assert.deepEqual([tagged?.tagsAtHead, tagged?.commitSeconds, tagged?.isDirty], [["v1.2.0"], 1_700_000_000, false]);
  assert.equal(tagged?.commit, (await readFile(join(folder, ".git/refs/heads", (await git("branch", "--show-current")).trim()), "utf8")).trim());
  await writeFile(join(folder, "untracked"), "");
  assert.equal((await readGitFacts(runCommand, folder))?.isDirty, false, "dist/ and other untracked files do not count");
  await writeFile(join(folder, "a"), "2");
  const dirty = await readGitFacts(runCommand, folder);
  assert.deepEqual([dirty?.tagsAtHead, dirty?.isDirty], [[], true]);
  assert.match(dirty?.description ?? "", /^v1\.2\.0-0-g[0-9a-f]{7,}-dirty$/);
  assert.equal(await readTagSeconds(runCommand, folder, "v1.2.0"), 1_700_000_000);
  assert.equal(await readTagSeconds(runCommand, folder, "v9.9.9"), undefined);
});

async function textOf(pieces: AsyncIterable<Uint8Array>): Promise<string> {
  let text = "";
  for await (const piece of pieces) text += Buffer.from(piece).toString();
  return text;
}
