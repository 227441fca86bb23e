/** A rotation of the repository key as dnf 5 sees it, and one that is killed at each of its durable steps: every client works, and it is gone on with. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { issuePair, startServer } from "../server/running-server.ts";
import { type AptRoot, withAptRoot } from "../support/apt-root.ts";
import { needClient } from "../support/clients.ts";
import { type DnfRoot, withDnfRoot } from "../support/dnf-root.ts";
import { withDnf5Root } from "../support/dnf5-root.ts";
import { freePort } from "../support/vendor.ts";
import { withZypperRoot, type ZypperRoot } from "../support/zypper-root.ts";
import { apkIndex, apkKeyText, aptAccepts, aptSetup, armoredKeys, dnfAccepts, publishPackages, type Reading, zypperAccepts } from "./rotating-clients.ts";

const product = "coequal";

test("C13 dnf 5 goes through a rotation with the keys that it fetches; with the old key alone it is refused after the overlap", async (t) => {
  await withDnf5Root(t, async (following) => {
    await withDnf5Root(t, async (pinned) => {
      const running = await startServer();
      t.after(() => running.stop());
      await publishPackages(running, product, "1.0.0");
      const reading: Reading = { running, pair: await issuePair(running, "acme", product), product };
      await writeFile(join(pinned.inside(".."), "old.asc"), await armoredKeys(reading));
      /** It looks at a signature again only where repomd.xml is not the one that it has. */
      const forget = (): Promise<unknown> => pinned.command(["rm", "-rf", "/var/cache/slipway-dnf"]);
      const both = async (): Promise<readonly boolean[]> => [
        await dnfAccepts(following, reading, `${running.url}/keys/${product}.asc`),
        await dnfAccepts(pinned, reading, "file:///old.asc"),
      ];
      assert.deepEqual(await both(), [true, true]);
      await running.admin("POST", "/repository-key/rotate", {});
      assert.deepEqual(await both(), [true, true]);
      await running.admin("POST", "/repository-key/finish");
      await forget();
      assert.deepEqual(await both(), [true, false]);
    });
  });
});

type Machines = { readonly apt: AptRoot; readonly dnf: DnfRoot; readonly zypper: ZypperRoot };

async function withMachines(t: TestContext, fn: (machines: Machines) => Promise<void>): Promise<void> {
  await withAptRoot(t, (apt) => withDnfRoot(t, (dnf) => withZypperRoot(t, (zypper) => fn({ apt, dnf, zypper }))));
}

async function killedAt(dataDir: string, act: string, step: string): Promise<void> {
  const driver = join(import.meta.dirname, "rotation-driver.ts");
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", driver, dataDir, act, step], { stdio: ["ignore", "ignore", "inherit"] });
  await once(child, "close");
  assert.equal(child.signalCode, "SIGKILL", `${act} was killed at ${step}`);
}

