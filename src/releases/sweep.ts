/**
 * What nobody needs any more leaves in two steps: quarantine, where it can come back from, and purge a day later.
 *
 * The database alone says what is needed: the artifacts of every release that is not retired (or whose grace lasts), the files of every kept snapshot,
 * the manifests and blobs of every image repository.
 * Walking the blobs only finds candidates: uploads that were never attached, leftovers of killed publishes.
 */
import { sql } from "kysely";
import type { Digest } from "../model/digest.ts";
import type { Store } from "../store/store.ts";
import { sweepImages } from "./oci-sweep.ts";
import { keepSupersededMs } from "./snapshot.ts";

/** A blob younger than this may belong to a publish under way. */
export const unattachedGraceMs = 48 * 3_600_000;
/** Time to notice a mistake before bytes are gone. */
export const quarantineMs = 24 * 3_600_000;

const batchSize = 500;

/** A retired release's bytes stay for the grace that the product's policy gives, in case that it was a mistake. */
export function graceEnd(alias: string) {
  return sql<number>`${sql.ref(`${alias}.ended_at`)} + coalesce(${sql.ref("retention_policies.grace_days")}, 0) * 86400000`;
}

async function referencedOf(store: Store, digests: readonly Digest[]): Promise<ReadonlySet<Digest>> {
  if (digests.length === 0) return new Set();
  const now = store.clock.now().getTime();
  const artifacts = store.db
    .selectFrom("artifacts")
    .innerJoin("releases", "releases.id", "artifacts.release_id")
    .leftJoin("retention_policies", "retention_policies.product_id", "releases.product_id")
    .select("artifacts.digest")
    .where((expression) => expression.or([expression("releases.state", "!=", "retired"), expression(graceEnd("releases"), ">", now)]))
    .where("artifacts.digest", "in", digests);
  const rows = await artifacts
    .union(store.db.selectFrom("snapshot_files").select("digest").where("digest", "in", digests))
    .union(store.db.selectFrom("oci_manifests").select("blob as digest").where("blob", "in", digests))
    .union(store.db.selectFrom("oci_blobs").select("blob as digest").where("blob", "in", digests))
    .execute();
  return new Set(rows.map((row) => row.digest));
}

/**
 * Quarantines those of `digests` that nothing names; returns their bytes. What became referenced while this ran is brought back: attaching
 * writes its row first and looks for the blob afterwards, this moves the blob first and looks for the row afterwards, so one sees the other.
 */
export async function quarantineUnreferenced(store: Store, digests: readonly Digest[]): Promise<number> {
  let bytes = 0;
  for (let start = 0; start < digests.length; start += batchSize) {
    const batch = digests.slice(start, start + batchSize);
    const referenced = await referencedOf(store, batch);
    const moved: Digest[] = [];
    for (const digest of batch) {
      const blob = referenced.has(digest) ? undefined : await store.blobs.stat(digest);
      if (blob === undefined) continue;
      await store.blobs.quarantine(digest);
      moved.push(digest);
      bytes += blob.size;
    }
    for (const digest of await referencedOf(store, moved)) await store.blobs.restore(digest);
  }
  return bytes;
}

/** Deletes the rows of snapshots that were superseded more than 48 hours ago; their index files lose their last reference with it. */
async function forgetSnapshots(store: Store): Promise<void> {
  const before = store.clock.now().getTime() - keepSupersededMs;
  await store.db.transaction().execute(async (transaction) => {
    const old = await transaction.selectFrom("snapshots").select("id").where("superseded_at", "<", before).execute();
    const heads = old.map((row) => row.id);
    // A customer view ends with the head that it was made from, also one that was made while that head left.
    const views = await transaction
      .selectFrom("snapshots")
      .leftJoin("snapshots as base", "base.id", "snapshots.base_id")
      .select("snapshots.id")
      .where("snapshots.base_id", "is not", null)
      .where((expression) => expression.or([expression("base.id", "is", null), expression("base.superseded_at", "<", before)]))
      .execute();
    const ids = [...views.map((row) => row.id), ...heads];
    for (let start = 0; start < ids.length; start += batchSize) {
      const batch = ids.slice(start, start + batchSize);
      await transaction.deleteFrom("snapshot_files").where("snapshot_id", "in", batch).execute();
      await transaction.deleteFrom("snapshots").where("id", "in", batch).execute();
    }
  });
}

export type Swept = { readonly quarantinedBytes: number; readonly purgedBytes: number };

/** The daily round: forget old snapshots and images of retired releases, quarantine what nothing names and is older than the grace, purge what was quarantined a day ago. */
export async function sweep(store: Store): Promise<Swept> {
  await forgetSnapshots(store);
  await sweepImages(store);
  const now = store.clock.now().getTime();
  let quarantinedBytes = 0;
  let batch: Digest[] = [];
  for await (const blob of store.blobs.list()) {
    if (blob.storedAt.getTime() > now - unattachedGraceMs) continue;
    batch.push(blob.digest);
    if (batch.length < batchSize) continue;
    quarantinedBytes += await quarantineUnreferenced(store, batch);
    batch = [];
  }
  quarantinedBytes += await quarantineUnreferenced(store, batch);
  const purgedBytes = await store.blobs.purge(new Date(now - quarantineMs));
  return { quarantinedBytes, purgedBytes };
}
