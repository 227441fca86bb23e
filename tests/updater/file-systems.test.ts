/** Row 54 of the attack table: what the file system below the product forbids, or does otherwise, on mounts of the test's own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type CommandResult, runCommand } from "../../src/io/command.ts";
import { needClient } from "../support/clients.ts";
import { plainRun } from "./crash.ts";
import { makeSite, noSignal, type Site, startVendor, toyFiles } from "./support.ts";

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

test("54 inplace: a live file that is immutable stops the switch; the old version is whole, runs, and is healthy (exit 40)", async (t) => {
  if (!needClient(t, "chattr")) return;
  const vendor = await startVendor(t);
  await vendor.release("1.4.2");
  const site = await makeSite(vendor, { strategy: "inplace" }, t);
  await (await site.updater()).install({ signal: noSignal });
  await vendor.release("1.5.0");
  const locked = `${site.root}/bin/toyctl`;
  const marked = await runCommand(["chattr", "+i", locked], { timeoutMs: 5_000 });
  if (marked.exitCode !== 0) return t.skip(`no immutable files here: ${marked.stderr.trim()}`);
  t.after(() => runCommand(["chattr", "-f", "-i", locked], { timeoutMs: 5_000 }));
  const refused = await runCommand(plainRun(site, "install"), { timeoutMs: 60_000 });
  assert.equal(refused.exitCode, 40, refused.stderr);
  assert.deepEqual([await site.live(), await site.running(), await site.state()], ["1.4.2", "1.4.2", "1.4.2"]);
  await runCommand(["chattr", "-i", locked], { timeoutMs: 5_000 });
  await vendor.release("1.6.0");
  await (await site.updater()).install({ signal: noSignal });
  assert.deepEqual([await site.live(), await site.running()], ["1.6.0", "1.6.0"]);
});
