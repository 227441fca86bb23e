/** Is the database itself sound: its pages, its references, and whether it is of this program's schema. */
import { sql } from "kysely";
import { compareMigrations } from "./migrations.ts";
import type { Store } from "./store.ts";

/** Faults that SQLite lists at most: the first few say all. */
const faultLimit = 20;

/**
 * One sentence for each fault. Reads every page of a SQLite file. PostgreSQL guards its references by itself and has tools of its own for its
 * pages (pg_amcheck, data checksums): there the schema alone is looked at. Throws what the database throws where it cannot even be asked.
 */
export async function checkDatabase(store: Store): Promise<readonly string[]> {
  const faults: string[] = [];
  if (store.dialect === "sqlite") {
    const { rows: pages } = await sql<{ integrity_check: string }>`pragma integrity_check(${sql.lit(faultLimit)})`.execute(store.db);
    faults.push(...pages.map((row) => row.integrity_check).filter((text) => text !== "ok"));
    const { rows: references } = await sql<{ table: string; rowid: number | null; parent: string }>`pragma foreign_key_check`.execute(store.db);
    faults.push(
      ...references.slice(0, faultLimit).map(({ table, rowid, parent }) => `row ${rowid ?? "?"} of ${table} names a row of ${parent} that is not there`),
    );
  }
  const { missing, unknown } = await compareMigrations(store.db);
  if (unknown.length > 0) faults.push(`it was written by a newer Slipway (${unknown.join(", ")})`);
  if (missing.length > 0) faults.push(`it lacks ${missing.join(", ")}: start this version's server once, it brings the database up to date`);
  return faults;
}
