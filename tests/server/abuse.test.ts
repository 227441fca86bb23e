/** A pair that the abuse round named: slowed down on every protocol, refused once suspended, and back after the vendor's word. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { signedHeaders } from "../support/aws-signer.ts";
import { get, issuePair, publish, startServer } from "./running-server.ts";

test("C9 a pair that looks abused gets 429 with Retry-After on every protocol, others go on; a suspended one is refused and audited as that", async (t) => {
  const running = await startServer();
  t.after(() => running.stop());
  await publish(running, "coequal", "1.0.0");
  const [pair, other] = [await issuePair(running, "acme", "coequal"), await issuePair(running, "calm", "coequal")];
  const { context } = running.server;
  const bucket = (): Promise<Response> => {
    const { host } = new URL(running.url);
    const { host: _, ...headers } = signedHeaders({ id: pair.id, secret: pair.secret, host, target: "/coequal?list-type=2" });
    return fetch(`${running.url}/coequal?list-type=2`, { headers });
  };
  const requests: Readonly<Record<string, () => Promise<Response>>> = {
    apt: () => get(running, "/apt/coequal/dists/stable/InRelease", pair),
    yum: () => get(running, "/yum/coequal/stable/repodata/repomd.xml", pair),
    files: () => get(running, "/releases/coequal/index.json", pair),
    oci: () => get(running, "/v2/", pair),
    token: () => get(running, "/token?service=slipway", pair),
    s3: bucket,
  };
  for (const [protocol, request] of Object.entries(requests)) assert.equal((await request()).status, 200, protocol);
  context.pace.slowDown([pair.id], new Date());
  let answered = 0;
  while ((await get(running, "/releases/coequal/index.json", pair)).status === 200) answered += 1;
  assert.ok(answered >= 20 && answered < 60, `${answered} requests`);
  for (const [protocol, request] of Object.entries(requests)) {
    // Two a second come back; what was granted between two looks is used up first.
    let answer = await request();
    for (let attempt = 0; attempt < 40 && answer.status === 200; attempt += 1) answer = await request();
    assert.equal(protocol === "s3" ? [429, 503].includes(answer.status) : answer.status === 429, true, `${protocol}: ${answer.status}`);
    assert.match(answer.headers.get("retry-after") ?? "", /^\d+$/, protocol);
  }
  assert.equal((await get(running, "/releases/coequal/index.json", other)).status, 200);
  context.pace.slowDown([], new Date());
  for (const [protocol, request] of Object.entries(requests)) assert.equal((await request()).status, 200, protocol);

  const { db } = context.store;
  const row = { key_id: pair.id, score: 90, reasons: "[]", scored_at: Date.now(), is_exempt: 0, suspended_at: Date.now(), suspended_for: "score 90" };
  await db.insertInto("key_suspicions").values(row).execute();
  context.store.changes.emit("credential", pair.id);
  for (const [protocol, request] of Object.entries(requests)) assert.equal((await request()).status, protocol === "s3" ? 403 : 401, protocol);
  const { events } = (await running.admin("GET", "/audit?action=login-failed&limit=100")).body as { events: { keyId: string; detail: string | null }[] };
  assert.ok(events.length >= 6 && events.every(({ keyId, detail }) => keyId === pair.id && detail === "suspended"), JSON.stringify(events));
  const { keys } = (await running.admin("GET", "/suspicious-keys")).body as { keys: { keyId: string; suspendedFor: string }[] };
  assert.deepEqual(
    keys.map(({ keyId, suspendedFor }) => [keyId, suspendedFor]),
    [[pair.id, "score 90"]],
  );
  assert.equal((await running.admin("POST", `/keys/${pair.id}/resume`)).status, 200);
  for (const [protocol, request] of Object.entries(requests)) assert.equal((await request()).status, 200, protocol);
});

test("C9 a secret that a rotation ended is named in the audit trail when it is tried again, and the caller learns nothing of it", async (t) => {
  const running = await startServer();
  t.after(() => running.stop());
  await publish(running, "coequal", "1.0.0");
  const pair = await issuePair(running, "acme", "coequal");
  await running.admin("POST", `/keys/${pair.id}/rotate`, { overlapHours: 0 });
  const retired = await get(running, "/releases/coequal/index.json", pair);
  const wrong = await get(running, "/releases/coequal/index.json", { ...pair, authorization: `Basic ${Buffer.from(`${pair.id}:wrong`).toString("base64")}` });
  assert.deepEqual([retired.status, wrong.status], [401, 401]);
  const message = async (answer: Response): Promise<unknown> => ((await answer.json()) as { error: { message: string } }).error.message;
  assert.equal(await message(retired), await message(wrong));
  const { events } = (await running.admin("GET", "/audit?action=login-failed")).body as { events: { detail: string | null }[] };
  assert.deepEqual(
    events.map(({ detail }) => detail),
    [null, "retired secret"],
  );
});
