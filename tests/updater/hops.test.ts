/** Upgrade paths and what an operator may say about them, end to end: hops, pins, holds, windows, rollouts, approvals. */
import assert from "node:assert/strict";
import { chmod, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { Manifest } from "../../src/model/manifest.ts";
import type { UpgradeContract } from "../../src/model/upgrade-contract.ts";
import { parseVersion } from "../../src/model/version.ts";
import { killAtChange, runKilled } from "./crash.ts";
import { failure, makeSite, noSignal, readJson, type Site, type SiteOptions, startVendor, toyFiles, type Vendor } from "./support.ts";

const signal = noSignal;
const promise = (contract: UpgradeContract) => ({ changeManifest: (manifest: Manifest) => ({ ...manifest, ...contract }) });
const stepping = promise({ compat: { upgradeFrom: "previous-line" } });

async function siteAt(t: TestContext, version: string, options: SiteOptions = {}, contract = {}): Promise<{ readonly vendor: Vendor; readonly site: Site }> {
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, options, t);
  await vendor.release(version, contract);
  await (await site.updater()).install({ signal });
  return { vendor, site };
}

test("70 K4 N-2 to N: the plan shows the hop, and each is backed up, proven healthy and recorded", async (t) => {
  const { vendor, site } = await siteAt(t, "1.3.0");
  await vendor.release("1.4.0", stepping);
  await vendor.release("1.4.1", stepping);
  await vendor.release("1.5.0", stepping);
  const plan = await (await site.updater()).plan({ signal });
  assert.deepEqual([plan?.from, plan?.to, plan?.path], ["1.3.0", "1.4.1", ["1.4.1", "1.5.0"]]);
  const result = await (await site.updater()).install({ signal });
  assert.ok(result.kind === "installed");
  assert.deepEqual([result.from, result.version, result.hops], ["1.3.0", "1.5.0", ["1.4.1", "1.5.0"]]);
  assert.equal(await site.running(), "1.5.0");
  const { lines } = await (await site.updater()).history();
  assert.deepEqual(
    lines.map((line) => [line.from, line.to, line.phase]),
    [
      [undefined, "1.3.0", "applied"],
      ["1.3.0", "1.4.1", "applied"],
      ["1.4.1", "1.5.0", "applied"],
    ],
  );
  const backups = await (await site.updater()).backups();
  assert.deepEqual(backups.map(({ archiveOf }) => archiveOf).toSorted(), ["pre-upgrade 1.3.0 -> 1.4.1", "pre-upgrade 1.4.1 -> 1.5.0"]);
  const files = await readdir(join(site.folder, "data"));
  assert.ok(files.includes("made-by-1.4.1"), "the version between really ran");
});

test("70 a hop that fails ends on the last healthy version, which is not the first", async (t) => {
  const { vendor, site } = await siteAt(t, "1.3.0");
  await vendor.release("1.4.0", stepping);
  await vendor.release("1.5.0", { ...stepping, files: toyFiles("1.5.0", "crashes") });
  const error = await failure((await site.updater()).install({ signal }), "health_failed", "rolled_back");
  assert.match(error.message, /rolled back to 1\.4\.0, which is healthy/);
  assert.equal(await site.running(), "1.4.0");
});

test("K4 what the index does not say the signed release says: a direct install over a promise is refused, nothing touched", async (t) => {
  const { vendor, site } = await siteAt(t, "1.3.0");
  await vendor.release("1.5.0", promise({ compat: { upgradeFrom: ">=1.4.0 <1.5.0" } }));
  await failure((await site.updater()).install({ signal }), "compat_violation");
  assert.equal(await site.running(), "1.3.0");
  await vendor.release("1.4.0");
  vendor.faults.index = () => ({
    schema: 1,
    product: "toy",
    releases: [{ version: "1.5.0", channel: "stable", sequence: 9999, state: "published" }],
    retired: [{ version: "1.4.0" }],
  });
  const error = await failure((await site.updater()).install({ signal }), "waypoint_missing", "1.4.0"); // 71
  assert.equal(error.exitCode, 43);
  assert.equal(await site.running(), "1.3.0");
});

