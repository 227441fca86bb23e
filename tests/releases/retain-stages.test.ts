/** Retention in stages on both databases: announced, unlisted, gone, purged; who is told, and what keeps a version. */
import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { issueAccessKey } from "../../src/access/access-keys.ts";
import { openAuditTrail } from "../../src/access/audit-trail.ts";
import { addCustomer } from "../../src/access/customers.ts";
import { setGrant } from "../../src/access/grants.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { parseAdvisory, readAdvisoryFile } from "../../src/releases/advisory-file.ts";
import { createProduct } from "../../src/releases/products.ts";
import { publishAdvisory } from "../../src/releases/publish-advisory.ts";
import { readRelease } from "../../src/releases/releases.ts";
import { createDownloadResolver, type DownloadResolver } from "../../src/releases/resolve.ts";
import { applyRetention, planRetention, retainAutomatically, retainNow } from "../../src/releases/retain.ts";
import { setRetention } from "../../src/releases/retention-facts.ts";
import { quarantineUnreferenced, sweep } from "../../src/releases/sweep.ts";
import { openKeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import type { Store } from "../../src/store/store.ts";
import { type StoreUnderTest, storeTest } from "../support/stores.ts";
import { actor, product, publish, sampleRelease, stage, testRepositoryKey } from "./sample-release.ts";

const repositoryKey = testRepositoryKey();
const dayMs = 86_400_000;

const advisory = `id: ACME-2026-001
product: ${product}
title: Session tokens are predictable
severity: high
affected: "<1.2.0"
fixed_in: 1.2.0
text: An attacker may guess the token of a session.
`;

async function released(store: Store, versions: readonly string[], waypoint?: string): Promise<void> {
  for (const version of versions) {
    const changeManifest = (manifest: object) => ({ ...manifest, ...(version === waypoint ? { compat: { waypoint: true } } : {}) }) as never;
    const release = await sampleRelease(version, { changeManifest });
    await stage(store, release);
    await publish(store, release, await repositoryKey);
  }
}

async function customer({ store, dataDir }: StoreUnderTest, name: string): Promise<void> {
  await addCustomer(store, { name, actor });
  await issueAccessKey(store, { customer: name, product, kek: await openKeyEncryptionKey({ dataDir }), actor });
}

async function pulled(store: Store, name: string, version: string): Promise<void> {
  const trail = openAuditTrail(store);
  await trail.record({ actor: { kind: "customer", name }, action: "download", result: "complete", customer: name, product, version, bytes: 1 });
  await trail.close();
}

const retain = async (store: Store) => retainNow(store, { product, repositoryKey: await repositoryKey, actor });

async function aptVersions(store: Store, resolver: DownloadResolver): Promise<readonly string[]> {
  const found = await resolver.resolve({ product, tree: "apt", path: "dists/stable/main/binary-amd64/Packages.gz" });
  assert.ok(found.kind === "file");
  const text = gunzipSync(await store.blobs.read(found.digest, 1_000_000)).toString();
  return [...text.matchAll(/^Version: (.*)$/gm)].map((match) => match[1] ?? "").toSorted();
}

type Index = { releases: { version: string; retiresAt?: string }[]; supported: string[]; retired: { version: string; replacement?: string }[] };

async function indexOf(store: Store, resolver: DownloadResolver): Promise<Index> {
  const found = await resolver.resolve({ product, tree: "releases", path: "index.json" });
  assert.ok(found.kind === "file");
  return JSON.parse((await store.blobs.read(found.digest, 1_000_000)).toString()) as Index;
}

storeTest("C6 C18 a version is announced, unlisted, gone and purged in its days; who pulled it is told at each stage, once", async (_, made) => {
  const { store, clock } = made;
  const resolver = createDownloadResolver(store);
  await createProduct(store, { name: product, actor });
  await customer(made, "acme");
  await customer(made, "other");
  await released(store, ["1.0.0", "1.1.0", "1.2.0"]);
  await pulled(store, "acme", "1.0.0");
  await pulled(store, "other", "1.2.0");
  await setRetention(store, { product, keep: 2, change: { announceDays: 30, unlistDays: 14, graceDays: 7 }, actor });
  const old = await readRelease(store, product, "1.0.0");
  const deb = () => resolver.resolve({ product, tree: "apt", path: "pool/main/c/coequal/coequal_1.0.0_amd64.deb" });

  const plan = await planRetention(store, product);
  assert.deepEqual(
    plan.steps.map(({ version, step, isDue }) => [version, step, isDue]),
    [["1.0.0", "announce", true]],
  );
  assert.deepEqual((await retain(store))?.basis, plan.basis, "what was planned was done");
  await assert.rejects(
    applyRetention(store, { product, basis: plan.basis, repositoryKey: await repositoryKey, actor }),
    (error) => error instanceof SlipwayError && error.code === "plan_stale",
  );
  assert.equal(await retain(store), undefined, "nothing is due for thirty days");
  assert.deepEqual(await aptVersions(store, resolver), ["1.0.0", "1.1.0", "1.2.0"]);
  const announced = await indexOf(store, resolver);
  assert.deepEqual(announced.supported, ["1.2.0", "1.1.0", "1.0.0"]);
  assert.equal(announced.releases.find(({ version }) => version === "1.0.0")?.retiresAt, new Date(clock.now().getTime() + 30 * dayMs).toISOString());

  clock.advance(30 * dayMs);
  await retain(store);
  assert.deepEqual(await aptVersions(store, resolver), ["1.1.0", "1.2.0"]);
  assert.equal((await deb()).kind, "file", "its address still answers");
  const unlisted = await indexOf(store, resolver);
  assert.deepEqual(
    [unlisted.supported, unlisted.retired],
    [["1.2.0", "1.1.0"], [{ version: "1.0.0", state: "retired", replacement: "1.2.0" }]],
    "an older installation is led to a supported one",
  );

  clock.advance(14 * dayMs);
  await retain(store);
  assert.deepEqual(await deb(), { kind: "gone", version: "1.0.0", state: "retired", replacement: "1.2.0" });
  const isThere = async () => (await Promise.all(old.artifacts.map(({ digest }) => store.blobs.stat(digest)))).every((blob) => blob !== undefined);
  await sweep(store);
  assert.ok(await isThere(), "the grace lasts a week");
  clock.advance(8 * dayMs);
  await quarantineUnreferenced(
    store,
    old.artifacts.map(({ digest }) => digest),
  ); // as the sweep does for blobs older than two days
  assert.ok(!(await isThere()), "then the bytes go");
  const notices = await store.db
    .selectFrom("notices")
    .innerJoin("customers", "customers.id", "notices.customer_id")
    .select(["customers.name", "subject"])
    .where("kind", "=", "retirement")
    .orderBy("notices.id")
    .execute();
  assert.deepEqual(
    notices.map(({ name, subject }) => [name, subject]),
    [
      ["acme", "coequal 1.0.0 leaves on 2026-03-31"],
      ["acme", "coequal 1.0.0 is no longer listed"],
      ["acme", "coequal 1.0.0 is no longer kept"],
    ],
  );
  resolver.close();
});

storeTest("C6 C8 C18 a pin, a waypoint, an advisory's fix and a recent pull keep a version; when the pin ends it leaves after all", async (_, made) => {
  const { store, clock } = made;
  await createProduct(store, { name: product, actor });
  await customer(made, "acme");
  await released(store, ["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0"], "1.1.0");
  await setRetention(store, { product, keep: 1, change: { keepIfPulledDays: 10 }, actor });
  const until = new Date(clock.now().getTime() + 5 * dayMs);
  await setGrant(store, { customer: "acme", product, change: { pin: { version: "1.0.0", until } }, actor });
  const file = parseAdvisory(readAdvisoryFile(advisory, "advisory.yaml"));
  await publishAdvisory(store, { file, isBackport: true, repositoryKey: await repositoryKey, actor });
  await pulled(store, "acme", "1.3.0");
  const blocked = async () => (await planRetention(store, product)).blocked.map(({ version, blockedBy }) => [version, ...blockedBy.map(({ kind }) => kind)]);
  assert.deepEqual(await blocked(), [
    ["1.3.0", "pulled"],
    ["1.2.0", "fix"],
    ["1.1.0", "waypoint"],
    ["1.0.0", "pin"],
  ]);
  assert.equal(await retain(store), undefined);
  clock.advance(6 * dayMs);
  assert.deepEqual(
    (await retain(store))?.retires.map(({ version }) => version),
    ["1.0.0"],
  );
  clock.advance(5 * dayMs);
  assert.deepEqual(
    (await retain(store))?.retires.map(({ version }) => version),
    ["1.3.0"],
  );
});

storeTest("71 C18 the only way of a supported version stays, what nobody could reach is not published, and a waypoint that left is marked", async (_, made) => {
  const { store } = made;
  const resolver = createDownloadResolver(store);
  await createProduct(store, { name: product, actor });
  await customer(made, "acme");
  const from = async (version: string, compat: object): Promise<void> => {
    const release = await sampleRelease(version, { changeManifest: (manifest: object) => ({ ...manifest, compat }) as never });
    await stage(store, release);
    await publish(store, release, await repositoryKey);
  };
  await released(store, ["1.0.0"]);
  await from("1.1.0", { upgradeFrom: "~1.0.0" });
  await from("1.2.0", { upgradeFrom: "~1.1.0" });
  await from("1.3.0", { upgradeFrom: "~1.2.0" });
  const isUnreachable = (error: unknown): boolean => error instanceof SlipwayError && error.code === "release_incomplete" && error.detail === "out_of_reach";
  await assert.rejects(from("2.0.0", { upgradeFrom: ">=1.9.0 <2.0.0" }), isUnreachable);
  assert.equal((await readRelease(store, product, "2.0.0")).state, "draft");
  await setRetention(store, { product, keep: 1, change: {}, actor });
  await setGrant(store, { customer: "acme", product, change: { pin: { version: "1.0.0", until: undefined } }, actor });
  const { blocked } = await planRetention(store, product);
  assert.deepEqual(
    blocked.map(({ version, blockedBy }) => [version, ...blockedBy.map(({ kind }) => kind)]),
    [
      ["1.2.0", "path"],
      ["1.1.0", "path"],
      ["1.0.0", "pin"],
    ],
  );
  assert.equal(await retain(store), undefined);
  // A waypoint cannot leave by retention; one of an older Slipway, which did not know that, could.
  const gone = { state: "retired", compat: JSON.stringify({ waypoint: true }) } as const;
  await store.db
    .updateTable("releases")
    .set(gone)
    .where("version", "=", "1.1.0" as never)
    .execute();
  await from("1.4.0", { upgradeFrom: ">=1.2.0" });
  const { retired } = await indexOf(store, resolver);
  assert.deepEqual(retired, [{ version: "1.1.0", state: "retired", replacement: "1.4.0", waypoint: true }]);
});

storeTest("C6 a version that is needed again while it leaves is listed again; automatic retention does its steps by itself", async (_, made) => {
  const { store, clock } = made;
  const resolver = createDownloadResolver(store);
  await createProduct(store, { name: product, actor });
  await released(store, ["1.0.0", "1.1.0"]);
  await setRetention(store, { product, keep: 1, change: { unlistDays: 5 }, actor });
  assert.equal(await retainAutomatically(store, await repositoryKey), 0, "only where the vendor wants it");
  await setRetention(store, { product, change: { isAutomatic: true }, actor });
  assert.equal(await retainAutomatically(store, await repositoryKey), 1);
  assert.deepEqual(await aptVersions(store, resolver), ["1.1.0"]);
  await setRetention(store, { product, keep: 2, change: {}, actor });
  await retainAutomatically(store, await repositoryKey);
  assert.deepEqual(await aptVersions(store, resolver), ["1.0.0", "1.1.0"]);
  await setRetention(store, { product, keep: 1, change: {}, actor });
  assert.equal(await retainAutomatically(store, await repositoryKey), 1);
  clock.advance(5 * dayMs);
  assert.equal(await retainAutomatically(store, await repositoryKey), 1);
  assert.equal((await resolver.resolve({ product, tree: "releases", path: "1.0.0/SHA256SUMS" })).kind, "gone");
  resolver.close();
});
