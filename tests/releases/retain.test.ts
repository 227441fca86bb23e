/** Retention, the renewal of signed indexes, and the sweep, on both databases. */
import assert from "node:assert/strict";
import { readdir, utimes } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { openAuditTrail } from "../../src/access/audit-trail.ts";
import type { Digest } from "../../src/model/digest.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { createProduct, requireProduct } from "../../src/releases/products.ts";
import { refreshSnapshots } from "../../src/releases/refresh.ts";
import { createDownloadResolver, type Resolution } from "../../src/releases/resolve.ts";
import { applyRetention, planRetention } from "../../src/releases/retain.ts";
import { readHead } from "../../src/releases/snapshot.ts";
import { sweep } from "../../src/releases/sweep.ts";
import type { Store } from "../../src/store/store.ts";
import { storeTest } from "../support/stores.ts";
import { actor, attachBytes, digestOf, product, publish, sampleRelease, stage, testRepositoryKey } from "./sample-release.ts";

const repositoryKey = testRepositoryKey();
const isStale = (error: unknown): boolean => error instanceof SlipwayError && error.code === "plan_stale";

async function publishAll(store: Store, versions: readonly string[], keep: number): Promise<void> {
  for (const version of versions) {
    const release = await sampleRelease(version);
    await stage(store, release);
    await publish(store, release, await repositoryKey, keep);
  }
}

async function bytesOf(store: Store, resolution: Resolution): Promise<Buffer> {
  assert.ok(resolution.kind === "file");
  return store.blobs.read(resolution.digest, 10_000_000);
}

/** What is live in the store and which digests the database needs: every needed one must be there. */
async function missingBlobs(store: Store): Promise<readonly Digest[]> {
  const files = await store.db.selectFrom("snapshot_files").select("digest").execute();
  const artifacts = await store.db
    .selectFrom("artifacts")
    .innerJoin("releases", "releases.id", "artifacts.release_id")
    .select("artifacts.digest")
    .where("releases.state", "!=", "retired")
    .execute();
  const missing: Digest[] = [];
  for (const { digest } of [...files, ...artifacts]) if ((await store.blobs.stat(digest)) === undefined) missing.push(digest);
  return missing;
}

storeTest("C6 the applied plan is the shown one: the oldest leaves every index, answers gone, and its bytes are freed", async (_, { store }) => {
  const resolver = createDownloadResolver(store);
  await publishAll(store, ["1.3.0", "1.4.0", "1.4.1"], 2);
  const oldPackages = await resolver.resolve({ product, tree: "apt", path: "dists/stable/main/binary-amd64/Packages.gz" });
  assert.ok(oldPackages.kind === "file");
  const byHash = `dists/stable/main/binary-amd64/by-hash/SHA256/${oldPackages.digest.slice(7)}`;
  const deb = await resolver.resolve({ product, tree: "apt", path: "pool/main/c/coequal/coequal_1.3.0_amd64.deb" });
  assert.ok(deb.kind === "file");

  const plan = await planRetention(store, product);
  assert.deepEqual([plan.retires.map((one) => [one.version, one.replacement, one.files]), plan.keeps], [[["1.3.0", "1.4.1", 6]], ["1.4.1", "1.4.0"]]);
  const key = await repositoryKey;
  await assert.rejects(applyRetention(store, { product, basis: "0".repeat(64), repositoryKey: key, actor }), isStale);
  const { plan: applied, quarantinedBytes } = await applyRetention(store, { product, basis: plan.basis, repositoryKey: key, actor });
  assert.deepEqual(applied, plan);
  assert.ok(quarantinedBytes > 0);

  for (const [tree, path] of [
    ["releases", "1.3.0/SHA256SUMS"],
    ["apt", "pool/main/c/coequal/coequal_1.3.0_amd64.deb"],
    ["yum", "stable/x86_64/coequal-1.3.0-1.x86_64.rpm"],
  ] as const) {
    assert.deepEqual(await resolver.resolve({ product, tree, path }), { kind: "gone", version: "1.3.0", state: "retired", replacement: "1.4.1" });
  }
  const packages = gunzipSync(
    await bytesOf(store, await resolver.resolve({ product, tree: "apt", path: "dists/stable/main/binary-amd64/Packages.gz" })),
  ).toString();
  assert.deepEqual(packages.match(/^Version: .*$/gm), ["Version: 1.4.0", "Version: 1.4.1"]);
  assert.equal(await store.blobs.stat(deb.digest), undefined, "its bytes are out of reach");
  assert.ok(
    gunzipSync(await bytesOf(store, await resolver.resolve({ product, tree: "apt", path: byHash }))).includes("Version: 1.3.0"),
    "the index of a moment ago is still read",
  );
  assert.deepEqual(await missingBlobs(store), []);

  const idle = await planRetention(store, product);
  assert.deepEqual(idle.retires, []);
  assert.equal((await applyRetention(store, { product, basis: idle.basis, repositoryKey: key, actor })).quarantinedBytes, 0);
  await assert.rejects(applyRetention(store, { product, basis: plan.basis, repositoryKey: key, actor }), isStale);
  const { events } = await openAuditTrail(store).list({ action: "release.retire" });
  assert.deepEqual(
    events.map((event) => [event.version, event.detail]),
    [["1.3.0", "replaced by 1.4.1"]],
  );
  resolver.close();
});

