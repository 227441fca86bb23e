/**
 * Opens the records: SQLite through node:sqlite by default, PostgreSQL where a URL is set; one query builder over both.
 *
 * Only the SQL that both speak is used: text ids, bigint milliseconds, JSON as text, `on conflict`, `returning`.
 */
import type { SQLInputValue, StatementSync } from "node:sqlite";
import { Kysely, PostgresDialect, SqliteDialect } from "kysely";
import { Pool, types } from "pg";
import type { Database } from "./schema.ts";
import { openSqliteFile } from "./sqlite-file.ts";

export type Dialect = "sqlite" | "postgres";

/** What Kysely's SqliteDialect asks of a database. */
type SqliteStatement = {
  readonly reader: boolean;
  all(parameters: readonly unknown[]): unknown[];
  run(parameters: readonly unknown[]): { changes: number | bigint; lastInsertRowid: number | bigint };
  iterate(parameters: readonly unknown[]): IterableIterator<unknown>;
};

function adaptStatement(statement: StatementSync): SqliteStatement {
  const values = (parameters: readonly unknown[]): SQLInputValue[] => parameters as SQLInputValue[];
  return {
    reader: statement.columns().length > 0,
    all: (parameters) => statement.all(...values(parameters)),
    run: (parameters) => statement.run(...values(parameters)),
    iterate: (parameters) => statement.iterate(...values(parameters)),
  };
}

/** Prepared once per text; the texts come from our own queries, so a few hundred is all there are. */
const statementCacheSize = 256;

export async function openSqlite(path: string): Promise<Kysely<Database>> {
  const database = await openSqliteFile(path);
  const statements = new Map<string, SqliteStatement>();
  const prepare = (sql: string): SqliteStatement => {
    const known = statements.get(sql);
    if (known !== undefined) return known;
    // A deferred transaction that reads first and writes later fails with SQLITE_BUSY whatever the timeout says when another
    // process wrote in between; every transaction here writes, so each takes the write lock at its start.
    const statement = adaptStatement(database.prepare(sql === "begin" ? "begin immediate" : sql));
    if (statements.size >= statementCacheSize) statements.clear();
    statements.set(sql, statement);
    return statement;
  };
  return new Kysely<Database>({ dialect: new SqliteDialect({ database: { prepare, close: () => database.close() } }) });
}

/** PostgreSQL's int8; `pg` gives it as text by default, SQLite as a number. Milliseconds and sizes stay below 2^53. */
const int8 = 20;

export function openPostgres(url: string): Kysely<Database> {
  const pool = new Pool({
    connectionString: url,
    max: 10,
    connectionTimeoutMillis: 10_000,
    types: { getTypeParser: (oid: number, format?: string) => (oid === int8 ? Number : types.getTypeParser(oid, format as "text")) },
  });
  // An idle connection that breaks (server restart) must not end the process; the next query opens a new one or fails by itself.
  pool.on("error", () => undefined);
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
}

/** True where `error` says that a row with this unique value is already there, on either database. */
export function isUniqueViolation(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code, errcode } = error as { code?: unknown; errcode?: unknown };
  // PostgreSQL 23505; SQLite extended codes SQLITE_CONSTRAINT_UNIQUE 2067 and _PRIMARYKEY 1555.
  return code === "23505" || errcode === 2067 || errcode === 1555;
}
