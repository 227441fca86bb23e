/**
 * Opens the records: SQLite through node:sqlite by default, PostgreSQL where a URL is set; one query builder over both.
 *
 * Only the SQL that both speak is used: text ids, bigint milliseconds, JSON as text, `on conflict`, `returning`.
 */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import { Kysely, PostgresDialect, type PostgresPool, type PostgresPoolClient, type PostgresQueryResult, SqliteDialect } from "kysely";
import { Pool, types } from "pg";
import { SlipwayError } from "../model/errors.ts";
import type { Database } from "./schema.ts";
import { openSqliteFile, openSqliteFileToRead } from "./sqlite-file.ts";

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
  return overSqlite(await openSqliteFile(path));
}

/** For checks: nothing can be written through it. The file must be there. */
export function openSqliteToRead(path: string): Kysely<Database> {
  return overSqlite(openSqliteFileToRead(path));
}

function overSqlite(database: DatabaseSync): Kysely<Database> {
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
    keepAlive: true,
    types: { getTypeParser: (oid: number, format?: string) => (oid === int8 ? Number : types.getTypeParser(oid, format as "text")) },
  });
  // An idle connection that breaks (server restart) must not end the process; the next query opens a new one or fails by itself.
  pool.on("error", ignore);
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool: patient(pool) }) });
}

const ignore = (): void => undefined;

/** The pool as Kysely sees it: a database that is not there is `unavailable`, whatever way pg has to say so. */
function patient(pool: Pool): PostgresPool {
  return {
    connect: async () => {
      const client = await pool.connect().catch((error: unknown) => {
        throw isRefusal(error) ? error : away(error);
      });
      // A connection that breaks between two queries of a transaction says so by an event, which would end the process: the next query fails.
      client.on("error", ignore);
      return {
        query: async <R>(text: string, parameters: readonly unknown[]) => {
          try {
            return (await client.query(text, [...parameters])) as unknown as PostgresQueryResult<R>; // rows are checked where they are read
          } catch (error) {
            throw isEnded(error) ? away(error) : error;
          }
        },
        release: () => {
          client.off("error", ignore);
          client.release();
        },
      } as PostgresPoolClient; // Kysely's cursors are the one other form of query, and are not used
    },
    end: () => pool.end(),
    options: pool.options,
  };
}

function away(cause: unknown): SlipwayError {
  return new SlipwayError("unavailable", "the database does not answer", { hint: "the server goes on as soon as it does; look at PostgreSQL's log", cause });
}

const sqlState = (error: unknown): string => String((error as { code?: unknown }).code);

/** PostgreSQL is there and does not let us in, or has no such database: a setting to mend (classes 28 and 3D). */
function isRefusal(error: unknown): boolean {
  return /^(?:28|3D)...$/.test(sqlState(error));
}

/** Ended by a stop, a restart or a crash: class 08 and 57P01 to 57P03, or no code at all where the socket closed. */
function isEnded(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return /^(?:08...|57P0[123])$/.test(sqlState(error)) || /^Connection terminated|is not queryable$/.test(error.message) || /^E[A-Z]+$/.test(sqlState(error));
}

/** True where `error` says that a row with this unique value is already there, on either database. */
export function isUniqueViolation(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code, errcode } = error as { code?: unknown; errcode?: unknown };
  // PostgreSQL 23505; SQLite extended codes SQLITE_CONSTRAINT_UNIQUE 2067 and _PRIMARYKEY 1555.
  return code === "23505" || errcode === 2067 || errcode === 1555;
}
