/** Row 54 of the attack table: what the file system below the product forbids, or does otherwise, on mounts of the test's own. */
import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { type TestContext, test } from "node:test";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { needClient, needRoot } from "../support/clients.ts";
import { plainRun } from "./crash.ts";
import { makeSite, noSignal, readJson, type Site, startVendor, toyFiles, type Vendor } from "./support.ts";

/** Runs an updater's command after `setup`, a shell script with the mount point in $0, in a mount name space of its own. */
const runMounted = (site: Site, folder: string, setup: string, command: string): Promise<CommandResult> =>
  runCommand(["unshare", "--mount", "--propagation", "private", "sh", "-ec", `${setup}; exec "$@"`, folder, ...plainRun(site, command)], {
    timeoutMs: 60_000,
  });

const readOnly = `mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"`;

for (const strategy of ["versions", "inplace"] as const) {
  test(`54 ${strategy}: a read-only root is permission_denied (exit 77) before the service is touched, and writable again the upgrade goes through`, async (t) => {
    if (!needClient(t, "unshare", "mount")) return;
    if (process.getuid?.() !== 0) return t.skip("mounts need root");
    const vendor = await startVendor(t);
    await vendor.release("1.4.2");
    const site = await makeSite(vendor, { strategy }, t);
    await (await site.updater()).install({ signal: noSignal });
    await vendor.release("1.5.0");
    const refused = await runMounted(site, site.root, readOnly, "install");
    assert.equal(refused.exitCode, 77, refused.stderr);
    assert.deepEqual([await site.live(), await site.running(), await site.state()], ["1.4.2", "1.4.2", "1.4.2"]);
    assert.doesNotMatch(refused.stdout, /"stop"|"switch"/);
    await (await site.updater()).install({ signal: noSignal });
    assert.deepEqual([await site.live(), await site.running()], ["1.5.0", "1.5.0"]);
  });

  test(`54 ${strategy}: the state directory on another file system than the product (EXDEV) makes no difference, forward and back`, async (t) => {
    if (!needClient(t, "unshare", "mount")) return;
    if (process.getuid?.() !== 0) return t.skip("mounts need root");
    const vendor = await startVendor(t);
    await vendor.release("1.4.2");
    const site = await makeSite(vendor, { strategy }, t);
    await (await site.updater()).install({ signal: noSignal });
    await vendor.release("1.5.0", { files: toyFiles("1.5.0", "crashes") });
    // A file system of its own below the product's folder: links and renames between the two fail.
    const otherDisk = `mount -t tmpfs -o size=16m,mode=755 tmpfs "$0.tmp" 2>/dev/null || { mkdir "$0.tmp"; mount -t tmpfs -o size=16m,mode=755 tmpfs "$0.tmp"; }; cp -a "$0/." "$0.tmp"; mount --move "$0.tmp" "$0"`;
    const bad = await runMounted(site, site.root, otherDisk, "install");
    assert.equal(bad.exitCode, 40, bad.stderr);
    assert.deepEqual([await site.running(), await site.state()], ["1.4.2", "1.4.2"]);
    assert.match(bad.stdout, /switch/);
  });
}

test("54 inplace: a live file that is immutable is said before the service is touched (exit 77), and mutable again the upgrade goes through", async (t) => {
  if (!needClient(t, "chattr")) return;
  const { site, vendor } = await upgradable(t, "inplace");
  const locked = `${site.root}/bin/toyctl`;
  const marked = await runCommand(["chattr", "+i", locked], { timeoutMs: 5_000 });
  if (marked.exitCode !== 0) return t.skip(`no immutable files here: ${marked.stderr.trim()}`);
  t.after(() => runCommand(["chattr", "-f", "-i", locked], { timeoutMs: 5_000 }));
  await requireRefused(site, () => runCommand(plainRun(site, "install"), { timeoutMs: 60_000 }), { exit: 77, detail: "immutable" });
  await runCommand(["chattr", "-i", locked], { timeoutMs: 5_000 });
  await vendor.release("1.6.0");
  await (await site.updater()).install({ signal: noSignal });
  assert.deepEqual([await site.live(), await site.running()], ["1.6.0", "1.6.0"]);
});

test("54 inplace: a live file that is a mount point of its own is said before the service is touched (exit 77)", async (t) => {
  if (!needClient(t, "unshare", "mount") || !needRoot(t, "a mount")) return;
  const { site } = await upgradable(t, "inplace");
  const onItself = `mount --bind "$0/bin/toyctl" "$0/bin/toyctl"`;
  await requireRefused(site, () => runMounted(site, site.root, onItself, "install"), { exit: 77, detail: "mount_point" });
});

for (const strategy of ["versions", "inplace"] as const) {
  test(`54 ${strategy}: a root that was mounted noexec meanwhile is said before the running service is stopped (exit 77)`, async (t) => {
    if (!needClient(t, "unshare", "mount") || !needRoot(t, "a mount")) return;
    const { site } = await upgradable(t, strategy);
    const noPrograms = `mount --bind "$0" "$0"; mount -o remount,bind,noexec "$0"`;
    await requireRefused(site, () => runMounted(site, site.root, noPrograms, "install"), { exit: 77, detail: "noexec" });
    await (await site.updater()).install({ signal: noSignal });
    assert.deepEqual([await site.live(), await site.running()], ["1.5.0", "1.5.0"]);
  });
}

test("53 inplace: a folder of the product on a full disk of its own is said before anything is fetched (exit 28)", async (t) => {
  if (!needClient(t, "unshare", "mount") || !needRoot(t, "a mount")) return;
  const { site, vendor } = await upgradable(t, "inplace");
  const before = vendor.requests.length;
  const smallDisk = `cp -a "$0/share" "$0/kept"; mount -t tmpfs -o size=12k,mode=755 tmpfs "$0/share"; cp -a "$0/kept/." "$0/share"; rm -r "$0/kept"`;
  await requireRefused(site, () => runMounted(site, site.root, smallDisk, "install"), { exit: 28 });
  assert.deepEqual(
    vendor.requests.slice(before).filter((request) => request.includes("tar.gz")),
    [],
  );
});

/** 1.4.2 is installed and runs; 1.5.0 is on offer. */
async function upgradable(t: TestContext, strategy: "versions" | "inplace"): Promise<{ readonly site: Site; readonly vendor: Vendor }> {
  const vendor = await startVendor(t);
  await vendor.release("1.4.2");
  const site = await makeSite(vendor, { strategy }, t);
  await (await site.updater()).install({ signal: noSignal });
  await vendor.release("1.5.0");
  return { site, vendor };
}

/** Refused with this exit code and reason, and the old version runs on as it did: it was never stopped. */
async function requireRefused(site: Site, install: () => Promise<CommandResult>, expected: { readonly exit: number; readonly detail?: string }): Promise<void> {
  const runningSince = (await stat(`${site.folder}/run/version`)).mtimeMs;
  const refused = await install();
  assert.equal(refused.exitCode, expected.exit, refused.stderr);
  assert.deepEqual([await site.live(), await site.running(), await site.state()], ["1.4.2", "1.4.2", "1.4.2"]);
  assert.equal((await stat(`${site.folder}/run/version`)).mtimeMs, runningSince);
  const { lastError } = (await readJson(`${site.updates}/transaction.json`)) as { lastError?: { code: string; detail?: string } };
  assert.equal(lastError?.detail, expected.detail);
}
