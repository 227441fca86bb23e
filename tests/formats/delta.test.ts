/** Deltas: what is made of them is the new file, damaged and hostile ones end in an error of ours and within their bounds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { constants, zstdCompressSync } from "node:zlib";
import * as fc from "fast-check";
import { applyDelta, deltaHeaderBytes, deltaMagic, type PositionedBytes } from "../../src/formats/delta.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { createStepMap } from "../../src/formats/delta-map.ts";
import { deltaOf } from "../support/delta.ts";
import { groupsMoved, movedProgram, noise } from "../support/moved-program.ts";

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

const functions = Array.from({ length: 1_000 }, (_, index) => index);

for (const machine of ["x86-64", "arm64"] as const) {
  test(`${machine}: a program whose functions all moved costs a tenth of what it would without its addresses, and comes out byte for byte`, async () => {
    const old = movedProgram({ machine, order: functions });
    const fresh = movedProgram({ machine, order: groupsMoved(functions.length, 20) });
    const delta = await deltaOf({ old, new: fresh, level: 12 });
    assert.ok((await apply(delta, old, fresh.length)).equals(fresh));
    const unknown = (program: Buffer): Buffer => Buffer.concat([Buffer.from("no program"), program.subarray(10)]);
    const plain = await deltaOf({ old: unknown(old), new: unknown(fresh), level: 12 });
    assert.ok(delta.length * 10 < plain.length, `${delta.length} with and ${plain.length} without`);
  });
}

test("programs in an archive keep apart, and what is no address any more comes out byte for byte, too", async () => {
  const small = functions.slice(0, 60);
  const program = (machine: "x86-64" | "arm64", groupSize: number): Buffer => movedProgram({ machine, order: groupsMoved(small.length, groupSize) });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.nat(40_000), fc.nat(255)), { maxLength: 60 }), fc.nat(70), fc.nat(70), async (edits, before, between) => {
      const old = Buffer.concat([program("x86-64", 60), program("arm64", 60)]);
      const fresh = Buffer.concat([Buffer.alloc(before), program("arm64", 7), Buffer.alloc(between), program("x86-64", 5)]);
      for (const [at, value] of edits) fresh[at % fresh.length] = value;
      assert.ok((await apply(await deltaOf({ old, new: fresh, level: 1 }), old, fresh.length)).equals(fresh));
    }),
    { numRuns: 25 },
  );
});

test("79 whatever a layout says about bytes: as many as were announced come out, or an error of ours; never a read outside", async () => {
  const old = movedProgram({ machine: "x86-64", order: functions.slice(0, 30) });
  const size = 4_000;
  const region = fc.tuple(fc.nat(1_500), fc.nat(3_000), fc.nat(2 ** 31 - 1), fc.nat(8), fc.nat(2), fc.nat(2 ** 31 - 1));
  const layout = fc.array(region, { maxLength: 4 }).map((regions) => {
    let end = 0;
    return regions.flatMap(([gap, length, ...rest]) => {
      const offset = end + gap;
      end = offset + length;
      return [offset, length, ...rest];
    });
  });
  await fc.assert(
    fc.asyncProperty(layout, layout, fc.nat(2_000), fc.nat(1_500), async (before, after, first, second) => {
      const numbers = [before.length / 6, ...before, after.length / 6, ...after, 0, 0, second * 2, first + 1, 0, 0, size - first - 1, 0, 0];
      const made = await apply(crafted(size, Buffer.from(numbers.flatMap(leb128)), noise(size, first)), old, size).catch((error: unknown) => {
        assert.ok(error instanceof SlipwayError && error.code === "format_invalid", String(error));
      });
      assert.ok(made === undefined || made.length === size);
    }),
    { numRuns: 150 },
  );
});

test("79 a map of steps holds a million of them, and forgets the rest", () => {
  const making = createStepMap();
  for (let index = 0; index < 2 ** 20 + 10; index += 1) making.add(index * 64 + 5, index * 64, 64);
  const map = making.finish();
  assert.deepEqual(map.find(64 * 1_000 + 1), { offset: 64 * 1_000 + 6, isTaken: true });
  assert.equal(map.find(64 * (2 ** 20 + 5))?.isTaken, false);
});

function leb128(number: number): readonly number[] {
  return number < 128 ? [number] : [(number % 128) | 0x80, ...leb128(Math.floor(number / 128))];
}

/** A delta by hand: steps as plain numbers, `seek` already in zigzag. */
function crafted(newSize: number | bigint, control: Uint8Array, differences: Uint8Array = Buffer.alloc(0), extra: Uint8Array = Buffer.alloc(0)): Buffer {
  const streams = [control, differences, extra].map((bytes) => zstdCompressSync(bytes));
  const header = Buffer.alloc(32);
  for (const [index, size] of [newSize, ...streams.map(({ length }) => length)].entries()) header.writeBigUInt64LE(BigInt(size), index * 8);
  return Buffer.concat([deltaMagic, header, ...streams]);
}

/** Two files without a layout. */
const plain = (...numbers: readonly number[]): Buffer => Buffer.from([0, 0, ...numbers]);
const regionOf = (numbers: readonly number[]): Buffer => Buffer.from([1, ...numbers.flatMap(leb128), 0, 10, 0, 0]);

const refused: readonly (readonly [string, Buffer, string])[] = [
  ["a size beyond what was signed", crafted(2n ** 40n, plain(1, 0, 0)), "format_limit"],
  ["a size out of all bounds", crafted(2n ** 63n, plain(1, 0, 0)), "format_invalid"],
  ["an old range past the end", crafted(100, plain(100, 0, 0), Buffer.alloc(100)), "format_invalid"],
  ["a seek before the beginning", crafted(2, plain(1, 0, 199, 1, 1, 0, 0), Buffer.alloc(2)), "format_invalid"],
  ["steps that make nothing, for ever", crafted(10, Buffer.alloc(3_000_000)), "format_invalid"],
  ["a bomb behind the last byte", crafted(1, plain(1, 0, 0), Buffer.alloc(50_000_000)), "format_invalid"],
  ["a number without an end", crafted(10, Buffer.alloc(100, 0xff)), "format_invalid"],
  ["regions without end", crafted(10, Buffer.from([0xff, 0xff, 0x7f])), "format_invalid"],
  ["a region of a kind that nobody knows", crafted(10, regionOf([0, 10, 0, 9, 0, 0]), Buffer.alloc(10)), "format_invalid"],
  ["an address out of all bounds", crafted(10, regionOf([0, 10, 2 ** 40, 1, 0, 0]), Buffer.alloc(10)), "format_invalid"],
  ["regions that overlap", crafted(10, Buffer.from([2, 0, 10, 0, 1, 0, 0, 5, 10, 0, 1, 0, 0, 0, 10, 0, 0]), Buffer.alloc(10)), "format_invalid"],
  ["an empty file", Buffer.alloc(0), "format_invalid"],
  ["a header alone", crafted(10, plain(1, 0, 0)).subarray(0, deltaHeaderBytes), "format_invalid"],
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
  const control = zstdCompressSync(plain(0, 100, 0));
  const empty = zstdCompressSync(Buffer.alloc(0));
  for (const [index, size] of [100, control.length, empty.length, wide.length].entries()) header.writeBigUInt64LE(BigInt(size), index * 8);
  const delta = Buffer.concat([deltaMagic, header, control, empty, wide]);
  await assert.rejects(apply(delta, Buffer.alloc(0), 1_000), (error: unknown) => error instanceof SlipwayError && error.code === "format_invalid");
});
