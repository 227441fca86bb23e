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

  test(`C9 the right of a key becomes its customer's grant, and what was published stays in its channel for everybody (${database})`, async (t) => {
    const databaseUrl = database === "PostgreSQL" ? await needPostgres(t) : undefined;
    if (database === "PostgreSQL" && databaseUrl === undefined) return;
    const db = databaseUrl === undefined ? await openSqlite(":memory:") : openPostgres(databaseUrl);
    const dialect = databaseUrl === undefined ? "sqlite" : "postgres";
    try {
      await migrate(
        db,
        dialect,
        migrations.slice(
          0,
          migrations.findIndex(({ id }) => id === "0005-channels-and-grants"),
        ),
      );
      const before = [
        "insert into products (id, name, keep, created_at) values ('p1', 'coequal', 10, 1), ('p2', 'jaco', 10, 1)",
        "insert into customers (id, name, created_at) values ('c1', 'acme', 1), ('c2', 'other', 1)",
        "insert into access_keys (id, customer_id, created_at) values ('k1', 'c1', 1), ('k2', 'c1', 2), ('k3', 'c2', 3)",
        "insert into grants (access_key_id, product_id, created_at) values ('k1', 'p1', 5), ('k2', 'p1', 7), ('k2', 'p2', 8), ('k3', 'p2', 9)",
        "insert into releases (id, product_id, version, channel, state, created_at, published_at) values ('r1', 'p1', '1.0.0', 'stable', 'published', 3, 4), ('r2', 'p1', '1.1.0', 'preview', 'draft', 5, null)",
      ];
      for (const statement of before) await sql.raw(statement).execute(db);
      await migrate(db, dialect);
      const grants = await db
        .selectFrom("customer_grants")
        .select(["customer_id", "product_id", "created_at", "lapse", "channel"])
        .orderBy("customer_id")
        .orderBy("product_id")
        .execute();
      assert.deepEqual(
        grants.map((row) => [row.customer_id, row.product_id, row.created_at, row.lapse, row.channel]),
        [
          ["c1", "p1", 5, "keep", null],
          ["c1", "p2", 8, "keep", null],
          ["c2", "p2", 9, "keep", null],
        ],
      );
      assert.equal((await db.selectFrom("access_key_products").selectAll().execute()).length, 4);
      const memberships = await db.selectFrom("release_channels").select(["release_id", "channel", "promoted_at", "rollout"]).execute();
      assert.deepEqual(
        memberships.map((row) => Object.values(row)),
        [["r1", "stable", 4, 10_000]],
      );
    } finally {
      await db.destroy();
    }
  });
}
