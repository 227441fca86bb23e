/** `slipway guard exec`: a product that runs under the supervisor is upgraded, rolled back, and survives the death of the updater and of the supervisor. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { cleanEnvironment } from "../../src/io/command.ts";
import { compiled } from "../support/compiled.ts";
import { type FileOf, failure, makeSite, noSignal, readJson, type Site, startVendor, type Vendor } from "./support.ts";

const entry = resolve(import.meta.dirname, "../../src/main.ts");
const driver = join(import.meta.dirname, "kill-driver.ts");
const supervised = "service: { supervisor: true, timeout_seconds: 10 }";

/** A program that stays; the version file goes with it when it is asked to end. */
function daemon(version: string, folder: string, kind: "good" | "crashes" = "good"): FileOf {
  const body = `echo ${version} > ${folder}/run/version\necho $$ > ${folder}/run/pid\ntrap 'rm -f ${folder}/run/version; exit 0' TERM\nwhile :; do sleep 0.1; done`;
  return { "bin/toy": { content: `#!/bin/sh\n# ${version}\n${kind === "good" ? body : "exit 9"}\n`, mode: 0o755 } };
}

type Field = {
  readonly site: Site;
  readonly vendor: Vendor;
  readonly guard: () => ChildProcess;
  readonly until: (what: string, is: () => Promise<boolean>) => Promise<void>;
};

/** 1.4.2 lies there, and `guard()` runs it. */
async function field(t: TestContext): Promise<Field> {
  const vendor = await startVendor(t);
  const health = (folder: string): string =>
    `health: { deadline_seconds: 3, interval_seconds: 0.1, consecutive: 2, bake_seconds: 0.3, tries: 2, checks: [{ command: { argv: [cat, ${folder}/run/version], version: "[0-9].*" } }] }`;
  const site = await makeSite(vendor, {
    service: "service: { stop: ['true'], start: ['true'] }",
    health: "health: { checks: [{ command: { argv: ['echo', '1.4.2'], version: '.*' } }], bake_seconds: 0, consecutive: 1 }",
  });
  await vendor.release("1.4.2", { files: daemon("1.4.2", site.folder) });
  await (await site.updater()).install({ signal: noSignal });
  const text = await readFile(site.file, "utf8");
  await writeFile(site.file, text.replace(/^service: .*$/m, supervised).replace(/^health: .*$/m, health(site.folder)));
  const children: ChildProcess[] = [];
  t.after(async () => {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGTERM");
      await once(child, "exit");
    }
    await rm(site.folder, { recursive: true, force: true }); // not before: a supervisor writes to its end
  });
  const until: Field["until"] = async (what, is) => {
    const deadline = Date.now() + 120_000;
    while (!(await is())) {
      if (Date.now() > deadline) assert.fail(`${what}: not within two minutes; the journal: ${await readFile(join(site.updates, "transaction.json"), "utf8")}`);
      await sleep(50);
    }
  };
  const guard = (): ChildProcess => {
    const words = ["--disable-warning=ExperimentalWarning", entry, "guard", "exec", "--installation", site.file, "--", join(site.root, "current/bin/toy")];
    const child = spawn(process.execPath, words, { stdio: ["ignore", "ignore", "ignore"], env: { ...cleanEnvironment(), ...compiled } });
    children.push(child);
    return child;
  };
  return { site, vendor, guard, until };
}

/** The last product that said its process id, where it still runs. */
async function killProduct(site: Site): Promise<void> {
  const pid = Number(await readFile(join(site.folder, "run/pid"), "utf8"));
  const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  if (command.includes(site.root)) process.kill(pid, "SIGKILL");
}

const isOnTrial = async (site: Site): Promise<boolean> => {
  const { phase, step } = await readJson(join(site.updates, "transaction.json"));
  return phase === "applying" && step === "trial";
};
const phaseOf = async (site: Site): Promise<unknown> => (await readJson(join(site.updates, "transaction.json")))["phase"];

