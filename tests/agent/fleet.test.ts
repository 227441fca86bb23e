/** A rollout over several hosts: order, halt at the first rollback, going on after a cut, promises of mixed versions, hooks that misbehave. */
import assert from "node:assert/strict";
import { chmod, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { type FleetEvent, type FleetReport, planFleet, upgradeFleet } from "../../src/agent/fleet.ts";
import { type Fleet, loadFleet } from "../../src/agent/fleet-file.ts";
import { readFleetRecord } from "../../src/agent/fleet-record.ts";
import { runCommand } from "../../src/io/command.ts";
import type { Manifest } from "../../src/model/manifest.ts";
import { failure, noSignal, startVendor, type Vendor } from "../updater/support.ts";
import { startAgent, type TestAgent } from "./support.ts";

const slipway = join(import.meta.dirname, "../../bin/slipway");
const mixable = (mixedWith: readonly string[]) => ({ changeManifest: (manifest: Manifest) => ({ ...manifest, compat: { mixedWith: [...mixedWith] } }) });

type Cluster = {
  readonly vendor: Vendor;
  readonly agents: readonly TestAgent[];
  readonly file: string;
  readonly log: string;
  readonly fleet: () => Promise<Fleet>;
};

/** Hosts with 1.4.2 and hooks that write into one log. */
async function startCluster(t: TestContext, count: number, options: { readonly extra?: string; readonly drain?: string } = {}): Promise<Cluster> {
  const vendor = await startVendor(t);
  const agents: TestAgent[] = [];
  for (let index = 0; index < count; index += 1) agents.push(await startAgent(t, { vendor }));
  const folder = agents[0]?.site.folder ?? "";
  const log = join(folder, "hooks.log");
  const hook = join(folder, "hook.sh");
  await writeFile(hook, `#!/bin/sh\necho "$@" >> ${log}\n`);
  await chmod(hook, 0o755);
  const file = join(folder, "hosts.yaml");
  const hosts = agents.map(
    ({ socket }, index) =>
      `  - { name: n${index + 1}, agent: "unix:${socket}", drain: ${options.drain ?? `[${hook}, drain, n${index + 1}]`}, undrain: [${hook}, undrain, n${index + 1}] }\n`,
  );
  await writeFile(file, `product: toy\n${options.extra ?? ""}\nhosts:\n${hosts.join("")}`);
  return { vendor, agents, file, log, fleet: () => loadFleet(file, {}) };
}

async function upgrade(cluster: Cluster, events: FleetEvent[] = []): Promise<FleetReport> {
  const surroundings = {
    fleet: await cluster.fleet(),
    runCommand,
    sleep: (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, Math.min(ms, 30))),
    observe: (event: FleetEvent) => void events.push(event),
    signal: noSignal,
  };
  return upgradeFleet(surroundings, await planFleet(surroundings, undefined), `${cluster.file}.record.json`);
}

test("81 node 2 of 4 rolls back: the rollout halts, the others stay on their version, and every node serves; the same command goes on", async (t) => {
  const cluster = await startCluster(t, 4);
  await cluster.vendor.release("1.5.0", mixable(["1.4"]));
  const broken = join(cluster.agents[1]?.site.folder ?? "", "serve.sh");
  const good = await readFile(broken, "utf8");
  await writeFile(broken, `[ "$VERSION" = 1.5.0 ] && exit 1\n${good}`);
  const byCommand = await runCommand([slipway, "fleet", "upgrade", cluster.file, "--json"], { timeoutMs: 60_000 });
  assert.equal(byCommand.exitCode, 40, byCommand.stdout + byCommand.stderr);
  const report = JSON.parse(byCommand.stdout.trim().split("\n").at(-1) ?? "") as {
    isHalted: boolean;
    hosts: { host: string; state: string; isDrained: boolean }[];
  };
  assert.ok(report.isHalted);
  assert.deepEqual(
    report.hosts.map(({ host, state, isDrained }) => [host, state, isDrained]),
    [
      ["n1", "upgraded", false],
      ["n2", "rolled_back", false],
      ["n3", "waits", false],
      ["n4", "waits", false],
    ],
  );
  assert.deepEqual(await Promise.all(cluster.agents.map(({ site }) => site.running())), ["1.5.0", "1.4.2", "1.4.2", "1.4.2"]);
  assert.equal(await readFile(cluster.log, "utf8"), "drain n1\nundrain n1\ndrain n2\nundrain n2\n");
  // The cause is gone, and the operator has let the version in again.
  await writeFile(broken, good);
  await (await cluster.agents[1]?.site.updater())?.control({ kind: "unblock", version: "1.5.0" as never });
  const again = await upgrade(cluster);
  assert.deepEqual(
    again.hosts.map(({ state }) => state),
    ["already", "upgraded", "upgraded", "upgraded"],
  );
  assert.deepEqual((await readFleetRecord(`${cluster.file}.record.json`))?.drained, []);
});

test("a release that does not promise to run beside the present one is refused before anything is drained, unless all stop at once", async (t) => {
  const cluster = await startCluster(t, 2);
  await cluster.vendor.release("1.5.0");
  await failure(upgrade(cluster), "compat_violation", "mixed_versions");
  await assert.rejects(readFile(cluster.log), { code: "ENOENT" });
  await writeFile(cluster.file, (await readFile(cluster.file, "utf8")).replace("product: toy", "product: toy\nmax_unavailable: 2"));
  const report = await upgrade(cluster);
  assert.deepEqual(
    report.hosts.map(({ state }) => state),
    ["upgraded", "upgraded"],
  );
});

test("84 hooks that hang are killed in time, their flood is capped, and 75 is tried again", async (t) => {
  const cluster = await startCluster(t, 1, { extra: "hook_timeout_seconds: 0.3", drain: '[sh, -c, "yes flood; sleep 100"]' });
  await cluster.vendor.release("1.4.3");
  const hung = await upgrade(cluster);
  assert.equal(hung.hosts[0]?.state, "failed");
  assert.match(hung.hosts[0]?.error?.message ?? "", /drain: no end after 0\.3 s/);
  assert.ok((hung.hosts[0]?.error?.message.length ?? 0) < 2000);
  assert.ok(hung.hosts[0]?.isDrained, "whether the drain happened is not known");
  assert.equal(await cluster.agents[0]?.site.running(), "1.4.2");
  const folder = cluster.agents[0]?.site.folder ?? "";
  const later = `[sh, -c, "test -e ${folder}/second || { touch ${folder}/second; exit 75; }"]`;
  await writeFile(cluster.file, (await readFile(cluster.file, "utf8")).replace('[sh, -c, "yes flood; sleep 100"]', later));
  const report = await upgrade(cluster);
  assert.deepEqual([report.hosts[0]?.state, report.hosts[0]?.isDrained, report.hosts[0]?.error], ["upgraded", false, undefined]);
});

test("a file of hosts is refused where a token would travel in the clear or stand in the file", async (t) => {
  const cluster = await startCluster(t, 1);
  for (const [line, why] of [
    ["{ name: a, agent: 'http://node.example:8431' }", /https/],
    ["{ name: a, agent: 'https://node.example', token: slagent_x }", /env:NAME or file:PATH/],
    ["{ name: a, agent: 'https://node.example', token: 'env:NOT_SET' }", /NOT_SET is not set/],
  ] as const) {
    await writeFile(cluster.file, `product: toy\nhosts:\n  - ${line}\n`);
    assert.match((await failure(cluster.fleet(), "installation_invalid")).message, why);
  }
});
