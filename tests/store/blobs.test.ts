/** The contract of BlobStore, run on every implementation. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { buffer } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { type Digest, digestFromHex, digestHex } from "../../src/model/digest.ts";
import { type ErrorCode, SlipwayError } from "../../src/model/errors.ts";
import type { BlobStore } from "../../src/store/blobs.ts";
import { type DiskBlobsOptions, openDiskBlobs } from "../../src/store/disk-blobs.ts";
import { findProgram } from "../support/clients.ts";

/** How a test opens an implementation; opening the same place twice is a restart. */
type Implementation = { readonly name: string; readonly open: (place: string, options: Omit<DiskBlobsOptions, "folder">) => Promise<BlobStore> };

const implementations: readonly Implementation[] = [
  { name: "disk", open: (place, options) => openDiskBlobs({ folder: join(place, "blobs"), reserveBytes: 0, ...options }) },
];

const digestOf = (bytes: Uint8Array): Digest => digestFromHex(createHash("sha256").update(bytes).digest("hex"));
const failsWith =
  (code: ErrorCode, detail?: string) =>
  (error: unknown): boolean =>
    error instanceof SlipwayError && error.code === code && (detail === undefined || error.detail === detail);

async function* bodyOf(bytes: Uint8Array, pieceSize = 1000): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += pieceSize) yield bytes.subarray(start, start + pieceSize);
}

async function temporary(t: TestContext): Promise<string> {
  const place = await mkdtemp(join(tmpdir(), "slipway-blobs-"));
  t.after(() => rm(place, { recursive: true, force: true }));
  return place;
}