test("C9 C12 C13 a rotation that is killed at any of its steps leaves apt, dnf, zypper and apk working, and goes on", async (t) => {
  if (!needClient(t, "mmdebstrap", "dnf", "rpm")) return;
  await withMachines(t, async (machines) => {
    const folder = await mkdtemp(join(tmpdir(), "slipway-rotation-"));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const dataDir = join(folder, "data");
    // The order of the products is the order of signing: the second one's clients see the half-done rotation.
    const products = [product, "zeta"];
    const start = { isFirst: true };
    const listen = `127.0.0.1:${await freePort()}`; // set-up texts name it
    /** With a server on the data folder, as after a crash of the last one. */
    const served = async <T>(act: (readings: readonly Reading[]) => Promise<T>): Promise<T> => {
      const running = await startServer({ dataDir, listen });
      try {
        if (start.isFirst) for (const name of products) await publishPackages(running, name, "1.0.0");
        start.isFirst = false;
        const readings: Reading[] = [];
        for (const name of products) readings.push({ running, product: name, pair: await issuePair(running, "acme", name) });
        return await act(readings);
      } finally {
        await running.server.stop();
      }
    };
    const statesNow = async (reading: Reading): Promise<readonly string[]> => {
      const { generations } = (await reading.running.admin("GET", "/repository-key")).body as { generations: { state: string }[] };
      return generations.map(({ state }) => state);
    };
    type SetUp = { readonly sources: string; readonly keys: string; readonly apk: Readonly<Record<string, string>> };
    const setUp = async (reading: Reading): Promise<SetUp> => {
      const { repositoryKey } = reading.running.server.context;
      const names = [repositoryKey.apkKey, repositoryKey.overlap?.apkKey].flatMap((key) => (key === undefined ? [] : [key.keyFile]));
      const apk = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await apkKeyText(reading, name)] as const)));
      return { sources: await aptSetup(reading), keys: await armoredKeys(reading), apk };
    };
    /** Every client, set up like this once, takes what is served now. */
    const allAccept = async (readings: readonly Reading[], setUps: readonly SetUp[], when: string): Promise<void> => {
      for (const [at, reading] of readings.entries()) {
        const known = setUps[at];
        assert.ok(known !== undefined);
        const where = `${reading.product}, ${when}`;
        // No key of an earlier stage helps.
        await rm(join(machines.dnf.path, "..", "cache"), { recursive: true, force: true });
        await machines.zypper.rpm(["-e", "--allmatches", "gpg-pubkey"]);
        await writeFile(join(folder, "known.asc"), known.keys);
        await writeFile(join(machines.zypper.path, "known.asc"), known.keys);
        assert.ok(await aptAccepts(machines.apt, reading, known.sources), `apt of ${where}`);
        assert.ok(await dnfAccepts(machines.dnf, reading, `file://${folder}/known.asc`), `dnf of ${where}`);
        assert.ok(await zypperAccepts(machines.zypper, reading, { gpgkey: "file:///known.asc", mayImport: true }), `zypper of ${where}`);
        assert.ok((await apkIndex(reading)).isAcceptedWith(known.apk), `apk of ${where}`);
      }
    };
    const setUpsOf = (readings: readonly Reading[]): Promise<readonly SetUp[]> => Promise.all(readings.map(setUp));

    const old = await served(async (readings) => {
      const setUps = await setUpsOf(readings);
      await allAccept(readings, setUps, "before");
      return setUps;
    });
    await killedAt(dataDir, "rotate", "transaction");
    await served(async (readings) => {
      assert.deepEqual(await statesNow(readings[0] ?? assert.fail()), ["current"], "nothing has begun");
      await allAccept(readings, old, "killed in the transaction");
    });
    await killedAt(dataDir, "rotate", "committed");
    const both = await served(async (readings) => {
      const [reading] = readings;
      assert.ok(reading !== undefined);
      assert.deepEqual(await statesNow(reading), ["outgoing", "incoming"]);
      await allAccept(readings, old, "rotate killed before anything was signed anew");
      assert.equal((await reading.running.admin("POST", "/repository-key/rotate", {})).status, 409, "it has begun");
      const setUps = await setUpsOf(readings);
      await allAccept(readings, setUps, "with both keys");
      return setUps;
    });
    await killedAt(dataDir, "finish", "half");
    const fresh = await served(async (readings) => {
      assert.deepEqual(await statesNow(readings[0] ?? assert.fail()), ["retired", "current"]);
      await allAccept(readings, both, "finish killed between two products");
      const setUps = await setUpsOf(readings);
      await allAccept(readings, setUps, "with the new key alone");
      return setUps;
    });
    await killedAt(dataDir, "revoke", "half");
    await served(async (readings) => {
      const [reading] = readings;
      assert.ok(reading !== undefined);
      assert.deepEqual(await statesNow(reading), ["retired", "retired", "current"]);
      await allAccept(readings, await setUpsOf(readings), "a stolen key's successor, killed between two products");
      for (const [at, each] of readings.entries()) {
        const sources = fresh[at]?.sources ?? "";
        assert.ok(!(await aptAccepts(machines.apt, each, sources)), `${each.product}: the stolen key signs nothing that is served`);
      }
      // The next one begins and ends as if nothing had happened.
      assert.equal((await reading.running.admin("POST", "/repository-key/rotate", {})).status, 200);
      assert.equal((await reading.running.admin("POST", "/repository-key/finish")).status, 200);
      await allAccept(readings, await setUpsOf(readings), "after the next rotation");
    });
  });
});
