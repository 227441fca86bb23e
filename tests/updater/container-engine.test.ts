/** Strategy container with a real Docker and compose: an image pulled from the vendor's registry, run, proven and gone back from. The rest is in container-engine.slow.ts. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { needClient, needRoot } from "../support/clients.ts";
import { startOuterEngines } from "../support/engine-root.ts";
import { imageRelease, makeContainerSite, removeSite, requireWhole, runnableImage, updaterOf } from "./container-site.ts";
import { noSignal, startVendor } from "./support.ts";
import { serveRegistry } from "./vendor-registry.ts";

test("K8 a real Docker pulls both versions by their signed digests, compose runs what is pinned, and the rollback runs the old one again", async (t) => {
  if (!needClient(t, "mmdebstrap", "unshare", "nsenter", "busybox") || !needRoot(t, "a container engine")) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-engine-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await startOuterEngines(t, folder);
  const vendor = await startVendor(t);
  const registry = serveRegistry(vendor);
  const site = await makeContainerSite(vendor, { engine: folder, pull: "registry" });
  t.after(() => rm(site.folder, { recursive: true, force: true }));
  for (const version of ["1.4.2", "1.5.0"]) {
    const image = await runnableImage(version);
    await registry.add(image.bytes);
    await vendor.release(version, imageRelease(version, image));
    await (await updaterOf(site)).install({ signal: noSignal });
    await requireWhole(site, "good", version);
    assert.equal(await site.running(), version);
    assert.match((await site.override()) ?? "", new RegExp(image.id), "pinned to the id that follows from the signed digest");
  }
  const names = await requireCommand([join(folder, "bin/docker"), "image", "ls", "--all", "--format", "{{.Repository}}:{{.Tag}}"], { timeoutMs: 60_000 });
  assert.deepEqual(names.trim().split("\n").sort(), ["localhost/slipway-kept/toy:1.4.2", "localhost/slipway-kept/toy:1.5.0"], "and no other name is left");
  await (await updaterOf(site)).rollback({ signal: noSignal });
  assert.equal(await site.running(), "1.4.2");
  assert.equal((await (await updaterOf(site)).verifyInstalled({ signal: noSignal })).result, "PASS");
  await removeSite(site);
});
