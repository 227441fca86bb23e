/** The bucket's tree on both databases: one snapshot each, times by which a mirror notices every change, and leases that keep a reader in it. */
import assert from "node:assert/strict";
import { createBucketLeases } from "../../src/releases/bucket-leases.ts";
import { type BucketFile, type BucketTree, bucketKey, createBucketCatalog, viewPath } from "../../src/releases/bucket-tree.ts";
import { createProduct, setReleaseKeys } from "../../src/releases/products.ts";
import { withdrawRelease } from "../../src/releases/withdraw.ts";
import type { Store } from "../../src/store/store.ts";
import { generateOpenpgpKey } from "../../src/trust/openpgp.ts";
import { storeTest } from "../support/stores.ts";
import { actor, product, publish, sampleRelease, stage, testRepositoryKey } from "./sample-release.ts";

const repositoryKey = testRepositoryKey();

async function published(store: Store, version: string): Promise<void> {
  const release = await sampleRelease(version);
  await stage(store, release);
  await publish(store, release, await repositoryKey);
}

function fileOf(tree: BucketTree | undefined, key: string): BucketFile {
  const file = tree?.files.get(key);
  assert.ok(file !== undefined, key);
  return file;
}

storeTest("C11 C12 C13 C14 a bucket has the APT, YUM and release trees, keys and sums under the names that customers copy from", async (_, { store }) => {
  await createProduct(store, { name: product, actor });
  const catalog = createBucketCatalog(store, await repositoryKey);
  const names = ["coequal.gpg", "deb/coequal.gpg", "rpm/coequal.gpg"];
  assert.deepEqual((await catalog.present(product))?.keys, names, "before the first release there are the keys");
  assert.equal(await catalog.present("nothing"), undefined);
  await published(store, "1.4.2");
  await published(store, "1.5.0-preview1");
  const tree = await catalog.present(product);
  for (const key of [
    ...names,
    "SHA256SUMS",
    "deb/dists/stable/InRelease",
    "deb/dists/stable/Release",
    "deb/dists/stable/Release.gpg",
    "deb/dists/stable/main/binary-amd64/Packages.gz",
    "deb/dists/preview/InRelease",
    "deb/pool/main/c/coequal/coequal_1.4.2_amd64.deb",
    "deb/pool/main/c/coequal/coequal_1.4.2_arm64.deb",
    "rpm/repodata/repomd.xml",
    "rpm/repodata/repomd.xml.asc",
    "rpm/x86_64/coequal-1.4.2-1.x86_64.rpm",
    "rpm-preview/repodata/repomd.xml",
    "rpm-preview/x86_64/coequal-1.5.0.preview1-1.x86_64.rpm",
    "releases/1.4.2/SHA256SUMS",
    "releases/1.4.2/coequal-1.4.2-linux-amd64",
    "releases/1.5.0-preview1/release.json",
    "releases/index.json",
  ]) {
    fileOf(tree, key);
  }
  assert.equal(fileOf(tree, "SHA256SUMS").digest, fileOf(tree, "releases/1.4.2/SHA256SUMS").digest, "the newest stable release, not the preview");
  assert.deepEqual(
    tree?.keys,
    [...(tree?.keys ?? [])].sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right))),
  );
  for (const key of tree?.keys ?? []) if (key.includes("/")) assert.equal(bucketKey(viewPath(key)), key);
  assert.match(fileOf(tree, "rpm/coequal.gpg").bytes?.toString("utf8") ?? "", /^-----BEGIN PGP PUBLIC KEY BLOCK-----/);
  assert.doesNotMatch(fileOf(tree, "deb/coequal.gpg").bytes?.toString("latin1") ?? "", /BEGIN/);
  catalog.close();
});

