/** The order of package entries is that of their bytes, for any text. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { comparePaths } from "../../src/formats/entry-path.ts";

test("paths are ordered by the bytes of their UTF-8 form, surrogate pairs and lone halves included", () => {
  const agrees = (left: string, right: string): void =>
    assert.equal(comparePaths(left, right), Buffer.compare(Buffer.from(left), Buffer.from(right)), JSON.stringify([left, right]));
  agrees("/\u{1F600}", "/\uFFFD"); // code units say the opposite
  agrees("/\uE000", "/\u{10000}");
  agrees("/a", "/a");
  agrees("/a", "/ab");
  fc.assert(fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), agrees), { numRuns: 500 });
});
