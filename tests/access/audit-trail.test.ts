/** The audit trail: durable before it is acknowledged, complete, in order, and never spoilt by what clients send. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openAuditTrail, type RecordedEvent } from "../../src/access/audit-trail.ts";
import { systemClock } from "../../src/io/clock.ts";
import type { AuditEvent } from "../../src/store/audit-events.ts";
import { openStore } from "../../src/store/store.ts";
import { needPostgres, storeTest } from "../support/stores.ts";

const download = (path: string): AuditEvent => ({
  actor: { kind: "customer", id: "c1", name: "acme" },
  customer: "acme",
  keyId: "SLKAAAAAAAAAAAAAAAAAAAA",
  action: "download",
  product: "coequal",
  version: "1.4.2",
  artifact: "coequal_1.4.2_amd64.deb",
  path,
  protocol: "apt",
  address: "192.0.2.1",
  client: "Debian APT-HTTP/1.3 (2.6.1)",
  status: 200,
  bytes: 12_345_678_901,
  result: "complete",
});

storeTest("C9 an event comes back with everything that was recorded", async (_, { store, clock }) => {
  const trail = openAuditTrail(store);
  const event = download("/apt/coequal/pool/main/c/coequal/coequal_1.4.2_amd64.deb");
  await trail.record(event);
  const { events, next } = await trail.list({});
  const { id, at, ...rest } = events[0] as RecordedEvent;
  assert.equal(events.length, 1);
  assert.equal(next, undefined);
  assert.match(id, /^[0-9A-Z]{26}$/);
  assert.deepEqual(at, clock.now());
  assert.deepEqual(JSON.parse(JSON.stringify(rest)), event);
  await trail.close();
  await assert.rejects(trail.record(event), /closed/);
});

storeTest("the trail pages newest first through everything, also what was recorded in one group", async (_, { store }) => {
  const trail = openAuditTrail(store);
  const count = 2_500;
  await Promise.all(Array.from({ length: count }, (_unused, index) => trail.record(download(`/${index}`))));
  await trail.record({ ...download("/other"), product: "other", customer: "umbrella" });
  const paths: (string | undefined)[] = [];
  let after: string | undefined;
  do {
    const page = await trail.list({ product: "coequal", customer: "acme", action: "download", limit: 700, after });
    assert.ok(page.events.length <= 700);
    paths.push(...page.events.map((event) => event.path));
    after = page.next;
  } while (after !== undefined);
  assert.deepEqual(
    paths,
    Array.from({ length: count }, (_unused, index) => `/${count - 1 - index}`),
  );
  assert.deepEqual(
    (await trail.list({ customer: "umbrella" })).events.map((event) => event.path),
    ["/other"],
  );
  assert.deepEqual((await trail.list({ product: "none" })).events, []);
});

storeTest("hostile text in one event neither fails nor changes the others of its group", async (_, { store }) => {
  const trail = openAuditTrail(store);
  const hostile = ["\0", "\ud800", "a\nb\u001b[31m", "'); drop table audit_events; --", "x".repeat(1_000_000), '{"a":1}', "\\u0000"];
  await Promise.all(hostile.map((client) => trail.record({ ...download("/hostile"), client })));
  const { events } = await trail.list({});
  assert.equal(events.length, hostile.length);
  assert.deepEqual(events.map((event) => event.client).toReversed(), [
    " ",
    "\ufffd",
    "a b [31m",
    "'); drop table audit_events; --",
    "x".repeat(256),
    '{"a":1}',
    "\\u0000",
  ]);
});

const driver = join(import.meta.dirname, "record-driver.ts");

for (const database of ["SQLite", "PostgreSQL"] as const) {
  test(`every acknowledged event is there after kill -9 (${database})`, async (t) => {
    const databaseUrl = database === "PostgreSQL" ? await needPostgres(t) : undefined;
    if (database === "PostgreSQL" && databaseUrl === undefined) return;
    const dataDir = await mkdtemp(join(tmpdir(), "slipway-audit-"));
    t.after(() => rm(dataDir, { recursive: true, force: true }));
    const acknowledged: string[] = [];
    for (let round = 0; round < 4; round += 1) {
      const recorder = spawn(process.execPath, [driver, dataDir, databaseUrl ?? "", String(round)], { stdio: ["ignore", "pipe", "inherit"] });
      let text = "";
      const enough = 50 + 70 * round;
      recorder.stdout.on("data", (piece: Buffer) => {
        text += piece.toString("utf8");
        if (text.split("\n").length > enough) recorder.kill("SIGKILL"); // in the middle of whatever it does
      });
      await once(recorder, "close");
      assert.equal(recorder.signalCode, "SIGKILL", "it was killed, not ended");
      acknowledged.push(...text.split("\n").slice(0, -1));
    }
    assert.ok(acknowledged.length >= 600, `${acknowledged.length} acknowledged`);
    const store = await openStore({ dataDir, clock: systemClock, ...(databaseUrl === undefined ? {} : { databaseUrl }) });
    const trail = openAuditTrail(store);
    const found = new Set<string | undefined>();
    let after: string | undefined;
    do {
      const page = await trail.list({ limit: 1_000, after });
      for (const event of page.events) found.add(event.path);
      after = page.next;
    } while (after !== undefined);
    await store.close();
    assert.deepEqual(
      acknowledged.filter((path) => !found.has(path)),
      [],
      "nothing acknowledged is missing",
    );
  });
}
