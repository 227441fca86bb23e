/** Grants and networks of pairs: what a customer may read, the same on every protocol, in force within a second. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createServer } from "../../src/server/server.ts";
import { bucketGet, seenBy } from "./customer-reader.ts";
import { basic, pushImage, refusalOf, registryCaller, vendorOf } from "./registry-client.ts";
import { get, issuePair, type Pair, publishTo, type RunningServer, startServer } from "./running-server.ts";
import { presignedTarget, signedHeaders } from "../support/aws-signer.ts";

const product = "coequal";
const image = { product };

async function served(t: TestContext, ...versions: readonly string[]): Promise<RunningServer> {
  const running = await startServer({ supportUrl: "https://vendor.example/renew" });
  t.after(() => running.stop());
  for (const version of versions) await release(running, version);
  return running;
}

function release(running: RunningServer, version: string, channel = "stable") {
  return publishTo(running, product, version, { channel, beforePublish: () => pushImage(vendorOf(running), product, version) });
}

async function grant(running: RunningServer, customer: string, change: unknown): Promise<void> {
  const answer = await running.admin("PUT", `/customers/${customer}/grants/${product}`, change);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
}

const deb = (version: string): string => `/apt/${product}/pool/main/c/${product}/${product}_${version}_amd64.deb`;
const file = (version: string): string => `/releases/${product}/${version}/${product}-${version}-linux-amd64`;

async function answered(running: RunningServer, path: string, pair: Pair): Promise<{ readonly status: number; readonly reason: string }> {
  const response = await get(running, path, pair);
  await response.arrayBuffer();
  return { status: response.status, reason: response.statusText };
}

const shown = (versions: readonly string[], latest: string) => ({
  apt: versions,
  yum: versions,
  index: versions,
  bucket: versions,
  images: versions,
  latest: [latest, latest],
});

test("C9 a lapsed entitlement stops at the last version published before its end, in every format, and says so to who asks for more", async (t) => {
  const running = await served(t, "1.4.0");
  const [lapsed, other] = [await issuePair(running, "lapsed", product), await issuePair(running, "other", product)];
  await sleep(5);
  const ended = new Date();
  await grant(running, "lapsed", { entitledUntil: ended.toISOString() });
  await sleep(5);
  await release(running, "1.5.0");
  assert.deepEqual(await seenBy(running, lapsed, image), shown(["1.4.0"], "1.4.0"));
  assert.deepEqual(await seenBy(running, other, image), shown(["1.4.0", "1.5.0"], "1.5.0"));
  const day = ended.toISOString().slice(0, 10);
  for (const path of [deb("1.5.0"), file("1.5.0")]) {
    const reason = `Forbidden - coequal 1.5.0 came after the entitlement ended ${day}, see https://vendor.example/renew`;
    assert.deepEqual(await answered(running, path, lapsed), { status: 403, reason });
  }
  assert.equal((await bucketGet(running, lapsed, `/coequal${deb("1.5.0").replace("/apt/coequal", "/deb")}`)).status, 403);
  assert.equal((await answered(running, deb("1.4.0"), lapsed)).status, 200);
  await grant(running, "lapsed", { lapse: "cut" });
  const cut = `Forbidden - entitlement to coequal ended ${day}, see https://vendor.example/renew`;
  assert.deepEqual(await answered(running, "/apt/coequal/dists/stable/InRelease", lapsed), { status: 403, reason: cut });
  const denied = await refusalOf(await registryCaller(running.url, lapsed.authorization)("GET", "coequal/manifests/1.4.0"));
  assert.deepEqual([denied.status, denied.code, denied.message], [403, "DENIED", cut.replace("Forbidden - ", "")]);
  const listing = await bucketGet(running, lapsed, "/coequal?list-type=2");
  assert.match(await listing.text(), /AccessDenied.*entitlement to coequal ended/);
  await grant(running, "lapsed", { entitledUntil: null });
  assert.deepEqual(await seenBy(running, lapsed, image), shown(["1.4.0", "1.5.0"], "1.5.0"), "renewed");
});

test("C3 C9 channel, pin, range and formats of a grant shape every index; what is hidden cannot be fetched by its address", async (t) => {
  const running = await served(t, "1.4.0", "1.5.0", "2.0.0");
  await release(running, "2.1.0", "preview");
  const pair = await issuePair(running, "acme", product);
  await grant(running, "acme", { channel: "stable" });
  assert.deepEqual(await seenBy(running, pair, image), shown(["1.4.0", "1.5.0", "2.0.0"], "2.0.0"));
  for (const path of ["/apt/coequal/dists/preview/InRelease", "/yum/coequal/preview/repodata/repomd.xml", deb("2.1.0"), file("2.1.0")]) {
    assert.equal((await answered(running, path, pair)).status, 404, path);
  }
  await grant(running, "acme", { channel: null, pin: { version: "1.5.0", until: "2999-01-31T23:59:59Z" } });
  assert.deepEqual(await seenBy(running, pair, image), shown(["1.4.0", "1.5.0"], "1.5.0"));
  assert.match((await answered(running, deb("2.0.0"), pair)).reason, /^Forbidden - access to coequal is pinned to 1\.5\.0 until 2999-01-31/);
  await grant(running, "acme", { pin: { version: "1.5.0", until: new Date(Date.now() - 1_000).toISOString() } });
  assert.equal((await seenBy(running, pair, image)).latest[0], "2.0.0", "the pin has ended by itself");
  await grant(running, "acme", { pin: null, versions: ">=1.5.0 <2.0.0-0" });
  assert.deepEqual(await seenBy(running, pair, image), shown(["1.5.0"], "1.5.0"));
  assert.match((await answered(running, deb("2.0.0"), pair)).reason, /^Forbidden - coequal 2\.0\.0 is not covered/);
  await grant(running, "acme", { versions: null, formats: ["deb", "s3"] });
  assert.equal((await answered(running, deb("2.0.0"), pair)).status, 200);
  assert.match((await answered(running, "/yum/coequal/stable/repodata/repomd.xml", pair)).reason, /has only deb, s3/);
  assert.equal((await answered(running, file("2.0.0"), pair)).status, 403);
  assert.equal((await answered(running, "/releases/coequal/index.json", pair)).status, 200);
  const keys = [...(await (await bucketGet(running, pair, "/coequal?list-type=2")).text()).matchAll(/<Key>([^<]+)</g)].map((match) => match[1] ?? "");
  assert.deepEqual(keys.filter((key) => !key.startsWith("deb/")).toSorted(), ["coequal.gpg", "releases/index.json", "rpm/coequal.gpg"]);
  const denied = await refusalOf(await registryCaller(running.url, pair.authorization)("GET", "coequal/manifests/2.0.0"));
  assert.equal(denied.code, "DENIED");
  await grant(running, "acme", { versions: null, formats: ["deb"] });
  assert.equal((await bucketGet(running, pair, "/coequal?list-type=2")).status, 403);
  const { events } = (await running.admin("GET", "/audit?customer=acme&order=oldest")).body as {
    events: { result: string; protocol: string; detail: string; path: string }[];
  };
  assert.deepEqual(
    events.filter(({ result, protocol }) => result === "denied" && ["oci", "s3"].includes(protocol)).map((one) => [one.protocol, one.path, one.detail]),
    [
      ["oci", "/v2/coequal/manifests/2.0.0", "format"],
      ["s3", "/coequal", "format"],
    ],
  );
  assert.equal((await running.admin("DELETE", `/customers/acme/grants/${product}`)).status, 200);
  assert.equal((await answered(running, deb("2.0.0"), pair)).status, 404, "without a grant there is no such product");
});

/** One request of each protocol; the statuses by name. */
async function everyProtocol(running: Pick<RunningServer, "url">, pair: Pair): Promise<Readonly<Record<string, number>>> {
  const status = async (response: Promise<Response>): Promise<number> => {
    const answer = await response;
    await answer.arrayBuffer();
    return answer.status;
  };
  const at = running as RunningServer;
  const body = "{}";
  const ecr = { "x-amz-target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken", "content-type": "application/x-amz-json-1.1" };
  const { host } = new URL(running.url);
  const { host: _, ...signed } = signedHeaders({ id: pair.id, secret: pair.secret, host, target: "/", method: "POST", service: "ecr", headers: ecr, body });
  return {
    apt: await status(get(at, "/apt/coequal/dists/stable/InRelease", pair)),
    yum: await status(get(at, "/yum/coequal/stable/repodata/repomd.xml", pair)),
    files: await status(get(at, "/releases/coequal/index.json", pair)),
    oci: await status(registryCaller(running.url, pair.authorization)("GET", "coequal/manifests/latest")),
    token: await status(fetch(`${running.url}/token?scope=repository:coequal:pull`, { headers: { authorization: basic(pair.id, pair.secret) } })),
    s3: await status(bucketGet(at, pair, "/coequal?list-type=2")),
    ecr: await status(fetch(`${running.url}/`, { method: "POST", headers: signed, body })),
  };
}

