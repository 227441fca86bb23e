/** The store: records in a database and bytes in blobs, opened together; on one machine with zero settings, or with a database URL. */
import { access, chmod, mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { type Kysely, sql } from "kysely";
import type { Clock } from "../io/clock.ts";
import { SlipwayError } from "../model/errors.ts";
import { type AuditWriter, postgresAuditWriter, sqliteAuditWriter } from "./audit-writer.ts";
import type { BlobStore } from "./blobs.ts";
import { type Changes, newChanges } from "./changes.ts";
import { type Dialect, openPostgres, openSqlite, openSqliteToRead } from "./database.ts";
import { openDiskBlobs } from "./disk-blobs.ts";
import { migrate } from "./migrations.ts";
import type { Database } from "./schema.ts";

export type StoreOptions = {
  /** Folder of the database file, the blobs and the key-encryption key; made with mode 0700 where it is missing. */
  readonly dataDir: string;
  /** `postgres://…`; without it the database is `slipway.db` in `dataDir`. */
  readonly databaseUrl?: string;
  readonly clock: Clock;
  /** Largest blob in bytes. */
  readonly blobSizeLimit?: number;
  /** Free bytes that uploads leave on the disk. */
  readonly diskReserve?: number;
};

export type Store = {
  readonly db: Kysely<Database>;
  readonly dialect: Dialect;
  readonly blobs: BlobStore;
  readonly auditWriter: AuditWriter;
  readonly clock: Clock;
  readonly dataDir: string;
  readonly changes: Changes;
  /** Throws where the database does not answer: the readiness probe. */
  ping(): Promise<void>;
  close(): Promise<void>;
};

/** Opens and migrates. Several processes may do so at once (C16). Throws `conflict` for a database of a newer Slipway. */
export async function openStore(options: StoreOptions): Promise<Store> {
  await mkdir(options.dataDir, { recursive: true, mode: 0o700 });
  await chmod(options.dataDir, 0o700); // it may have been there with other bits; it holds secrets
  const dialect: Dialect = options.databaseUrl === undefined ? "sqlite" : "postgres";
  const file = join(options.dataDir, "slipway.db");
  const db = options.databaseUrl === undefined ? await openOwnSqlite(file) : openPostgres(options.databaseUrl);
  try {
    await migrate(db, dialect);
    const blobs = await openDiskBlobs({
      folder: join(options.dataDir, "blobs"),
      ...(options.blobSizeLimit === undefined ? {} : { sizeLimit: options.blobSizeLimit }),
      ...(options.diskReserve === undefined ? {} : { reserveBytes: options.diskReserve }),
    });
    const auditWriter = dialect === "sqlite" ? sqliteAuditWriter(file) : postgresAuditWriter(db);
    return {
      db,
      dialect,
      blobs,
      auditWriter,
      clock: options.clock,
      dataDir: options.dataDir,
      changes: newChanges(),
      ping: async () => {
        await sql`select 1`.execute(db);
      },
      close: async () => {
        await auditWriter.close();
        await db.destroy();
      },
    };
  } catch (error) {
    await db.destroy();
    throw error;
  }
}

/** For checks: opens what is there as it is, makes nothing, migrates nothing, and writes nothing to the database. Throws `source_missing` where there is no data folder. */
export async function openStoreToCheck(options: Pick<StoreOptions, "dataDir" | "databaseUrl" | "clock">): Promise<Store> {
  const { dataDir, databaseUrl, clock } = options;
  const [file, folder] = [join(dataDir, "slipway.db"), join(dataDir, "blobs")];
  for (const path of [dataDir, folder, ...(databaseUrl === undefined ? [file] : [])]) {
    const isThere = await access(path).then(
      () => true,
      () => false,
    );
    if (!isThere)
      throw new SlipwayError("source_missing", `${path} is not there`, { hint: "name the server's data folder with --data-dir; is its disk mounted?" });
  }
  const db = databaseUrl === undefined ? openSqliteToRead(file) : openPostgres(databaseUrl);
  return {
    db,
    dialect: databaseUrl === undefined ? "sqlite" : "postgres",
    blobs: await openDiskBlobs({ folder, isCheckOnly: true }),
    auditWriter: { append: () => Promise.reject(new Error("a check writes no audit events")), close: () => Promise.resolve() },
    clock,
    dataDir,
    changes: newChanges(),
    ping: async () => {
      await sql`select 1`.execute(db);
    },
    close: () => db.destroy(),
  };
}

/** SQLite gives its side files the mode of the database file, and a new one the umask's: it is made here first, for the owner alone. */
async function openOwnSqlite(path: string): Promise<Kysely<Database>> {
  const handle = await open(path, "a", 0o600);
  await handle.close();
  await chmod(path, 0o600);
  return openSqlite(path);
}
