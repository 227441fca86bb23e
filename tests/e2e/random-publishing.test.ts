/** A few seconds of publishing at random; the long run is in random-publishing.slow.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runAtRandom } from "./random-publishing.ts";

test("C6 C12 C13 whatever is published, staged and taken back at once, and killed meanwhile: every index served is whole, and nothing acknowledged is lost", async (t) => {
  const seed = Math.floor(Math.random() * 2 ** 32);
  t.diagnostic(`seed ${seed}`);
  const run = await runAtRandom(t, { seed, actsPerHand: 4, kills: 1 });
  t.diagnostic(JSON.stringify(run));
  assert.ok((run.acts["publish"] ?? 0) >= 4 && run.checks >= 4, JSON.stringify(run));
});