test("K5 guard exec: the product is stopped and started for an upgrade, and a version that crashes is rolled back under it", async (t) => {
  const { site, vendor, guard, until } = await field(t);
  const child = guard();
  await until("it runs", async () => (await site.running()) === "1.4.2");
  await vendor.release("1.5.0", { files: daemon("1.5.0", site.folder) });
  await (await site.updater()).install({ signal: noSignal });
  assert.equal(await site.running(), "1.5.0");
  // A bake as long as the growing pause between restarts: the last one of 1.6.0 is still pending when 1.5.0 is proven, and is not 1.5.0's.
  const file = await readFile(site.file, "utf8");
  await writeFile(site.file, file.replace("deadline_seconds: 3", "deadline_seconds: 4").replace("bake_seconds: 0.3", "bake_seconds: 4"));
  await vendor.release("1.6.0", { files: daemon("1.6.0", site.folder, "crashes") });
  await failure((await site.updater()).install({ signal: noSignal }), "health_failed", "rolled_back");
  assert.equal(await site.running(), "1.5.0");
  assert.equal(child.exitCode, null, "the supervisor stood through all of it");
  child.kill("SIGTERM");
  assert.deepEqual(await once(child, "exit"), [143, null]);
  assert.equal(await site.running(), undefined, "the product was asked to end");
});

test("55 guard exec: the updater is killed in the trial of a version that crashes: the supervisor counts, goes back and proves the old version", async (t) => {
  const { site, vendor, guard, until } = await field(t);
  guard();
  await until("it runs", async () => (await site.running()) === "1.4.2");
  await vendor.release("1.5.0", { files: daemon("1.5.0", site.folder, "crashes") });
  const updater = spawn(process.execPath, [driver, site.file, "install", "0"], { stdio: "ignore", env: { ...cleanEnvironment(), ...compiled } });
  await until("the trial", () => isOnTrial(site));
  updater.kill("SIGKILL");
  await until("it is over", async () => (await phaseOf(site)) === "failed");
  const { rolledBack, lastError } = await readJson(join(site.updates, "transaction.json"));
  assert.equal(rolledBack, true, JSON.stringify(lastError));
  assert.equal(await site.running(), "1.4.2");
});

for (const kind of ["good", "crashes"] as const) {
  test(`58 guard exec: everything is killed in a trial of a version that ${kind === "good" ? "is good" : kind}, as a container is; the next start brings it to its end`, async (t) => {
    const { site, vendor, guard, until } = await field(t);
    const first = guard();
    await until("it runs", async () => (await site.running()) === "1.4.2");
    await vendor.release("1.5.0", { files: daemon("1.5.0", site.folder, kind) });
    const updater = spawn(process.execPath, [driver, site.file, "install", "0"], { stdio: "ignore", env: { ...cleanEnvironment(), ...compiled } });
    await until("the trial", () => isOnTrial(site));
    for (const child of [updater, first]) child.kill("SIGKILL");
    await once(first, "exit");
    await killProduct(site); // it is in the same container
    await rm(join(site.folder, "run/version"), { force: true });
    guard();
    await until("it is over", async () => ["applied", "failed"].includes(String(await phaseOf(site))));
    assert.equal(await site.running(), kind === "good" ? "1.5.0" : "1.4.2");
  });
}

test("guard exec: outside of a trial the product's exit code is the supervisor's, and there is only one supervisor", async (t) => {
  const { site, guard, until } = await field(t);
  const child = guard();
  await until("it runs", async () => (await site.running()) === "1.4.2");
  const second = guard();
  assert.deepEqual(await once(second, "exit"), [75, null]);
  await writeFile(join(site.root, "versions/1.4.2/bin/toy"), "#!/bin/sh\nexit 17\n");
  child.kill("SIGTERM");
  await once(child, "exit");
  const third = guard();
  assert.deepEqual(await once(third, "exit"), [17, null]);
});