test("48 70 killed in the first hop, a resume finishes it and goes on to the version that was asked for", async (t) => {
  const { vendor, site } = await siteAt(t, "1.3.0");
  await vendor.release("1.4.0", stepping);
  await vendor.release("1.5.0", stepping);
  const { isKilled } = await runKilled(killAtChange(9)(site, "install"));
  assert.ok(isKilled);
  const journal = await readJson(join(site.updates, "transaction.json"));
  assert.equal(journal["goal"], "1.5.0");
  const result = await (await site.updater()).resume({ signal });
  assert.ok(result.kind === "installed" && result.version === "1.5.0");
  assert.deepEqual(result.hops, ["1.4.0", "1.5.0"]);
  assert.equal(await site.running(), "1.5.0");
});

for (const what of ["config", "state", "sessions"]) {
  test(`K3 a release that cannot read the ${what} of the version that runs is refused before anything is touched, and the message says which`, async (t) => {
    const epochs = (read: number[], write: number): UpgradeContract => ({ compat: { epochs: { [what]: { read, write } } } });
    const { vendor, site } = await siteAt(t, "1.4.2", {}, promise(epochs([1], 1)));
    await vendor.release("1.5.0", promise(epochs([2], 2)));
    const error = await failure((await site.updater()).install({ signal }), "compat_violation");
    assert.match(error.message, new RegExp(`1\\.5\\.0 cannot read the format 1 of ${what}, which 1\\.4\\.2 writes`));
    assert.match(error.hint, /upgrade plan/);
    assert.equal(await site.running(), "1.4.2");
    await vendor.release("1.6.0", promise(epochs([1, 2], 2)));
    await (await site.updater()).install({ signal });
    assert.equal(await site.running(), "1.6.0");
  });
}

test("K3 K5 60 a version that cannot go back is not installed without a backup; going back without the state is refused where the old one could not read it", async (t) => {
  const epochs = (read: number[], write: number): UpgradeContract => ({ compat: { epochs: { state: { read, write } } } });
  const { vendor, site } = await siteAt(t, "1.4.2", {}, promise(epochs([1], 1)));
  const text = await readFile(site.file, "utf8");
  await writeFile(site.file, text.replace("backup: { paths: [data] }", ""));
  await vendor.release("1.5.0", promise({ ...epochs([1, 2], 2), migration: { reversible: false, backwardReadable: false } }));
  await failure((await site.updater()).install({ signal }), "rollback_needs_restore", "no_backup");
  assert.equal(await site.running(), "1.4.2");
  await writeFile(site.file, text);
  await (await site.updater()).install({ signal });
  assert.equal(await site.running(), "1.5.0");
  const error = await failure((await site.updater()).rollback({ restoreState: "never", signal }), "rollback_needs_restore", "never");
  assert.equal(error.exitCode, 43);
  assert.equal(await site.running(), "1.5.0");
  const result = await (await site.updater()).rollback({ signal });
  assert.ok(result.isStateRestored);
  assert.equal(await site.state(), "1.4.2");
});

test("K7 where the releases say that the state can be read, auto leaves it, and the runbook is timed", async (t) => {
  const { vendor, site } = await siteAt(t, "1.4.2");
  await vendor.release("1.5.0", promise({ migration: { reversible: true, backwardReadable: true } }));
  await (await site.updater()).install({ signal });
  await writeFile(join(site.folder, "data/since"), "written by 1.5.0, readable by 1.4.2");
  const result = await (await site.updater()).rollback({ signal });
  assert.equal(result.isStateRestored, false);
  assert.ok((await readdir(join(site.folder, "data"))).includes("since"));
  assert.deepEqual(
    result.report.steps.map(({ step }) => step),
    ["stop", "reinstall", "start", "verify"],
  );
  assert.ok(result.report.isWithinTarget && result.report.targetMs === 900_000 && result.report.rtoMs >= 0);
  const { lines } = await (await site.updater()).history();
  assert.equal(lines.at(-1)?.runbook?.length, 4);
});