const open = { apt: 200, yum: 200, files: 200, oci: 200, token: 200, s3: 200, ecr: 200 };

test("C9 a pair bound to networks works from there alone, one that ended nowhere, on every protocol; a changed grant is in force within a second on another server", async (t) => {
  const running = await served(t, "1.4.0");
  const pair = await issuePair(running, "acme", product);
  const token = (
    (await (await fetch(`${running.url}/token?scope=repository:coequal:pull`, { headers: { authorization: pair.authorization } })).json()) as { token: string }
  ).token;
  const pullWithToken = () => registryCaller(running.url, `Bearer ${token}`)("GET", "coequal/manifests/latest");
  const { settings } = running.server.context;
  const second = await createServer({
    ...running.server.context,
    settings: { ...settings },
    version: "9.9.9",
    clock: running.server.context.store.clock,
    log: running.server.context.log,
    areProcessMetricsOn: false,
  });
  t.after(() => second.stop());
  const other = { url: await second.listen() };
  assert.deepEqual(await everyProtocol(running, pair), open);
  assert.deepEqual(await everyProtocol(other, pair), open);
  const restrict = async (networks: readonly string[] | null): Promise<void> => {
    const answer = await running.admin("PUT", `/keys/${pair.id}/allowed-from`, { networks });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
  };
  await restrict(["203.0.113.0/24", "2001:db8::/32"]);
  const closed = { apt: 403, yum: 403, files: 403, oci: 403, token: 403, s3: 403, ecr: 400 };
  assert.deepEqual(await everyProtocol(running, pair), closed);
  assert.equal((await pullWithToken()).status, 403, "a token of before is no way around");
  assert.match((await answered(running, deb("1.4.0"), pair)).reason, /may not be used from 127\.0\.0\.1/);
  await sleep(1_050);
  assert.deepEqual(await everyProtocol(other, pair), closed, "another server knows within a second");
  await restrict(["127.0.0.0/8"]);
  assert.deepEqual(await everyProtocol(running, pair), open);
  await restrict(null);
  await grant(running, "acme", { entitledUntil: "2026-01-01T00:00:00Z", lapse: "cut" });
  await sleep(1_050);
  for (const server of [running, other]) {
    const { token: _, ecr: __, ...rest } = await everyProtocol(server, pair);
    assert.deepEqual(rest, { apt: 403, yum: 403, files: 403, oci: 403, s3: 403 });
  }
  // A pair that ends by itself: a token and a presigned address that it made end with it.
  const short = await issuePair(running, "brief", product);
  assert.deepEqual(await everyProtocol(running, short), open);
  const scope = `${running.url}/token?scope=repository:coequal:pull`;
  const made = (await (await fetch(scope, { headers: { authorization: short.authorization } })).json()) as { token: string };
  const { host } = new URL(running.url);
  const target = `/coequal/releases/1.4.0/${product}-1.4.0-linux-amd64`;
  const presigned = running.url + presignedTarget({ id: short.id, secret: short.secret, host, target, expiresSeconds: 600 });
  assert.equal((await fetch(presigned)).status, 200);
  const { store } = running.server.context;
  await store.db
    .updateTable("access_keys")
    .set({ expires_at: Date.now() - 1 })
    .where("id", "=", short.id)
    .execute();
  store.changes.emit("credential", short.id);
  assert.deepEqual(await everyProtocol(running, short), { apt: 401, yum: 401, files: 401, oci: 401, token: 401, s3: 403, ecr: 400 });
  assert.equal((await registryCaller(running.url, `Bearer ${made.token}`)("GET", "coequal/manifests/latest")).status, 401);
  assert.equal((await fetch(presigned)).status, 403);

  assert.equal((await running.admin("POST", `/keys/${pair.id}/revoke`, {})).status, 200);
  await sleep(1_050);
  for (const server of [running, other]) {
    // Refused one way or the other: after so many refusals the throttle answers too.
    for (const [protocol, status] of Object.entries(await everyProtocol(server, pair))) assert.ok(status >= 400, `${protocol} ${status}`);
  }
});

