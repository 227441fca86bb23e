/** Groups of audit events on both databases: whole or not at all, also after a failure and at the end. */
import assert from "node:assert/strict";
import { auditRow } from "../../src/store/audit-events.ts";
import type { AuditEventTable } from "../../src/store/audit-tables.ts";
import type { Store } from "../../src/store/store.ts";
import { storeTest } from "../support/stores.ts";

const rowAt = (path: string, now: Date): AuditEventTable => auditRow({ actor: { kind: "server" }, action: "download", result: "complete", path }, now);

async function paths(store: Store): Promise<readonly (string | null)[]> {
  const rows = await store.db.selectFrom("audit_events").select("path").orderBy("id").execute();
  return rows.map((row) => row.path);
}

storeTest("C9 a group with one row that cannot be is refused whole, and the groups around it are written", async (_, { store, clock }) => {
  const one = rowAt("/one", clock.now());
  await store.auditWriter.append([one]);
  const outcomes = await Promise.allSettled([
    store.auditWriter.append([rowAt("/two", clock.now()), one]),
    store.auditWriter.append([rowAt("/three", clock.now())]),
  ]);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ["rejected", "fulfilled"],
  );
  assert.deepEqual(await paths(store), ["/one", "/three"]);
});

storeTest("C9 what was appended before the store closes is there afterwards", async (_, { store, clock, openAgain }) => {
  const pending = Array.from({ length: 20 }, (_unused, index) => store.auditWriter.append([rowAt(`/${index}`, clock.now())]));
  const closed = store.auditWriter.close();
  await Promise.all([...pending, closed]);
  assert.equal((await paths(await openAgain())).length, 20);
});

storeTest("an administrative change waits for a group and a group for the change, and both are there", async (_, { store, clock }) => {
  const changes = Array.from({ length: 20 }, (_unused, index) =>
    store.db.transaction().execute(async (transaction) => {
      await transaction
        .insertInto("audit_events")
        .values(rowAt(`/change/${index}`, clock.now()))
        .execute();
      await new Promise((resolve) => setTimeout(resolve, 5)); // the write lock is held meanwhile
    }),
  );
  const groups = Array.from({ length: 20 }, (_unused, index) => store.auditWriter.append([rowAt(`/group/${index}`, clock.now())]));
  await Promise.all([...changes, ...groups]);
  assert.equal((await paths(store)).length, 40);
});
