/** Backup and restore of a real PostgreSQL database through the dump hook: what the newer version did to the schema is gone after a rollback. */
import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { Client } from "pg";
import { requireCommand } from "../../src/io/command.ts";
import { postgresPrograms } from "../support/postgres.ts";
import { needPostgres } from "../support/stores.ts";
import { failure, makeSite, noSignal, startVendor, toyFiles } from "./support.ts";

const signal = noSignal;

test("K6 K7 C16 a database is dumped before an upgrade, and back with schema and rows after a rollback, a failed upgrade, and a restore by hand", async (t) => {
  const url = await needPostgres(t);
  const programs = await postgresPrograms();
  if (url === undefined || programs === undefined) return;
  const query = async (text: string): Promise<readonly Record<string, unknown>[]> => {
    const client = new Client({ connectionString: url });
    await client.connect();
    try {
      return (await client.query(text)).rows as Record<string, unknown>[];
    } finally {
      await client.end();
    }
  };
  await query("create table jobs (id bigint generated always as identity primary key, body text not null)");
  await query("insert into jobs (body) select repeat('x', 200) || g from generate_series(1, 5000) g");

  const vendor = await startVendor(t);
  const site = await makeSite(vendor, {}, t);
  const tool = (name: string): string => join(programs, name);
  const migrate = join(site.folder, "migrate.sh");
  await writeFile(migrate, `#!/bin/sh\nexec ${tool("psql")} -v ON_ERROR_STOP=1 -qtA -d "${url}" -c "$1"\n`, { mode: 0o755 });
  const section = [
    "name: database",
    "kind: cmd",
    `dump: [${tool("pg_dump")}, -Fc, "--file={file}", "${url}"]`,
    `inspect: [${tool("pg_restore")}, --list, "{file}"]`,
    // --create: the whole database is dropped and made again. With --clean alone, what the newer version added would stay, and be in the way.
    `restore: [${tool("pg_restore")}, --clean, --if-exists, --create, --exit-on-error, "--dbname=${url.replace(/\/test_\d+\?/, "/postgres?")}", "{file}"]`,
    `count: [${migrate}, "select count(*) from jobs"]`,
  ].join(", ");
  const text = await readFile(site.file, "utf8");
  await writeFile(site.file, text.replace("backup: { paths: [data] }", `backup: { paths: [data], sections: [{ ${section} }] }`));
  await vendor.release("1.4.2");
  await (await site.updater()).install({ signal });

  // The new version migrates, forward only: the old one would not find its table.
  const migrating = (version: string, kind: "good" | "crashes") => {
    const files = toyFiles(version, kind);
    const start = `#!/bin/sh\nVERSION=${version}\n${migrate} "alter table if exists jobs rename to tasks" || exit 1\n`;
    return { ...files, "bin/toy": { content: (files["bin/toy"]?.content ?? "").replace(`#!/bin/sh\nVERSION=${version}\n`, start), mode: 0o755 } };
  };
  const rows = async (table: string): Promise<number> => Number((await query(`select count(*) as n from ${table}`))[0]?.["n"]);
  await vendor.release("1.5.0", { files: migrating("1.5.0", "crashes") });
  await failure((await site.updater()).install({ signal }), "health_failed", "rolled_back");
  assert.equal(await rows("jobs"), 5000, "after a failed upgrade");

  await vendor.release("1.6.0", { files: migrating("1.6.0", "good") });
  await (await site.updater()).install({ signal });
  assert.equal(await rows("tasks"), 5000);
  const result = await (await site.updater()).rollback({ restoreState: "always", signal });
  assert.ok(result.isStateRestored && result.report.steps.some(({ step }) => step === "restore"));
  assert.equal(await rows("jobs"), 5000, "after a rollback");

  const file = join(site.folder, "by-hand.rbk");
  await (await site.updater()).backup({ output: file });
  await mkdir(join(site.folder, "look"));
  await requireCommand(["tar", "-xf", file, "-C", join(site.folder, "look")], { timeoutMs: 120_000 });
  const listing = await requireCommand([tool("pg_restore"), "--list", join(site.folder, "look/data/database")], { timeoutMs: 120_000 });
  assert.match(listing, /TABLE DATA public jobs/);
  await query("delete from jobs where id > 100");
  await (await site.updater()).restore({ path: file });
  assert.equal(await rows("jobs"), 5000, "after a restore by hand");
});
