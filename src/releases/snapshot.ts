/**
 * Snapshots: every index file of a product as one immutable set, and the one switch from a set to the next.
 *
 *   prepare   grow the views of the present head by what comes and goes, render the rest; store every file as a blob   (nothing visible yet)
 *   switch    one transaction: the snapshot's rows, the change of the releases, the head by compare-and-swap           (all or nothing)
 *
 * A crash before the switch leaves blobs that nobody names; the sweep takes them later. Two switches at once: one of them finds the head
 * moved, and its caller prepares again.
 */
import type { Transaction } from "kysely";
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Advisory } from "../repositories/advisory.ts";
import type { RepositoryFile } from "../repositories/repository-file.ts";
import { newId } from "../store/id.ts";
import type { Database, SnapshotFileTable, SnapshotTable } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import type { Product } from "./products.ts";
import type { Release } from "./releases.ts";
import type { RepositoryKey } from "./repository-key.ts";
import { bringBack, filesOfSnapshot, insertFiles, storeFiles } from "./snapshot-file.ts";
import { renderIndexes, validUntilDays } from "./snapshot-render.ts";
import { growViews, type PackageChange, parseViews, type Views } from "./snapshot-views.ts";

/** A superseded snapshot is kept this long: a client that read its index finishes its downloads from it (distribution facts 4.3). */
export const keepSupersededMs = 48 * 3_600_000;

export type Head = { readonly revision: number; readonly snapshot: SnapshotTable | undefined };

export type SnapshotChange = PackageChange & {
  /** Every release of the product as it will stand after the switch, in any order. */
  readonly releases: readonly Release[];
  /** What customers see may become less: every file gets a new time, since the one that somebody had may have been of another view. */
  readonly isRestamped?: boolean;
  /** Other keys sign from now on: every index is signed anew, also one that stands as before. */
  readonly isResigned?: boolean;
  /** Nothing of the present indexes is trusted: all packages are in `add`, and every file is stored again. */
  readonly isRebuilt?: boolean;
  /** Every advisory of the product as it will stand after the switch; without them as they stand now. */
  readonly advisories?: readonly Advisory[];
};

export type PreparedSnapshot = {
  readonly head: Head;
  readonly row: SnapshotTable;
  readonly files: readonly SnapshotFileTable[];
};

/** The product's present head; revision 0 where nothing was published yet. */
export async function readHead(store: Store, product: Product): Promise<Head> {
  const head = await store.db.selectFrom("heads").selectAll().where("product_id", "=", product.id).executeTakeFirst();
  if (head === undefined) return { revision: 0, snapshot: undefined };
  const snapshot = await store.db.selectFrom("snapshots").selectAll().where("id", "=", head.snapshot_id).executeTakeFirstOrThrow();
  return { revision: head.revision, snapshot };
}

/** Renders everything aside. Leaves blobs only; throws `internal` where a stored view is damaged, `disk_full`. */
export async function prepareSnapshot(
  store: Store,
  input: { readonly product: Product; readonly head: Head; readonly change: SnapshotChange; readonly repositoryKey: RepositoryKey },
): Promise<PreparedSnapshot> {
  const { product, head, change } = input;
  await input.repositoryKey.reload?.(); // another server may have rotated it
  const now = store.clock.now();
  const before = parseViews(change.isRebuilt === true ? undefined : head.snapshot);
  const views = await growViews(before, change, store.blobs);
  const isResigned = change.isResigned === true || (head.snapshot?.created_at ?? 0) <= (input.repositoryKey.changedAt ?? 0);
  const standing = isResigned ? { ...before, apk: {} } : before;
  const { releases, advisories } = change;
  const previousDate = head.snapshot === undefined ? undefined : new Date(head.snapshot.created_at);
  const files = await renderIndexes(store, { ...input, releases, advisories, before: standing, views, now, previousDate });
  const id = newId(now);
  const old = head.snapshot === undefined ? [] : await filesOfSnapshot(store, head.snapshot.id);
  const oldByPath = new Map(old.map((row) => [row.path, row]));
  const changedAt = Math.max(Math.floor(now.getTime() / 1000), (head.snapshot?.changed_at ?? 0) + 1);
  const rows = await storeFiles(store, {
    snapshotId: id,
    productId: product.id,
    files,
    held: new Set(change.isRebuilt === true ? [] : old.map((row) => row.digest)),
    modifiedAt: (file) => modifiedAt(file, oldByPath.get(file.path), { now, isRestamped: change.isRestamped === true }),
  });
  const carriedAt = change.isRestamped === true ? { modified_at: changedAt * 1000 } : {};
  for (const row of old) if (isCarriedOver(row.path, standing, views)) rows.push({ ...row, ...carriedAt, snapshot_id: id });
  return {
    head,
    row: {
      id,
      product_id: product.id,
      created_at: now.getTime(),
      superseded_at: null,
      valid_until: now.getTime() + validUntilDays * 86_400_000,
      views: JSON.stringify(views),
      changed_at: changedAt,
      base_id: null,
      view: "",
      hidden: null,
    },
    files: rows,
  };
}

