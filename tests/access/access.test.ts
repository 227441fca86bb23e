/** Customers, access pairs, admin tokens and who they authenticate, on both databases. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type AccessPair, issueAccessKey, listAccessKeys, revokeAccessKey, rotateAccessKey } from "../../src/access/access-keys.ts";
import { createAdminToken, hasAdminToken, listAdminTokens, revokeAdminToken } from "../../src/access/admin-tokens.ts";
import { openAuditTrail } from "../../src/access/audit-trail.ts";
import { type Authenticator, createAuthenticator } from "../../src/access/authenticator.ts";
import { addCustomer, listCustomers } from "../../src/access/customers.ts";
import { mayAdminister, mayRead } from "../../src/access/principal.ts";
import { type ErrorCode, SlipwayError } from "../../src/model/errors.ts";
import { createProduct } from "../../src/releases/products.ts";
import type { AuditActor } from "../../src/store/audit-events.ts";
import { openKeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import { type StoreUnderTest, storeTest } from "../support/stores.ts";

const actor: AuditActor = { kind: "admin", id: "t1", name: "tests" };
const failsWith =
  (code: ErrorCode) =>
  (error: unknown): boolean =>
    error instanceof SlipwayError && error.code === code;

async function prepare({ store, dataDir }: StoreUnderTest) {
  const kek = await openKeyEncryptionKey({ dataDir });
  for (const name of ["coequal", "other"]) await createProduct(store, { name, actor });
  await addCustomer(store, { name: "acme", actor });
  const pair = await issueAccessKey(store, { customer: "acme", product: "coequal", kek, actor });
  return { kek, pair };
}

/** The customer's name, or undefined for a refusal. */
async function who(authenticator: Authenticator, pair: { readonly id: string; readonly secret: string }, now: Date): Promise<string | undefined> {
  return (await authenticator.authenticate({ keyId: pair.id, secret: pair.secret, now, address: "127.0.0.1" }))?.customerName;
}

storeTest("C9 an issued pair authenticates its customer, reads its own product and nothing else", async (_, made) => {
  const { store, clock } = made;
  const { kek, pair } = await prepare(made);
  assert.match(pair.id, /^SLK[A-Z2-7]{20}$/);
  assert.match(pair.secret, /^[A-Za-z0-9_-]{43}$/);
  const authenticator = createAuthenticator(store);
  const principal = await authenticator.authenticate({ keyId: pair.id, secret: pair.secret, now: clock.now(), address: "127.0.0.1" });
  assert.ok(principal !== undefined);
  assert.equal(principal.customerName, "acme");
  assert.equal(mayRead(principal, "coequal"), true);
  assert.equal(mayRead(principal, "other"), false);
  assert.equal(mayAdminister(principal), false);
  const wrong: readonly AccessPair[] = [
    { id: pair.id, secret: `${pair.secret.slice(0, -1)}_` },
    { id: pair.id, secret: "" },
    { id: pair.id, secret: "x".repeat(1_000_000) },
    { id: `${pair.id.slice(0, -1)}${pair.id.endsWith("A") ? "B" : "A"}`, secret: pair.secret },
    { id: "", secret: pair.secret },
    { id: "' or 1=1 --", secret: pair.secret },
  ];
  for (const one of wrong) assert.equal(await who(authenticator, one, clock.now()), undefined);
  await assert.rejects(issueAccessKey(store, { customer: "nobody", product: "coequal", kek, actor }), failsWith("not_found"));
  await assert.rejects(issueAccessKey(store, { customer: "acme", product: "nothing", kek, actor }), failsWith("not_found"));
  await assert.rejects(addCustomer(store, { name: "acme", actor }), failsWith("conflict"));
  await assert.rejects(addCustomer(store, { name: "../acme", actor }), failsWith("name_invalid"));
  assert.deepEqual(
    (await listCustomers(store)).map((customer) => customer.name),
    ["acme"],
  );
  authenticator.close();
});

