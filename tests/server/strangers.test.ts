/** Who gets what: strangers nothing, customers their products only, nobody a draft; wrong credentials leave a trace and are slowed down. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { get, issuePair, makeDraft, type Pair, pairOf, publish, type RunningServer, startServer } from "./running-server.ts";
import { rawGet, rawRequest } from "./raw-request.ts";

let running: RunningServer;
let pair: Pair;

before(async () => {
  running = await startServer();
  await publish(running, "coequal", "1.4.1");
  await publish(running, "jaco", "0.2.0");
  await makeDraft(running, "coequal", "1.5.0");
  pair = await issuePair(running, "acme", "coequal");
});
after(() => running.stop());

const customerPaths = [
  "/releases/coequal/index.json",
  "/releases/coequal/1.4.1/SHA256SUMS",
  "/releases/coequal/latest/SHA256SUMS",
  "/releases/nothing/1.0.0/SHA256SUMS",
  "/apt/coequal/dists/stable/InRelease",
  "/yum/coequal/stable/repodata/repomd.xml",
  "/setup/coequal/coequal.sources",
];

test("C9 a stranger gets 401 with a challenge for everything, whether it is there or not", async () => {
  for (const path of customerPaths) {
    for (const method of ["GET", "HEAD"]) {
      const response = await fetch(running.url + path, { method });
      assert.equal(response.status, 401, path);
      assert.match(response.headers.get("www-authenticate") ?? "", /^Basic realm="slipway"/);
      await response.arrayBuffer();
    }
  }
});

test("C9 another product, a draft and what does not exist are the very same 404", async () => {
  const bodies = new Set<string>();
  for (const path of [
    "/releases/jaco/0.2.0/SHA256SUMS",
    "/releases/jaco/index.json",
    "/releases/nothing/0.2.0/SHA256SUMS",
    "/releases/coequal/9.9.9/SHA256SUMS",
    "/releases/coequal/1.5.0/SHA256SUMS",
    "/releases/coequal/1.4.1/nothing",
    "/apt/jaco/dists/stable/InRelease",
    "/apt/coequal/pool/main/c/coequal/coequal_1.5.0_amd64.deb",
    "/yum/coequal/stable/x86_64/coequal-1.5.0-1.x86_64.rpm",
    "/setup/jaco/jaco.sources",
  ]) {
    const response = await get(running, path, pair);
    assert.equal(response.status, 404, path);
    bodies.add((await response.text()).replace(/"requestId":"[^"]*"/, ""));
  }
  assert.equal(bodies.size, 1);
  const index = await (await get(running, "/releases/coequal/index.json", pair)).text();
  assert.doesNotMatch(index, /1\.5\.0/);
});

test("C9 the pair is read-only: nothing can be written, deleted or listed with it", async () => {
  for (const method of ["PUT", "POST", "DELETE", "PATCH"]) {
    const response = await fetch(`${running.url}/releases/coequal/1.4.1/SHA256SUMS`, { method, headers: { authorization: pair.authorization }, body: "x" });
    assert.equal(response.status, 404, method);
    await response.arrayBuffer();
  }
  assert.equal((await get(running, "/releases/coequal/", pair)).status, 404);
});

test("C9 rotation leaves two live secrets, revocation ends both at once", async () => {
  const own = await issuePair(running, "rotating", "coequal");
  const path = "/releases/coequal/1.4.1/SHA256SUMS";
  const rotated = await running.admin("POST", `/keys/${own.id}/rotate`, {});
  assert.equal(rotated.status, 201);
  const fresh = pairOf(own.id, String(rotated.body["secret"]));
  assert.equal((await get(running, path, own)).status, 200);
  assert.equal((await get(running, path, fresh)).status, 200);
  assert.equal((await running.admin("POST", `/keys/${own.id}/revoke`, { reason: "leaked" })).status, 200);
  assert.equal((await get(running, path, own)).status, 401);
  assert.equal((await get(running, path, fresh)).status, 401);
});

const tricks = [
  "/releases/coequal/../../etc/passwd",
  "/releases/coequal/1.4.1/../../../etc/passwd",
  "/releases/coequal/1.4.1/..%2f..%2f..%2fetc%2fpasswd",
  "/releases/coequal/%2e%2e/%2e%2e",
  "/releases/coequal/1.4.1/%2e%2e%2fSHA256SUMS",
  "/releases/coequal/1.4.1/SHA256SUMS%00.txt",
  "/releases/coequal/1.4.1/SHA256SUMS%0d%0aSet-Cookie:x",
  "/releases/coequal/1.4.1/%ff%fe",
  "/releases/coequal/1.4.1/%",
  "/releases/coequal/1.4.1//SHA256SUMS",
  "/apt/coequal/pool/../../../slipway.db",
  "/apt/coequal/..%5c..%5cslipway.db",
  "/apt/coequal//etc/passwd",
  "/yum/coequal/stable/repodata/../../../jaco/stable/repodata/repomd.xml",
  "/keys/..%2fadmin-token.asc",
  "/keys/../admin-token",
  "/setup/coequal/..%2f..%2fadmin-token",
  "//releases/coequal/1.4.1/SHA256SUMS",
  "/releases/coequal/1.4.1/__proto__",
  "/releases/__proto__/index.json",
  `/releases/coequal/1.4.1/${"a".repeat(5000)}`,
];
for (const target of tricks) {
  test(`a path trick is absent, not followed: ${target.slice(0, 70)}`, async () => {
    const answer = await rawGet(running.url, target, [`Authorization: ${pair.authorization}`]);
    assert.ok([400, 404].includes(answer.status), `${answer.status} ${answer.body.slice(0, 200)}`);
    assert.doesNotMatch(answer.body, /root:|slipway_admin|SQLite|Set-Cookie/);
  });
}

test("a method that nobody serves here is absent like any address, and is no failure of the server", async () => {
  const host = new URL(running.url).host;
  for (const path of ["/portal", "/v2/coequal/manifests/1.4.1", "/api/v1/products", "*"]) {
    for (const method of ["QUERY", "PROPFIND", "TRACE", "OPTIONS"]) {
      const { status } = await rawRequest(running.url, `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      assert.ok(status === 404 || status === 400, `${method} ${path}: ${status}`);
    }
  }
});

test("requests that are no HTTP, or too much of it, are closed politely and the server goes on", async () => {
  const host = new URL(running.url).host;
  const rows: readonly (readonly [string, readonly number[]])[] = [
    ["GARBAGE\r\n\r\n", [400]],
    ["GET / HTTP/1.1\r\n\r\n", [400]],
    [`GET /healthz HTTP/1.1\r\nHost: ${host}\r\nX: ${"a".repeat(20_000)}\r\n\r\n`, [431]],
    [`GET /${"a".repeat(20_000)} HTTP/1.1\r\nHost: ${host}\r\n\r\n`, [431, 414]],
    [`GET /healthz HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, [400]],
    [`GET /healthz HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx`, [400]],
    ["GET /setup/coequal/coequal.sources HTTP/1.1\r\nHost: evil.example/x y\r\nConnection: close\r\n\r\n", [400, 401]],
  ];
  for (const [text, statuses] of rows) {
    const answer = await rawRequest(running.url, text);
    assert.ok(statuses.includes(answer.status), `${JSON.stringify(text.slice(0, 60))}: ${answer.status}`);
  }
  assert.equal((await get(running, "/healthz")).status, 200);
});

test("a forged Host cannot write a line into a set-up file", async () => {
  const answer = await rawRequest(
    running.url,
    `GET /setup/coequal/coequal.repo HTTP/1.1\r\nHost: a"b/../\r\nAuthorization: ${pair.authorization}\r\nConnection: close\r\n\r\n`,
  );
  assert.equal(answer.status, 404);
});

test("metrics are for this machine and administrators; a proxied request is neither", async () => {
  const local = await get(running, "/metrics");
  assert.equal(local.status, 200);
  const text = await local.text();
  for (const name of ["slipway_http_requests_total", "slipway_download_bytes_total", "slipway_audit_queue", "slipway_build"])
    assert.match(text, new RegExp(`^${name}`, "m"));
  assert.equal((await get(running, "/metrics", undefined, { "x-forwarded-for": "198.51.100.7" })).status, 401);
  assert.equal((await get(running, "/metrics", pair)).status, 401);
  const admin = await fetch(`${running.url}/metrics`, { headers: { authorization: `Bearer ${running.adminToken}`, "x-forwarded-for": "198.51.100.7" } });
  assert.equal(admin.status, 200);
});

test("X-Forwarded-For of a proxy that is not trusted does not become the address in the audit trail", async () => {
  await get(running, "/releases/coequal/1.4.1/SHA256SUMS", pair, { "x-forwarded-for": "198.51.100.7" });
  const events = (await running.admin("GET", "/audit?action=download&limit=1")).body["events"] as { address: string }[];
  assert.equal(events[0]?.address, "127.0.0.1");
});

test("every answer carries the security headers and a request id, errors too", async () => {
  for (const path of ["/healthz", "/nothing", "/releases/coequal/index.json", "/keys/coequal.asc"]) {
    const response = await get(running, path);
    assert.equal(response.headers.get("x-content-type-options"), "nosniff", path);
    assert.match(response.headers.get("content-security-policy") ?? "", /default-src 'none'/, path);
    assert.ok(response.headers.get("x-request-id"), path);
    assert.equal(response.headers.get("server"), null);
    await response.arrayBuffer();
  }
});

// The last two fill the buckets of failed logins of this address: what comes after them would be answered 429.

test("C9 a wrong secret is an audit event without the secret; a challenge without credentials is none; a flood is slowed down", async () => {
  const failures = async (): Promise<Record<string, unknown>[]> =>
    (await running.admin("GET", "/audit?action=login-failed&limit=1000")).body["events"] as Record<string, unknown>[];
  const own = await issuePair(running, "guessed", "coequal");
  const known = (await failures()).length;
  await get(running, "/releases/coequal/index.json");
  assert.equal((await failures()).length, known);
  const wrong = pairOf(own.id, "not-the-secret");
  const statuses = [];
  for (let attempt = 0; attempt < 14; attempt += 1) statuses.push((await get(running, "/releases/coequal/index.json", wrong)).status);
  assert.equal(statuses[0], 401);
  assert.equal(statuses.at(-1), 429);
  const events = (await failures()).slice(0, (await failures()).length - known);
  assert.ok(events.length > 0 && events.length <= 10);
  assert.equal(events[0]?.["keyId"], own.id);
  assert.doesNotMatch(JSON.stringify(events), /not-the-secret/);
  assert.equal((await get(running, "/releases/coequal/index.json", own)).status, 200, "the right secret is never locked out");
});

test("every route of the API refuses strangers, customers and garbage tokens before it reads anything", async () => {
  const { paths } = (await (await get(running, "/api/v1/openapi.json")).json()) as { paths: Record<string, Record<string, { security?: unknown[] }>> };
  let checked = 0;
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      if (!path.startsWith("/api/") || operation.security?.length === 0) continue;
      const url = running.url + path.replaceAll(/\{[^}]+\}/g, "x");
      for (const authorization of [undefined, pair.authorization, "Bearer slipway_admin_wrong", "Bearer ", "Basic !!!", "Digest x"]) {
        const response = await fetch(url, { method: method.toUpperCase(), ...(authorization === undefined ? {} : { headers: { authorization } }) });
        assert.ok([401, 429].includes(response.status), `${method} ${path} with ${authorization}: ${response.status}`);
        await response.arrayBuffer();
        checked += 1;
      }
    }
  }
  assert.ok(checked > 100);
});
