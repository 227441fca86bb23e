/** Migrations: on start-up, each once, by however many servers start together. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { sql } from "kysely";
import { SlipwayError } from "../../src/model/errors.ts";
import { openPostgres, openSqlite } from "../../src/store/database.ts";
import { migrate, migrations } from "../../src/store/migrations.ts";
import { needPostgres } from "../support/stores.ts";

const driver = join(import.meta.dirname, "migrate-driver.ts");
const processes = 5;

/** Starts all children, lets them go at the same moment, and returns what each applied. */
async function migrateTogether(dataDir: string, databaseUrl: string | undefined): Promise<readonly string[][]> {
  const children = Array.from({ length: processes }, () =>
    spawn(process.execPath, [driver, dataDir, databaseUrl ?? ""], { stdio: ["pipe", "pipe", "inherit"] }),
  );
  await Promise.all(children.map((one) => once(one.stdout, "data")));
  const outputs = children.map(async (one) => {
    let text = "";
    one.stdout.on("data", (piece: Buffer) => {
      text += piece.toString("utf8");
    });
    const [exitCode] = (await once(one, "close")) as [number | null];
    assert.equal(exitCode, 0, "every server starts");
    return JSON.parse(text) as string[];
  });
  for (const one of children) one.stdin.end("go\n");
  return Promise.all(outputs);
}

for (const database of ["SQLite", "PostgreSQL"] as const) {
  test(`C16 several servers that start together apply each migration once (${database})`, async (t) => {
    const databaseUrl = database === "PostgreSQL" ? await needPostgres(t) : undefined;
    if (database === "PostgreSQL" && databaseUrl === undefined) return;
    const dataDir = await mkdtemp(join(tmpdir(), "slipway-migrate-"));
    try {
      const applied = await migrateTogether(dataDir, databaseUrl);
      assert.deepEqual(
        applied.flat().sort(),
        migrations.map((migration) => migration.id),
        "each migration was applied by exactly one of them",
      );
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  });

  test(`C16 a migration that fails leaves the database as it was, and one of a newer version is refused (${database})`, async (t) => {
    const databaseUrl = database === "PostgreSQL" ? await needPostgres(t) : undefined;
    if (database === "PostgreSQL" && databaseUrl === undefined) return;
    const db = databaseUrl === undefined ? await openSqlite(":memory:") : openPostgres(databaseUrl);
    const dialect = databaseUrl === undefined ? "sqlite" : "postgres";
    try {
      const first = { id: "0001", statements: ["create table one (id text primary key)"] };
      const broken = { id: "0002", statements: ["create table two (id text primary key)", "create table one (id text primary key)"] };
      const right = { id: "0002", statements: ["create table two (id text primary key)"] };
      assert.deepEqual(await migrate(db, dialect, [first]), ["0001"]);
      await assert.rejects(migrate(db, dialect, [first, broken]), /one/);
      assert.deepEqual(await migrate(db, dialect, [first, right]), ["0002"], "nothing of the failed one is left");
      assert.deepEqual(await migrate(db, dialect, [first, right]), []);
      await assert.rejects(
        migrate(db, dialect, [first]),
        (error) => error instanceof SlipwayError && error.code === "conflict" && error.detail === "database_newer",
      );
      await sql`select id from two`.execute(db);
    } finally {
      await db.destroy();
    }
  });
}
