/** docs/reference/ says what the tables say. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { referencePages } from "../../docs/generate.ts";

for (const [path, content] of Object.entries(referencePages())) {
  test(`docs/${path} is up to date (run \`npm run docs\`)`, () => {
    assert.equal(readFileSync(new URL(`../../docs/${path}`, import.meta.url), "utf8"), content);
  });
}
