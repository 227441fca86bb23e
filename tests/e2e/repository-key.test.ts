/** A new repository key takes over while customers' apt, dnf, zypper and a strict reader of apk indexes go on with the old key, both, or the new one. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../src/io/clock.ts";
import { openRepositoryKey } from "../../src/releases/repository-key.ts";
import { openKeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import { openStore } from "../../src/store/store.ts";
import { get, issuePair, publish, startServer } from "../server/running-server.ts";
import { type AptGeneration, withAptRoot } from "../support/apt-root.ts";
import { needClient } from "../support/clients.ts";
import { withDnfRoot } from "../support/dnf-root.ts";
import { withZypperRoot } from "../support/zypper-root.ts";
import {
  apkIndex,
  apkKeyText,
  aptAccepts,
  aptSetup,
  armoredKeys,
  dnfAccepts,
  publishPackages,
  type Reading,
  textAt,
  zypperAccepts,
} from "./rotating-clients.ts";

const product = "coequal";

async function published(t: TestContext): Promise<Reading> {
  const running = await startServer();
  t.after(() => running.stop());
  await publishPackages(running, product, "1.0.0");
  return { running, pair: await issuePair(running, "acme", product), product };
}

for (const generation of ["bookworm", "trixie"] as const satisfies readonly AptGeneration[]) {
  test(`C9 C12 apt of ${generation} with the old key, both, or the new one before, during and after a rotation of the repository key`, async (t) => {
    if (!needClient(t, "mmdebstrap")) return;
    await withAptRoot(
      t,
      async (apt) => {
        const reading = await published(t);
        const { running } = reading;
        const accepts = (sources: string): Promise<boolean> => aptAccepts(apt, reading, sources);
        const old = await aptSetup(reading);
        assert.ok(await accepts(old));
        assert.equal((await running.admin("POST", "/repository-key/rotate", {})).status, 200);
        assert.match(await textAt(reading, `/apt/${product}/dists/stable/Release`), /^Signed-By: [0-9A-F]{40},[0-9A-F]{40}$/m);
        const both = await aptSetup(reading);
        assert.ok(await accepts(old), "the old key is enough during the overlap");
        assert.ok(await accepts(both));
        const again = await running.admin("POST", "/repository-key/rotate", {});
        assert.equal(again.status, 409);
        assert.equal((await running.admin("POST", "/repository-key/finish")).status, 200);
        const fresh = await aptSetup(reading);
        assert.ok(await accepts(both), "whoever took the set-up text during the overlap goes on");
        assert.ok(await accepts(fresh));
        assert.ok(!(await accepts(old)), "the old key alone is refused after the overlap");
        // Stolen: no overlap. What was the new key a moment ago signs no more.
        assert.equal((await running.admin("POST", "/repository-key/rotate", { revokeOldFor: "copied from a backup" })).status, 200);
        assert.ok(!(await accepts(fresh)));
        assert.ok(await accepts(await aptSetup(reading)));
      },
      { generation },
    );
  });
}

test("C13 dnf goes on by itself through a rotation, because it fetches the keys; with the old key alone it is refused after the overlap", async (t) => {
  if (!needClient(t, "dnf", "rpm")) return;
  const reading = await published(t);
  const served = `${reading.running.url}/keys/${product}.asc`;
  const folder = await mkdtemp(join(tmpdir(), "slipway-rotation-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(`${folder}/old.asc`, await armoredKeys(reading));
  await withDnfRoot(t, async (following) => {
    await withDnfRoot(t, async (pinned) => {
      const both = async (): Promise<readonly boolean[]> => [
        await dnfAccepts(following, reading, served),
        await dnfAccepts(pinned, reading, `file://${folder}/old.asc`),
      ];
      assert.deepEqual(await both(), [true, true]);
      await reading.running.admin("POST", "/repository-key/rotate", {});
      assert.equal([...(await armoredKeys(reading)).matchAll(/BEGIN PGP PUBLIC KEY/g)].length, 2);
      assert.deepEqual(await both(), [true, true]);
      await withDnfRoot(t, async (fresh) => assert.ok(await dnfAccepts(fresh, reading, served), "a new machine during the overlap"));
      await reading.running.admin("POST", "/repository-key/finish");
      assert.deepEqual(await both(), [true, false]);
    });
  });
});

test("C13 zypper goes through a rotation with the key that it has, asks for the new one after the overlap, and takes it where it may", async (t) => {
  await withZypperRoot(t, async (zypper) => {
    const reading = await published(t);
    const served = `${reading.running.url}/keys/${product}.asc`;
    const accepts = (mayImport: boolean): Promise<boolean> => zypperAccepts(zypper, reading, { gpgkey: served, mayImport });
    assert.ok(!(await accepts(false)), "a machine that knows no key takes nothing unasked");
    assert.ok(await accepts(true));
    await reading.running.admin("POST", "/repository-key/rotate", {});
    assert.ok(await accepts(false), "the old key is enough during the overlap");
    await reading.running.admin("POST", "/repository-key/finish");
    assert.ok(!(await accepts(false)), "the old key alone is refused after it");
    assert.ok(await accepts(true), "as docs/distribution.md says");
    assert.ok(await accepts(false));
  });
});

test("C9 apk indexes carry the signatures of both keys during the overlap, every published name of a key answers, and retired ones are listed", async (t) => {
  const reading = await published(t);
  const { running } = reading;
  const keyFile = (): string => running.server.context.repositoryKey.apkKey.keyFile;
  const keys: Record<string, string> = {};
  const learnKey = async (name: string): Promise<string> => {
    keys[name] = await apkKeyText(reading, name);
    return name;
  };
  const signers = async (): Promise<readonly string[]> => (await apkIndex(reading)).signedBy(keys);
  const old = await learnKey(keyFile());
  assert.deepEqual(await signers(), [`RSA256 ${old}`, `RSA ${old}`]);
  await running.admin("POST", "/repository-key/rotate", {});
  const fresh = await learnKey(keyFile());
  assert.notEqual(fresh, old);
  const overlap = [`RSA256 ${fresh}`, `RSA ${fresh}`, `RSA256 ${old}`, `RSA ${old}`];
  assert.deepEqual(await signers(), overlap);
  await publish(running, product, "1.0.1");
  assert.deepEqual(await signers(), overlap, "a publication goes on with both");

  // Another server on the same database follows without a restart.
  const { dataDir } = running;
  const store = await openStore({ dataDir, clock: systemClock });
  const other = await openRepositoryKey(store, await openKeyEncryptionKey({ dataDir }));
  assert.notEqual(other.overlap, undefined);
  await running.admin("POST", "/repository-key/finish");
  await other.reload?.();
  assert.equal(other.overlap, undefined);
  assert.equal(other.apkKey.keyFile, fresh);
  const sealed = await store.db.selectFrom("server_keys").select("sealed_private").where("generation", "=", 1).execute();
  assert.ok(
    sealed.every((row) => row.sealed_private === ""),
    "the private halves of the old pair are gone",
  );
  await store.close();

  assert.deepEqual(await signers(), [`RSA256 ${fresh}`, `RSA ${fresh}`]);
  assert.equal((await get(running, `/keys/apk/${old}`)).status, 404);
  const listed = JSON.parse(await textAt(reading, `/keys/${product}.json`)) as { keys: { fingerprint: string; retiredAt: string | null }[] };
  assert.deepEqual(
    listed.keys
      .filter(({ retiredAt }) => retiredAt !== null)
      .map(({ fingerprint }) => fingerprint)
      .includes(old),
    true,
  );
  const { generations } = (await running.admin("GET", "/repository-key")).body as { generations: { state: string }[] };
  assert.deepEqual(
    generations.map(({ state }) => state),
    ["retired", "current"],
  );
  const events = (await running.admin("GET", "/audit?limit=100")).body["events"] as { action: string }[];
  for (const action of ["repository-key.rotate", "repository-key.finish"])
    assert.ok(
      events.some((event) => event.action === action),
      action,
    );
  assert.equal((await running.admin("POST", "/repository-key/finish")).status, 409);
});
