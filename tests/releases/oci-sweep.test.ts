/** Images that leave: by reference rows, on both databases, and nothing that anything still needs. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { OciDigest } from "../../src/formats/oci-digest.ts";
import { digestFromHex } from "../../src/model/digest.ts";
import { parseVersion } from "../../src/model/version.ts";
import { addBlob, beginUpload, findBlob, uploadOffset } from "../../src/releases/oci-blobs.ts";
import { deleteManifest, findManifest, putManifest } from "../../src/releases/oci-manifests.ts";
import { openRepository, type OciRepository } from "../../src/releases/oci-repositories.ts";
import { createProduct } from "../../src/releases/products.ts";
import { sweep } from "../../src/releases/sweep.ts";
import type { ReleaseState } from "../../src/store/schema.ts";
import type { Store } from "../../src/store/store.ts";
import { type FakeClock, storeTest } from "../support/stores.ts";
import { actor } from "./sample-release.ts";

const imageType = "application/vnd.oci.image.manifest.v1+json";
const hexOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const dayMs = 24 * 3_600_000;

async function pushBlob(store: Store, repository: OciRepository, text: string): Promise<OciDigest> {
  const stored = await store.blobs.put(Buffer.from(text));
  const digest = stored.digest as string as OciDigest;
  await addBlob(store, repository, { digest, blob: stored.digest, size: stored.size });
  return digest;
}

async function pushImage(
  store: Store,
  repository: OciRepository,
  input: { readonly layers: readonly string[]; readonly tag?: string; readonly subject?: OciDigest },
) {
  const config = await pushBlob(store, repository, `{"image":"${input.tag ?? "none"} ${input.layers.join(" ")}"}`);
  const layers = await Promise.all(input.layers.map((text) => pushBlob(store, repository, text)));
  const descriptor = (digest: OciDigest) => ({ mediaType: "application/octet-stream", digest, size: 1 });
  const document = {
    schemaVersion: 2,
    config: descriptor(config),
    layers: layers.map(descriptor),
    ...(input.subject === undefined ? {} : { subject: { ...descriptor(input.subject), mediaType: imageType } }),
  };
  const bytes = Buffer.from(JSON.stringify(document));
  const { digest } = await putManifest(store, repository, {
    bytes,
    mediaType: imageType,
    digest: undefined,
    tags: input.tag === undefined ? [] : [input.tag],
    actor,
  });
  return { digest, config, layers };
}

async function setState(store: Store, repository: OciRepository, version: string, state: ReleaseState): Promise<void> {
  const row = {
    version: parseVersion(version),
    channel: "stable",
    state,
    sequence: 1,
    sums_digest: null,
    created_at: 1,
    published_at: 1,
    ended_at: null,
    replacement: null,
  };
  await store.db
    .insertInto("releases")
    .values({ id: `r-${version}`, product_id: repository.productId, ...row })
    .onConflict((conflict) => conflict.columns(["product_id", "version"]).doUpdateSet({ state }))
    .execute();
}

/** Files have the time of this machine, so the test's clock begins there. */
async function makeRepository(store: Store, clock: FakeClock): Promise<OciRepository> {
  clock.advance(Date.now() - clock.now().getTime());
  await createProduct(store, { name: "coequal", actor });
  return openRepository(store, "coequal");
}

const isLive = async (store: Store, digest: OciDigest): Promise<boolean> => (await store.blobs.stat(digestFromHex(digest.slice(7)))) !== undefined;

storeTest("C6 what only a retired release was made of leaves with its signatures; what a kept one shares with it stays", async (_t, { store, clock }) => {
  const repository = await makeRepository(store, clock);
  const old = await pushImage(store, repository, { layers: ["shared", "old"], tag: "1.0.0" });
  const signature = await pushImage(store, repository, { layers: ["signature"], subject: old.digest });
  const attached = await pushImage(store, repository, { layers: ["cosign"], tag: `${old.digest.replace(":", "-")}.sig` });
  const kept = await pushImage(store, repository, { layers: ["shared", "new"], tag: "1.1.0" });
  const loose = await pushImage(store, repository, { layers: ["untagged"] });
  await setState(store, repository, "1.0.0", "retired");
  await setState(store, repository, "1.1.0", "published");
  clock.advance(3 * dayMs);
  await sweep(store);
  for (const gone of [old, signature, attached]) assert.equal(await findManifest(store, repository, gone.digest), undefined);
  for (const there of [kept, loose])
    assert.notEqual(await findManifest(store, repository, there.digest), undefined, "an image outside a release stays until it is deleted");
  const [shared, ownOld] = old.layers as [OciDigest, OciDigest];
  assert.notEqual(await findBlob(store, repository, shared), undefined);
  assert.equal(await findBlob(store, repository, ownOld), undefined);
});

storeTest("bytes of images are safe from the store's sweep while a row names them, and leave when none does", async (_t, { store, clock }) => {
  const repository = await makeRepository(store, clock);
  const image = await pushImage(store, repository, { layers: ["layer"], tag: "dev" });
  const unused = await pushBlob(store, repository, "never part of a manifest");
  const upload = await beginUpload(store, repository);
  clock.advance(dayMs);
  await sweep(store);
  assert.notEqual(await findBlob(store, repository, unused), undefined, "a push may be under way");
  assert.equal(await uploadOffset(store, repository, upload), 0);
  clock.advance(30 * dayMs);
  await sweep(store);
  assert.equal(await findBlob(store, repository, unused), undefined);
  assert.equal(await isLive(store, unused), false);
  for (const digest of [image.digest, image.config, ...image.layers]) assert.equal(await isLive(store, digest), true);
  await deleteManifest(store, repository, { digest: image.digest, actor });
  await sweep(store);
  for (const digest of [image.digest, image.config, ...image.layers]) assert.equal(await isLive(store, digest), false);
});

storeTest("an upload that nobody went on with is forgotten with its bytes", async (_t, { store, clock }) => {
  const repository = await makeRepository(store, clock);
  const upload = await beginUpload(store, repository);
  clock.advance(2 * dayMs);
  await sweep(store);
  await assert.rejects(uploadOffset(store, repository, upload), { detail: "BLOB_UPLOAD_UNKNOWN" });
  await sweep(store);
  assert.deepEqual(await store.db.selectFrom("oci_uploads").selectAll().execute(), []);
});

storeTest("a pushed blob comes back from quarantine when it is pushed or referred to again", async (_t, { store, clock }) => {
  const repository = await makeRepository(store, clock);
  const text = "comes back";
  const digest = await pushBlob(store, repository, text);
  const blob = digestFromHex(hexOf(Buffer.from(text)));
  await store.blobs.quarantine(blob);
  await addBlob(store, repository, { digest, blob, size: text.length });
  assert.equal(await isLive(store, digest), true);
  const absent = digestFromHex("0".repeat(64));
  await assert.rejects(addBlob(store, repository, { digest: absent as string as OciDigest, blob: absent, size: 1 }), { detail: "BLOB_UNKNOWN" });
  assert.equal(await findBlob(store, repository, absent as string as OciDigest), undefined);
});
