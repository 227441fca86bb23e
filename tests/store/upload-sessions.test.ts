/** The contract of UploadSessions, run on every implementation. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import type { BlobStore } from "../../src/store/blobs.ts";
import { type DiskBlobsOptions, openDiskBlobs } from "../../src/store/disk-blobs.ts";

type Implementation = { readonly name: string; readonly open: (place: string, options?: Omit<DiskBlobsOptions, "folder">) => Promise<BlobStore> };

const implementations: readonly Implementation[] = [
  { name: "disk", open: (place, options) => openDiskBlobs({ folder: join(place, "blobs"), reserveBytes: 0, ...options }) },
];

const hexOf = (bytes: Uint8Array, algorithm = "sha256"): string => createHash(algorithm).update(bytes).digest("hex");
const sha256 = (bytes: Uint8Array) => ({ algorithm: "sha256", hex: hexOf(bytes) }) as const;

async function* bodyOf(bytes: Uint8Array, pieceSize = 1000): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += pieceSize) yield bytes.subarray(start, start + pieceSize);
}

async function temporary(t: TestContext): Promise<string> {
  const place = await mkdtemp(join(tmpdir(), "slipway-sessions-"));
  t.after(() => rm(place, { recursive: true, force: true }));
  return place;
}

const leftovers = (place: string): Promise<string[]> => readdir(join(place, "blobs", "unverified"));

for (const { name, open } of implementations) {
  test(`${name}: a session takes bytes in parts and becomes a blob when the digest of the whole is right`, async (t) => {
    const place = await temporary(t);
    const { sessions, ...blobs } = await open(place);
    const bytes = randomBytes(10_000);
    const id = await sessions.begin();
    assert.equal(await sessions.offset(id), 0);
    assert.equal(await sessions.extend({ id, offset: 0, body: bodyOf(bytes.subarray(0, 4000)) }), 4000);
    assert.equal(await sessions.extend({ id, offset: 4000, body: bodyOf(bytes.subarray(4000)) }), 10_000);
    const blob = await sessions.finish(id, sha256(bytes));
    assert.deepEqual([blob.digest, blob.size], [`sha256:${hexOf(bytes)}`, 10_000]);
    assert.deepEqual(await buffer(await blobs.open(blob.digest)), bytes);
    assert.equal(await sessions.offset(id), undefined);
    assert.deepEqual(await leftovers(place), []);
  });

  test(`${name}: an empty session is the blob of no bytes, and SHA-512 names the whole as well`, async (t) => {
    const { sessions } = await open(await temporary(t));
    assert.equal((await sessions.finish(await sessions.begin(), sha256(Buffer.alloc(0)))).size, 0);
    const bytes = randomBytes(3000);
    const id = await sessions.begin();
    await sessions.extend({ id, offset: 0, body: bodyOf(bytes) });
    assert.equal((await sessions.finish(id, { algorithm: "sha512", hex: hexOf(bytes, "sha512") })).digest, `sha256:${hexOf(bytes)}`);
  });

  test(`${name}: another digest ends the session, and nothing of it is kept`, async (t) => {
    const place = await temporary(t);
    const { sessions } = await open(place);
    for (const algorithm of ["sha256", "sha512"] as const) {
      const id = await sessions.begin();
      await sessions.extend({ id, offset: 0, body: bodyOf(randomBytes(100)) });
      await assert.rejects(sessions.finish(id, { algorithm, hex: "0".repeat(64) }), { code: "upload_invalid", detail: "digest_mismatch" });
      assert.equal(await sessions.offset(id), undefined);
    }
    assert.deepEqual(await leftovers(place), []);
  });

  test(`${name}: after a broken connection and a restart, it goes on from where it stands, and nowhere else`, async (t) => {
    const place = await temporary(t);
    const bytes = randomBytes(5000);
    const first = await open(place);
    const id = await first.sessions.begin();
    const broken = (async function* () {
      yield bytes.subarray(0, 2000);
      throw new Error("connection lost");
    })();
    await assert.rejects(first.sessions.extend({ id, offset: 0, body: broken }), /connection lost/);
    await assert.rejects(first.sessions.extend({ id, offset: 0, body: bodyOf(bytes) }), { code: "upload_offset", detail: "2000" });
    assert.equal(await first.sessions.extend({ id, offset: 2000, body: bodyOf(bytes.subarray(2000, 3000)) }), 3000);
    const second = await open(place);
    assert.equal(await second.sessions.offset(id), 3000);
    await second.sessions.extend({ id, offset: 3000, body: bodyOf(bytes.subarray(3000)) });
    assert.equal((await second.sessions.finish(id, sha256(bytes))).size, 5000);
  });

  test(`${name}: one request at a time writes a session`, async (t) => {
    const { sessions } = await open(await temporary(t));
    const id = await sessions.begin();
    const { promise: wait, resolve: go } = Promise.withResolvers<void>();
    const slow = (async function* () {
      yield Buffer.from("a");
      await wait;
      yield Buffer.from("b");
    })();
    const running = sessions.extend({ id, offset: 0, body: slow });
    await assert.rejects(sessions.extend({ id, offset: 0, body: bodyOf(Buffer.from("x")) }), { code: "upload_offset", detail: "busy" });
    await assert.rejects(sessions.finish(id, sha256(Buffer.from("a"))), { code: "upload_offset", detail: "busy" });
    go();
    assert.equal(await running, 2);
  });

  test(`${name}: what was cancelled, never begun or is no id is not there`, async (t) => {
    const { sessions } = await open(await temporary(t));
    const id = await sessions.begin();
    assert.equal(await sessions.cancel(id), true);
    for (const absent of [id, "0".repeat(32), "../../escape", ""]) {
      assert.equal(await sessions.offset(absent), undefined);
      assert.equal(await sessions.cancel(absent), false);
      await assert.rejects(sessions.extend({ id: absent, offset: 0, body: bodyOf(Buffer.from("x")) }), { code: "not_found" });
      await assert.rejects(sessions.finish(absent, sha256(Buffer.from("x"))), { code: "not_found" });
    }
  });

  test(`${name}: above the limit the session ends and gives its space back; old sessions are purged`, async (t) => {
    const place = await temporary(t);
    const blobs = await open(place, { sizeLimit: 1000 });
    const id = await blobs.sessions.begin();
    await assert.rejects(blobs.sessions.extend({ id, offset: 0, body: bodyOf(Buffer.alloc(1001), 500) }), { code: "too_large" });
    assert.deepEqual(await leftovers(place), []);
    const old = await blobs.sessions.begin();
    await blobs.purge(new Date(Date.now() + 60_000));
    assert.equal(await blobs.sessions.offset(old), undefined);
  });
}

test("disk: on a full disk the session ends, gives its space back, and the next one works", async (t) => {
  const place = await temporary(t);
  const mounted = join(place, "small");
  await mkdir(mounted);
  const mount = await runCommand(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mounted], { timeoutMs: 10_000 });
  if (mount.exitCode !== 0) return t.skip("a small file system needs root");
  try {
    const { sessions } = await openDiskBlobs({ folder: join(mounted, "blobs"), reserveBytes: -(64 * 1024 ** 2) }); // the disk itself says no
    const id = await sessions.begin();
    await assert.rejects(sessions.extend({ id, offset: 0, body: bodyOf(Buffer.alloc(8 * 1024 * 1024), 65_536) }), { code: "disk_full" });
    assert.equal(await sessions.offset(id), undefined);
    const next = await sessions.begin();
    assert.equal(await sessions.extend({ id: next, offset: 0, body: bodyOf(Buffer.alloc(100_000)) }), 100_000);
  } finally {
    await runCommand(["umount", mounted], { timeoutMs: 10_000 });
  }
});
