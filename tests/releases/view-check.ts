/** Looks whether everything that a store names is there and fits together: snapshots, customer views, stages. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { pipeline } from "node:stream/promises";
import { gunzipSync } from "node:zlib";
import type { GrantHolder } from "../../src/model/grant.ts";
import { type Digest, digestFromHex } from "../../src/model/digest.ts";
import { parseVersion } from "../../src/model/version.ts";
import { readListing } from "../../src/releases/channels.ts";
import { listingKey } from "../../src/policy/visibility.ts";
import { readHead } from "../../src/releases/snapshot.ts";
import { requireProduct } from "../../src/releases/products.ts";
import type { Store } from "../../src/store/store.ts";
import { product } from "./sample-release.ts";

/** A customer who sees nothing newer. */
export function pinnedHolder(version: string): GrantHolder {
  const pin = { version: parseVersion(version), until: undefined };
  return {
    customerId: "c",
    grant: {
      channel: undefined,
      formats: undefined,
      versions: undefined,
      entitledUntil: undefined,
      lapse: "keep",
      pin,
      changedAt: new Date(0),
      isOriginal: true,
    },
  };
}

async function assertWholeBlob(store: Store, digest: Digest, what: string): Promise<void> {
  const hash = createHash("sha256");
  assert.ok((await store.blobs.stat(digest)) !== undefined, `${what} is there`);
  await pipeline(await store.blobs.open(digest), hash);
  assert.equal(digestFromHex(hash.digest("hex")), digest, what);
}

/** Every kept snapshot and view whole; the head and its views list exactly what is published, listed and not hidden. */
export async function assertEverythingWhole(store: Store): Promise<{ readonly views: number }> {
  const { id } = await requireProduct(store, product);
  const head = (await readHead(store, await requireProduct(store, product))).snapshot;
  const snapshots = await store.db.selectFrom("snapshots").selectAll().execute();
  const known = new Set<Digest>();
  for (const snapshot of snapshots) {
    const files = await store.db.selectFrom("snapshot_files").selectAll().where("snapshot_id", "=", snapshot.id).execute();
    for (const { digest } of files) {
      if (!known.has(digest)) await assertWholeBlob(store, digest, `a file of ${snapshot.view === "" ? "a head" : "a view"}`);
      known.add(digest);
    }
    if (snapshot.id !== head?.id && snapshot.base_id !== head?.id) continue;
    const hidden = new Set(JSON.parse(snapshot.hidden ?? "[]") as string[]);
    const packages = files.find((file) => file.path === "apt/dists/stable/main/binary-amd64/Packages.gz");
    assert.ok(packages !== undefined);
    const text = gunzipSync(await store.blobs.read(packages.digest, 10_000_000)).toString();
    const listed = [...text.matchAll(/^Version: (.*)$/gm)].map((match) => match[1] ?? "");
    const expected = (await readListing(store, id)).filter((one) => one.channel === "stable" && !one.isUnlisted && !hidden.has(listingKey(one)));
    assert.deepEqual(listed.toSorted(), expected.map((one) => one.version as string).toSorted());
  }
  const artifacts = await store.db
    .selectFrom("artifacts")
    .innerJoin("releases", "releases.id", "release_id")
    .select("digest")
    .where("state", "=", "published")
    .execute();
  for (const { digest } of artifacts) await assertWholeBlob(store, digest, "an artifact of a published release");
  return { views: snapshots.filter((snapshot) => snapshot.view !== "").length };
}
