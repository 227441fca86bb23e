/**
 * What nobody needs any more leaves in two steps: quarantine, where it can come back from, and purge a day later.
 *
 * The database alone says what is needed (needed-blobs.ts).
 * Walking the blobs only finds candidates: uploads that were never attached, leftovers of killed publishes.
 */
import type { Digest } from "../model/digest.ts";
import type { Store } from "../store/store.ts";
import { neededOf } from "./needed-blobs.ts";
import { sweepImages } from "./oci-sweep.ts";
import { keepSupersededMs } from "./snapshot.ts";

/** A blob younger than this may belong to a publish under way. */
export const unattachedGraceMs = 48 * 3_600_000;
/** Time to notice a mistake before bytes are gone. */
export const quarantineMs = 24 * 3_600_000;

const batchSize = 500;

/**
 * Quarantines those of `digests` that nothing names; returns their bytes. What became referenced while this ran is brought back: attaching
 * writes its row first and looks for the blob afterwards, this moves the blob first and looks for the row afterwards, so one sees the other.
 */
export async function quarantineUnreferenced(store: Store, digests: readonly Digest[]): Promise<number> {
  let bytes = 0;
  for (let start = 0; start < digests.length; start += batchSize) {
    const batch = digests.slice(start, start + batchSize);
    const needed = await neededOf(store, batch);
    const moved: Digest[] = [];
    for (const digest of batch) {
      const blob = needed.has(digest) ? undefined : await store.blobs.stat(digest);
      if (blob === undefined) continue;
      await store.blobs.quarantine(digest);
      moved.push(digest);
      bytes += blob.size;
    }
    for (const digest of await neededOf(store, moved)) await store.blobs.restore(digest);
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
