/** Minutes of publishing at random, with the server killed again and again. `SLIPWAY_TEST_SEED` repeats a run's choices. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runAtRandom } from "./random-publishing.ts";

test("C6 C12 C13 hundreds of acts at random, a server killed twenty times: every index served is whole, and nothing acknowledged is lost", async (t) => {
  const seed = Number(process.env["SLIPWAY_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 32));
  t.diagnostic(`seed ${seed}`);
  const run = await runAtRandom(t, { seed, actsPerHand: 60, kills: 20 });
  t.diagnostic(JSON.stringify(run));
  const acts = Object.values(run.acts).reduce((sum, count) => sum + count, 0);
  // Of an act that a kill cut off nobody knows whether it counts; the next check finds out.
  assert.ok(acts >= 100 && acts + run.unknown >= 200 && run.checks >= 20 && run.unknown >= 1, JSON.stringify(run));
});
