/** Bytes on their way from sources to sinks: lent, gathered, hashed, and never more or fewer than was announced. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { bytesSource, gatheringSink, pour, pourHashed } from "../../src/formats/byte-source.ts";
import type { ByteSource } from "../../src/formats/package.ts";
import { lentFileBytes } from "../../src/io/spool.ts";
import { temporaryFolder } from "./sample.ts";

const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const streamed = (bytes: Uint8Array): ByteSource => ({
  size: bytes.length,
  open: async function* () {
    for (let at = 0; at < bytes.length; at += 7) yield bytes.subarray(at, at + 7);
  },
});

test("a source that lends and one that streams give the same bytes and the same hash, down to an empty one", async () => {
  for (const size of [0, 1, 6, 7, 100]) {
    const bytes = Buffer.alloc(size, "abc");
    for (const source of [bytesSource(bytes), streamed(bytes)]) {
      const got: Uint8Array[] = [];
      const digest = await pourHashed(source, (piece) => void got.push(Uint8Array.from(piece)), { name: "x", algorithm: "sha256" });
      assert.equal(digest, sha256Of(bytes));
      assert.deepEqual(Buffer.concat(got), bytes);
    }
  }
});

for (const [what, now] of [
  ["has grown by a byte", 1_001],
  ["was cut short", 999],
] as const) {
  test(`a small file that ${what} since somebody looked is refused before its bytes are used`, async (t) => {
    const path = join(await temporaryFolder(t), "file");
    await writeFile(path, Buffer.alloc(now));
    const pieces: Uint8Array[] = [];
    await assert.rejects(
      pour(lentFileBytes(path, 1_000), (piece) => void pieces.push(piece), { name: "file" }),
      { code: "source_unusable" },
    );
    assert.equal(pieces.length, 0);
  });
}

test("what is lent stays as it is until it is given back, also while other files are read", async (t) => {
  const folder = await temporaryFolder(t);
  const files = await Promise.all(
    ["one", "two"].map(async (text) => {
      await writeFile(join(folder, text), text);
      return lentFileBytes(join(folder, text), text.length);
    }),
  );
  const got: string[] = [];
  const slow = (piece: Uint8Array): Promise<void> =>
    new Promise((resolve) =>
      setImmediate(() => {
        got.push(Buffer.from(piece).toString());
        resolve();
      }),
    );
  await Promise.all(files.map((file) => pour(file, slow, { name: "file" })));
  assert.deepEqual(got.sort(), ["one", "two"]);
  // A sink that fails gives the memory back as well, and the next reader gets bytes of its own.
  const failing = pour(files[0] ?? bytesSource(Buffer.alloc(0)), () => Promise.reject(new Error("full")), { name: "one" });
  await assert.rejects(failing, /full/);
  await pour(files[1] ?? bytesSource(Buffer.alloc(0)), (piece) => assert.equal(Buffer.from(piece).toString(), "two"), { name: "two" });
});

test("small pieces are gathered, large ones handed on as they are, and the order is kept", async () => {
  const pieces: Buffer[] = [];
  const { sink, end } = gatheringSink((piece) => void pieces.push(Buffer.from(piece)));
  const written: Buffer[] = [];
  for (const [size, times] of [
    [1_000, 300],
    [400_000, 1],
    [3, 5],
    [128 * 1024, 2],
    [128 * 1024 - 1, 2],
  ] as const) {
    for (let time = 0; time < times; time += 1) {
      const piece = Buffer.alloc(size, written.length + 1);
      written.push(piece);
      await sink(piece);
      const kept = Buffer.from(piece);
      piece.fill(0); // lent: the writer uses its memory again
      written[written.length - 1] = kept;
    }
  }
  await end();
  await end();
  assert.ok(Buffer.concat(pieces).equals(Buffer.concat(written)));
  assert.ok(pieces.length < 12, `${pieces.length} pieces`);
});