test("34 a blocked version is unblocked by a command, and a withdrawn one is refused", async (t) => {
  const { vendor, site } = await siteAt(t, "1.4.2");
  await vendor.release("1.5.0");
  await (await site.updater()).install({ signal });
  await (await site.updater()).rollback({ signal });
  const nothing = await (await site.updater()).install({ signal });
  assert.ok(nothing.kind === "nothing" && nothing.skipped.some(({ version, reason }) => version === "1.5.0" && reason === "blocked"));
  await failure((await site.updater()).install({ version: parseVersion("1.5.0"), signal }), "version_blocked");
  await failure((await site.updater()).control({ kind: "unblock", version: parseVersion("1.6.0") }), "version_not_found");
  await (await site.updater()).control({ kind: "unblock", version: parseVersion("1.5.0") });
  vendor.faults.index = () => ({
    schema: 1,
    product: "toy",
    releases: [],
    retired: [{ version: "1.5.0", state: "withdrawn", reason: "loses data" }],
  });
  await failure((await site.updater()).install({ version: parseVersion("1.5.0"), signal }), "version_withdrawn");
  delete vendor.faults.index;
  await (await site.updater()).install({ signal });
  assert.equal(await site.running(), "1.5.0");
});

test("a pin and a hold are kept to until the operator ends them", async (t) => {
  const { vendor, site } = await siteAt(t, "1.4.2");
  await vendor.release("1.4.3");
  await vendor.release("1.5.0");
  await failure((await site.updater()).control({ kind: "pin", range: "not a range" }), "usage");
  await (await site.updater()).control({ kind: "pin", range: "~1.4.0" });
  await (await site.updater()).control({ kind: "hold", reason: "end of quarter" });
  const held = await failure((await site.updater()).install({ signal }), "held");
  assert.match(held.message, /end of quarter/);
  assert.equal(held.exitCode, 43);
  await (await site.updater()).control({ kind: "unhold" });
  await failure((await site.updater()).install({ version: parseVersion("1.5.0"), signal }), "pinned");
  await (await site.updater()).install({ signal });
  assert.equal(await site.running(), "1.4.3");
  const status = await (await site.updater()).status();
  assert.deepEqual([status.pin, status.hold], ["~1.4.0", null]);
  await (await site.updater()).control({ kind: "unpin" });
  await (await site.updater()).install({ signal });
  assert.equal(await site.running(), "1.5.0");
});

test("80 a machine that its turn has not reached waits, one that was told a version does not, and a halt stops before anything is applied", async (t) => {
  const { vendor, site } = await siteAt(t, "1.4.2");
  await vendor.release("1.5.0");
  const rollout = { salt: "1.5.0", percent: 0, halted: false };
  vendor.faults.index = () => ({
    schema: 1,
    product: "toy",
    releases: [{ version: "1.5.0", channel: "stable", sequence: 9999, state: "published", rollouts: { stable: rollout } }],
    retired: [],
  });
  await failure((await site.updater()).install({ signal }), "cohort_not_selected", "cohort");
  const machineId = (await readJson(join(site.updates, "state.json")))["machineId"];
  assert.match(String(machineId), /^[0-9a-f]{32}$/);
  // Halted while it is being downloaded: what was downloaded is kept and waits.
  vendor.faults.answer = (_, __, file) => {
    if (file.endsWith(".tar.gz")) rollout.halted = true;
    return false;
  };
  await failure((await site.updater()).install({ version: parseVersion("1.5.0"), signal }), "held", "halted");
  delete vendor.faults.answer;
  assert.equal(await site.running(), "1.4.2");
  const journal = await readJson(join(site.updates, "transaction.json"));
  assert.deepEqual([journal["phase"], journal["retryable"]], ["failed", true]);
  rollout.halted = false;
  await (await site.updater()).install({ version: parseVersion("1.5.0"), signal });
  assert.equal(await site.running(), "1.5.0");
});

