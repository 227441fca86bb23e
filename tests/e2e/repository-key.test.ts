/** A new repository key takes over while customers' apt, dnf and a strict reader of apk indexes go on with the old key, both, or the new one. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { readApkIndex } from "../../src/formats/apk-index-read.ts";
import { systemClock } from "../../src/io/clock.ts";
import { parseVersion } from "../../src/model/version.ts";
import { openRepositoryKey } from "../../src/releases/repository-key.ts";
import { openKeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import { openStore } from "../../src/store/store.ts";
import { readApkPublicKey, verifyApkMember } from "../../src/trust/apk-signature.ts";
import { apkBytes, apkKey, signWith } from "../formats/apk-sample.ts";
import { file, sampleSpec } from "../formats/sample.ts";
import { get, issuePair, type Pair, publish, type RunningServer, startServer } from "../server/running-server.ts";
import { type AptGeneration, type AptRoot, withAptRoot } from "../support/apt-root.ts";
import { needClient } from "../support/clients.ts";
import { type DnfRoot, withDnfRoot } from "../support/dnf-root.ts";

const product = "coequal";

async function publishedServer(t: TestContext): Promise<{ readonly running: RunningServer; readonly pair: Pair }> {
  const running = await startServer();
  t.after(() => running.stop());
  const entries = [file(`/usr/bin/${product}`, "#!/bin/sh\n", { mode: 0o755 })];
  const content = await apkBytes(sampleSpec({ name: product, version: parseVersion("1.0.0"), entries }), { signControl: signWith(apkKey) });
  await publish(running, product, "1.0.0", [{ name: `${product}_1.0.0_x86_64.apk`, content }]);
  return { running, pair: await issuePair(running, "acme", product) };
}

async function text(running: RunningServer, path: string, pair?: Pair): Promise<string> {
  const answer = await get(running, path, pair);
  assert.equal(answer.status, 200, path);
  return answer.text();
}

type Customer = { readonly old: string; readonly both: string; readonly fresh: string };

/** Whether apt with this set-up takes the indexes as they are now, from an empty state. */
async function aptAccepts(apt: AptRoot, sources: string): Promise<boolean> {
  await apt.command(["rm", "-rf", "/var/lib/apt/lists"]);
  await apt.writeSource(sources);
  const end = await apt.run(["update", "--error-on=any"]);
  if (end.exitCode !== 0) assert.match(end.stdout + end.stderr, /NO_PUBKEY|Missing key|not signed/i);
  return end.exitCode === 0;
}

for (const generation of ["bookworm", "trixie"] as const satisfies readonly AptGeneration[]) {
  test(`C9 C12 apt of ${generation} with the old key, both, or the new one before, during and after a rotation of the repository key`, async (t) => {
    if (!needClient(t, "mmdebstrap")) return;
    await withAptRoot(
      t,
      async (apt) => {
        const { running, pair } = await publishedServer(t);
        await apt.writeAuth(`machine ${running.url}/apt/${product} login ${pair.id} password ${pair.secret}\n`);
        const sources = (): Promise<string> => text(running, `/setup/${product}/${product}.sources`, pair);
        const old = await sources();
        assert.ok(await aptAccepts(apt, old));
        assert.equal((await running.admin("POST", "/repository-key/rotate", {})).status, 200);
        assert.match(await text(running, `/apt/${product}/dists/stable/Release`, pair), /^Signed-By: [0-9A-F]{40},[0-9A-F]{40}$/m);
        const both = await sources();
        assert.ok(await aptAccepts(apt, old), "the old key is enough during the overlap");
        assert.ok(await aptAccepts(apt, both));
        const again = await running.admin("POST", "/repository-key/rotate", {});
        assert.equal(again.status, 409);
        assert.equal((await running.admin("POST", "/repository-key/finish")).status, 200);
        const customer: Customer = { old, both, fresh: await sources() };
        assert.ok(await aptAccepts(apt, customer.both), "whoever took the set-up text during the overlap goes on");
        assert.ok(await aptAccepts(apt, customer.fresh));
        assert.ok(!(await aptAccepts(apt, customer.old)), "the old key alone is refused after the overlap");
        // Stolen: no overlap. What was the new key a moment ago signs no more.
        assert.equal((await running.admin("POST", "/repository-key/rotate", { revokeOldFor: "copied from a backup" })).status, 200);
        assert.ok(!(await aptAccepts(apt, customer.fresh)));
        assert.ok(await aptAccepts(apt, await sources()));
      },
      { generation },
    );
  });
}

