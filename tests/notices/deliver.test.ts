/** Notices on their way: planned once, sent at least once, tried again, given up; by real SMTP and to a real HTTP endpoint. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { addCustomer } from "../../src/access/customers.ts";
import { issueAccessKey, revokeAccessKey } from "../../src/access/access-keys.ts";
import { openMailSender } from "../../src/io/mail.ts";
import { customerOfToken, readContact, setContact, setSubscription } from "../../src/notices/contacts.ts";
import { attemptLimit, delayMs, deliverDue, type Transports } from "../../src/notices/deliver.ts";
import { noticeExpiries } from "../../src/notices/expiry-notices.ts";
import { listDeliveries } from "../../src/notices/list-notices.ts";
import { applyDeliveryPlan, type NoticeSender, planDeliveries } from "../../src/notices/plan-deliveries.ts";
import { addWebhook, removeWebhook } from "../../src/notices/webhooks.ts";
import { createProduct, setReleaseKeys } from "../../src/releases/products.ts";
import { parseKeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import { claimDelivery, clearDeliveries, deliveryKeepMs, endDelivery, enqueueNotice, leaseMs, type NewNotice } from "../../src/store/outbox.ts";
import { openStore, type Store } from "../../src/store/store.ts";
import { actor, testRepositoryKey } from "../releases/sample-release.ts";
import { needClient } from "../support/clients.ts";
import { gpgFolder, gpgKey } from "../support/gpg.ts";
import { startMailServer } from "../support/mail-server.ts";
import { type FakeClock, fakeClock, storeTest } from "../support/stores.ts";

const kek = parseKeyEncryptionKey("00".repeat(32));
const sender: NoticeSender = { vendor: "Acme", baseUrl: "https://packages.acme.example", hasMail: true, vendorMail: undefined };
const noMail: Transports = { mail: undefined, trustedHosts: ["127.0.0.1"], kek };

type Received = { readonly headers: IncomingMessage["headers"]; readonly body: string };

/** An endpoint that answers with the next of these statuses, then with the last one for ever. */
async function endpoint(t: TestContext, statuses: readonly number[]): Promise<{ readonly url: string; readonly received: Received[] }> {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (piece: Buffer) => (body += piece.toString()));
    request.on("end", () => {
      const status = statuses[received.length] ?? statuses.at(-1) ?? 200;
      received.push({ headers: request.headers, body });
      response.writeHead(status, { location: "http://127.0.0.1:1/" }).end("x".repeat(1000));
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  t.after(() => server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, received };
}

async function customerWithMail(store: Store, name: string): Promise<string> {
  const { id } = await addCustomer(store, { name, actor });
  await setContact(store, { customer: name, mail: `${name}@customers.example`, actor });
  return id;
}

const notice = (dedupeKey: string, more: Partial<NewNotice> = {}): NewNotice => ({
  kind: "retirement",
  product: "coequal",
  version: "1.0.0",
  subject: `About ${dedupeKey}`,
  text: `Text of ${dedupeKey}`,
  dedupeKey,
  ...more,
});

storeTest("a notice is written once for its fact, and nothing of it where its transaction fails", async (_t, { store }) => {
  assert.equal(await enqueueNotice(store.db, store, notice("one")), true);
  assert.equal(await enqueueNotice(store.db, store, notice("one")), false);
  const failing = store.db.transaction().execute(async (transaction) => {
    await enqueueNotice(transaction, store, notice("two"));
    throw new Error("the change failed");
  });
  await assert.rejects(failing, /the change failed/);
  assert.equal((await store.db.selectFrom("notices").select("id").execute()).length, 1);
});

storeTest("C6 what is due goes to each customer as one mail and to webhooks one by one; what is not due waits", async (_t, { store, clock }) => {
  const [acme, borea] = [await customerWithMail(store, "acme"), await customerWithMail(store, "borea")];
  const webhook = await addWebhook(store, { url: "https://hooks.example/", kinds: ["advisory"], trustedHosts: [], kek, actor });
  await enqueueNotice(store.db, store, notice("a1", { customerId: acme }));
  await enqueueNotice(store.db, store, notice("a2", { customerId: acme, kind: "advisory" }));
  await enqueueNotice(store.db, store, notice("b1", { customerId: borea }));
  await enqueueNotice(store.db, store, notice("later", { customerId: borea, dueAt: new Date(clock.now().getTime() + 60_000) }));
  await enqueueNotice(store.db, store, notice("vendor"));
  const plan = await planDeliveries(store, sender);
  assert.deepEqual(
    plan.deliveries.map(({ transport, target, customer, subject }) => [transport, target, customer, subject]),
    [
      ["mail", "acme@customers.example", "acme", "About a1 (and 1 more)"],
      ["mail", "borea@customers.example", "borea", "About b1"],
      ["webhook", webhook.id, "acme", "About a2"],
    ],
  );
  // Two servers made the same plan: one of them writes it.
  const again = await planDeliveries(store, sender);
  const [left, right] = await Promise.all([applyDeliveryPlan(store, plan), applyDeliveryPlan(store, again)]);
  assert.equal(Number(left) + Number(right), 1);
  assert.equal((await listDeliveries(store, { limit: 10 })).length, 3);
  assert.equal((await planDeliveries(store, sender)).deliveries.length, 0);
  clock.advance(60_000);
  assert.deepEqual(
    (await planDeliveries(store, sender)).deliveries.map(({ subject }) => subject),
    ["About later"],
  );
});

storeTest("one message is one sender's at a time, and another's once the lease of a killed sender ends", async (_t, { store, clock, openAgain }) => {
  await addWebhook(store, { url: "https://hooks.example/", kinds: [], trustedHosts: [], kek, actor });
  for (const key of ["one", "two", "three"]) await enqueueNotice(store.db, store, notice(key));
  await applyDeliveryPlan(store, await planDeliveries(store, sender));
  const other = await openAgain();
  const claims = await Promise.all([store, other, store, other, store].map((mine) => claimDelivery(mine.db, mine)));
  const ids = claims.flatMap((claim) => (claim === undefined ? [] : [claim.id]));
  assert.equal(ids.length, 3, "there are three messages");
  assert.equal(new Set(ids).size, 3, "no message is claimed twice");
  clock.advance(leaseMs + 1);
  const stale = claims.find((claim) => claim?.id === ids.toSorted()[0]);
  assert.ok(stale);
  const retaken = await claimDelivery(other.db, other);
  assert.equal(retaken?.id, stale.id);
  assert.equal(retaken.attempts, 2);
  assert.equal(await endDelivery(store.db, store, stale, { kind: "sent" }), false, "the killed sender's word does not count any more");
  assert.equal(await endDelivery(other.db, other, retaken, { kind: "sent" }), true);
  assert.equal(await clearDeliveries(store.db, store), 0);
  clock.advance(deliveryKeepMs + 1);
  assert.equal(await clearDeliveries(store.db, store), 1, "what waits stays, however old it is");
  assert.equal(await enqueueNotice(store.db, store, notice("one")), false, "the fact was told");
});

storeTest("a webhook call is signed, keeps its id over tries, is tried again later and later, and given up in the end", async (t, { store, clock }) => {
  const hook = await endpoint(t, [500, 302, 200]);
  const made = await addWebhook(store, { url: hook.url, kinds: ["release"], trustedHosts: ["127.0.0.1"], kek, actor });
  assert.match(made.secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
  const { sealed_secret: sealed } = await store.db.selectFrom("webhooks").select("sealed_secret").executeTakeFirstOrThrow();
  assert.doesNotMatch(sealed, new RegExp(made.secret.slice(8, 30).replaceAll(/[+/]/g, ".")));
  await enqueueNotice(store.db, store, notice("skipped", { kind: "advisory" }));
  await enqueueNotice(store.db, store, notice("r1", { kind: "release" }));
  const round = () => deliverDue(store, { sender, transports: noMail });
  assert.deepEqual(await round(), { planned: 1, sent: 0, failed: 1 });
  assert.deepEqual(await round(), { planned: 0, sent: 0, failed: 0 }, "not before its time");
  clock.advance(delayMs(1, 1));
  assert.deepEqual(await round(), { planned: 0, sent: 0, failed: 1 }, "a redirect is not followed");
  clock.advance(delayMs(2, 1));
  assert.deepEqual(await round(), { planned: 0, sent: 1, failed: 0 });
  assert.deepEqual(await round(), { planned: 0, sent: 0, failed: 0 });
  assert.equal(hook.received.length, 3);
  assert.equal(new Set(hook.received.map(({ headers }) => headers["webhook-id"])).size, 1);
  for (const { headers, body } of hook.received) {
    const signed = `${String(headers["webhook-id"])}.${String(headers["webhook-timestamp"])}.${body}`;
    const key = Buffer.from(made.secret.slice("whsec_".length), "base64");
    assert.equal(headers["webhook-signature"], `v1,${createHmac("sha256", key).update(signed).digest("base64")}`);
  }
  const body = JSON.parse(hook.received[0]?.body ?? "") as { type: string; data: { subject: string; version: string } };
  assert.deepEqual([body.type, body.data.subject, body.data.version], ["release", "About r1", "1.0.0"]);
  const [first] = await listDeliveries(store, { limit: 1 });
  assert.deepEqual([first?.state, first?.attempts, first?.notices], ["sent", 3, ["About r1"]]);

  const dead = await endpoint(t, [503]);
  const down = await addWebhook(store, { url: dead.url, kinds: [], trustedHosts: ["127.0.0.1"], kek, actor });
  await enqueueNotice(store.db, store, notice("r2"));
  for (let attempt = 1; attempt <= attemptLimit + 2; attempt += 1) {
    await round();
    clock.advance(24 * 3_600_000);
  }
  const [given] = await listDeliveries(store, { limit: 10, target: down.id });
  assert.deepEqual([given?.state, given?.attempts, dead.received.length], ["dead", attemptLimit, attemptLimit]);
  assert.match(given?.lastError ?? "", /answered 503/);

  const gone = await endpoint(t, [410]);
  const left = await addWebhook(store, { url: gone.url, kinds: [], trustedHosts: ["127.0.0.1"], kek, actor });
  await enqueueNotice(store.db, store, notice("r3"));
  await round();
  assert.equal((await listDeliveries(store, { limit: 1, target: left.id }))[0]?.state, "dead", "410 is the last word");
  await enqueueNotice(store.db, store, notice("r4"));
  await applyDeliveryPlan(store, await planDeliveries(store, sender));
  await removeWebhook(store, { id: down.id, actor });
  const waiting = (await listDeliveries(store, { limit: 10, target: down.id })).filter(({ state }) => state === "pending");
  assert.deepEqual(waiting, []);
});

test("C6 C17 a mail reaches a real mail server, waits while it is down, and comes with its id and the way out of it", async (t) => {
  if (!needClient(t, "aiosmtpd")) return;
  const mailServer = await startMailServer(t);
  await withStore(async ({ store, clock }) => {
    const acme = await customerWithMail(store, "acme");
    const transport = openMailSender(`smtp://127.0.0.1:${mailServer.port}`);
    t.after(() => transport.close());
    const transports: Transports = { ...noMail, mail: { sender: transport, from: "releases@acme.example" } };
    const round = () => deliverDue(store, { sender, transports });
    await enqueueNotice(store.db, store, notice("Grüße", { customerId: acme, kind: "advisory", text: "Upgrade now.\n.\nA line of one dot stays." }));
    assert.deepEqual(await round(), { planned: 1, sent: 1, failed: 0 });
    const text = await mailServer.waitFor(/END MESSAGE/);
    const [delivery] = await listDeliveries(store, { limit: 1 });
    assert.match(text, new RegExp(`Message-ID: <${delivery?.id ?? "none"}@acme\\.example>`));
    assert.match(text, /^To: acme@customers\.example$/m);
    assert.match(text, /^From: releases@acme\.example$/m);
    assert.match(text, /^Subject: =\?UTF-8\?Q\?About_Gr=C3=BC=C3=9Fe\?=$/m);
    assert.match(text, /^List-Unsubscribe-Post: List-Unsubscribe=One-Click$/m);
    assert.match(text, /A line of one dot stays\./);
    const token = /\/notices\/unsubscribe\/([A-Za-z0-9_-]{43})>/.exec(text.replaceAll(/=?\r?\n[ \t]*/g, ""))?.[1] ?? "";
    const customer = await customerOfToken(store, token);
    assert.equal(customer.name, "acme");
    await setSubscription(store, { customer, kinds: ["retirement"], isWanted: false, actor });
    assert.deepEqual((await readContact(store, "acme")).unsubscribed, ["retirement"]);
    await enqueueNotice(store.db, store, notice("unwanted", { customerId: acme }));
    assert.deepEqual(await round(), { planned: 0, sent: 0, failed: 0 });

    // Anywhere but on loopback a server without TLS gets no mail and no password; 0.0.0.0 leads here, too.
    const elsewhere = openMailSender(`smtp://user:secret@0.0.0.0:${mailServer.port}`);
    t.after(() => elsewhere.close());
    const mail = { from: "a@acme.example", to: "b@acme.example", subject: "x", text: "x", messageId: "<x@acme.example>" };
    await assert.rejects(elsewhere.send(mail), { code: "network_unreachable", message: /TLS not available/ });

    await mailServer.stop();
    await enqueueNotice(store.db, store, notice("later", { customerId: acme, kind: "advisory" }));
    assert.deepEqual(await round(), { planned: 1, sent: 0, failed: 1 });
    const revived = await startMailServer(t, mailServer.port);
    clock.advance(delayMs(1, 1));
    assert.deepEqual(await round(), { planned: 0, sent: 1, failed: 0 });
    await revived.waitFor(/Text of later/);
  });
});

test("a message whose sender is killed (kill -9) in the middle of the call is sent again, under the same id", async (t) => {
  await withStore(async ({ store, clock, dataDir }) => {
    const calls: (string | undefined)[] = [];
    const arrived = Promise.withResolvers<undefined>();
    const server = createServer((request, response) => {
      calls.push(String(request.headers["webhook-id"]));
      if (calls.length === 1)
        arrived.resolve(undefined); // and no answer: the sender waits
      else response.end();
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    await addWebhook(store, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, kinds: [], trustedHosts: ["127.0.0.1"], kek, actor });
    await enqueueNotice(store.db, store, notice("one"));
    const driver = join(import.meta.dirname, "deliver-driver.ts");
    const child = spawn(process.execPath, [driver, dataDir, clock.now().toISOString()], { stdio: "ignore" });
    const ended = once(child, "exit");
    await arrived.promise;
    child.kill("SIGKILL");
    await ended;
    const round = () => deliverDue(store, { sender, transports: noMail });
    assert.deepEqual(await round(), { planned: 0, sent: 0, failed: 0 }, "for all that is known the other one is still at it");
    clock.advance(leaseMs + 1);
    assert.deepEqual(await round(), { planned: 0, sent: 1, failed: 0 });
    assert.deepEqual(await round(), { planned: 0, sent: 0, failed: 0 });
    assert.equal(calls.length, 2);
    assert.equal(calls[0], calls[1]);
  });
});

storeTest("pairs that end soon are told 30, 7 and 1 day before, each once, and a revoked one never", async (_t, { store, clock }) => {
  await addCustomer(store, { name: "acme", actor });
  await createProduct(store, { name: "coequal", actor });
  const endsAt = new Date(clock.now().getTime() + 40 * 86_400_000);
  const pair = await issueAccessKey(store, { customer: "acme", product: "coequal", expiresAt: endsAt, kek, actor });
  const repositoryKey = await testRepositoryKey();
  const revoked = await issueAccessKey(store, { customer: "acme", product: "coequal", expiresAt: endsAt, kek, actor });
  await revokeAccessKey(store, { id: revoked.id, actor });
  const counts: number[] = [];
  for (let day = 0; day <= 41; day += 1) {
    counts.push((await noticeExpiries(store, repositoryKey)) + (await noticeExpiries(store, repositoryKey)));
    clock.advance(86_400_000);
  }
  assert.deepEqual(
    counts.flatMap((count, day) => (count === 0 ? [] : [[day, count]])),
    [
      [10, 1],
      [33, 1],
      [39, 1],
    ],
  );
  const [first] = await store.db.selectFrom("notices").selectAll().orderBy("id").execute();
  assert.match(first?.subject ?? "", new RegExp(`^The access pair ${pair.id} ends on 2026-`));
});

test("a release key that ends soon is told to the vendor, who made it elsewhere", async (t) => {
  if (!needClient(t, "gpg")) return;
  await withStore(async ({ store, clock }) => {
    await createProduct(store, { name: "coequal", actor });
    const made = `${Math.floor(clock.now().getTime() / 1000)}!`;
    const key = await gpgKey(await gpgFolder(t), { userId: "Acme <release@acme.example>", before: ["--faked-system-time", made], expiry: "10d" });
    await setReleaseKeys(store, { product: "coequal", openpgp: key.toString("utf8"), actor });
    const repositoryKey = await testRepositoryKey();
    assert.equal(await noticeExpiries(store, repositoryKey), 1);
    assert.equal(await noticeExpiries(store, repositoryKey), 0);
    const found = await store.db.selectFrom("notices").select(["kind", "customer_id", "product", "subject"]).executeTakeFirstOrThrow();
    assert.deepEqual([found.kind, found.customer_id, found.product], ["signing-key-expiry", null, "coequal"]);
    assert.match(found.subject, /^The release key of coequal ends on 2026-03-11$/);
    clock.advance(11 * 86_400_000);
    assert.equal(await noticeExpiries(store, repositoryKey), 0, "what has ended is no warning any more");
  });
});

/** A store of its own on SQLite. */
async function withStore(body: (made: { readonly store: Store; readonly clock: FakeClock; readonly dataDir: string }) => Promise<void>): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), "slipway-notices-"));
  const clock = fakeClock();
  const store = await openStore({ dataDir, clock });
  try {
    await body({ store, clock, dataDir });
  } finally {
    await store.close();
    await rm(dataDir, { recursive: true, force: true });
  }
}
