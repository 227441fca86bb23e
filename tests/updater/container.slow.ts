/** The crash matrix of strategy container, whole: killed after every durable change, with a good image and with one that does not come up; the program that answers like Docker makes it quick, the real one makes it true. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { needClient, needRoot } from "../support/clients.ts";
import { startOuterEngines } from "../support/engine-root.ts";
import { crashContainer } from "./container-site.ts";

for (const way of ["archive", "pull"] as const) {
  for (const kind of ["good", "crashes"] as const) {
    const what = `${way === "pull" ? "pulled" : "out of the archive"}, a release that ${kind === "good" ? "is good" : kind}`;
    test(`48 container, ${what}: killed after any durable change, the machine ends old and working or new and working`, async (t) => {
      const kills = await crashContainer({ kind, way });
      t.diagnostic(`${kills} kills`);
      assert.ok(kills > 10);
    });

    test(`48 container, ${what}: the same with a real Docker`, { timeout: 3_000_000 }, async (t) => {
      if (!needClient(t, "mmdebstrap", "unshare", "nsenter", "busybox") || !needRoot(t, "a container engine")) return;
      const folder = await mkdtemp(join(tmpdir(), "slipway-engine-"));
      t.after(() => rm(folder, { recursive: true, force: true }));
      await startOuterEngines(t, folder);
      const kills = await crashContainer({ kind, way, engine: folder });
      t.diagnostic(`${kills} kills`);
      assert.ok(kills > 10);
    });
  }
}
