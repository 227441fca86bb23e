/** The files of a snapshot: rendered bytes become blobs, each with a row that names it. */
import type { Transaction } from "kysely";
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { RepositoryFile } from "../repositories/repository-file.ts";
import type { Database, SnapshotFileTable } from "../store/schema.ts";
import type { Store } from "../store/store.ts";

export type FileStoring = {
  readonly snapshotId: string;
  readonly productId: string;
  readonly files: readonly RepositoryFile[];
  /** Blobs that a kept snapshot names. */
  readonly held: ReadonlySet<Digest>;
  /** In milliseconds since 1970. */
  readonly modifiedAt: (file: RepositoryFile) => number;
};

/**
 * Stores what is not held and returns the rows of all files. What an old blob of the same bytes holds is written again: the sweep may be
 * about to take that one. Index files have no bytes here; they were stored when they were made.
 */
export async function storeFiles(store: Store, storing: FileStoring): Promise<SnapshotFileTable[]> {
  const fresh = new Map(storing.files.filter(({ digest }) => !storing.held.has(digest)).map((file) => [file.digest, file]));
  // All at once: most of it is waiting for the disk.
  await Promise.all([...fresh.values()].map((file) => storeFile(store, file)));
  return storing.files.map((file) => ({
    snapshot_id: storing.snapshotId,
    product_id: storing.productId,
    path: file.path,
    digest: file.digest,
    size: file.size,
    media_type: file.contentType,
    is_immutable: file.isImmutable ? 1 : 0,
    modified_at: storing.modifiedAt(file),
  }));
}

async function storeFile(store: Store, file: RepositoryFile): Promise<void> {
  if (file.bytes === undefined) return;
  const stored = await store.blobs.put(file.bytes);
  if (stored.digest !== file.digest) throw new SlipwayError("internal", `${file.path} was rendered as ${file.digest} and stored as ${stored.digest}`);
}

export async function filesOfSnapshot(store: Store, snapshotId: string): Promise<readonly SnapshotFileTable[]> {
  return store.db.selectFrom("snapshot_files").selectAll().where("snapshot_id", "=", snapshotId).execute();
}

/** How many rows one statement takes: SQLite allows 32,766 parameters, PostgreSQL 65,535. */
const rowsPerInsert = 1_000;

export async function insertFiles(transaction: Transaction<Database>, rows: readonly SnapshotFileTable[]): Promise<void> {
  for (let start = 0; start < rows.length; start += rowsPerInsert) {
    await transaction
      .insertInto("snapshot_files")
      .values(rows.slice(start, start + rowsPerInsert))
      .execute();
  }
}

/** What the sweep quarantined between storing and the commit of these rows comes back: they are in place now (see sweep.ts). */
export async function bringBack(store: Store, rows: readonly SnapshotFileTable[]): Promise<void> {
  const digests = new Set(rows.map((row) => row.digest));
  await Promise.all(
    [...digests].map(async (digest) => {
      if ((await store.blobs.stat(digest)) === undefined) await store.blobs.restore(digest);
    }),
  );
}
