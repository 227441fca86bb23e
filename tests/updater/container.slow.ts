/** The crash matrix of strategy container, whole: killed after every durable change, with a good image and with one that does not come up. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crashContainer } from "./container-site.ts";

for (const kind of ["good", "crashes"] as const) {
  test(`48 container, a release that ${kind === "good" ? "is good" : kind}: killed after any durable change, the machine ends old and working or new and working`, async (t) => {
    const kills = await crashContainer(kind, () => true);
    t.diagnostic(`${kills} kills`);
    assert.ok(kills > 10);
  });
}
