/** The whole server on PostgreSQL with one setting: publish, download, audit, and the same again after a restart. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { needPostgres } from "../support/stores.ts";
import { get, issuePair, publish, startServer } from "./running-server.ts";

test("C16 with a database-url the server keeps its records in PostgreSQL, and finds them after a restart", async (t) => {
  const databaseUrl = await needPostgres(t);
  if (databaseUrl === undefined) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-postgres-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const databaseUrlFile = join(folder, "database-url");
  await writeFile(databaseUrlFile, databaseUrl, { mode: 0o600 });
  const flags = { databaseUrlFile, dataDir: join(folder, "data") };

  const first = await startServer(flags);
  assert.equal(first.server.context.store.dialect, "postgres");
  await publish(first, "coequal", "1.0.0");
  const pair = await issuePair(first, "acme", "coequal");
  const path = "/releases/coequal/latest/SHA256SUMS";
  const sums = await (await get(first, path, pair)).text();
  await first.server.stop();

  const second = await startServer(flags);
  try {
    assert.equal(await (await get(second, path, pair)).text(), sums);
    assert.equal((await get(second, "/readyz")).status, 200);
    const { body } = await second.admin("GET", "/audit?action=download");
    assert.equal((body["events"] as unknown[]).length, 2);
    assert.equal((await second.admin("POST", `/keys/${pair.id}/revoke`, {})).status, 200);
    assert.equal((await get(second, path, pair)).status, 401);
  } finally {
    await second.stop();
  }
});