test("68 outside of the window nothing begins; where it closes during the download the switch waits for the next one, at the cost of no attempt", async (t) => {
  const { vendor, site } = await siteAt(t, "1.4.2");
  await vendor.release("1.5.0");
  const text = await readFile(site.file, "utf8");
  await writeFile(site.file, `${text}window: [{ start: "02:00", duration_minutes: 60, tz: UTC }]\n`);
  let now = new Date("2026-11-21T12:00:00Z");
  const machine = { clock: { now: () => now } };
  const early = await failure((await site.updater(machine)).install({ signal }), "outside_window", "2026-11-22T02:00:00.000Z");
  assert.equal(early.exitCode, 43);
  now = new Date("2026-11-22T02:58:00Z");
  vendor.faults.answer = (_, __, file) => {
    if (file.endsWith(".tar.gz")) now = new Date("2026-11-22T03:01:00Z");
    return false;
  };
  await failure((await site.updater(machine)).install({ signal }), "outside_window", "2026-11-23T02:00:00.000Z");
  delete vendor.faults.answer;
  for (let hour = 4; hour < 12; hour += 1) {
    now = new Date(`2026-11-22T${String(hour).padStart(2, "0")}:00:00Z`);
    await failure((await site.updater(machine)).resume({ signal }), "outside_window");
  }
  const journal = await readJson(join(site.updates, "transaction.json"));
  assert.deepEqual([journal["phase"], journal["attempt"]], ["verified", 1]);
  assert.equal(await site.running(), "1.4.2");
  now = new Date("2026-11-23T02:30:00Z");
  await (await site.updater(machine)).resume({ signal });
  assert.equal(await site.running(), "1.5.0");
  // An operator who must may.
  await vendor.release("1.6.0");
  now = new Date("2026-11-23T12:00:00Z");
  await (await site.updater(machine)).install({ isOutsideWindow: true, signal });
  assert.equal(await site.running(), "1.6.0");
});

test("67 an upgrade whose approval is too old is confirmed, or cancelled, by a command", async (t) => {
  const { vendor, site } = await siteAt(t, "1.4.2");
  await vendor.release("1.5.0");
  let now = new Date("2026-11-21T12:00:00Z");
  const machine = { clock: { now: () => now } };
  const late = (): void => {
    vendor.faults.answer = (_, __, file) => {
      if (file.endsWith(".tar.gz")) now = new Date(now.getTime() + 16 * 60_000);
      return false;
    };
  };
  late();
  const error = await failure((await site.updater(machine)).install({ signal }), "needs_confirmation");
  assert.equal(error.exitCode, 42);
  await failure((await site.updater(machine)).gc(), "conflict");
  const { version } = await (await site.updater(machine)).cancel();
  assert.equal(version, "1.5.0");
  assert.deepEqual(await readdir(join(site.updates, "staging")), []);
  late();
  await failure((await site.updater(machine)).install({ signal }), "needs_confirmation");
  delete vendor.faults.answer;
  await (await site.updater(machine)).confirm({ signal });
  assert.equal(await site.running(), "1.5.0");
  await failure((await site.updater(machine)).confirm({ signal }), "nothing_to_resume");
});

test("gc removes what a crash left, and keeps what a rollback needs", async (t) => {
  const { vendor, site } = await siteAt(t, "1.4.2");
  await vendor.release("1.5.0");
  await (await site.updater()).install({ signal });
  await writeFile(join(site.updates, "backups/b-0123456789abcdef.rbk.tmp"), Buffer.alloc(10_000));
  const { removedBytes } = await (await site.updater()).gc();
  assert.ok(removedBytes >= 10_000 && removedBytes < 12_000, `${removedBytes}`);
  await (await site.updater()).rollback({ signal });
  assert.equal(await site.running(), "1.4.2");
});

test("K7 a drill rolls a copy back, measures it, and leaves the live installation alone", async (t) => {
  const { vendor, site } = await siteAt(t, "1.4.2");
  await failure((await site.updater()).drill({ signal }), "version_not_found");
  await vendor.release("1.5.0");
  await (await site.updater()).install({ signal });
  const incomplete = await (await site.updater()).drill({ signal });
  assert.deepEqual([incomplete.result, incomplete.from, incomplete.to], ["INCOMPLETE", "1.5.0", "1.4.2"]);
  const text = await readFile(site.file, "utf8");
  const run = join(site.folder, "drill-run");
  const probe = `checks: [{ command: { argv: [cat, ${run}], version: "[0-9].*" } }]`;
  await writeFile(
    site.file,
    `${text}drill: { service: { stop: [rm, -f, ${run}], start: [sh, -c, "{root}/current/bin/toyctl > ${run} && test -e {section:data}/format"] }, health: { consecutive: 1, bake_seconds: 0, interval_seconds: 0.02, ${probe} } }\n`,
  );
  const before = await readFile(join(site.updates, "state.json"), "utf8");
  const report = await (await site.updater()).drill({ signal });
  assert.deepEqual([report.result, report.isHealthProven], ["PASS", true]);
  assert.deepEqual(
    report.report.steps.map(({ step }) => step),
    ["stop", "reinstall", "restore", "start", "verify"],
  );
  assert.ok(report.report.isWithinTarget);
  assert.equal((await readFile(run, "utf8")).trim(), "1.4.2", "the copy ran, and was the previous version");
  assert.equal(await site.running(), "1.5.0");
  assert.equal(await site.state(), "1.5.0");
  assert.equal(await readFile(join(site.updates, "state.json"), "utf8"), before);
  assert.deepEqual(
    (await readdir(site.updates)).filter((name) => name.startsWith("drill")),
    [],
  );
  const { lines, isChainWhole } = await (await site.updater()).history();
  assert.ok(isChainWhole);
  assert.deepEqual([lines.at(-1)?.phase, lines.at(-1)?.reason, lines.at(-1)?.runbook?.length], ["drilled", "drill", 5]);
});