for (const { name, open } of implementations) {
  test(`${name}: an upload in one piece is live, whole and readable in ranges`, async (t) => {
    const blobs = await open(await temporary(t), {});
    const bytes = randomBytes(100_000);
    const digest = digestOf(bytes);
    assert.deepEqual(await blobs.status(digest), { state: "absent", offset: 0 });
    assert.deepEqual(await blobs.append({ digest, offset: 0, size: bytes.length, body: bodyOf(bytes) }), { state: "live", offset: bytes.length });
    assert.equal((await blobs.stat(digest))?.size, bytes.length);
    assert.deepEqual(await buffer(await blobs.open(digest)), bytes);
    assert.deepEqual(await buffer(await blobs.open(digest, { start: 10, end: 19 })), bytes.subarray(10, 20));
    assert.deepEqual(await blobs.read(digest, 100_000), bytes);
    await assert.rejects(blobs.read(digest, 99_999), failsWith("format_limit"));
    const again = await blobs.append({ digest, offset: 0, size: bytes.length, body: bodyOf(bytes) });
    assert.deepEqual(again, { state: "live", offset: bytes.length }, "the same upload again is no error");
    assert.deepEqual(
      (await Array.fromAsync(blobs.list())).map((blob) => blob.digest),
      [digest],
    );
  });

  test(`${name}: what is put piece by piece, in memory that is used again, is whole; what fails on the way is not kept`, async (t) => {
    const blobs = await open(await temporary(t), {});
    const bytes = randomBytes(2_500_000);
    const sizes = [1, 700_000, 0, 3, 524_288, 524_287, 1, 10];
    const memory = new Uint8Array(700_000);
    const pieces = async function* (failing = false): AsyncGenerator<Uint8Array> {
      for (let start = 0, turn = 0; start < bytes.length; turn += 1) {
        if (failing && start > 2_000_000) throw new Error("the maker stops");
        const piece = bytes.subarray(start, start + (sizes[turn % sizes.length] ?? 0));
        memory.set(piece);
        yield memory.subarray(0, piece.length);
        memory.fill(0);
        start += piece.length;
      }
    };
    const stored = await blobs.put(pieces());
    assert.deepEqual([stored.digest, stored.size], [digestOf(bytes), bytes.length]);
    assert.deepEqual(await blobs.read(stored.digest, bytes.length), bytes);
    const part = new Uint8Array(600_000);
    await blobs.readInto(stored.digest, 1_000_001, part);
    assert.deepEqual(Buffer.from(part), bytes.subarray(1_000_001, 1_600_001));
    await assert.rejects(blobs.readInto(stored.digest, 2_000_000, part), failsWith("internal"), "it ends before");
    await assert.rejects(blobs.readInto(digestOf(part), 0, part), failsWith("not_found"));
    await assert.rejects(blobs.put(pieces(true)));
    assert.deepEqual(
      (await Array.fromAsync(blobs.list())).map((blob) => blob.digest),
      [stored.digest],
    );
    assert.equal(await blobs.purge(new Date(Date.now() + 60_000)), 0, "and no part of it lies around");
  });

  test(`${name}: an upload resumes after a broken connection and after a restart, and is not readable before its last byte`, async (t) => {
    const place = await temporary(t);
    const blobs = await open(place, {});
    const bytes = randomBytes(50_000);
    const part = { digest: digestOf(bytes), size: bytes.length };
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, 7_000);
      yield bytes.subarray(7_000, 20_000);
      throw new Error("connection reset");
    }
    await assert.rejects(blobs.append({ ...part, offset: 0, body: broken() }), /connection reset/);
    assert.deepEqual(await blobs.status(part.digest), { state: "partial", offset: 20_000 });
    await assert.rejects(blobs.open(part.digest), failsWith("not_found"));
    assert.equal(await blobs.stat(part.digest), undefined);
    const middle = await blobs.append({ ...part, offset: 20_000, body: bodyOf(bytes.subarray(20_000, 30_000)) });
    assert.deepEqual(middle, { state: "partial", offset: 30_000 });
    const restarted = await open(place, {});
    await assert.rejects(restarted.append({ ...part, offset: 0, body: bodyOf(bytes) }), failsWith("upload_offset", "30000"));
    assert.equal((await restarted.append({ ...part, offset: 30_000, body: bodyOf(bytes.subarray(30_000)) })).state, "live");
    assert.deepEqual(await buffer(await restarted.open(part.digest)), bytes);
  });

  test(`${name}: wrong, oversized and too large uploads are refused and nothing of them is stored`, async (t) => {
    const blobs = await open(await temporary(t), { sizeLimit: 10_000 });
    const bytes = randomBytes(5_000);
    const part = { digest: digestOf(bytes), offset: 0, size: bytes.length };
    const changed = Buffer.from(bytes);
    changed[4_000] = (changed[4_000] ?? 0) ^ 1;
    await assert.rejects(blobs.append({ ...part, body: bodyOf(changed) }), failsWith("upload_invalid", "digest_mismatch"));
    assert.deepEqual(await blobs.status(part.digest), { state: "absent", offset: 0 });
    await assert.rejects(blobs.append({ ...part, body: bodyOf(Buffer.concat([bytes, bytes])) }), failsWith("upload_invalid", "oversized"));
    assert.deepEqual(await blobs.status(part.digest), { state: "absent", offset: 0 });
    await assert.rejects(blobs.append({ ...part, size: 10_001, body: bodyOf(bytes) }), failsWith("too_large"));
    await assert.rejects(blobs.append({ ...part, offset: -1, body: bodyOf(bytes) }), failsWith("upload_invalid"));
    await assert.rejects(blobs.append({ ...part, offset: 5_001, body: bodyOf(bytes) }), failsWith("upload_invalid"));
    assert.deepEqual(await Array.fromAsync(blobs.list()), []);
  });

  test(`${name}: bytes of a resumed upload that changed on the way to the disk are found out`, async (t) => {
    const place = await temporary(t);
    const blobs = await open(place, {});
    const bytes = randomBytes(20_000);
    const part = { digest: digestOf(bytes), size: bytes.length };
    const changed = Buffer.from(bytes);
    changed[5] = (changed[5] ?? 0) ^ 1;
    await blobs.append({ ...part, offset: 0, body: bodyOf(changed.subarray(0, 10_000)) });
    const restarted = await open(place, {});
    await assert.rejects(restarted.append({ ...part, offset: 10_000, body: bodyOf(bytes.subarray(10_000)) }), failsWith("upload_invalid", "digest_mismatch"));
    assert.deepEqual(await restarted.status(part.digest), { state: "absent", offset: 0 });
  });

  test(`${name}: two uploads of one digest at once do not mix; the second is told to ask again`, async (t) => {
    const blobs = await open(await temporary(t), {});
    const bytes = randomBytes(30_000);
    const part = { digest: digestOf(bytes), offset: 0, size: bytes.length };
    const slow = new PassThrough();
    const first = blobs.append({ ...part, body: slow });
    slow.write(bytes.subarray(0, 10_000));
    await assert.rejects(blobs.append({ ...part, body: bodyOf(bytes) }), failsWith("upload_offset", "busy"));
    slow.end(bytes.subarray(10_000));
    assert.equal((await first).state, "live");
    assert.deepEqual(await buffer(await blobs.open(part.digest)), bytes);
    const other = randomBytes(1_000);
    const both = await Promise.all([blobs.put(other), blobs.put(other)]);
    assert.deepEqual([both[0].digest, both[1].digest], [digestOf(other), digestOf(other)]);
  });

  test(`${name}: an empty blob is a blob, and put takes streams`, async (t) => {
    const blobs = await open(await temporary(t), {});
    const empty = digestOf(Buffer.alloc(0));
    assert.deepEqual(await blobs.append({ digest: empty, offset: 0, size: 0, body: bodyOf(Buffer.alloc(0)) }), { state: "live", offset: 0 });
    assert.equal((await blobs.read(empty, 0)).length, 0);
    const bytes = randomBytes(10_000);
    const stored = await blobs.put(bodyOf(bytes));
    assert.deepEqual([stored.digest, stored.size], [digestOf(bytes), 10_000]);
    assert.deepEqual(await blobs.read(stored.digest, 10_000), bytes);
  });

  test(`${name}: a quarantined blob is gone for readers, comes back when it is needed, and is purged after its time`, async (t) => {
    const blobs = await open(await temporary(t), {});
    const { digest } = await blobs.put(randomBytes(1_000));
    await blobs.quarantine(digest);
    assert.equal(await blobs.stat(digest), undefined);
    await assert.rejects(blobs.open(digest), failsWith("not_found"));
    assert.equal(await blobs.restore(digest), true);
    assert.equal((await blobs.stat(digest))?.size, 1_000);
    assert.equal(await blobs.restore(digest), false);
    await blobs.quarantine(digest);
    assert.equal(await blobs.purge(new Date(Date.now() - 3_600_000)), 0, "an hour ago it was not in quarantine");
    assert.equal(await blobs.purge(new Date(Date.now() + 3_600_000)), 1_000);
    assert.equal(await blobs.restore(digest), false);
  });
}

