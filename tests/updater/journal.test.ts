/** The updater's own files under attack and after accidents: journal, state, staging, lock, kept old code. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { runCommand } from "../../src/io/command.ts";
import { acquireLock } from "../../src/io/lock.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import type { Machine } from "../../src/updater/machine.ts";
import type { Transaction } from "../../src/updater/transaction.ts";
import { needClient } from "../support/clients.ts";
import { killAtChange, plainRun } from "./crash.ts";
import { fsyncFaults, requireUpgradable, upgradeWithFault } from "./fsync-fault.ts";
import { failure, makeSite, noSignal, readJson, type Site, type SiteOptions, startVendor, toyFiles, type Vendor } from "./support.ts";

const signal = noSignal;

async function field(t: TestContext, options: SiteOptions = {}): Promise<{ readonly vendor: Vendor; readonly site: Site; readonly journal: string }> {
  const vendor = await startVendor(t);
  await vendor.release("1.4.2");
  const site = await makeSite(vendor, options, t);
  await (await site.updater()).install({ signal });
  await vendor.release("1.5.0");
  return { vendor, site, journal: join(site.updates, "transaction.json") };
}

for (const name of ["transaction.json", "state.json", "history.jsonl"]) {
  test(`42 a link planted at ${name} is not followed: state_dir_insecure`, async (t) => {
    const { site } = await field(t);
    const victim = join(site.folder, "victim");
    await writeFile(victim, "untouched");
    await rm(join(site.updates, name));
    await symlink(victim, join(site.updates, name));
    await failure((await site.updater()).install({ signal }), "state_dir_insecure");
    assert.equal(await readFile(victim, "utf8"), "untouched");
    assert.equal(await site.running(), "1.4.2");
  });

  test(`43 a FIFO planted at ${name} does not hang the updater: state_dir_insecure within a second`, async (t) => {
    const { site } = await field(t);
    await rm(join(site.updates, name));
    execFileSync("mkfifo", [join(site.updates, name)]);
    const began = performance.now();
    await failure((await site.updater()).install({ signal }), "state_dir_insecure");
    assert.ok(performance.now() - began < 3000, "no hang");
  });
}

test("42 a link or a FIFO planted as a lock record is refused", async (t) => {
  for (const plant of [(path: string) => symlink("/etc/passwd", path), async (path: string) => void execFileSync("mkfifo", [path])]) {
    const { site } = await field(t);
    await plant(join(site.updates, "lock.0000"));
    await failure((await site.updater()).install({ signal }), "state_dir_insecure");
  }
});

test("42 a state directory that others may enter, or that is a link, is refused", async (t) => {
  const { site } = await field(t);
  await chmod(site.updates, 0o755);
  await failure((await site.updater()).install({ signal }), "state_dir_insecure");
  await rm(site.updates, { recursive: true });
  await mkdir(join(site.folder, "elsewhere"), { mode: 0o700 });
  await symlink(join(site.folder, "elsewhere"), site.updates);
  await failure((await site.updater()).install({ signal }), "state_dir_insecure");
});

test("42 inplace: a link planted at a live file or in the way of a new one is not written through", async (t) => {
  const { site } = await field(t, { strategy: "inplace" });
  const victim = join(site.folder, "victim");
  await writeFile(victim, "untouched");
  await rm(join(site.root, "bin/toyctl"));
  await symlink(victim, join(site.root, "bin/toyctl"));
  await failure((await site.updater()).install({ signal }), "state_dir_insecure");
  assert.equal(await readFile(victim, "utf8"), "untouched");
});

test("44 a journal of 5 GB, of deep nesting, or with __proto__ keys is not read into memory or believed", async (t) => {
  const { site, journal } = await field(t);
  const original = await readFile(journal, "utf8");
  const before = process.memoryUsage().rss;
  await rm(journal);
  execFileSync("truncate", ["-s", "5G", journal]);
  await failure((await site.updater()).install({ signal }), "journal_corrupt");
  assert.ok(process.memoryUsage().rss - before < 200 * 1024 * 1024);
  for (const text of ["[".repeat(1_000_000), "not json", original.replace('"files": {', '"files": { "__proto__": { "sha256": "x", "mode": 1 },')]) {
    await writeFile(journal, text);
    await failure((await site.updater()).install({ signal }), "journal_corrupt");
    assert.equal(await readFile(journal, "utf8"), text, "the file is preserved");
  }
  assert.equal(await site.running(), "1.4.2");
});

for (const [name, change] of [
  ["a path outside", { to: { version: "1.5.0", files: { "../../etc/cron.d/x": { sha256: "0".repeat(64), mode: 0o755 } } } }],
  ["a reference outside", { from: { version: "1.4.2", files: {}, ref: "../../etc" } }],
  ["an id that is a path", { id: "../../../../tmp/xxxxxxxx" }],
  ["another product", { product: "other" }],
  ["a hash that is none", { to: { version: "1.5.0", sha256: "zz", files: {} } }],
  ["more attempts than allowed", { attempt: 99 }],
  ["a backup id that is a path", { backup: { id: "../x", required: true, done: true } }],
  ["a future schema", { schema: 2 }],
  ["an unknown phase", { phase: "teleporting" }],
  ["an unknown step", { phase: "applying", step: "teleport" }],
] as const) {
  test(`47 83 a journal with ${name} is not continued, nothing is deleted, and the service is not disturbed`, async (t) => {
    const { site, journal } = await field(t);
    const text = JSON.stringify({ ...(await readJson(journal)), phase: "applying", step: "rollback", ...change });
    await writeFile(journal, text);
    const before = (await readdir(site.updates, { recursive: true })).sort();
    await failure((await site.updater()).resume({ signal }), "journal_corrupt");
    await failure((await site.updater()).install({ signal }), "journal_corrupt");
    assert.equal(await readFile(journal, "utf8"), text);
    assert.deepEqual((await readdir(site.updates, { recursive: true })).sort(), before);
    assert.equal(await site.running(), "1.4.2");
    const status = await (await site.updater()).status();
    assert.equal(status.journal.kind, "foreign");
  });
}

test("83 fields that this updater does not know survive its writes", async (t) => {
  const { site, journal } = await field(t);
  const controller = new AbortController();
  const stopping = await site.updater({ observe: (event) => void (event.event === "phase" && event.phase === "downloaded" && controller.abort()) });
  await failure(stopping.install({ signal: controller.signal }), "interrupted");
  const value = await readJson(journal);
  await writeFile(journal, JSON.stringify({ ...value, cohort: 17, to: { ...(value["to"] as object), delta: "x" } }));
  await (await site.updater()).resume({ signal });
  const after = await readJson(journal);
  assert.deepEqual([after["cohort"], (after["to"] as { delta?: string }).delta, after["phase"]], [17, "x", "applied"]);
});

test("46 50 inplace: kept old code that was changed is never put back, and never overwritten by what is live: rollback_failed with an instruction", async (t) => {
  const { site, vendor } = await field(t, { strategy: "inplace" });
  await vendor.release("1.5.0", { files: toyFiles("1.5.0", "crashes") });
  const kept = join(site.updates, "bin-backups/1.4.2/bin/toy");
  const damaging = await site.updater({
    observe: (event) => {
      if (event.event === "phase" && event.step === "trial") execFileSync("sh", ["-c", `echo '# changed' >> ${kept}`]);
    },
  });
  const error = await failure(damaging.install({ signal }), "rollback_failed", "backup_changed");
  assert.equal(error.exitCode, 41);
  // A human puts the right file there, and the same rollback goes through.
  await writeFile(kept, toyFiles("1.4.2")["bin/toy"]?.content ?? "");
  await failure((await site.updater()).resume({ signal }), "health_failed", "rolled_back");
  assert.equal(await site.running(), "1.4.2");
});

test("51 inplace: killed between the two renames, recovery finishes the files before the service starts", async (t) => {
  const { site, vendor } = await field(t, { strategy: "inplace" });
  const probe = await makeSite(vendor, { strategy: "inplace" }, t);
  vendor.releases.delete("1.5.0");
  await (await probe.updater()).install({ signal });
  await vendor.release("1.5.0");
  probe.events.length = 0;
  await (await probe.updater()).install({ signal });
  const changes = probe.events.filter((event) => event.event === "phase" || event.event === "step");
  const first = changes.findIndex((event) => event.event === "step" && event.step === "switch") + 1;
  await runCommand(killAtChange(first)(site, "install"), { timeoutMs: 30_000 });
  const versions = await Promise.all(["bin/toy", "bin/toyctl"].map(async (path) => /1\.[45]\.\d/.exec(await readFile(join(site.root, path), "utf8"))?.[0]));
  assert.deepEqual(new Set(versions), new Set(["1.4.2", "1.5.0"]), "it is half old and half new");
  assert.equal(await site.running(), undefined, "and nothing runs");
  assert.equal(await (await site.updater()).beforeStart(), "finished");
  assert.equal(await site.live(), "1.5.0");
  assert.equal(await site.running(), undefined, "finishing the files starts nothing");
  assert.equal(await (await site.updater()).beforeStart(), "counted");
  const result = await runCommand(plainRun(site, "resume"), { timeoutMs: 30_000 });
  assert.equal(result.exitCode, 0, result.stderr);
  assert.equal(await site.running(), "1.5.0");
  await assert.rejects(readFile(join(site.folder, "mixed")), { code: "ENOENT" });
});

for (const code of fsyncFaults) {
  test(`52 53 ${code} from an fsync on leaves the old version running and a journal that can be read`, async (t) => {
    if (!needClient(t, "strace")) return;
    const { site } = await field(t);
    // The first are the lock and the journal's own, later ones belong to the staging folder, the backup and the placing; fsync-fault.slow.ts has all.
    for (const nth of [1, 9]) {
      assert.ok(await upgradeWithFault(site, code, nth));
      assert.equal(await site.running(), "1.4.2");
    }
    await requireUpgradable(site, "1.5.0");
  });
}

test("52 the journal fails between stop and start: the old version runs on, its start costs no try, and the release is as good as before", async (t) => {
  const { site, journal } = await field(t);
  let isBroken = false;
  const observe: Machine["observe"] = (event) => {
    isBroken ||= event.event === "phase" && event.step === "trial";
    if (isBroken && event.event === "phase") throw new SlipwayError("disk_full", "written, and not confirmed");
  };
  await failure((await site.updater({ observe })).install({ signal }), "disk_full");
  assert.deepEqual([await site.live(), await site.running()], ["1.4.2", "1.4.2"]);
  assert.equal((await readJson(journal))["step"], "trial");
  const updater = await site.updater();
  assert.equal(await updater.beforeStart(), "nothing");
  await updater.resume({ signal });
  assert.equal(await site.running(), "1.5.0");
  assert.equal(((await readJson(journal)) as Transaction).trial?.triesLeft, 2, "one start of the new version");
});

test("a service that cannot be stopped goes on as the old version, and the release is as good as before", async (t) => {
  const { site } = await field(t);
  const text = await readFile(site.file, "utf8");
  await writeFile(site.file, text.replace("stop: [rm,", "stop: [/nowhere/rm,"));
  const error = await failure((await site.updater()).install({ signal }), "hook_failed");
  assert.match(error.message, /1\.4\.2 runs as before/);
  assert.deepEqual([await site.live(), await site.running()], ["1.4.2", "1.4.2"]);
  assert.deepEqual((await (await site.updater()).status()).blocked, []);
  await writeFile(site.file, text);
  await (await site.updater()).install({ signal });
  assert.equal(await site.running(), "1.5.0");
});

test("51 a service that asks before its start is not held up by the updater that starts it", async (t) => {
  const { site } = await field(t, { strategy: "inplace" });
  const lock = await acquireLock(site.updates, "install", { waitMs: 0 });
  const began = performance.now();
  assert.equal(await (await site.updater()).beforeStart(), "nothing");
  assert.ok(performance.now() - began < 2000);
  await lock.release();
});

test("65 two updaters at once: one works, the other is told who holds the lock; a dead one's lock is free", async (t) => {
  const { site } = await field(t);
  const lock = await acquireLock(site.updates, "install", { waitMs: 0 });
  const began = performance.now();
  const error = await failure((await site.updater()).install({ signal }), "lock_held");
  assert.match(error.message, new RegExp(`process ${process.pid} \\(install`));
  assert.ok(performance.now() - began < 15_000);
  await lock.release();
  const results = await Promise.allSettled([(await site.updater()).install({ signal }), (await site.updater()).install({ signal })]);
  assert.ok(results.every((result) => result.status === "fulfilled"));
  assert.equal(await site.running(), "1.5.0");
  assert.deepEqual(
    (await readdir(site.updates)).filter((name) => name.startsWith("lock.")),
    [],
  );
});

test("56 a version that answers at first and then dies is caught while it is watched, and rolled back", async (t) => {
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, {}, t);
  const text = await readFile(site.file, "utf8");
  await writeFile(site.file, text.replace("bake_seconds: 0,", "bake_seconds: 0.6,").replace("tries: 3", "tries: 1"));
  await vendor.release("1.4.2");
  await (await site.updater()).install({ signal });
  const files = toyFiles("1.5.0");
  const dying = `#!/bin/sh\nVERSION=1.5.0\n. "$1/serve.sh"\n(sleep 0.3; rm -f "$1/run/version") >/dev/null 2>&1 &\n`;
  await vendor.release("1.5.0", { files: { ...files, "bin/toy": { content: dying, mode: 0o755 } } });
  const error = await failure((await site.updater()).install({ signal }), "health_failed", "rolled_back");
  assert.match(error.message, /was healthy, then not any more/);
  assert.equal(await site.running(), "1.4.2");
});

test("48 55 a version whose start kills the updater uses up its three tries over three recoveries, then the old one is back", async (t) => {
  const { site, vendor } = await field(t);
  const files = toyFiles("1.5.0");
  await vendor.release("1.5.0", {
    files: { ...files, "bin/toy": { content: `#!/bin/sh\nVERSION=1.5.0\necho x >> "$1/starts"\nkill -9 $PPID\n`, mode: 0o755 } },
  });
  for (const command of ["install", "resume", "resume"]) {
    const result = await runCommand(plainRun(site, command), { timeoutMs: 30_000 });
    assert.equal(result.signal, "SIGKILL");
  }
  await failure((await site.updater()).resume({ signal }), "health_failed", "rolled_back");
  assert.equal((await readFile(join(site.folder, "starts"), "utf8")).split("\n").length - 1, 3);
  assert.equal(await site.running(), "1.4.2");
});

test("84 a start command that hangs is killed at its time limit, and the upgrade rolled back", async (t) => {
  const { site, vendor } = await field(t);
  const text = await readFile(site.file, "utf8");
  await writeFile(site.file, text.replace("service: {", "service: { timeout_seconds: 1,").replace("tries: 3", "tries: 1"));
  const files = toyFiles("1.5.0");
  await vendor.release("1.5.0", { files: { ...files, "bin/toy": { content: "#!/bin/sh\nVERSION=1.5.0\nyes flood\n", mode: 0o755 } } });
  const error = await failure((await site.updater()).install({ signal }), "health_failed", "rolled_back");
  assert.match(error.message, /no end after 1 s/);
  assert.ok(error.message.length < 5000);
  assert.equal(await site.running(), "1.4.2");
});

test("84 a quiesce command that exits 75 is called again, and unquiesce runs even when the backup fails", async (t) => {
  const { site } = await field(t);
  const text = await readFile(site.file, "utf8");
  const quiesce = `[sh, -c, "echo q >> ${site.folder}/calls; [ $(wc -l < ${site.folder}/calls) -ge 2 ] || exit 75"]`;
  await writeFile(
    site.file,
    text.replace("backup: { paths: [data] }", `backup: { paths: [data], quiesce: ${quiesce}, unquiesce: [sh, -c, "echo u >> ${site.folder}/calls"] }`),
  );
  await (await site.updater()).install({ signal });
  assert.deepEqual((await readFile(join(site.folder, "calls"), "utf8")).trim().split("\n"), ["q", "q", "u"]);
});