test("C9 bad grants, ranks and networks are refused and change nothing", async (t) => {
  const running = await served(t, "1.4.0");
  const pair = await issuePair(running, "acme", product);
  for (const change of [{ versions: "newest" }, { channel: "../x" }, { pin: { version: "x" } }, { formats: [] }, { lapse: "drop" }, { unknown: 1 }]) {
    const answer = await running.admin("PUT", `/customers/acme/grants/${product}`, change);
    assert.equal(answer.status, 400, JSON.stringify(change));
  }
  for (const networks of [["10.0.0.0/33"], ["10.0.0.1/8"], ["::/129"], ["2001:db8::1/64"], ["::ffff:10.0.0.1/104"], ["example.com"], ["fe80::1%eth0"], []]) {
    assert.equal((await running.admin("PUT", `/keys/${pair.id}/allowed-from`, { networks })).status, 400, JSON.stringify(networks));
  }
  for (const networks of [["10.0.0.0/8", "2001:db8::/32", "::/0", "2001:db8::1", "0.0.0.0/0"], null]) {
    assert.equal((await running.admin("PUT", `/keys/${pair.id}/allowed-from`, { networks })).status, 200, JSON.stringify(networks));
  }
  // A misspelt channel has no rank, and would show this customer every preview.
  const misspelt = await running.admin("PUT", `/customers/acme/grants/${product}`, { channel: "stabel" });
  assert.equal(misspelt.status, 404);
  assert.match(JSON.stringify(misspelt.body), /did you mean \\"stable\\"/);
  // A version that is not there would hide everything from him, or nothing; one that left can be fetched by nobody.
  const absent = await running.admin("PUT", `/customers/acme/grants/${product}`, { pin: { version: "1.4.9" } });
  assert.equal(absent.status, 404);
  assert.match(JSON.stringify(absent.body), /1\.4\.9 is not published - did you mean \\"1\.4\.0\\".*--allow-future/);
  assert.equal((await running.admin("PUT", `/customers/acme/grants/${product}`, { pin: { version: "9.0.0", allowFuture: true } })).status, 200);
  assert.equal((await running.admin("PUT", `/customers/acme/grants/${product}`, { pin: null })).status, 200);
  await publishTo(running, product, "1.4.1", {});
  await running.admin("POST", `/products/${product}/releases/1.4.1/withdraw`, { reason: "loses data" });
  const left = await running.admin("PUT", `/customers/acme/grants/${product}`, { pin: { version: "1.4.1", allowFuture: true } });
  assert.equal(left.status, 410);
  assert.match(JSON.stringify(left.body), /1\.4\.1 was withdrawn; use 1\.4\.0 instead/);
  assert.equal((await running.admin("PUT", `/customers/nobody/grants/${product}`, {})).status, 404);
  assert.equal((await running.admin("PUT", "/customers/acme/grants/nothing", {})).status, 404);
  assert.equal((await running.admin("PUT", `/products/${product}/channels/beta`, { rank: -1 })).status, 400);
  assert.deepEqual(await seenBy(running, pair, image), shown(["1.4.0"], "1.4.0"));
});

