/** The upgrade from end to end, in process: good and bad releases, both strategies, rollback by hand. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parseVersion } from "../../src/model/version.ts";
import { failure, liveLink, makeSite, noSignal, readJson, type Site, startVendor, toyFiles, type Vendor } from "./support.ts";

const signal = noSignal;

async function siteAt(vendor: Vendor, strategy: "versions" | "inplace", t: import("node:test").TestContext): Promise<Site> {
  const site = await makeSite(vendor, { strategy }, t);
  await vendor.release("1.4.2");
  const result = await (await site.updater()).install({ signal });
  assert.equal(result.kind, "installed");
  return site;
}

for (const strategy of ["versions", "inplace"] as const) {
  test(`K10 ${strategy}: a good release is installed, then upgraded, through all phases, and the state is backed up`, async (t) => {
    const vendor = await startVendor(t);
    const site = await siteAt(vendor, strategy, t);
    assert.equal(await site.running(), "1.4.2");
    await vendor.release("1.5.0");
    site.events.length = 0;
    const result = await (await site.updater()).install({ signal });
    assert.ok(result.kind === "installed" && result.from === "1.4.2" && result.version === "1.5.0" && result.downtimeMs !== null);
    assert.equal(await site.running(), "1.5.0");
    assert.equal(await site.live(), "1.5.0");
    const phases = site.events.flatMap((event) => (event.event === "phase" ? [event.step ?? event.phase] : []));
    assert.deepEqual([...new Set(phases)], ["created", "downloading", "downloaded", "verified", "prepare", "switch", "trial", "applied"]);
    const journal = await readJson(join(site.updates, "transaction.json"));
    assert.equal(journal["schema"], 1);
    assert.equal(journal["phase"], "applied");
    assert.equal(((await stat(join(site.updates, "transaction.json"))).mode & 0o777).toString(8), "600");
    const status = await (await site.updater()).status();
    assert.deepEqual([status.installed, status.live, status.previous, status.lock], ["1.5.0", "1.5.0", ["1.4.2"], null]);
    assert.deepEqual(await readdir(join(site.updates, "staging")), []);
    const names = await readdir(strategy === "versions" ? join(site.root, "versions") : join(site.root, "bin"));
    assert.deepEqual(names.sort(), strategy === "versions" ? ["1.4.2", "1.5.0"] : ["toy", "toyctl"]);
  });

  test(`K7 ${strategy}: a release that crashes is tried three times, rolled back with its state, blocked, and the old version is healthy`, async (t) => {
    const vendor = await startVendor(t);
    const site = await siteAt(vendor, strategy, t);
    const before = await readFile(join(site.folder, "data/format"), "utf8");
    await vendor.release("1.5.0", { files: toyFiles("1.5.0", "crashes") });
    const error = await failure((await site.updater()).install({ signal }), "health_failed", "rolled_back");
    assert.equal(error.exitCode, 40);
    assert.match(error.message, /rolled back to 1\.4\.2, which is healthy/);
    assert.equal(await site.running(), "1.4.2");
    assert.equal(await site.live(), "1.4.2");
    assert.equal(await readFile(join(site.folder, "data/format"), "utf8"), before);
    const starts = site.events.filter((event) => event.event === "warning" && event.text.startsWith("1.5.0:"));
    assert.equal(starts.length, 3, "55 three starts of the bad version");
    // 34: it is not offered again, neither by itself nor by name
    const again = await (await site.updater()).install({ signal });
    assert.ok(again.kind === "nothing" && again.installed === "1.4.2");
    await failure((await site.updater()).install({ version: parseVersion("1.5.0"), signal }), "version_blocked");
    const { lines, isChainWhole } = await (await site.updater()).history();
    assert.ok(isChainWhole);
    assert.deepEqual(
      lines.map((line) => [line.to, line.phase, line.rolledBack]),
      [
        ["1.4.2", "applied", false],
        ["1.5.0", "failed", true],
      ],
    );
    // a fixed release goes through
    await vendor.release("1.5.1");
    await (await site.updater()).install({ signal });
    assert.equal(await site.running(), "1.5.1");
  });

  test(`C15 ${strategy}: a release that reports another version than its own is rolled back after one start`, async (t) => {
    const vendor = await startVendor(t);
    const site = await siteAt(vendor, strategy, t);
    await vendor.release("1.5.0", { files: toyFiles("1.5.0", "lies") });
    const error = await failure((await site.updater()).install({ signal }), "health_failed", "rolled_back");
    assert.match(error.message, /says version "0\.0\.1"; expected 1\.5\.0/);
    assert.equal(site.events.filter((event) => event.event === "warning" && event.text.startsWith("1.5.0:")).length, 1);
    assert.equal(await site.running(), "1.4.2");
  });

  test(`K7 ${strategy}: an operator rolls back: files, state and service as before, the newer state kept aside, the version not offered again`, async (t) => {
    const vendor = await startVendor(t);
    const site = await siteAt(vendor, strategy, t);
    await vendor.release("1.5.0");
    await (await site.updater()).install({ signal });
    assert.equal(await site.state(), "1.5.0");
    await writeFile(join(site.folder, "data/only-new"), "written by 1.5.0");
    const result = await (await site.updater()).rollback({ restoreState: "always", signal });
    assert.deepEqual([result.from, result.to, result.isStateRestored], ["1.5.0", "1.4.2", true]);
    assert.ok(result.downtimeMs >= 0);
    assert.equal(await site.running(), "1.4.2");
    assert.deepEqual(await readdir(join(site.folder, "data")), ["format", "made-by-1.4.2"], "replaced, not merged");
    assert.ok(result.keptState !== null && (await readdir(join(site.updates, "backups"))).includes(`${result.keptState}.rbk`));
    const check = await (await site.updater()).check({ signal });
    assert.equal(check.offer.kind, "none");
    const status = await (await site.updater()).status();
    assert.deepEqual([status.installed, status.previous], ["1.4.2", []]);
    await failure((await site.updater()).rollback({ restoreState: "always", signal }), "version_not_found");
  });

  test(`59 ${strategy}: where the old version is unhealthy too, the answer is rollback_failed, nothing is deleted, and a repaired machine can be resumed`, async (t) => {
    const vendor = await startVendor(t);
    const site = await siteAt(vendor, strategy, t);
    await vendor.release("1.5.0", { files: toyFiles("1.5.0", "crashes") });
    const start = await readFile(join(site.folder, "start.sh"), "utf8");
    await writeFile(join(site.folder, "start.sh"), "#!/bin/sh\nexit 1\n");
    const error = await failure((await site.updater()).install({ signal }), "rollback_failed");
    assert.equal(error.exitCode, 41);
    const status = await (await site.updater()).status();
    assert.ok(status.journal.kind === "known" && status.journal.transaction.rollbackFailed && !status.journal.transaction.rolledBack);
    assert.ok((await readdir(join(site.updates, "backups"))).length > 0);
    await writeFile(join(site.folder, "start.sh"), start);
    await failure((await site.updater()).resume({ signal }), "health_failed", "rolled_back");
    assert.equal(await site.running(), "1.4.2");
  });
}

test("a first installation that fails is taken away again", async (t) => {
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, {}, t);
  await vendor.release("1.0.0", { files: toyFiles("1.0.0", "crashes") });
  await failure((await site.updater()).install({ signal }), "health_failed");
  await assert.rejects(liveLink(site), { code: "ENOENT" });
});

test("inplace: a version put there by other means is adopted, and can be gone back to", async (t) => {
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, { strategy: "inplace" }, t);
  for (const [path, { content, mode }] of Object.entries(toyFiles("1.3.0"))) {
    await mkdir(join(site.root, path, ".."), { recursive: true });
    await writeFile(join(site.root, path), content, { mode: mode ?? 0o755 });
  }
  await vendor.release("1.5.0", { files: toyFiles("1.5.0", "crashes") });
  await failure((await site.updater()).install({ signal }), "conflict");
  await failure((await site.updater()).install({ adopt: parseVersion("1.3.0"), signal }), "health_failed", "rolled_back");
  assert.equal(await site.running(), "1.3.0");
});

test("a single binary is installed under the operator's name and keeps owner and mode", async (t) => {
  const vendor = await startVendor(t);
  const site = await makeSite(
    vendor,
    {
      strategy: "inplace",
      extra: "artifact: { install_as: bin/tool }",
      health: `health: { deadline_seconds: 2, consecutive: 1, bake_seconds: 0, checks: [{ command: { argv: [opt/bin/tool], version: "v(.*)" } }] }`,
    },
    t,
  );
  const text = await readFile(site.file, "utf8");
  await writeFile(site.file, text.replace("argv: [opt/bin/tool]", `argv: [${site.root}/bin/tool]`).replace(/service:[\s\S]*?health:/, "health:"));
  await vendor.release("1.0.0", { kind: "binary", files: { tool: { content: "#!/bin/sh\necho tool v1.0.0\n" } } });
  await (await site.updater()).install({ signal });
  await vendor.release("1.1.0", { kind: "binary", files: { tool: { content: "#!/bin/sh\necho tool v1.1.0\n" } } });
  await (await import("node:fs/promises")).chmod(join(site.root, "bin/tool"), 0o750);
  await (await site.updater()).install({ signal });
  assert.match(await readFile(join(site.root, "bin/tool"), "utf8"), /1\.1\.0/);
  assert.equal((await stat(join(site.root, "bin/tool"))).mode & 0o777, 0o750);
});

test("K1 only the configured number of previous versions is kept", async (t) => {
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, { extra: "keep_previous: 1" }, t);
  for (const version of ["1.0.0", "1.1.0", "1.2.0"]) {
    await vendor.release(version);
    await (await site.updater()).install({ signal });
  }
  assert.deepEqual((await readdir(join(site.root, "versions"))).sort(), ["1.1.0", "1.2.0"]);
  assert.equal((await readdir(join(site.updates, "backups"))).length, 1);
});

test("the plan says what will be done and does nothing", async (t) => {
  const vendor = await startVendor(t);
  const site = await siteAt(vendor, "versions", t);
  await vendor.release("1.5.0");
  const plan = await (await site.updater()).plan({ signal });
  assert.ok(plan !== undefined);
  assert.deepEqual([plan.from, plan.to, plan.files.changed.length, plan.files.added.length], ["1.4.2", "1.5.0", 3, 0]);
  assert.equal(plan.signatures[0]?.kind, "minisign");
  assert.equal(await site.live(), "1.4.2");
  assert.deepEqual(await readdir(join(site.root, "versions")), ["1.4.2"]);
});