test("disk: a full disk refuses the upload, frees what it took, and goes on working", async (t) => {
  if (process.getuid?.() !== 0 || findProgram("mount") === undefined) {
    if (process.env["CI"] === "true") throw new Error("a small disk for this test needs root");
    t.skip("a small disk for this test needs root");
    return;
  }
  const place = await temporary(t);
  const disk = join(place, "disk");
  await mkdir(disk);
  await requireCommand(["mount", "-t", "tmpfs", "-o", "size=4m", "slipway-test", disk], { timeoutMs: 10_000 });
  try {
    const small = randomBytes(10_000);
    const bytes = randomBytes(6 * 1024 * 1024);
    const blobs = await openDiskBlobs({ folder: join(disk, "blobs"), reserveBytes: -16 * 1024 * 1024 }); // looks away: the write itself must fail
    await blobs.put(small);
    const part = { digest: digestOf(bytes), offset: 0, size: bytes.length };
    await assert.rejects(blobs.append({ ...part, body: bodyOf(bytes, 65_536) }), failsWith("disk_full"));
    await assert.rejects(blobs.put(bytes), failsWith("disk_full"));
    assert.deepEqual(await blobs.status(part.digest), { state: "absent", offset: 0 });
    assert.deepEqual(await readdir(join(disk, "blobs", "unverified")), [], "the space is free again");
    assert.deepEqual(await blobs.read(digestOf(small), 10_000), small);
    const fitting = randomBytes(2 * 1024 * 1024);
    assert.equal((await blobs.append({ digest: digestOf(fitting), offset: 0, size: fitting.length, body: bodyOf(fitting) })).state, "live");

    const careful = await openDiskBlobs({ folder: join(disk, "blobs"), reserveBytes: 1024 * 1024 });
    let hasRead = false;
    const body = (async function* () {
      hasRead = true;
      yield bytes;
    })();
    await assert.rejects(careful.append({ ...part, body }), failsWith("disk_full"));
    assert.equal(hasRead, false, "an upload that cannot fit is refused before its first byte");
  } finally {
    await requireCommand(["umount", disk], { timeoutMs: 10_000 });
  }
});

test("disk: files are for the owner alone, named by digest, and old uploads leave with the purge", async (t) => {
  const place = await temporary(t);
  const folder = join(place, "blobs");
  const blobs = await openDiskBlobs({ folder, reserveBytes: 0 });
  const bytes = randomBytes(1_000);
  const { digest } = await blobs.put(bytes);
  const hex = digestHex(digest);
  const path = join(folder, "sha256", hex.slice(0, 2), hex);
  assert.equal(blobs.path(digest), path);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.deepEqual(await readFile(path), bytes);
  const part = join(folder, "unverified", `${"0".repeat(64)}.unverified`);
  await writeFile(part, "abandoned");
  const longAgo = new Date(Date.now() - 10 * 86_400_000);
  await utimes(part, longAgo, longAgo);
  assert.equal(await blobs.purge(new Date(Date.now() - 86_400_000)), 9);
  assert.deepEqual(await readdir(join(folder, "unverified")), []);
});
