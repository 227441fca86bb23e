/** Reading gzip by its members, however the file is cut, and what is no gzip. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import * as fc from "fast-check";
import { createGzipMembers } from "../../src/formats/gzip-members.ts";
import { bytesOf } from "./sample.ts";

async function* cut(bytes: Buffer, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function readAll(bytes: Buffer, size: number): Promise<readonly { readonly plain: string; readonly packed: Buffer }[]> {
  const members = createGzipMembers(cut(bytes, size));
  const found: { plain: string; packed: Buffer }[] = [];
  while (!(await members.isAtEnd())) {
    const packed: Buffer[] = [];
    const plain = await bytesOf(members.next({ name: "x", limitBytes: 10_000_000, onPacked: (piece) => void packed.push(Buffer.from(piece)) }));
    found.push({ plain: plain.toString("latin1"), packed: Buffer.concat(packed) });
  }
  assert.equal(members.position(), bytes.length);
  await members.close();
  return found;
}

test("members come out one by one with their own bytes, wherever the pieces end", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.string({ unit: "binary-ascii", maxLength: 3_000 }), fc.nat(9)), { maxLength: 5 }),
      fc.integer({ min: 1, max: 400 }),
      async (contents, size) => {
        const packed = contents.map(([plain, level]) => gzipSync(Buffer.from(plain, "latin1"), { level }));
        const found = await readAll(Buffer.concat(packed), size);
        assert.deepEqual(
          found,
          contents.map(([plain], place) => ({ plain, packed: packed[place] })),
        );
      },
    ),
    { numRuns: 60 },
  );
});

test("a large member streams: 50 MB of zeros come in pieces, and the member behind it is found", async () => {
  const bytes = Buffer.concat([gzipSync(Buffer.alloc(50_000_000)), gzipSync("behind")]);
  const members = createGzipMembers(cut(bytes, 65_536));
  let largest = 0;
  let count = 0;
  for await (const piece of members.next({ name: "x", limitBytes: 50_000_000 })) {
    largest = Math.max(largest, piece.length);
    count += piece.length;
  }
  assert.equal(count, 50_000_000);
  assert.ok(largest <= 1024 * 1024, `${largest}`);
  assert.equal((await bytesOf(members.next({ name: "x", limitBytes: 10 }))).toString(), "behind");
});

test("headers with a name, a comment, an extra field and a checksum are read", async () => {
  const plain = gzipSync("content");
  const header = Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 2 | 4 | 8 | 16, 1, 2, 3, 4, 0, 3, 3, 0]), Buffer.from("abcname\0comment\0"), Buffer.from([9, 9])]);
  assert.equal((await readAll(Buffer.concat([header, plain.subarray(10)]), 3))[0]?.plain, "content");
});

const good = gzipSync("some content of a member, some content of a member");
const flipped = (at: number): Buffer => {
  const copy = Buffer.from(good);
  copy[at] = (copy[at] ?? 0) ^ 0xff;
  return copy;
};
const damages: readonly (readonly [what: string, bytes: Buffer])[] = [
  ["another magic", flipped(0)],
  ["another method", flipped(2)],
  ["unknown flags", Buffer.concat([good.subarray(0, 3), Buffer.from([0x80]), good.subarray(4)])],
  ["a damaged deflate stream", flipped(12)],
  ["a wrong checksum", flipped(good.length - 8)],
  ["a wrong length", flipped(good.length - 1)],
  ["a header without an end", Buffer.concat([Buffer.from("1f8b0808000000000000", "hex"), Buffer.alloc(70_000, "x")])],
  ["bytes behind its last member", Buffer.concat([good, Buffer.from("x")])],
  ...[5, 12, good.length - 9, good.length - 1].map((size) => [`only ${size} of ${good.length} bytes`, good.subarray(0, size)] as const),
];
for (const [what, bytes] of damages) {
  test(`gzip with ${what} throws format_invalid`, async () => {
    for (const size of [1, 7, 1_000]) await assert.rejects(readAll(bytes, size), { code: "format_invalid" });
  });
}

test("more than the limit throws format_limit, long before it is unpacked", async () => {
  const members = createGzipMembers(cut(gzipSync(Buffer.alloc(100_000_000)), 65_536));
  const before = process.memoryUsage().rss;
  await assert.rejects(bytesOf(members.next({ name: "bomb", limitBytes: 1_000 })), { code: "format_limit" });
  assert.ok(process.memoryUsage().rss - before < 100e6);
});
