/** Downloads that take long: what ends a pair's right ends them within a second, on every protocol, and the audit trail says how far they came. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { signedHeaders } from "../support/aws-signer.ts";
import { basic, imageOf, imageType, putManifest, pushBlob, vendorOf } from "./registry-client.ts";
import { issuePair, type Pair, publishTo, type RunningServer, startServer } from "./running-server.ts";

/** Far more than the kernel's buffers of both ends take while nobody reads. */
const size = 24 * 1024 * 1024;
const product = "coequal";

let running: RunningServer;
let layer: string;

before(async () => {
  running = await startServer();
  const content = randomBytes(size);
  const vendor = vendorOf(running);
  await publishTo(running, product, "1.4.0", {
    extra: [{ name: `${product}-1.4.0-large.bin`, content }],
    beforePublish: async () => {
      layer = await pushBlob(vendor, product, content);
      const { document } = await imageOf(vendor, product, "large");
      const layers = [{ mediaType: "application/vnd.oci.image.layer.v1.tar", digest: layer, size }];
      assert.equal((await putManifest(vendor, `${product}/manifests/1.4.0`, { ...document, layers }, imageType)).status, 201);
    },
  });
});
after(() => running.stop());

type Download = { readonly response: IncomingMessage; readonly end: () => Promise<number> };

/** Begins to read and stops after the first piece; `end` reads on and tells how many bytes came. */
async function begin(path: string, headers: Readonly<Record<string, string>>): Promise<Download> {
  const request = get(running.url + path, { headers, agent: false });
  const [response] = (await once(request, "response")) as [IncomingMessage];
  assert.equal(response.statusCode, 200, path);
  let bytes = 0;
  response.on("data", (piece: Buffer) => (bytes += piece.length));
  await once(response, "data");
  response.pause();
  const ended = new Promise<number>((resolve) => response.once("close", () => resolve(bytes)));
  response.on("error", () => undefined); // a connection that is broken off is one of the two ends that are looked for
  const end = (): Promise<number> => {
    response.resume();
    return ended;
  };
  return { response, end };
}

const filePath = `/releases/${product}/1.4.0/${product}-1.4.0-large.bin`;
const byFile = (pair: Pair): Promise<Download> => begin(filePath, { authorization: pair.authorization });
const byImage = (pair: Pair): Promise<Download> => begin(`/v2/${product}/blobs/${layer}`, { authorization: basic(pair.id, pair.secret) });
const byToken = async (pair: Pair): Promise<Download> => {
  const answer = await fetch(`${running.url}/token?scope=repository:${product}:pull`, { headers: { authorization: pair.authorization } });
  const { token } = (await answer.json()) as { token: string };
  return begin(`/v2/${product}/blobs/${layer}`, { authorization: `Bearer ${token}` });
};
const byBucket = (pair: Pair): Promise<Download> => {
  const target = `/${product}${filePath.replace(`/${product}/`, "/")}`;
  return begin(target, signedHeaders({ id: pair.id, secret: pair.secret, host: new URL(running.url).host, target }));
};

async function eventOf(pair: Pair): Promise<Record<string, unknown>> {
  for (let attempt = 0; attempt < 600; attempt += 1) {
    const { body } = await running.admin("GET", "/audit?action=download");
    const event = (body["events"] as Record<string, unknown>[]).find((one) => one["keyId"] === pair.id);
    if (event !== undefined) return event;
    await sleep(100);
  }
  return assert.fail("no audit event");
}

const admin = async (method: string, path: string, body?: unknown): Promise<void> => {
  const answer = await running.admin(method, path, body);
  assert.ok(answer.status < 300, JSON.stringify(answer.body));
};

const ends: readonly (readonly [name: string, start: (pair: Pair) => Promise<Download>, end: (pair: Pair, customer: string) => Promise<void>])[] = [
  ["revoked, a file", byFile, (pair) => admin("POST", `/keys/${pair.id}/revoke`, {})],
  ["revoked, an image", byImage, (pair) => admin("POST", `/keys/${pair.id}/revoke`, {})],
  ["revoked, an image by token", byToken, (pair) => admin("POST", `/keys/${pair.id}/revoke`, {})],
  ["revoked, a bucket", byBucket, (pair) => admin("POST", `/keys/${pair.id}/revoke`, {})],
  ["secret ended by a rotation", byFile, (pair) => admin("POST", `/keys/${pair.id}/rotate`, { overlapHours: 0, force: true })],
  ["secret ended by a rotation, a bucket", byBucket, (pair) => admin("POST", `/keys/${pair.id}/rotate`, { overlapHours: 0, force: true })],
  ["other networks", byFile, (pair) => admin("PUT", `/keys/${pair.id}/allowed-from`, { networks: ["192.0.2.0/24"] })],
  ["grant removed", byImage, (_pair, customer) => admin("DELETE", `/customers/${customer}/grants/${product}`)],
];

for (const [index, [name, start, end]] of ends.entries()) {
  test(`C9 a download that is under way ends with its pair's right: ${name}`, async () => {
    const customer = `customer-${index}`;
    const pair = await issuePair(running, customer, product);
    const download = await start(pair);
    await end(pair, customer);
    const bytes = await download.end();
    assert.ok(bytes > 0 && bytes < size, `${bytes} bytes came`);
    const event = await eventOf(pair);
    assert.equal(event["result"], "aborted");
    assert.ok(Number(event["bytes"]) < size);
  });
}

test("C9 a download goes on through a rotation with overlap, and through another pair's revocation", async () => {
  const [pair, other] = [await issuePair(running, "rotating", product), await issuePair(running, "leaving", product)];
  const downloads = [await byFile(pair), await byBucket(pair), await byImage(pair)];
  await admin("POST", `/keys/${pair.id}/rotate`, {});
  await admin("POST", `/keys/${other.id}/revoke`, {});
  assert.deepEqual(await Promise.all(downloads.map((download) => download.end())), [size, size, size]);
  assert.equal((await eventOf(pair))["result"], "complete");
});

test("C9 what another server revoked ends a download within a second too", async () => {
  const pair = await issuePair(running, "elsewhere", product);
  const download = await byFile(pair);
  await running.server.context.store.db.updateTable("access_keys").set({ revoked_at: Date.now() }).where("id", "=", pair.id).execute();
  await sleep(1_100); // no event of this process: the credential that is in memory is a second old at most
  assert.ok((await download.end()) < size);
});
