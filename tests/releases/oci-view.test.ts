/** What readers of a repository see, and how soon, on both databases. */
import assert from "node:assert/strict";
import type { OciDigest } from "../../src/formats/oci-digest.ts";
import { parseVersion } from "../../src/model/version.ts";
import { addBlob, deleteBlob, findBlob, mountBlob } from "../../src/releases/oci-blobs.ts";
import { deleteTag, putManifest } from "../../src/releases/oci-manifests.ts";
import { listReferrers } from "../../src/releases/oci-referrers.ts";
import { openRepository, type OciRepository } from "../../src/releases/oci-repositories.ts";
import { createImageCatalog } from "../../src/releases/oci-view.ts";
import { createProduct } from "../../src/releases/products.ts";
import type { Store } from "../../src/store/store.ts";
import { storeTest } from "../support/stores.ts";
import { actor } from "./sample-release.ts";

const imageType = "application/vnd.oci.image.manifest.v1+json";

async function pushImage(store: Store, repository: OciRepository, tag: string, subject?: OciDigest) {
  const stored = await store.blobs.put(Buffer.from(`blob of ${tag}`));
  const blob = stored.digest as string as OciDigest;
  await addBlob(store, repository, { digest: blob, blob: stored.digest, size: stored.size });
  const descriptor = { mediaType: "application/x.config", digest: blob, size: stored.size };
  const document = { schemaVersion: 2, config: descriptor, layers: [], ...(subject === undefined ? {} : { subject: { ...descriptor, digest: subject } }) };
  const { digest } = await putManifest(store, repository, {
    bytes: Buffer.from(JSON.stringify(document)),
    mediaType: imageType,
    digest: undefined,
    tags: [tag],
    actor,
  });
  return { digest, blob };
}

/** As the switch of a publish leaves it. */
async function publishRow(store: Store, repository: OciRepository, version: string): Promise<void> {
  const row = {
    channel: "stable",
    state: "published" as const,
    sequence: 1,
    sums_digest: null,
    created_at: 1,
    published_at: 1,
    ended_at: null,
    replacement: null,
    reason: null,
  };
  const id = `r-${version}`;
  await store.db
    .insertInto("releases")
    .values({ id, product_id: repository.productId, version: parseVersion(version), ...row })
    .execute();
  await store.db
    .insertInto("release_channels")
    .values({ release_id: id, channel: "stable", promoted_at: 1, rollout: 10_000, salt: "", is_bypass: 0, machines: 10_000 })
    .execute();
  store.changes.emit("head", repository.product);
}

storeTest("a view follows pushes of this process at once, and of another one when it is asked for exactly", async (t, { store, openAgain }) => {
  await createProduct(store, { name: "coequal", actor });
  const catalog = createImageCatalog(store);
  t.after(() => catalog.close());
  assert.equal(await catalog.view("coequal", "cached"), undefined);
  const repository = await openRepository(store, "coequal");
  const first = await pushImage(store, repository, "1.0.0");
  assert.deepEqual([...((await catalog.view("coequal", "cached"))?.tags.all ?? [])], [["1.0.0", first.digest]]);
  const view = await catalog.view("coequal", "cached");
  assert.equal(await catalog.view("coequal", "exact"), view, "nothing changed, nothing is loaded again");
  const other = await openAgain();
  const second = await pushImage(other, repository, "edge");
  assert.equal((await catalog.view("coequal", "exact"))?.tags.all.get("edge"), second.digest);
  await deleteTag(store, repository, { tag: "edge", actor });
  assert.equal((await catalog.view("coequal", "cached"))?.tags.all.has("edge"), false);
});

storeTest("customers see a published image, its blobs and what refers to it, and nothing else", async (t, { store }) => {
  await createProduct(store, { name: "coequal", actor });
  const repository = await openRepository(store, "coequal/app");
  const image = await pushImage(store, repository, "1.0.0");
  const signature = await pushImage(store, repository, "signature", image.digest);
  const other = await pushImage(store, repository, "other");
  await publishRow(store, repository, "1.0.0");
  const catalog = createImageCatalog(store);
  t.after(() => catalog.close());
  const view = await catalog.view("coequal/app", "cached");
  assert.deepEqual([...(view?.tags.published.keys() ?? [])].toSorted(), ["1.0.0", "latest", "stable"]);
  assert.deepEqual(new Set(view?.manifests.keys()), new Set([image.digest, signature.digest]));
  assert.deepEqual(new Set(view?.blobs.keys()), new Set([image.blob, signature.blob]));
  assert.equal(view?.manifests.get(other.digest), undefined);
  const request = { subject: image.digest, artifactType: undefined, after: undefined };
  const all = await listReferrers(store, repository, { ...request, isVisible: () => true });
  assert.deepEqual(
    all.referrers.map((one) => [one.digest, one.artifactType]),
    [[signature.digest, "application/x.config"]],
  );
  assert.deepEqual((await listReferrers(store, repository, { ...request, isVisible: () => false })).referrers, []);
});

storeTest("blobs are mounted between repositories, and deleted when nothing is made of them", async (_t, { store }) => {
  await createProduct(store, { name: "coequal", actor });
  const from = await openRepository(store, "coequal/from");
  const into = await openRepository(store, "coequal/into");
  const { blob } = await pushImage(store, from, "x");
  assert.equal(await mountBlob(store, into, { digest: blob, from: into }), false);
  assert.equal(await mountBlob(store, into, { digest: blob, from }), true);
  assert.equal(await mountBlob(store, into, { digest: blob, from: undefined }), true);
  await assert.rejects(deleteBlob(store, from, blob), { detail: "UNSUPPORTED" });
  await deleteBlob(store, into, blob);
  assert.equal(await findBlob(store, into, blob), undefined);
  assert.notEqual(await findBlob(store, from, blob), undefined);
  await assert.rejects(deleteBlob(store, into, blob), { detail: "BLOB_UNKNOWN" });
});
