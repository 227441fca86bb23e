/** Strategy container: a compose service pinned by digest, with the image out of the verified release, and the way back by the recorded digest. */
import assert from "node:assert/strict";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { parseVersion } from "../../src/model/version.ts";
import { crashContainer, imageRelease, makeContainerSite, publishImage, removeSite, testImage, updaterOf } from "./container-site.ts";
import { failure, noSignal, startVendor } from "./support.ts";

async function field(t: TestContext, strategy?: string) {
  const vendor = await startVendor(t);
  const site = await makeContainerSite(vendor, strategy === undefined ? {} : { strategy });
  t.after(() => removeSite(site));
  const old = await publishImage(vendor, "1.4.2");
  await (await updaterOf(site)).install({ signal: noSignal });
  return { vendor, site, old };
}

test("K8 a compose service is upgraded to the image of the verified release, pinned by its digest; the operator's file stays", async (t) => {
  const { vendor, site, old } = await field(t);
  assert.equal(await site.running(), "1.4.2");
  const image = await publishImage(vendor, "1.5.0");
  const result = await (await updaterOf(site)).install({ signal: noSignal });
  assert.equal(result.kind === "installed" && result.version, "1.5.0");
  assert.match((await site.override()) ?? "", new RegExp(`image: "${image.id}"`));
  assert.equal(await readFile(join(site.folder, "compose.yaml"), "utf8"), "services: { toy: { image: example.com/acme/toy:latest } }\n");
  assert.ok((await site.calls()).every((call) => !call.startsWith("compose") || !call.includes(" up ") || call.includes("--pull never")));
  assert.deepEqual((await readdir(join(site.folder, "engine/tags"))).sort(), ["toy:1.4.2", "toy:1.5.0"], "both are kept from being pruned");
  assert.equal((await (await updaterOf(site)).verifyInstalled({ signal: noSignal })).result, "PASS");
  await writeFile(join(site.folder, "engine/running"), `${old.id}\n`);
  assert.equal((await (await updaterOf(site)).verifyInstalled({ signal: noSignal })).result, "FAIL");
});

test("K10 an image that does not come up is rolled back by itself", async (t) => {
  const { vendor, site, old } = await field(t);
  await publishImage(vendor, "1.5.0", "crashes");
  await failure((await updaterOf(site)).install({ signal: noSignal }), "health_failed", "rolled_back");
  assert.equal(await site.running(), "1.4.2");
  assert.match((await site.override()) ?? "", new RegExp(old.id));
});

test("78 the way back goes by the recorded digest, wherever the tag leads meanwhile", async (t) => {
  const { vendor, site, old } = await field(t);
  const image = await publishImage(vendor, "1.5.0");
  await (await updaterOf(site)).install({ signal: noSignal });
  for (const name of await readdir(join(site.folder, "engine/tags"))) await writeFile(join(site.folder, "engine/tags", name), `${image.id}\n`);
  await (await updaterOf(site)).rollback({ signal: noSignal });
  assert.equal(await site.running(), "1.4.2");
  assert.match((await site.override()) ?? "", new RegExp(old.id));
});

test("an old image that is gone stops the upgrade before anything is touched, and is said where it is needed for the way back", async (t) => {
  const { vendor, site, old } = await field(t);
  await publishImage(vendor, "1.5.0");
  const kept = join(site.folder, "engine/images", old.id);
  const bytes = await readFile(kept);
  await rm(kept);
  await failure((await updaterOf(site)).install({ signal: noSignal }), "backup_failed");
  assert.equal(await site.running(), "1.4.2");
  await writeFile(kept, bytes);
  await (await updaterOf(site)).install({ version: parseVersion("1.5.0"), signal: noSignal });
  await rm(kept);
  await failure((await updaterOf(site)).rollback({ signal: noSignal }), "rollback_failed", "backup_changed");
});

test("an archive with another image than release.json lists is refused, and a compose file that was edited is not overwritten", async (t) => {
  const { vendor, site } = await field(t);
  const other = await testImage("9.9.9");
  const image = await testImage("1.5.0");
  await vendor.release("1.5.0", imageRelease("1.5.0", { ...image, digest: other.digest }));
  await failure((await updaterOf(site)).install({ signal: noSignal }), "upgrade_verification_failed", "release_json_mismatch");
  assert.equal(await site.running(), "1.4.2");
  await writeFile(join(site.folder, "compose.slipway.yaml"), `${(await site.override()) ?? ""}    privileged: true\n`);
  await failure((await updaterOf(site)).install({ signal: noSignal }), "state_dir_insecure");
});

test("auto takes the compose service that the installation file names, and says so; what ran before is adopted by its image", async (t) => {
  const { vendor, site, old } = await field(t, "auto");
  const status = await (await updaterOf(site)).status();
  assert.equal(status.strategy, "container");
  assert.match(status.strategyReason, /names the compose service toy/);
  // As if compose alone had been used until now.
  await rm(join(site.folder, "compose.slipway.yaml"));
  await rm(join(site.updates, "state.json"));
  await rm(join(site.updates, "transaction.json"));
  await publishImage(vendor, "1.5.0", "crashes");
  await failure((await updaterOf(site)).install({ adopt: parseVersion("1.4.2"), signal: noSignal }), "health_failed", "rolled_back");
  assert.equal(await site.running(), "1.4.2");
  assert.match((await site.override()) ?? "", new RegExp(old.id));
});

test("48 container, a release that is good: killed right after the switch, the machine ends new and working", async () => {
  assert.equal(await crashContainer("good", (change) => change === "switch"), 2); // the phase, and the file's new name
});
