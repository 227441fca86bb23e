/** Who runs what: each pull counted once, before and after its event is cleared. */
import assert from "node:assert/strict";
import { checkAuditChain } from "../../src/access/audit-chain-check.ts";
import { openAuditTrail } from "../../src/access/audit-trail.ts";
import { addCustomer } from "../../src/access/customers.ts";
import { clearCountedPulls, listUsage, rollUpPulls } from "../../src/access/pull-rollups.ts";
import type { AuditEvent } from "../../src/store/audit-events.ts";
import type { Store } from "../../src/store/store.ts";
import { storeTest } from "../support/stores.ts";

const dayMs = 24 * 3_600_000;

const pull = (customer: string, version: string, address: string): AuditEvent => ({
  actor: { kind: "customer" },
  action: "download",
  result: "complete",
  customer,
  product: "coequal",
  version,
  artifact: `coequal_${version}_amd64.deb`,
  protocol: "apt",
  address,
  bytes: 5_000_000_000,
});

async function record(store: Store, ...events: readonly AuditEvent[]): Promise<void> {
  const trail = openAuditTrail(store);
  for (const event of events) await trail.record(event);
  await trail.close();
}

const brief = async (store: Store, query = {}) =>
  (await listUsage(store, query)).map(({ customer, version, pulls, bytes, addresses }) => `${customer} ${version} ${pulls}x ${bytes} ${addresses}`);

storeTest("C9 usage counts pulls of artifacts by customer and version, over days that are counted and days that are not", async (_, { store, clock }) => {
  await record(store, pull("acme", "1.3.0", "192.0.2.1"), pull("acme", "1.3.0", "192.0.2.2"), pull("acme", "1.3.0", "192.0.2.2"));
  await record(store, { ...pull("acme", "1.3.0", "192.0.2.1"), result: "gone" }, { ...pull("acme", "1.3.0", "192.0.2.1"), version: undefined });
  clock.advance(2 * dayMs);
  await record(store, pull("acme", "1.3.0", "192.0.2.1"), pull("umbrella", "1.4.0", "198.51.100.1"));
  const before = await brief(store);
  assert.deepEqual(before.toSorted(), ["acme 1.3.0 4x 20000000000 2", "umbrella 1.4.0 1x 5000000000 1"]);
  assert.equal(await rollUpPulls(store), 2, "the day before yesterday and yesterday");
  assert.equal(await rollUpPulls(store), 0);
  assert.deepEqual(await brief(store), before);
  assert.deepEqual(await brief(store, { customer: "umbrella" }), ["umbrella 1.4.0 1x 5000000000 1"]);
  assert.deepEqual(await brief(store, { days: 1, customer: "acme" }), ["acme 1.3.0 1x 5000000000 1"]);
});

storeTest("C9 clearing takes counted pulls alone: counts, today's pulls and the administrative chain stay", async (_, { store, clock }) => {
  const actor = { kind: "admin", id: "T1", name: "first" } as const;
  await addCustomer(store, { name: "acme", actor });
  await record(store, pull("acme", "1.3.0", "192.0.2.1"));
  clock.advance(10 * dayMs);
  assert.equal(await clearCountedPulls(store, 5 * dayMs), 0, "nothing is counted yet");
  await rollUpPulls(store);
  await record(store, pull("acme", "1.4.0", "192.0.2.1"));
  const usage = await brief(store);
  assert.equal(await clearCountedPulls(store, 20 * dayMs), 0, "nothing is that old");
  assert.equal(await clearCountedPulls(store, 5 * dayMs), 1);
  assert.deepEqual(await brief(store), usage);
  const left = await store.db.selectFrom("audit_events").select("action").orderBy("id").execute();
  assert.deepEqual(
    left.map(({ action }) => action),
    ["customer.add", "download"],
  );
  assert.equal((await checkAuditChain(store)).state, "whole");
});

storeTest("C9 two servers that count at once count each day once", async (_, { store, clock, databaseUrl, openAgain }) => {
  await record(store, pull("acme", "1.3.0", "192.0.2.1"), pull("acme", "1.3.0", "192.0.2.1"));
  clock.advance(dayMs + 2 * 3_600_000);
  await Promise.all([rollUpPulls(store), rollUpPulls(databaseUrl === undefined ? store : await openAgain())]);
  assert.deepEqual(await brief(store), ["acme 1.3.0 2x 10000000000 1"]);
});