/** True for the apk index of a channel that stands as before. It has no date of expiry: nothing is gained by packing and signing it again. */
function isCarriedOver(path: string, before: Pick<Views, "apk">, after: Views): boolean {
  const [, channel] = /^apk\/([^/]+)\//.exec(path) ?? [];
  return channel !== undefined && after.apk[channel] === before.apk[channel];
}

/**
 * apt asks with If-Modified-Since alone, in whole seconds (RFC 9110 5.6.7). So what stands unchanged keeps its time, and what changed gets a
 * later second than before, also when two publications fall into one second or the clock was set back: else a 304 would hide the change.
 */
function modifiedAt(
  file: RepositoryFile,
  old: { readonly digest: Digest; readonly modified_at: number } | undefined,
  { now, isRestamped }: { readonly now: Date; readonly isRestamped: boolean },
): number {
  if (old === undefined) return now.getTime();
  if (old.digest === file.digest && (!isRestamped || file.isImmutable)) return old.modified_at;
  return Math.max(now.getTime(), (Math.floor(old.modified_at / 1000) + 1) * 1000);
}

/**
 * The switch, inside the caller's transaction, together with the caller's change of the releases.
 * False where the head moved since prepareSnapshot: the caller must roll back and prepare again.
 */
export async function switchHead(transaction: Transaction<Database>, product: Product, prepared: PreparedSnapshot): Promise<boolean> {
  await transaction.insertInto("snapshots").values(prepared.row).execute();
  await insertFiles(transaction, prepared.files);
  const { revision, snapshot } = prepared.head;
  if (snapshot === undefined) {
    const inserted = await transaction
      .insertInto("heads")
      .values({ product_id: product.id, snapshot_id: prepared.row.id, revision: 1 })
      .onConflict((conflict) => conflict.column("product_id").doNothing())
      .executeTakeFirst();
    return inserted.numInsertedOrUpdatedRows === 1n;
  }
  const updated = await transaction
    .updateTable("heads")
    .set({ snapshot_id: prepared.row.id, revision: revision + 1 })
    .where("product_id", "=", product.id)
    .where("revision", "=", revision)
    .executeTakeFirst();
  if (updated.numUpdatedRows !== 1n) return false;
  await transaction.updateTable("snapshots").set({ superseded_at: prepared.row.created_at }).where("id", "=", snapshot.id).execute();
  return true;
}

/** Thrown inside a transaction to roll it back when the head moved; never leaves switchTo. */
class HeadMoved extends Error {}

const attemptLimit = 10;

/**
 * Prepares and switches until the head stood still in between. `decide` reads the present state and says what changes (undefined: nothing
 * to do); `apply` makes the same change to the releases inside the switch's transaction. Throws `conflict` after ten lost races.
 */
export async function switchSnapshot(
  store: Store,
  input: {
    readonly product: Product;
    readonly repositoryKey: RepositoryKey;
    readonly decide: () => Promise<{ readonly change: SnapshotChange; readonly apply: (transaction: Transaction<Database>) => Promise<void> } | undefined>;
  },
): Promise<boolean> {
  for (let attempt = 0; attempt < attemptLimit; attempt += 1) {
    const head = await readHead(store, input.product);
    const decision = await input.decide();
    if (decision === undefined) return false;
    const prepared = await prepareSnapshot(store, { product: input.product, head, change: decision.change, repositoryKey: input.repositoryKey });
    try {
      await store.db.transaction().execute(async (transaction) => {
        if (!(await switchHead(transaction, input.product, prepared))) throw new HeadMoved();
        await decision.apply(transaction);
      });
    } catch (error) {
      if (error instanceof HeadMoved) continue;
      throw error;
    }
    await bringBack(store, prepared.files);
    store.changes.emit("head", input.product.name);
    return true;
  }
  throw new SlipwayError("conflict", `${input.product.name} is being published by others; ten attempts found its head moved`);
}