storeTest("C12 what changes under its key gets an earlier time with every change, whole seconds apart, and keeps it otherwise", async (_, { store, clock }) => {
  await createProduct(store, { name: product, actor });
  const catalog = createBucketCatalog(store, await repositoryKey);
  const changing = [
    "SHA256SUMS",
    "deb/dists/stable/InRelease",
    "deb/dists/stable/Release.gpg",
    "rpm/repodata/repomd.xml",
    "rpm/repodata/repomd.xml.asc",
    "releases/index.json",
  ];
  let before: BucketTree | undefined;
  for (const version of ["1.0.0", "1.0.1", "1.0.2"]) {
    await published(store, version); // all in one second
    const tree = await catalog.present(product);
    for (const key of changing) {
      const file = fileOf(tree, key);
      assert.equal(file.modifiedAt.getTime() % 1000, 0);
      const old = before?.files.get(key);
      if (old !== undefined) assert.ok(file.modifiedAt.getTime() <= old.modifiedAt.getTime() - 1000, key);
    }
    for (const [key, file] of before?.files ?? []) {
      if (file.isImmutable && tree?.files.has(key)) assert.deepEqual(tree.files.get(key), file, "a file that is named by its content stands still");
    }
    before = tree;
  }
  clock.advance(5_000);
  const made = await generateOpenpgpKey({ userId: "Release", algorithm: "ed25519", now: clock.now() });
  await setReleaseKeys(store, { product, openpgp: made.publicKey, actor });
  catalog.close();
  const after = await createBucketCatalog(store, await repositoryKey).present(product);
  const [oldKey, newKey] = [fileOf(before, "deb/coequal.gpg"), fileOf(after, "deb/coequal.gpg")];
  assert.notEqual(newKey.digest, oldKey.digest);
  assert.ok(newKey.modifiedAt < oldKey.modifiedAt);
  assert.deepEqual(fileOf(after, "deb/dists/stable/InRelease"), fileOf(before, "deb/dists/stable/InRelease"));
});

storeTest("an older snapshot's tree is what it was, less what was withdrawn since", async (_, { store, clock }) => {
  const catalog = createBucketCatalog(store, await repositoryKey);
  await published(store, "1.0.0");
  clock.advance(1_000);
  await published(store, "1.0.1");
  const old = await catalog.present(product);
  clock.advance(1_000);
  await published(store, "1.0.2");
  const again = await catalog.at(product, old?.snapshotId ?? "");
  assert.deepEqual(again?.keys, old?.keys);
  assert.deepEqual(fileOf(again, "SHA256SUMS"), fileOf(old, "SHA256SUMS"));
  assert.notDeepEqual((await catalog.present(product))?.keys, old?.keys);
  await withdrawRelease(store, { product, version: "1.0.0", repositoryKey: await repositoryKey, actor });
  const fresh = createBucketCatalog(store, await repositoryKey);
  const without = await fresh.at(product, old?.snapshotId ?? "");
  assert.deepEqual(
    without?.keys,
    old?.keys.filter((key) => !/1\.0\.0/.test(key)),
  );
  assert.equal(await fresh.at(product, "made-up"), undefined);
  await createProduct(store, { name: "other", actor });
  assert.equal(await fresh.at("other", old?.snapshotId ?? ""), undefined, "another product's snapshot is none of its own");
  fresh.close();
  catalog.close();
});

storeTest("a reader that listed gets each file of that snapshot once, whatever is published meanwhile", async (_, { store, clock }) => {
  const catalog = createBucketCatalog(store, await repositoryKey);
  let monotonic = 0;
  const leases = createBucketLeases(() => monotonic);
  const find = (reader: string, tree: BucketTree, key: string, isLook = false) => leases.find({ reader, tree, key, isLook })?.digest;
  await published(store, "1.0.0");
  const old = await catalog.present(product);
  clock.advance(1_000);
  await published(store, "1.0.1");
  const present = await catalog.present(product);
  assert.ok(old !== undefined && present !== undefined);
  const [release, signature] = ["deb/dists/stable/Release", "deb/dists/stable/Release.gpg"];

  leases.list("syncing", old);
  assert.equal(find("syncing", present, release), old.files.get(release)?.digest);
  assert.equal(find("another", present, release), present.files.get(release)?.digest);
  leases.delivered("syncing", product, fileOf(old, release));
  assert.equal(find("syncing", present, release), present.files.get(release)?.digest, "delivered once, the next copy is a new one");
  leases.list("syncing", old);
  assert.equal(find("syncing", present, release, true), present.files.get(release)?.digest, "a look begins a new copy");
  assert.equal(find("syncing", present, signature), present.files.get(signature)?.digest, "and its signature comes with it");

  assert.equal(find("copying", old, "SHA256SUMS", true), old.files.get("SHA256SUMS")?.digest);
  assert.equal(find("copying", present, "SHA256SUMS"), old.files.get("SHA256SUMS")?.digest, "what a look promised is what a copy gets");
  leases.list("slow", old);
  monotonic = 3_600_001;
  assert.equal(find("slow", present, release), present.files.get(release)?.digest, "an hour later the promise is over");
  assert.equal(
    find("slow", present, "deb/pool/main/c/coequal/coequal_1.0.1_amd64.deb"),
    present.files.get("deb/pool/main/c/coequal/coequal_1.0.1_amd64.deb")?.digest,
  );
  catalog.close();
});
