/** Parts of a file, read as one. */
import assert from "node:assert/strict";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openSegments } from "../../src/io/segments.ts";
import { SlipwayError } from "../../src/model/errors.ts";

test("segments are read in the order in which they are named, across their borders, and empty ones are none", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "slipway-segments-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "file");
  await writeFile(path, "abcdefghij");
  const reader = openSegments(path, [
    { offset: 7, size: 3 },
    { offset: 2, size: 0 },
    { offset: 0, size: 4 },
    { offset: 9, size: 0 },
    { offset: 5, size: 1 },
  ]);
  t.after(reader.close);
  const read = (offset: number, length: number): string => {
    const bytes = new Uint8Array(length);
    reader.readInto(offset, bytes);
    return Buffer.from(bytes).toString();
  };
  const whole = "hijabcdf";
  assert.equal(reader.size, whole.length);
  for (let offset = 0; offset < whole.length; offset += 1)
    for (let length = 0; offset + length <= whole.length; length += 1) assert.equal(read(offset, length), whole.slice(offset, offset + length));
  assert.throws(
    () => read(7, 2),
    (error: unknown) => error instanceof SlipwayError && error.code === "internal",
  );
  await truncate(path, 8);
  assert.throws(
    () => read(0, 3),
    (error: unknown) => error instanceof SlipwayError && error.code === "conflict",
  );
});