storeTest("C9 the secret is nowhere in the store in clear", async (_, made) => {
  const { pair } = await prepare(made);
  const rows = await made.store.db.selectFrom("access_key_secrets").selectAll().execute();
  const events = await made.store.db.selectFrom("audit_events").selectAll().execute();
  assert.ok(!JSON.stringify([rows, events]).includes(pair.secret));
  if (made.databaseUrl === undefined) {
    for (const file of ["slipway.db", "slipway.db-wal"]) assert.ok(!(await readFile(join(made.dataDir, file), "latin1")).includes(pair.secret), file);
  }
});

storeTest("C9 rotation keeps two secrets alive for the overlap and never three", async (_, made) => {
  const { store, clock } = made;
  const { kek, pair } = await prepare(made);
  const authenticator = createAuthenticator(store);
  const second = await rotateAccessKey(store, { id: pair.id, overlapMs: 60_000, kek, actor });
  assert.equal(second.id, pair.id);
  assert.notEqual(second.secret, pair.secret);
  assert.equal(await who(authenticator, pair, clock.now()), "acme");
  assert.equal(await who(authenticator, second, clock.now()), "acme");
  await assert.rejects(rotateAccessKey(store, { id: pair.id, kek, actor }), failsWith("conflict"), "the first secret was promised for a minute");
  assert.equal(await who(authenticator, pair, clock.now()), "acme");
  const third = await rotateAccessKey(store, { id: pair.id, overlapMs: 60_000, isForced: true, kek, actor });
  assert.equal(await who(authenticator, pair, clock.now()), undefined, "the oldest of three ends at once");
  assert.equal(await who(authenticator, second, clock.now()), "acme");
  assert.equal(await who(authenticator, third, clock.now()), "acme");
  clock.advance(60_001);
  assert.equal(await who(authenticator, second, clock.now()), undefined, "the overlap is over");
  assert.equal(await who(authenticator, third, clock.now()), "acme");
  const [key] = await listAccessKeys(store, "acme");
  assert.deepEqual(
    key?.secrets.map((secret) => secret.generation),
    [3, 2, 1],
  );
  assert.deepEqual(key?.products, ["coequal"]);
  await assert.rejects(rotateAccessKey(store, { id: "SLKAAAAAAAAAAAAAAAAAAAA", kek, actor }), failsWith("not_found"));
  authenticator.close();
});

storeTest("C9 revocation ends the pair at once here and within a second on another server", async (_, made) => {
  const { store, clock } = made;
  const { kek, pair } = await prepare(made);
  const here = createAuthenticator(store);
  const there = createAuthenticator(await made.openAgain());
  assert.equal(await who(here, pair, clock.now()), "acme");
  assert.equal(await who(there, pair, clock.now()), "acme");
  const before = performance.now();
  await revokeAccessKey(store, { id: pair.id, reason: "leaked", actor });
  assert.equal(await who(here, pair, clock.now()), undefined);
  while ((await who(there, pair, clock.now())) !== undefined) await sleep(20);
  assert.ok(performance.now() - before < 1_500, "the other server forgets within a second (and some load on this machine)");
  await revokeAccessKey(store, { id: pair.id, actor });
  await assert.rejects(rotateAccessKey(store, { id: pair.id, kek, actor }), failsWith("conflict"));
  await assert.rejects(revokeAccessKey(store, { id: "SLKAAAAAAAAAAAAAAAAAAAA", actor }), failsWith("not_found"));
  here.close();
  there.close();
});