storeTest("C6 a plan made before another release was published is refused", async (_, { store }) => {
  await publishAll(store, ["1.3.0", "1.4.0"], 1);
  const plan = await planRetention(store, product);
  await publishAll(store, ["1.5.0"], 1);
  await assert.rejects(applyRetention(store, { product, basis: plan.basis, repositoryKey: await repositoryKey, actor }), isStale);
  assert.deepEqual(
    (await planRetention(store, product)).retires.map((one) => one.version),
    ["1.3.0", "1.4.0"],
  );
});

storeTest("C6 a release published while retention is applied is there, and the plan is applied whole or refused", async (_, { store }) => {
  const resolver = createDownloadResolver(store);
  const key = await repositoryKey;
  await publishAll(store, ["1.3.0", "1.4.0", "1.4.1"], 2);
  for (const version of ["1.5.0", "1.5.1", "1.5.2", "1.5.3"]) {
    const release = await sampleRelease(version);
    await stage(store, release);
    const plan = await planRetention(store, product);
    const [published, applied] = await Promise.allSettled([
      publish(store, release, key),
      applyRetention(store, { product, basis: plan.basis, repositoryKey: key, actor }),
    ]);
    assert.equal(published.status, "fulfilled");
    if (applied.status === "rejected") assert.ok(isStale(applied.reason), String(applied.reason));
    for (const { version: leaving } of plan.retires) {
      const found = await resolver.resolve({ product, tree: "releases", path: `${leaving}/SHA256SUMS` });
      assert.equal(found.kind, applied.status === "fulfilled" ? "gone" : "file", leaving);
    }
    const rows = await store.db.selectFrom("releases").select("version").where("state", "=", "published").execute();
    const packages = await resolver.resolve({ product, tree: "apt", path: "dists/stable/main/binary-amd64/Packages.gz" });
    const listed =
      gunzipSync(await bytesOf(store, packages))
        .toString()
        .match(/(?<=^Version: ).*$/gm) ?? [];
    assert.deepEqual(listed.toSorted(), rows.map((row) => String(row.version)).toSorted(), "the index lists what is published, nothing else");
    assert.ok(listed.some((one) => one === version));
    assert.deepEqual(await missingBlobs(store), []);
  }
  resolver.close();
});

storeTest("bytes that a kept release shares with a retired one stay", async (_, { store }) => {
  const shared = { name: "LICENSE", bytes: Buffer.from("the same text in every release\n") };
  for (const version of ["1.3.0", "1.4.0"]) {
    const release = await sampleRelease(version, { extra: [shared] });
    await stage(store, release);
    await publish(store, release, await repositoryKey, 1);
  }
  const { basis } = await planRetention(store, product);
  await applyRetention(store, { product, basis, repositoryKey: await repositoryKey, actor });
  assert.notEqual(await store.blobs.stat(digestOf(shared.bytes)), undefined);
  assert.deepEqual(await missingBlobs(store), []);
});