/** A machine that was set up with these keys and cannot fetch others, as one behind a strict proxy. */
async function dnfAccepts(dnf: DnfRoot, at: { readonly running: RunningServer; readonly pair: Pair; readonly gpgkey: string }): Promise<boolean> {
  const { running, pair, gpgkey } = at;
  const repo = (await text(running, `/setup/${product}/${product}.repo`, pair)).replaceAll(/^(username|password)=.*\n?/gm, "");
  await dnf.writeRepo(`${repo.replace(/^gpgkey=.*$/m, `gpgkey=${gpgkey}`).trim()}\nusername=${pair.id}\npassword=${pair.secret}\n`);
  const end = await dnf.run(["makecache", "--refresh"]);
  if (end.exitCode !== 0) assert.match(end.stdout + end.stderr, /GPG|signature|key/i);
  return end.exitCode === 0;
}

test("C13 dnf goes on by itself through a rotation, because it fetches the keys; with the old key alone it is refused after the overlap", async (t) => {
  if (!needClient(t, "dnf", "rpm")) return;
  const { running, pair } = await publishedServer(t);
  const served = `${running.url}/keys/${product}.asc`;
  const fixed = (await text(running, `/keys/${product}.asc`)).replaceAll("\r", "");
  const folder = await mkdtemp(join(tmpdir(), "slipway-rotation-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(`${folder}/old.asc`, fixed);
  const oldOnly = `file://${folder}/old.asc`;
  await withDnfRoot(t, async (following) => {
    await withDnfRoot(t, async (pinned) => {
      const both = async (): Promise<readonly boolean[]> => [
        await dnfAccepts(following, { running, pair, gpgkey: served }),
        await dnfAccepts(pinned, { running, pair, gpgkey: oldOnly }),
      ];
      assert.deepEqual(await both(), [true, true]);
      await running.admin("POST", "/repository-key/rotate", {});
      assert.equal([...(await text(running, `/keys/${product}.asc`)).matchAll(/BEGIN PGP PUBLIC KEY/g)].length, 2);
      assert.deepEqual(await both(), [true, true]);
      await withDnfRoot(t, async (fresh) => assert.ok(await dnfAccepts(fresh, { running, pair, gpgkey: served }), "a new machine during the overlap"));
      await running.admin("POST", "/repository-key/finish");
      assert.deepEqual(await both(), [true, false]);
    });
  });
});

test("C9 apk indexes carry the signatures of both keys during the overlap, every published name of a key answers, and retired ones are listed", async (t) => {
  const { running, pair } = await publishedServer(t);
  const keyFile = (): string => running.server.context.repositoryKey.apkKey.keyFile;
  const publicKey = async (name: string) => readApkPublicKey(await text(running, `/keys/apk/${name}`));
  const signers = async (): Promise<readonly string[]> => {
    const answer = await get(running, `/apk/${product}/stable/x86_64/APKINDEX.tar.gz`, pair);
    const index = await readApkIndex(new Uint8Array(await answer.arrayBuffer()));
    return index.signatures.filter(({ algorithm }) => algorithm === "RSA256").map((signature) => signature.keyFile);
  };
  const old = keyFile();
  const oldKey = await publicKey(old);
  assert.deepEqual(await signers(), [old]);
  await running.admin("POST", "/repository-key/rotate", {});
  const fresh = keyFile();
  assert.notEqual(fresh, old);
  assert.deepEqual(await signers(), [fresh, old]);
  const answer = await get(running, `/apk/${product}/stable/x86_64/APKINDEX.tar.gz`, pair);
  const index = await readApkIndex(new Uint8Array(await answer.arrayBuffer()));
  for (const key of [oldKey, await publicKey(fresh)])
    assert.equal(verifyApkMember({ member: index.signedBytes, signatures: index.signatures }, [key]).keyFile, key.keyFile);
  await publish(running, product, "1.0.1");
  assert.deepEqual(await signers(), [fresh, old], "a publication goes on with both");

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

  assert.deepEqual(await signers(), [fresh]);
  assert.equal((await get(running, `/keys/apk/${old}`)).status, 404);
  const listed = JSON.parse(await text(running, `/keys/${product}.json`)) as { keys: { fingerprint: string; retiredAt: string | null }[] };
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
