/** The whole server on PostgreSQL with one setting: publish, download, audit, and the same again after a restart. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { routes } from "../../src/server/routes.ts";
import { sharedPostgres } from "../support/stores.ts";
import { postgresFlags } from "./postgres-flags.ts";
import { get, issuePair, publish, startServer } from "./running-server.ts";

test("C16 with a database-url the server keeps its records in PostgreSQL, and finds them after a restart", async (t) => {
  const database = await postgresFlags(t);
  if (database === undefined) return;
  const dataDir = await mkdtemp(join(tmpdir(), "slipway-postgres-"));
  t.after(() => rm(dataDir, { recursive: true, force: true }));
  const flags = { ...database, dataDir };

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

test("a NUL, which PostgreSQL cannot hold, is refused in every address, query and body before the database is asked", async (t) => {
  const flags = await postgresFlags(t);
  if (flags === undefined) return;
  const running = await startServer(flags);
  t.after(() => running.stop());
  await publish(running, "coequal", "1.0.0");
  const pair = await issuePair(running, "acme", "coequal");
  for (const { method, path, access } of routes) {
    const authorization = access === "admin" ? `Bearer ${running.adminToken}` : pair.authorization;
    // Every parameter in turn, so that the ones before it are good.
    const places = [...path.matchAll(/:\w+|\*/g)].map(({ index }) => index);
    for (const place of places) {
      const address = path.replaceAll(/:\w+|\*/g, (name, at: number) => (at === place ? "a%00b" : name === ":product" ? "coequal" : "1.0.0"));
      const body = method === "GET" || method === "DELETE" ? {} : { body: "{}" };
      const response = await fetch(running.url + address, { method, headers: { authorization, "content-type": "application/json" }, ...body });
      assert.ok([400, 404, 405].includes(response.status), `${method} ${address}: ${response.status} ${await response.text()}`);
    }
  }
  for (const query of [
    "audit?product=a%00",
    "audit?after=%00",
    "audit/usage?product=%00",
    "grants?customer=%00",
    "grants?product=%00",
    "deliveries?target=%00",
  ]) {
    assert.equal((await running.admin("GET", `/${query}`)).status, 404, query);
  }
  const bodies: readonly (readonly [method: string, path: string, body: unknown])[] = [
    ["POST", "/products", { name: "a\0b" }],
    ["POST", "/customers", { name: "a\0b" }],
    ["PUT", "/customers/acme/contact", { mail: "a\0b@acme.example" }],
    ["PUT", "/customers/acme/grants/coequal", { channel: "sta\0ble" }],
    ["POST", `/keys/${pair.id}/rotate`, { ["reason\0"]: 1 }],
    ["PUT", `/keys/${pair.id}/exempt`, { isExempt: true, reason: ["\0"] }],
    ["POST", "/products/coequal/releases/1.0.0/withdraw", { reason: "loses \0 data" }],
  ];
  for (const [method, path, body] of bodies) {
    const answer = await running.admin(method, path, body);
    assert.deepEqual([answer.status, (answer.body["error"] as { code: string }).code], [400, "usage"], path);
  }
  assert.equal((await get(running, "/releases/coequal/1.0.0/SHA256SUMS", pair)).status, 200);
});

test("PostgreSQL gone and back under load: 503 with Retry-After and nothing of its address, no crash, and every acknowledged event is there", async (t) => {
  const flags = await postgresFlags(t);
  const postgres = await sharedPostgres();
  if (flags === undefined || postgres === undefined) return;
  const running = await startServer(flags);
  t.after(() => running.stop());
  await publish(running, "coequal", "1.0.0");
  const pair = await issuePair(running, "acme", "coequal");
  const paths = ["/releases/coequal/1.0.0/SHA256SUMS", "/apt/coequal/dists/stable/InRelease", "/yum/coequal/stable/repodata/repomd.xml"];
  const state = { isOver: false, whole: 0, refused: 0 };
  const statuses = new Set<number>();
  const load = paths.map(async (path) => {
    while (!state.isOver) {
      const response = await get(running, path, pair);
      const text = await response.text();
      statuses.add(response.status);
      if (response.status === 200) state.whole += 1;
      else {
        state.refused += 1;
        assert.equal(response.headers.get("retry-after"), "5");
        assert.doesNotMatch(text + response.statusText, /ECONN|ENOENT|pgsql|slipway-pg|terminat/i);
      }
    }
  });
  const until = async (what: string, isSo: () => boolean | Promise<boolean>): Promise<void> => {
    const deadline = Date.now() + 120_000;
    while (!(await isSo())) {
      assert.ok(Date.now() < deadline, `waited for ${what}`);
      await sleep(20);
    }
  };
  // In the middle of a transaction, between two of its queries, the connection breaks by an event alone.
  const { db } = running.server.context.store;
  const broken = db.transaction().execute(async (transaction) => {
    await transaction.selectFrom("products").select("id").execute();
    await until("the crash", () => state.refused > 0);
    await transaction.selectFrom("products").select("id").execute();
  });
  await until("the first downloads", () => state.whole > 20);
  await Promise.all([postgres.crash(), assert.rejects(broken, { code: "unavailable" })]);
  assert.equal((await get(running, "/readyz")).status, 503);
  assert.equal((await get(running, "/healthz")).status, 200);
  const push = await running.admin("POST", "/customers", { name: "late" });
  assert.deepEqual([push.status, (push.body["error"] as { code: string }).code], [503, "unavailable"]);
  await postgres.start();
  await until("readiness", async () => (await get(running, "/readyz")).status === 200);
  const { whole } = state;
  await until("downloads again", () => state.whole > whole + 20);
  state.isOver = true;
  await Promise.all(load);
  assert.deepEqual(statuses, new Set([200, 503]));
  const counted = await db
    .selectFrom("audit_events")
    .select(({ fn }) => fn.countAll<string>().as("count"))
    .where("action", "=", "download")
    .where("result", "=", "complete")
    .executeTakeFirstOrThrow();
  assert.ok(Number(counted.count) >= state.whole, `${state.whole} whole answers, ${counted.count} events`);
  assert.equal((await running.admin("POST", "/customers", { name: "late" })).status, 201);
});
