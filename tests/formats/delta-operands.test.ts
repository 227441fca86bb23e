/** Addresses in programs: which bytes are taken for one, what they point to, and that it does not matter how a program is cut for the search. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { regionKinds, type RegionKind } from "../../src/formats/delta-layout.ts";
import { createOperands, findOperands, operandContext, operandForm, operandReach, type Operands } from "../../src/formats/delta-operands.ts";
import { noise } from "../support/moved-program.ts";

const address = 0x401000;
type Found = readonly (readonly [number, number, number])[];

const listed = ({ count, positions, forms, targets }: Operands, shift = 0): Found =>
  Array.from({ length: count }, (_, index) => [(positions[index] ?? 0) + shift, forms[index] ?? 0, targets[index] ?? 0]);

function search(kind: RegionKind, bytes: Buffer, piece = bytes.length): Found {
  const operands = createOperands(bytes.length);
  const found: (readonly [number, number, number])[] = [];
  for (let done = 0; done < bytes.length; ) {
    const before = Math.min(operandContext, done);
    const end = Math.min(piece, bytes.length - done);
    const seen = bytes.subarray(done - before, Math.min(bytes.length, done + end + operandReach));
    const within = {
      start: before,
      end: before + end,
      limit: seen.length,
      regionAddress: address,
      base: address,
      low: address - 0x1000,
      high: address + 0x100000,
    };
    const ended = findOperands({ ...within, kind, bytes: seen, address: address + done - before }, operands);
    assert.ok(ended >= before + end && ended <= seen.length);
    found.push(...listed(operands, done - before));
    done += ended - before;
  }
  return found;
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");
const words = (...numbers: readonly number[]): Buffer => {
  const bytes = Buffer.alloc(numbers.length * 4);
  for (const [index, number] of numbers.entries()) bytes.writeUInt32LE(number >>> 0, index * 4);
  return bytes;
};

/** As GNU as encodes them. */
const cases: readonly (readonly [string, RegionKind, Buffer, Found])[] = [
  ["call", "x86-64", hex("90 90 e8 10 00 00 00 90"), [[3, operandForm.after, address + 0x17]]],
  ["jmp back to the beginning", "x86-64", hex("90 90 e9 f9 ff ff ff 90"), [[3, operandForm.jump, address]]],
  ["jne", "x86-64", hex("90 90 0f 85 20 00 00 00"), [[4, operandForm.jump, address + 0x28]]],
  ["lea rax, [rip + 0x100]", "x86-64", hex("90 48 8d 05 00 01 00 00 c3"), [[4, operandForm.after, address + 0x108]]],
  ["a call to nowhere", "x86-64", hex("90 90 e8 00 00 00 70 90"), []],
  ["bl 8 bytes on", "arm64", words(0xd503201f, 0x94000002), [[4, operandForm.call26, address + 12]]],
  ["b back", "arm64", words(0xd503201f, 0x17ffffff), [[4, operandForm.jump26, address]]],
  [
    "adrp x3 and add x3, x3, #0x123, with another instruction between them",
    "arm64",
    words(0x90000003, 0xd503201f, 0x91048c63),
    [
      [0, operandForm.page, address + 0x123],
      [8, operandForm.low, address + 0x123],
    ],
  ],
  [
    "adrp x1 and ldr x0, [x1, #0x10]",
    "arm64",
    words(0xb0000001, 0xf9400820),
    [
      [0, operandForm.page, address + 0x1010],
      [4, operandForm.low, address + 0x1010],
    ],
  ],
  ["a word that is an address, and one that is none", "words", words(address + 0x40, 0, 5, 0), [[0, operandForm.word, address + 0x40]]],
  [
    "a relocation",
    "relocations",
    words(address + 8, 0, 8, 0, address + 0x30, 0),
    [
      [0, operandForm.word, address + 8],
      [16, operandForm.word, address + 0x30],
    ],
  ],
  [
    "a record of a function of 0x40 bytes that begins 0x100 behind it, after what it refers to",
    "frames",
    words(4, 0, 20, 12, 0x100, 0x40, 0, 0),
    [
      [12, operandForm.back, address],
      [16, operandForm.here, address + 0x110],
    ],
  ],
];

for (const [name, kind, bytes, expected] of cases) {
  test(`${kind}: ${name}`, () => {
    assert.deepEqual(search(kind, bytes), expected);
  });
}

test("however a program is cut, the same addresses are found in it", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...regionKinds),
      fc.nat(1_000),
      fc.integer({ min: 64, max: 400 }),
      fc.array(fc.nat(1_196), { maxLength: 150 }),
      (kind, seed, piece, small) => {
        const bytes = noise(1_200, seed);
        // Most random numbers lead nowhere: with zeros for their high bytes, more of them do.
        for (const at of small) bytes.fill(0, at, at + 3);
        for (const at of small.slice(0, 40)) bytes.writeUInt32LE([0x94000010, 0x90000001, 0x91000421, 0x000010e8, address + at][at % 5] ?? 0, (at >> 2) * 4);
        assert.deepEqual(search(kind, bytes, piece), search(kind, bytes));
      },
    ),
    { numRuns: 400 },
  );
});
