/** Compression: the same bytes however the input is cut, one zstd frame, neutral gzip headers, and limits on the way back. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import * as fc from "fast-check";
import { createCompressor, gzipBytes } from "../../src/formats/compress.ts";
import { decompress } from "../../src/formats/decompress.ts";
import { createGzipMembers } from "../../src/formats/gzip-members.ts";
import type { PackageCompression } from "../../src/formats/package.ts";
import { createZstdFrameCounter } from "../../src/formats/zstd-frame.ts";
import { needClient } from "../support/clients.ts";
import { bytesOf, gzip, zstd } from "./sample.ts";

async function compressed(compression: PackageCompression, pieces: readonly Uint8Array[]): Promise<Buffer> {
  const out: Uint8Array[] = [];
  const compressor = createCompressor(compression, async (piece) => {
    await new Promise(setImmediate); // a slow sink
    out.push(Uint8Array.from(piece));
  });
  for (const piece of pieces) {
    const reused = Uint8Array.from(piece);
    await compressor.write(reused);
    reused.fill(0xaa); // a source may reuse its buffer once the write has resolved
  }
  await compressor.end();
  return Buffer.concat(out);
}

async function* cut(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const cutInto = (bytes: Uint8Array, size: number): readonly Uint8Array[] =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, place) => bytes.subarray(place * size, (place + 1) * size));

const plain = (bytes: Uint8Array, codec: PackageCompression["codec"], limitBytes = 1e9, pieceSize = 1000): Promise<Buffer> =>
  bytesOf(decompress(cut(bytes, pieceSize), { codec, limitBytes, name: "x" }));

const frames = (bytes: Uint8Array, size = 7): number => {
  const counter = createZstdFrameCounter();
  for (let at = 0; at < bytes.length; at += size) counter.feed(bytes.subarray(at, at + size));
  return counter.count();
};

/** Text-like bytes that compress somewhat. */
const sample = Buffer.from(Array.from({ length: 900_001 }, (_, index) => 97 + ((index * index) % 23)));

for (const compression of [
  gzip,
  { codec: "gzip", level: 1 },
  zstd,
  { codec: "zstd", level: 12 },
  { codec: "none", level: 0 },
] satisfies readonly PackageCompression[]) {
  test(`${compression.codec} ${compression.level}: any cut of the input gives the same bytes, which unpack to the input`, async () => {
    const whole = await compressed(compression, [sample]);
    assert.deepEqual(await plain(whole, compression.codec), sample);
    for (const size of [1_000, 65_536, 262_144, 262_145]) assert.ok((await compressed(compression, cutInto(sample, size))).equals(whole), `cut at ${size}`);
    const arbitrary = fc.array(fc.uint8Array({ maxLength: 600_000 }), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(arbitrary, async (pieces) => {
        const once = await compressed(compression, [Buffer.concat(pieces)]);
        assert.ok((await compressed(compression, pieces)).equals(once));
        assert.ok((await plain(once, compression.codec)).equals(Buffer.concat(pieces)));
      }),
      { numRuns: 15 },
    );
  });
}

test("C1 gzip is the same on one thread as on many, is one member, and the gzip program accepts it", async (t) => {
  // Longer than the blocks that are deflated side by side, and compressing well enough to reach across their borders.
  const long = Buffer.concat([sample, randomBytes(300_000), sample, Buffer.alloc(700_000), sample]);
  const packed = await compressed(gzip, [long]);
  const program = `
    import { createCompressor } from ${JSON.stringify(new URL("../../src/formats/compress.ts", import.meta.url).href)};
    import { readFileSync, writeSync } from "node:fs";
    const compressor = createCompressor({ codec: "gzip", level: ${gzip.level} }, (piece) => void writeSync(1, piece));
    await compressor.write(readFileSync(0));
    await compressor.end();`;
  for (const threads of ["1", "2", "7"]) {
    const argv = ["--disable-warning=ExperimentalWarning", "--input-type=module", "--eval", program];
    const output = execFileSync(process.execPath, argv, { input: long, maxBuffer: 1e8, env: { ...process.env, UV_THREADPOOL_SIZE: threads } });
    assert.ok(output.equals(packed), `${threads} threads`);
  }
  const members = createGzipMembers(cut(packed, 10_000));
  const plainBytes = await bytesOf(members.next({ limitBytes: 1e9, name: "x" }));
  assert.ok(plainBytes.equals(long));
  assert.equal(await members.isAtEnd(), true);
  if (!needClient(t, "gzip")) return;
  assert.ok(execFileSync("gzip", ["-dc"], { input: packed, maxBuffer: 1e8 }).equals(long));
});

