/** The chain over administrative events: whole after everything that we do, broken by everything that is done past us. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkAuditChain } from "../../src/access/audit-chain-check.ts";
import { openAuditTrail } from "../../src/access/audit-trail.ts";
import { addCustomer } from "../../src/access/customers.ts";
import { chainHash, chainStart } from "../../src/store/audit-chain.ts";
import { auditRow } from "../../src/store/audit-events.ts";
import type { Store } from "../../src/store/store.ts";
import { storeTest } from "../support/stores.ts";

const actor = { kind: "admin", id: "T1", name: "first" } as const;

async function addCustomers(store: Store, ...names: readonly string[]): Promise<void> {
  for (const name of names) await addCustomer(store, { name, actor });
}

storeTest("C9 administrative events are links of one chain; pulls are none", async (_, { store }) => {
  assert.deepEqual(await checkAuditChain(store), { state: "whole", links: 0, head: chainStart, fault: undefined });
  await addCustomers(store, "acme", "umbrella");
  const trail = openAuditTrail(store);
  await trail.record({ actor: { kind: "customer" }, action: "download", result: "complete" });
  await addCustomers(store, "initech");
  const check = await checkAuditChain(store);
  assert.deepEqual([check.state, check.links, check.fault], ["whole", 3, undefined]);
  const { events } = await trail.list({ order: "oldest" });
  assert.deepEqual(
    events.map((event) => event.link?.seq),
    [1, 2, undefined, 3],
  );
  assert.equal(events.at(-1)?.link?.hash, check.head);
  await trail.close();
});

storeTest("C9 events of two servers at once make one chain without a gap", async (_, { store, databaseUrl, openAgain }) => {
  // Two SQLite connections of one process would wait for each other in the same thread.
  const other = databaseUrl === undefined ? store : await openAgain();
  const names = Array.from({ length: 40 }, (_unused, index) => `customer-${index}`);
  await Promise.all(names.map((name, index) => addCustomers(index % 2 === 0 ? store : other, name)));
  const check = await checkAuditChain(store);
  assert.deepEqual([check.state, check.links], ["whole", names.length]);
});

type Tampering = { readonly what: string; readonly act: (store: Store) => Promise<unknown>; readonly fault: RegExp };

const tamperings: readonly Tampering[] = [
  {
    what: "an event is changed",
    act: async (store) => {
      const link = await store.db.selectFrom("audit_chain").select("event_id").where("seq", "=", 2).executeTakeFirstOrThrow();
      await store.db.updateTable("audit_events").set({ actor_name: "somebody else" }).where("id", "=", link.event_id).execute();
    },
    fault: /link 2: the event \S+ is not as it was recorded/,
  },
  {
    what: "an event is taken out",
    act: async (store) => {
      const link = await store.db.selectFrom("audit_chain").select("event_id").where("seq", "=", 2).executeTakeFirstOrThrow();
      await store.db.deleteFrom("audit_events").where("id", "=", link.event_id).execute();
    },
    fault: /the event \S+ of link 2 is missing/,
  },
  { what: "a link is taken out", act: (store) => store.db.deleteFrom("audit_chain").where("seq", "=", 2).execute(), fault: /link 2 is missing/ },
  { what: "the newest link is taken out", act: (store) => store.db.deleteFrom("audit_chain").where("seq", "=", 3).execute(), fault: /link 3 is missing/ },
  {
    what: "the head is put back",
    act: (store) => store.db.updateTable("audit_chain_head").set({ seq: 2 }).execute(),
    fault: /the head does not name link 2/,
  },
  { what: "the head is taken out", act: (store) => store.db.deleteFrom("audit_chain_head").execute(), fault: /head is missing/ },
];

for (const { what, act, fault } of tamperings) {
  storeTest(`C9 the chain is broken where ${what}`, async (_, { store }) => {
    await addCustomers(store, "acme", "umbrella", "initech");
    await act(store);
    const check = await checkAuditChain(store);
    assert.equal(check.state, "broken");
    assert.match(check.fault ?? "", fault);
  });
}

storeTest("C9 a chain that was written anew as a whole does not contain the head that was noted", async (_, { store }) => {
  await addCustomers(store, "acme", "umbrella");
  const noted = (await checkAuditChain(store)).head;
  await addCustomers(store, "initech");
  assert.equal((await checkAuditChain(store, noted)).state, "whole");
  await store.db.deleteFrom("audit_chain").execute();
  await store.db.deleteFrom("audit_events").execute();
  await store.db.updateTable("audit_chain_head").set({ seq: 0, hash: chainStart }).execute();
  await addCustomers(store, "other", "others");
  assert.equal((await checkAuditChain(store)).state, "whole");
  assert.match((await checkAuditChain(store, noted)).fault ?? "", /no link has the hash/);
});

test("C9 the hash of a link is what the documentation says, so that others can check an export", () => {
  const event = { ...auditRow({ actor, action: "customer.add", result: "complete", customer: "acme" }, new Date(1_795_230_000_000)), id: "01" };
  // By `printf %s '[…]' | sha256sum`.
  assert.equal(chainHash(chainStart, 1, event), "65f05e39d6f921ca975bfd0614472c0e1daab6b662bded57b132e14dd92f969a");
});