storeTest("C9 an accepted header is recalled for less than a second, and not past expiry, rotation or revocation", async (_, made) => {
  const { store, clock } = made;
  const { kek } = await prepare(made);
  const pair = await issueAccessKey(store, { customer: "acme", product: "coequal", kek, actor, expiresAt: new Date(clock.now().getTime() + 60_000) });
  const authenticator = createAuthenticator(store);
  const header = `Basic of ${pair.id}`;
  const accept = () => authenticator.authenticate({ keyId: pair.id, secret: pair.secret, now: clock.now(), address: "127.0.0.1", header });
  const recalled = () => authenticator.recall(header, clock.now(), "127.0.0.1")?.customerName;
  assert.equal(recalled(), undefined);
  assert.equal(await authenticator.authenticate({ keyId: pair.id, secret: "wrong", now: clock.now(), address: "127.0.0.1", header }), undefined);
  assert.equal(recalled(), undefined, "a wrong secret is not remembered");
  await accept();
  assert.equal(recalled(), "acme");
  assert.equal(authenticator.recall(`${header}x`, clock.now(), "127.0.0.1"), undefined);
  await sleep(1_050);
  assert.equal(recalled(), undefined, "after a second the database is asked again");
  await accept();
  assert.equal(authenticator.recall(header, new Date(clock.now().getTime() + 60_000), "127.0.0.1"), undefined, "expired");
  await rotateAccessKey(store, { id: pair.id, kek, actor });
  assert.equal(recalled(), undefined);
  await accept();
  assert.equal(recalled(), "acme", "the old secret still lives");
  const late = accept(); // its answer comes after the revocation
  await revokeAccessKey(store, { id: pair.id, reason: "leaked", actor });
  await late;
  assert.equal(recalled(), undefined, "what was read before the revocation is not remembered after it");
  authenticator.close();
});

storeTest("C9 an expired pair is refused, and every step is in the audit trail with who did it", async (_, made) => {
  const { store, clock } = made;
  const { kek } = await prepare(made);
  const pair = await issueAccessKey(store, { customer: "acme", product: "coequal", kek, actor, expiresAt: new Date(clock.now().getTime() + 1_000) });
  const authenticator = createAuthenticator(store);
  assert.equal(await who(authenticator, pair, clock.now()), "acme");
  clock.advance(1_000);
  assert.equal(await who(authenticator, pair, clock.now()), undefined);
  await assert.rejects(rotateAccessKey(store, { id: pair.id, kek, actor }), failsWith("conflict"));
  await revokeAccessKey(store, { id: pair.id, reason: "leaked", actor });
  const { events } = await openAuditTrail(store).list({ customer: "acme" });
  assert.deepEqual(
    events.map((event) => [event.action, event.actor.name, event.keyId === pair.id]),
    [
      ["key.revoke", "tests", true],
      ["key.issue", "tests", true],
      ["key.issue", "tests", false],
      ["customer.add", "tests", false],
    ],
  );
  assert.equal(events[0]?.detail, "leaked");
  authenticator.close();
});

storeTest("an admin token authenticates until it is revoked, and its text is stored nowhere", async (_, { store, clock }) => {
  assert.equal(await hasAdminToken(store), false);
  const { id, token } = await createAdminToken(store, { name: "first", actor: { kind: "server" } });
  assert.equal(await hasAdminToken(store), true);
  const authenticator = createAuthenticator(store);
  const principal = await authenticator.authenticateToken({ token, now: clock.now() });
  assert.ok(principal !== undefined && mayAdminister(principal));
  assert.equal(mayRead(principal, "coequal"), true);
  for (const wrong of ["", `${token}x`, token.slice(0, -1), "slipway_admin_"]) {
    assert.equal(await authenticator.authenticateToken({ token: wrong, now: clock.now() }), undefined);
  }
  const rows = await store.db.selectFrom("admin_tokens").selectAll().execute();
  assert.ok(!JSON.stringify(rows).includes(token.slice(-20)));
  await revokeAdminToken(store, { id, actor });
  assert.equal(await authenticator.authenticateToken({ token, now: clock.now() }), undefined);
  assert.equal(await hasAdminToken(store), true, "no second first token appears");
  assert.notEqual((await listAdminTokens(store))[0]?.revokedAt, undefined);
  authenticator.close();
});
