/** The crash matrix: what must hold right after a kill at any point, and after the recovery that follows. Used by crash.test.ts and crash.slow.ts. */
import assert from "node:assert/strict";
import { lstat, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "../../src/io/command.ts";
import type { Manifest } from "../../src/model/manifest.ts";
import type { Compat } from "../../src/model/upgrade-contract.ts";
import { compiled } from "../support/compiled.ts";
import { straceEnvironment, withFault } from "../support/strace.ts";
import { failure, makeSite, noSignal, readJson, type Site, startVendor, toyFiles, type Vendor } from "./support.ts";

export type Scenario = {
  readonly strategy: "versions" | "inplace";
  readonly release: "good" | "crashes";
  readonly command: "install" | "rollback";
  readonly hasHop?: boolean;
};

export const scenarios: readonly Scenario[] = (["versions", "inplace"] as const).flatMap((strategy) => [
  { strategy, release: "good", command: "install" },
  { strategy, release: "crashes", command: "install" },
  { strategy, release: "good", command: "rollback" },
]);

/** Two upgrades in one run: the new version is only reached over a waypoint. */
export const hopScenario: Scenario = { strategy: "versions", release: "good", command: "install", hasHop: true };

export const nameOf = ({ strategy, release, command, hasHop }: Scenario): string =>
  hasHop === true
    ? `${strategy}, over a waypoint`
    : command === "rollback"
      ? `${strategy}, an operator's rollback`
      : `${strategy}, a release that ${release === "good" ? "is good" : release}`;

const oldVersion = "1.4.2";
const newVersion = "1.5.0";
const waypoint = "1.4.9";
const driver = join(import.meta.dirname, "kill-driver.ts");

/** How the child is started: at a change (the driver kills itself), or under strace at a system call. */
export type Killer = (site: Site, command: string) => readonly string[];

export const plainRun: Killer = (site, command) => [process.execPath, driver, site.file, command, "0"];
export const killAtChange =
  (change: number): Killer =>
  (site, command) => [process.execPath, driver, site.file, command, String(change)];

/** The same, but the power of the disk fails at the change. */
export const cutAtChange =
  (change: number, disk: string): Killer =>
  (site, command) => [...killAtChange(change)(site, command), disk];

/** What else happens around a kill where it is one of the whole machine. */
export type Outage = {
  readonly ready: () => Promise<void>;
  readonly afterKill: (site: Site) => Promise<void>;
  readonly afterRecovery: (site: Site) => Promise<void>;
};

/** fsync and every call that changes a name; the scripts of the toy product make none of them. */
const durableCalls = "fsync,fdatasync,?rename,?renameat,?renameat2,?symlink,?symlinkat,?mkdir";

/** Kills on entering the N-th durable system call. */
export const killAtCall =
  (nth: number): Killer =>
  (site, command) =>
    withFault(durableCalls, `signal=SIGKILL:when=${nth}`, plainRun(site, command));

export async function runKilled(
  argv: readonly string[],
): Promise<{ readonly isKilled: boolean; readonly exitCode: number | null; readonly stdout: string; readonly stderr: string }> {
  const env = straceEnvironment();
  // Half of a run is compiling. Not under strace: the cache makes folders of its own, and those calls would be counted.
  const result = await runCommand(argv, { timeoutMs: 120_000, env: argv[0] === "strace" ? env : { ...env, ...compiled } });
  assert.ok(!result.isTimedOut, `no end after two minutes: ${argv.join(" ")}\n${result.stderr}`); // or our own limit would pass for the kill
  const isKilled = result.signal === "SIGKILL" || result.exitCode === 137;
  return { isKilled, exitCode: result.exitCode, stdout: result.stdout, stderr: result.stderr };
}

/** A vendor with the old version installed on a fresh machine and the release of the scenario on offer. */
export async function prepareScenario(vendor: Vendor, scenario: Scenario): Promise<Site> {
  vendor.releases.clear();
  await vendor.release(oldVersion);
  const site = await makeSite(vendor, { strategy: scenario.strategy });
  await (await site.updater()).install({ signal: noSignal });
  const promised = (compat: Compat) => ({ changeManifest: (manifest: Manifest) => ({ ...manifest, compat }) });
  if (scenario.hasHop === true) await vendor.release(waypoint, promised({ waypoint: true }));
  await vendor.release(newVersion, {
    files: toyFiles(newVersion, scenario.release),
    ...(scenario.hasHop === true ? promised({ upgradeFrom: ">=1.4.9" }) : {}),
  });
  if (scenario.command === "rollback") await (await site.updater()).install({ signal: noSignal });
  return site;
}

/** The durable changes that a whole run makes, by name, in order. */
export async function listChanges(vendor: Vendor, scenario: Scenario): Promise<readonly string[]> {
  const site = await prepareScenario(vendor, scenario);
  try {
    return JSON.parse((await runKilled(plainRun(site, scenario.command))).stdout) as string[];
  } finally {
    await rm(site.folder, { recursive: true });
  }
}

/** I1: at every moment the live names are whole programs of the old or the new version. */
async function requireRunnable(site: Site, scenario: Scenario): Promise<void> {
  const program = scenario.strategy === "versions" ? join(site.root, "current/bin") : join(site.root, "bin");
  const whole = [oldVersion, ...(scenario.hasHop === true ? [waypoint] : []), newVersion].flatMap((version) => [
    toyFiles(version),
    toyFiles(version, "crashes"),
  ]);
  for (const name of ["toy", "toyctl"]) {
    const content = await readFile(join(program, name), "utf8");
    assert.ok(
      whole.some((files) => files[`bin/${name}`]?.content === content),
      `${name} is neither old nor new`,
    );
    assert.equal((await lstat(join(program, name))).mode & 0o111, 0o111, `${name} can be run`);
  }
}

/** Old and working or new and working; the way back is there; nothing was ever started half old and half new. */
async function requireWhole(site: Site, scenario: Scenario, what: string): Promise<void> {
  await requireRunnable(site, scenario);
  const live = await site.live();
  assert.equal(await site.running(), live, `${what}: what runs is what lies there`);
  await assert.rejects(readFile(join(site.folder, "mixed")), { code: "ENOENT" }, `${what}: never started half old and half new`);
  const journal = await readJson(join(site.updates, "transaction.json"));
  const state = await readJson(join(site.updates, "state.json"));
  const status = await (await site.updater()).status();
  assert.equal(status.installed, live, `${what}: what is recorded is what lies there`);
  assert.equal(await site.state(), live, `${what}: the state belongs to the version`);
  assert.ok(journal["phase"] === "applied" || journal["phase"] === "failed", `${what}: ${String(journal["phase"])}`);
  if (scenario.command === "install" && scenario.release === "crashes") assert.equal(live, oldVersion, what);
  if (live === newVersion) {
    assert.deepEqual(status.previous, scenario.hasHop === true ? [waypoint, oldVersion] : [oldVersion], `${what}: the way back is known`);
    const [previous] = state["previous"] as { backup?: { id: string } }[];
    assert.ok((await readdir(join(site.updates, "backups"))).includes(`${previous?.backup?.id ?? ""}.rbk`), `${what}: the way back has its state`);
  }
  const litter = (await readdir(site.root, { recursive: true })).filter((name) => /(^|\/)\.[^/]*(new|old|tmp|current)-/.test(name));
  const beside = (await readdir(site.folder)).filter((name) => name.startsWith(".data."));
  assert.deepEqual([...litter, ...beside, ...(await readdir(join(site.updates, "staging")))], [], `${what}: nothing is left lying about`);
}

/** Kills as told, one run after the other, then recovers and looks. Returns false where a run came to its end before its kill. */
export async function crashAndRecover(vendor: Vendor, scenario: Scenario, killers: readonly Killer[], outage?: Outage): Promise<boolean> {
  const site = await prepareScenario(vendor, scenario);
  await outage?.ready();
  const points = killers.map((killer) => /when=\d+|\d+(?= \/\S+$)|\d+$/.exec(killer(site, "").join(" "))?.[0] ?? "");
  const what = `${nameOf(scenario)}, killed ${points.join(", then ")}`;
  try {
    let isKilled = true;
    for (const [index, killer] of killers.entries()) {
      const result = await runKilled(killer(site, index === 0 ? scenario.command : "resume"));
      await outage?.afterKill(site);
      await requireRunnable(site, scenario);
      if (!result.isKilled) {
        isKilled = false;
        assert.notEqual(result.exitCode, 1, `${what}: ${result.stderr}`);
        break;
      }
    }
    const recovered = await runKilled(plainRun(site, "resume"));
    assert.ok(!recovered.isKilled && [0, 3, 40].includes(recovered.exitCode ?? -1), `${what}: recovery ended with ${recovered.exitCode}: ${recovered.stderr}`);
    await outage?.afterRecovery(site);
    await requireWhole(site, scenario, what);
    // The machine is not stuck: the next upgrade goes through.
    await vendor.release("1.6.0");
    if (scenario.command === "install") {
      await (await site.updater()).install({ signal: noSignal });
      assert.equal(await site.running(), "1.6.0", `${what}: the next upgrade`);
    } else await failure((await site.updater()).resume({ signal: noSignal }), "nothing_to_resume");
    return isKilled;
  } finally {
    await rm(site.folder, { recursive: true, force: true });
  }
}

/** At most `limit` jobs at once, each with a vendor of its own. */
export async function withVendors<T>(jobs: readonly T[], limit: number, work: (vendor: Vendor, job: T) => Promise<void>): Promise<void> {
  const queue = jobs.values();
  const worker = async (): Promise<void> => {
    const vendor = await startVendor();
    try {
      for (const job of queue) await work(vendor, job);
    } finally {
      await vendor.close();
    }
  };
  await Promise.all(Array.from({ length: limit }, worker));
}