test("C9 a channel that is not his has no index for a customer, also once everything in it was withdrawn, in no repository and no bucket", async (t) => {
  const running = await served(t, "1.4.0");
  await release(running, "1.5.0-preview1", "preview");
  const [narrow, whole] = [await issuePair(running, "narrow", product), await issuePair(running, "whole", product)];
  await grant(running, "narrow", { channel: "stable" });
  const paths = [`/apt/${product}/dists/preview/InRelease`, `/yum/${product}/preview/repodata/repomd.xml`];
  const look = async (pair: Pair): Promise<readonly unknown[]> => {
    const listing = await (await bucketGet(running, pair, `/${product}?list-type=2`)).text();
    const statuses = await Promise.all(paths.map(async (path) => (await answered(running, path, pair)).status));
    return [...statuses, listing.includes("deb/dists/preview/InRelease"), listing.includes("rpm-preview/"), listing.includes("deb/dists/stable/InRelease")];
  };
  assert.deepEqual(await look(narrow), [404, 404, false, false, true]);
  assert.equal((await running.admin("POST", `/products/${product}/releases/1.5.0-preview1/withdraw`, {})).status, 200);
  assert.deepEqual(await look(whole), [200, 200, true, true, true]);
  assert.deepEqual(await look(narrow), [404, 404, false, false, true]);
});

test("the set-up text of a pair has the clients that its grant leaves, and no other", async (t) => {
  const running = await served(t, "1.4.0");
  const pair = await issuePair(running, "debian", product);
  const clients = async (): Promise<readonly unknown[]> => {
    const answer = await running.admin("GET", `/keys/${pair.id}/setup`);
    return (answer.body["blocks"] as readonly { readonly client: string }[]).map(({ client }) => client);
  };
  assert.ok((await clients()).includes("dnf"));
  await grant(running, "debian", { formats: ["deb"] });
  assert.deepEqual(await clients(), ["apt"]);
});