test("K14 verify installed: every live file against the signed release; a change, an addition, a loss and a looser mode are found", async (t) => {
  const { vendor, site } = await siteAt(t, "1.4.2");
  const good = await (await site.updater()).verifyInstalled({ signal });
  assert.deepEqual([good.result, good.list, good.checked, good.findings], ["PASS", "release", 3, []]);
  const folder = join(site.root, "versions/1.4.2");
  await writeFile(join(folder, "bin/toy"), "#!/bin/sh\necho somebody else\n");
  await writeFile(join(folder, "bin/extra"), "not ours");
  await rm(join(folder, "share/readme.txt"));
  await chmod(join(folder, "bin/toyctl"), 0o777);
  const bad = await (await site.updater()).verifyInstalled({ signal });
  assert.equal(bad.result, "FAIL");
  assert.deepEqual(
    bad.findings.map(({ path, problem }) => [path, problem]).toSorted(([left = ""], [right = ""]) => left.localeCompare(right)),
    [
      ["bin/extra", "unlisted"],
      ["bin/toy", "changed"],
      ["bin/toyctl", "mode"],
      ["share/readme.txt", "missing"],
    ],
  );
  await vendor.close();
  const offline = await (await site.updater()).verifyInstalled({ signal });
  assert.deepEqual([offline.result, offline.list], ["FAIL", "record"]);
});

test("71 a waypoint that left retention is named, whatever the newer releases say of themselves; one that was withdrawn is passed by", async (t) => {
  const { vendor, site } = await siteAt(t, "1.3.0");
  await vendor.release("1.5.0");
  const gone = { version: "1.4.0", state: "retired", waypoint: true };
  vendor.faults.index = () => ({
    schema: 1,
    product: "toy",
    releases: [{ version: "1.5.0", channel: "stable", sequence: 9999, state: "published" }],
    retired: [gone],
  });
  const error = await failure((await site.updater()).plan({ signal }), "waypoint_missing", "1.4.0");
  assert.match(`${error.message} ${error.hint}`, /1\.4\.0, which left retention.*mirror that keeps it/);
  gone.state = "withdrawn";
  assert.deepEqual((await (await site.updater()).plan({ signal }))?.path, ["1.5.0"]);
});

test("K7 where the present state cannot be kept, an operator's rollback ends before anything is switched, and the product runs", async (t) => {
  const { vendor, site } = await siteAt(t, "1.4.2");
  const table = join(site.folder, "table");
  await writeFile(table, "rows");
  const text = await readFile(site.file, "utf8");
  const section = `{ name: db, kind: cmd, dump: [cp, ${table}, "{file}"], restore: [cp, "{file}", ${table}] }`;
  await writeFile(site.file, text.replace("backup: { paths: [data] }", `backup: { paths: [data], sections: [${section}] }`));
  await vendor.release("1.5.0");
  await (await site.updater()).install({ signal });
  await rm(table);
  const error = await failure((await site.updater()).rollback({ signal }), "hook_failed");
  assert.match(error.message, /nothing was rolled back, and 1\.5\.0 runs again/);
  assert.deepEqual([await site.running(), await site.live(), await site.state()], ["1.5.0", "1.5.0", "1.5.0"]);
  const status = await (await site.updater()).status();
  assert.deepEqual([status.installed, status.previous, status.blocked], ["1.5.0", ["1.4.2"], []]);
  await writeFile(table, "rows");
  await (await site.updater()).rollback({ signal });
  assert.deepEqual([await site.running(), await site.state()], ["1.4.2", "1.4.2"]);
});