test("a sink that fails stops the compressor at the next write or end, and nothing is left unheard", async () => {
  for (const compression of [gzip, zstd]) {
    const compressor = createCompressor(compression, () => {
      throw new Error("disk full");
    });
    await assert.rejects(async () => {
      for (let count = 0; count < 20; count += 1) await compressor.write(randomBytes(300_000));
      await compressor.end();
    }, /disk full/);
  }
  await new Promise(setImmediate);
});

test("C11 zstd output is exactly one frame, empty input included, and the zstd program accepts it (regression 2)", async (t) => {
  for (const input of [Buffer.alloc(0), Buffer.from("x"), sample]) assert.equal(frames(await compressed(zstd, [input])), 1);
  if (!needClient(t, "zstd")) return;
  assert.deepEqual(execFileSync("zstd", ["-d", "-c"], { input: await compressed(zstd, [sample]) }), sample);
});

test("the frame counter tells frames, skippable frames and damage apart", () => {
  const one = zstdCompressSync(sample);
  const skippable = Buffer.from("502a4d1803000000616263", "hex");
  const runLength = zstdCompressSync(Buffer.alloc(300_000));
  for (const size of [1, 3, 4096]) {
    assert.equal(frames(one, size), 1);
    assert.equal(frames(Buffer.concat([one, runLength, one]), size), 3);
    assert.equal(frames(Buffer.concat([skippable, one, skippable]), size), 1);
  }
  assert.throws(() => frames(one.subarray(0, -1)), { code: "format_invalid" });
  assert.throws(() => frames(Buffer.concat([one, Buffer.from("garbage")])), { code: "format_invalid" });
  assert.throws(() => frames(gzipSync("x")), { code: "format_invalid" });
});

test("gzip headers name no time and no system", async () => {
  for (const bytes of [await compressed(gzip, [sample]), Buffer.from(gzipBytes(sample))]) {
    assert.equal(bytes.toString("hex", 0, 4), "1f8b0800");
    assert.equal(bytes.toString("hex", 4, 8), "00000000", "MTIME");
    assert.equal(bytes[9], 0xff, "OS");
    assert.deepEqual(await plain(bytes, "gzip"), sample);
  }
});

test("xz is read, and written only by a compressor that is passed in", async (t) => {
  assert.throws(() => createCompressor({ codec: "xz", level: 6 }, () => undefined), { code: "recipe_invalid" });
  if (!needClient(t, "xz")) return;
  const packed = execFileSync("xz", ["-6", "-c"], { input: sample });
  assert.deepEqual(await plain(packed, "xz"), sample);
  await assert.rejects(plain(packed.subarray(0, packed.length - 100), "xz"), { code: "format_invalid" });
});

test("a bomb stops at the limit, and damage is told from a failing source", async () => {
  const zeros = Buffer.alloc(20_000_000);
  for (const [codec, packed] of [
    ["gzip", gzipSync(zeros)],
    ["zstd", zstdCompressSync(zeros)],
    ["none", zeros],
  ] as const) {
    await assert.rejects(plain(packed, codec, 1_000_000), { code: "format_limit" });
    assert.equal((await plain(packed, codec, 20_000_000)).length, 20_000_000);
    if (codec === "none") continue;
    await assert.rejects(plain(packed.subarray(0, packed.length - 20), codec), { code: "format_invalid" });
    await assert.rejects(plain(Buffer.from("this is not compressed"), codec), { code: "format_invalid" });
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield packed.subarray(0, 20);
      throw new Error("connection lost");
    };
    await assert.rejects(bytesOf(decompress(broken(), { codec, limitBytes: 1e9, name: "x" })), /connection lost/);
  }
});

test("leaving early lets the source go", async () => {
  let isReleased = false;
  const endless = async function* (): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield gzipSync(Buffer.alloc(1_000_000));
    } finally {
      isReleased = true;
    }
  };
  for await (const piece of decompress(endless(), { codec: "gzip", limitBytes: 1e12, name: "x" })) if (piece.length > 0) break;
  await new Promise(setImmediate);
  assert.equal(isReleased, true);
});
