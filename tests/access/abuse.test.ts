/** The abuse round on both databases: facts from the trail, a notice, a suspension and its end, exemptions. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { exemptAccessKey, judgePairs, listSuspicions, readAbuseFacts, resumeAccessKey, showSuspicion } from "../../src/access/abuse.ts";
import { issueAccessKey } from "../../src/access/access-keys.ts";
import { openAuditTrail } from "../../src/access/audit-trail.ts";
import { createAuthenticator } from "../../src/access/authenticator.ts";
import { addCustomer } from "../../src/access/customers.ts";
import { createProduct } from "../../src/releases/products.ts";
import type { AuditActor, AuditEvent } from "../../src/store/audit-events.ts";
import type { KeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import { openKeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import type { Store } from "../../src/store/store.ts";
import { storeTest } from "../support/stores.ts";

const actor: AuditActor = { kind: "admin", id: "t1", name: "tests" };

async function issued(store: Store, kek: KeyEncryptionKey, customer: string): Promise<{ readonly id: string; readonly secret: string }> {
  await addCustomer(store, { name: customer, actor });
  return issueAccessKey(store, { customer, product: "coequal", kek, actor });
}

function pulls(customer: string, keyId: string, networks: number): readonly AuditEvent[] {
  return Array.from({ length: networks * 6 }, (_, index) => ({
    actor: { kind: "customer" },
    action: "download",
    result: "complete",
    customer,
    keyId,
    product: "coequal",
    version: `1.${index % 70}.0`,
    protocol: "apt",
    address: `198.${18 + (index % 2)}.${index % networks}.${1 + (index % 200)}`,
    bytes: 1_000,
  }));
}

storeTest(
  "C9 a pair that a whole day long is used everywhere leads to a notice, a slower pace and, where wanted, a suspension",
  async (_, { store, dataDir, clock }) => {
    const kek = await openKeyEncryptionKey({ dataDir });
    await createProduct(store, { name: "coequal", actor });
    const [stolen, calm, fleet] = [await issued(store, kek, "acme"), await issued(store, kek, "calm"), await issued(store, kek, "fleet")];
    const trail = openAuditTrail(store);
    for (const event of [...pulls("acme", stolen.id, 90), ...pulls("calm", calm.id, 2), ...pulls("fleet", fleet.id, 90)]) await trail.record(event);
    const old = { actor: { kind: "stranger" }, action: "login-failed", result: "denied", detail: "retired secret" } as const;
    for (let use = 0; use < 30; use += 1) await trail.record({ ...old, keyId: stolen.id });
    await trail.record({ ...old, keyId: `SLK${"A".repeat(20)}` });
    await trail.close();
    await exemptAccessKey(store, { keyId: fleet.id, isExempt: true, actor });

    const facts = (await readAbuseFacts(store, clock.now())).get(stolen.id);
    assert.equal(facts?.retiredSecretUses, 30);
    assert.equal(facts.versions, 70);
    assert.ok(facts.networks >= 90);
    assert.deepEqual(await judgePairs(store, { maySuspend: false }), [stolen.id]);
    assert.deepEqual(await judgePairs(store, { maySuspend: false }), [stolen.id], "the same again tells nobody twice");
    const notices = await store.db.selectFrom("notices").select(["kind", "subject", "text", "customer_id"]).where("kind", "=", "key-abuse").execute();
    assert.equal(notices.length, 1);
    assert.match(notices[0]?.subject ?? "", new RegExp(`${stolen.id} of acme`));
    assert.match(notices[0]?.text ?? "", /30 tries with a secret that was rotated away \(45\)/);
    assert.equal(notices[0]?.customer_id, null, "the vendor is told, not the customer");
    assert.deepEqual(
      (await listSuspicions(store)).map(({ keyId, isExempt }) => [keyId, isExempt]),
      [
        [stolen.id, false],
        [fleet.id, true],
      ],
    );
    assert.equal((await showSuspicion(store, calm.id)).level, "none");

    // A day later nothing of it counts any more; then it begins again, and the server may suspend.
    clock.advance(25 * 3_600_000);
    assert.deepEqual(await judgePairs(store, { maySuspend: true }), []);
    const again = openAuditTrail(store);
    for (const event of pulls("acme", stolen.id, 90)) await again.record(event);
    for (let use = 0; use < 30; use += 1) await again.record({ ...old, keyId: stolen.id });
    await again.close();
    const authenticator = createAuthenticator(store);
    const enters = async (): Promise<boolean> =>
      (await authenticator.authenticate({ keyId: stolen.id, secret: stolen.secret, now: clock.now(), address: "192.0.2.1" })) !== undefined;
    assert.ok(await enters());
    assert.deepEqual(await judgePairs(store, { maySuspend: true }), [], "who is suspended need not be slowed down");
    assert.ok(!(await enters()));
    assert.equal(await authenticator.refusalOf({ keyId: stolen.id, secret: stolen.secret, now: clock.now() }), "suspended");
    assert.equal(await authenticator.findSealed({ keyId: stolen.id, now: clock.now() }), undefined);
    await resumeAccessKey(store, { keyId: stolen.id, actor });
    assert.ok(await enters());
    await assert.rejects(resumeAccessKey(store, { keyId: stolen.id, actor }), { code: "conflict" });
    await assert.rejects(showSuspicion(store, `SLK${randomBytes(4).toString("hex")}`), { code: "not_found" });
    const acts = await store.db
      .selectFrom("audit_events")
      .select("action")
      .where("key_id", "=", stolen.id)
      .where("action", "like", "key.%")
      .orderBy("id")
      .execute();
    assert.deepEqual(
      acts.map(({ action }) => action),
      ["key.issue", "key.suspect", "key.suspect", "key.suspend", "key.resume"],
    );
    authenticator.close();
  },
);
