/** Deltas: what is made of them is the new file, damaged and hostile ones end in an error of ours and within their bounds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { constants, zstdCompressSync } from "node:zlib";
import * as fc from "fast-check";
import { applyDelta, deltaHeaderBytes, deltaMagic, type PositionedBytes } from "../../src/formats/delta.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { deltaOf } from "../support/delta.ts";

const inMemory = (bytes: Uint8Array): PositionedBytes => ({
  size: bytes.length,
  read: (offset, length) => {
    assert.ok(offset >= 0 && length >= 0 && offset + length <= bytes.length, `read of ${length} at ${offset} of ${bytes.length}`);
    return Promise.resolve(bytes.subarray(offset, offset + length));
  },
});

async function apply(delta: Uint8Array, old: Uint8Array, limitBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  await applyDelta({ delta: inMemory(delta), old: inMemory(old), limitBytes, sink: (piece) => void pieces.push(Buffer.from(piece)) });
  return Buffer.concat(pieces);
}

/** Bytes that do not compress, the same every time. */
function noise(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0, state = seed >>> 0; at < size; at += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

/** A program compiled again: code moved by an insertion, and addresses that shift with it. */
function recompiled(old: Buffer): Buffer {
  const fresh = Buffer.concat([old.subarray(0, 100_000), noise(2_000, 9), old.subarray(100_000)]);
  for (let at = 50; at + 4 < fresh.length; at += 97) fresh.writeUInt32LE((fresh.readUInt32LE(at) + 2_000) >>> 0, at);
  return fresh;
}

test("a program compiled again costs a small part of its size, and comes out byte for byte", async () => {
  const old = noise(600_000, 1);
  const fresh = recompiled(old);
  const delta = await deltaOf({ old, new: fresh });
  assert.ok(delta.length < fresh.length / 5, `${delta.length} of ${fresh.length}`);
  assert.ok((await apply(delta, old, fresh.length)).equals(fresh));
});

test("any two files: what a delta makes is the new one", async () => {
  const block = fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.constant(noise(300, 5)), fc.constant(noise(40, 6)), fc.constant(Buffer.alloc(100)));
  const file = fc.array(block, { maxLength: 12 }).map((blocks) => Buffer.concat(blocks));
  await fc.assert(
    fc.asyncProperty(file, file, async (old, fresh) => {
      assert.ok((await apply(await deltaOf({ old, new: fresh, level: 1 }), old, fresh.length)).equals(fresh));
    }),
    { numRuns: 300 },
  );
});

test("79 whatever is changed in a delta: the new file, other bytes of at most its size, or an error of ours; never a read outside", async () => {
  const old = noise(3_000, 1);
  const fresh = Buffer.concat([old.subarray(1_000), noise(500, 2), old.subarray(0, 900)]);
  const delta = await deltaOf({ old, new: fresh, level: 1 });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.nat(delta.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), fc.nat(delta.length), async (changes, cut) => {
      const damaged = Buffer.from(delta);
      for (const [at, value] of changes) damaged[at] = value;
      const given = cut % 3 === 0 ? damaged.subarray(0, cut) : damaged;
      const made = await apply(given, old, fresh.length).catch((error: unknown) => {
        assert.ok(error instanceof SlipwayError && (error.code === "format_invalid" || error.code === "format_limit"), String(error));
      });
      assert.ok(made === undefined || made.length <= fresh.length);
    }),
    { numRuns: 400 },
  );
});

/** A delta by hand: steps as plain numbers, `seek` already in zigzag. */
function crafted(newSize: number | bigint, control: Uint8Array, differences: Uint8Array = Buffer.alloc(0), extra: Uint8Array = Buffer.alloc(0)): Buffer {
  const streams = [control, differences, extra].map((bytes) => zstdCompressSync(bytes));
  const header = Buffer.alloc(32);
  for (const [index, size] of [newSize, ...streams.map(({ length }) => length)].entries()) header.writeBigUInt64LE(BigInt(size), index * 8);
  return Buffer.concat([deltaMagic, header, ...streams]);
}

const refused: readonly (readonly [string, Buffer, string])[] = [
  ["a size beyond what was signed", crafted(2n ** 40n, Buffer.from([1, 0, 0])), "format_limit"],
  ["a size out of all bounds", crafted(2n ** 63n, Buffer.from([1, 0, 0])), "format_invalid"],
  ["an old range past the end", crafted(100, Buffer.from([100, 0, 0]), Buffer.alloc(100)), "format_invalid"],
  ["a seek before the beginning", crafted(2, Buffer.from([1, 0, 199, 1, 1, 0, 0]), Buffer.alloc(2)), "format_invalid"],
  ["steps that make nothing, for ever", crafted(10, Buffer.alloc(3_000_000)), "format_invalid"],
  ["a bomb behind the last byte", crafted(1, Buffer.from([1, 0, 0]), Buffer.alloc(50_000_000)), "format_invalid"],
  ["a number without an end", crafted(10, Buffer.alloc(100, 0xff)), "format_invalid"],
  ["an empty file", Buffer.alloc(0), "format_invalid"],
  ["a header alone", crafted(10, Buffer.from([1, 0, 0])).subarray(0, deltaHeaderBytes), "format_invalid"],
];

for (const [name, delta, code] of refused) {
  test(`79 a delta with ${name} is refused, within bounds`, async () => {
    const before = process.memoryUsage.rss();
    await assert.rejects(apply(delta, noise(50, 1), 1_000), (error: unknown) => error instanceof SlipwayError && error.code === code);
    assert.ok(process.memoryUsage.rss() - before < 64 * 1024 * 1024);
  });
}

test("79 a stream that asks for a larger window than a reader holds is refused", async () => {
  const wide = zstdCompressSync(noise(9_000_000, 3), { params: { [constants.ZSTD_c_windowLog]: 26, [constants.ZSTD_c_compressionLevel]: 1 } });
  const header = Buffer.alloc(32);
  const control = zstdCompressSync(Buffer.from([0, 100, 0]));
  const empty = zstdCompressSync(Buffer.alloc(0));
  for (const [index, size] of [100, control.length, empty.length, wide.length].entries()) header.writeBigUInt64LE(BigInt(size), index * 8);
  const delta = Buffer.concat([deltaMagic, header, control, empty, wide]);
  await assert.rejects(apply(delta, Buffer.alloc(0), 1_000), (error: unknown) => error instanceof SlipwayError && error.code === "format_invalid");
});