storeTest("signed indexes are renewed when they are a day old: new dates, the same packages files, and only once", async (_, { store, clock }) => {
  const key = await repositoryKey;
  const resolver = createDownloadResolver(store);
  await publishAll(store, ["1.4.0"], 10);
  const paths = ["dists/stable/InRelease", "dists/stable/main/binary-amd64/Packages.gz"] as const;
  const read = () => Promise.all(paths.map((path) => resolver.resolve({ product, tree: "apt", path })));
  const before = await read();
  assert.deepEqual(await refreshSnapshots(store, key), []);
  clock.advance(25 * 3_600_000);
  assert.deepEqual(await refreshSnapshots(store, key), [product]);
  assert.deepEqual(await refreshSnapshots(store, key), []);
  const after = await read();
  const [oldRelease, oldPackages, newRelease, newPackages] = [...before, ...after];
  assert.ok(oldRelease?.kind === "file" && newRelease?.kind === "file");
  assert.notEqual(oldRelease.digest, newRelease.digest);
  assert.deepEqual(newPackages, oldPackages, "also with the same time, so that clients do not fetch it again");
  assert.match((await bytesOf(store, newRelease)).toString(), /^Valid-Until: Mon, 09 Mar 2026 13:00:00 UTC$/m);
  resolver.close();
});

storeTest("the sweep forgets old snapshots and what nobody attached, and touches nothing that is needed", async (_, { store, clock, dataDir }) => {
  const resolver = createDownloadResolver(store);
  await publishAll(store, ["1.3.0", "1.4.0"], 10);
  await stage(store, await sampleRelease("1.5.0"));
  const orphan = await store.blobs.put(Buffer.from("uploaded and never attached"));
  const superseded = await store.db.selectFrom("snapshots").select("id").where("superseded_at", "is not", null).execute();
  assert.equal(superseded.length, 1);
  // The blobs are as old as the clock says: the disk has its own time.
  const age = async (): Promise<void> => {
    const folder = join(dataDir, "blobs", "sha256");
    const time = new Date(clock.now().getTime() - 49 * 3_600_000);
    for (const first of await readdir(folder)) for (const name of await readdir(join(folder, first))) await utimes(join(folder, first, name), time, time);
  };
  await age();
  const first = await sweep(store);
  assert.equal(first.quarantinedBytes, orphan.size, "within 48 hours the old snapshot's files stay");
  clock.advance(49 * 3_600_000);
  await age();
  const second = await sweep(store);
  assert.ok(second.quarantinedBytes > 0);
  assert.deepEqual(
    await store.db
      .selectFrom("snapshots")
      .select("id")
      .where("id", "=", superseded[0]?.id ?? "")
      .execute(),
    [],
  );
  assert.deepEqual(await missingBlobs(store), []);
  const files = await store.db.selectFrom("snapshot_files").select("digest").execute();
  const artifacts = await store.db.selectFrom("artifacts").select("digest").execute();
  const named = new Set([...files, ...artifacts].map((row) => row.digest));
  for await (const { digest } of store.blobs.list()) assert.ok(named.has(digest), "of an index that nobody is given any more nothing is left");
  for (const path of ["1.3.0/SHA256SUMS", "1.4.0/SHA256SUMS", "index.json"])
    assert.equal((await resolver.resolve({ product, tree: "releases", path })).kind, "file");
  assert.equal(await store.blobs.stat(orphan.digest), undefined);
  resolver.close();
});

storeTest("an artifact attached while the sweep takes its blob keeps it", async (_, { store }) => {
  await createProduct(store, { name: product, actor });
  await stage(store, await sampleRelease("1.4.0"));
  const bytes = Buffer.from("uploaded long ago");
  const { digest } = await store.blobs.put(bytes);
  let looks = 0;
  const racing: Store = {
    ...store,
    blobs: {
      ...store.blobs,
      // The sweep strikes right after the attach has looked.
      stat: async (asked) => {
        const found = await store.blobs.stat(asked);
        looks += 1;
        if (looks === 1) await store.blobs.quarantine(digest);
        return found;
      },
      status: async (asked) => store.blobs.status(asked),
    },
  };
  await attachBytes(racing, "1.4.0", { name: "late", bytes });
  assert.notEqual(await store.blobs.stat(digest), undefined);
  assert.equal((await readHead(store, await requireProduct(store, product))).revision, 0);
});
