/** Registry tokens: how a client gets one, what it is good for, and that it dies with the credential it was given for. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openRegistryToken, readScopes, sealRegistryToken } from "../../src/server/oci-token.ts";
import { issuePair, makeDraft, type Pair, pairOf, publish, type RunningServer, startServer } from "./running-server.ts";
import { basic, pushImage, refusalOf, registryCaller, vendorOf } from "./registry-client.ts";

let running: RunningServer;
let pair: Pair;
before(async () => {
  running = await startServer();
  await makeDraft(running, "coequal", "1.0.0");
  await pushImage(vendorOf(running), "coequal", "1.0.0");
  await publish(running, "coequal", "1.0.0");
  await publish(running, "jaco", "1.0.0");
  pair = await issuePair(running, "northwind", "coequal");
});
after(() => running.stop());

type Token = { readonly token: string; readonly access_token: string; readonly scope: string; readonly expires_in: number; readonly issued_at: string };

async function tokenFor(authorization: string, ...scopes: readonly string[]): Promise<Token> {
  const query = new URLSearchParams({ service: "x", account: "me", client_id: "docker", offline_token: "true" });
  for (const scope of scopes) query.append("scope", scope);
  const response = await fetch(`${running.url}/token?${query.toString()}`, { headers: { authorization } });
  assert.equal(response.status, 200);
  return (await response.json()) as Token;
}

const using = (token: string) => registryCaller(running.url, `Bearer ${token}`);
const pullScope = "repository:coequal:pull";

test("a challenge leads to a token that pulls, by GET with Basic", async () => {
  const challenge = await registryCaller(running.url, undefined)("GET", "coequal/manifests/1.0.0");
  assert.equal(challenge.status, 401);
  const [, realm, scope] = /^Bearer realm="([^"]+)",service="[^"]+",scope="([^"]+)"$/.exec(challenge.headers.get("www-authenticate") ?? "") ?? [];
  assert.deepEqual([realm, scope], [`${running.url}/token`, pullScope]);
  const answer = await tokenFor(pair.authorization, pullScope);
  assert.equal(answer.token, answer.access_token);
  assert.ok(answer.expires_in >= 60);
  assert.ok(!Number.isNaN(Date.parse(answer.issued_at)));
  assert.equal((await using(answer.token)("GET", "coequal/manifests/1.0.0")).status, 200);
  assert.ok(!answer.token.includes(pair.secret));
});

test("containerd's way: POST with a form", async () => {
  const form = new URLSearchParams({
    client_id: "containerd-client",
    grant_type: "password",
    service: "x",
    username: pair.id,
    password: pair.secret,
    scope: pullScope,
  });
  const response = await fetch(`${running.url}/token`, { method: "POST", body: form });
  assert.equal(response.status, 200);
  const { access_token: token } = (await response.json()) as Token;
  assert.equal((await using(token)("HEAD", "coequal/manifests/1.0.0")).status, 200);
  form.set("password", "wrong");
  assert.equal((await fetch(`${running.url}/token`, { method: "POST", body: form })).status, 401);
  const refresh = await fetch(`${running.url}/token`, { method: "POST", body: new URLSearchParams({ grant_type: "refresh_token", refresh_token: "x" }) });
  assert.equal(refresh.status, 400);
  const flood = await fetch(`${running.url}/token`, { method: "POST", body: "x".repeat(20_000) }).catch(() => undefined);
  if (flood !== undefined) assert.equal(flood.status, 413);
});

test("without credentials, or with wrong ones, /token asks for Basic and gives nothing", async () => {
  for (const headers of [{}, { authorization: basic(pair.id, "wrong") }, { authorization: "Bearer slipway_admin_wrong" }]) {
    const response = await fetch(`${running.url}/token`, { headers });
    assert.equal(response.status, 401);
    assert.match(response.headers.get("www-authenticate") ?? "", /^Basic realm=/);
    assert.equal((await refusalOf(response)).code, "UNAUTHORIZED");
  }
});

test("login without a scope is good for the version check and nothing else; the challenge then names the scope", async () => {
  const { token, scope } = await tokenFor(pair.authorization);
  assert.equal(scope, "");
  assert.equal((await using(token)("GET", "")).status, 200);
  const response = await using(token)("GET", "coequal/manifests/1.0.0");
  assert.equal(response.status, 401);
  assert.match(response.headers.get("www-authenticate") ?? "", /scope="repository:coequal:pull",error="insufficient_scope"$/);
});

test("a token holds what was asked for and what its owner has, whichever is less", async () => {
  const wide = "repository:coequal:pull,push,delete";
  assert.equal((await tokenFor(pair.authorization, wide, "repository:jaco:pull", "registry:catalog:*")).scope, "repository:coequal:pull");
  const admin = basic("admin", running.adminToken);
  assert.equal((await tokenFor(admin, `${wide} repository:jaco:*`)).scope, "repository:coequal:pull,push,delete repository:jaco:pull,push,delete");
  const { token } = await tokenFor(admin, pullScope);
  const response = await using(token)("POST", "coequal/blobs/uploads/");
  assert.equal(response.status, 401);
  assert.match(response.headers.get("www-authenticate") ?? "", /scope="repository:coequal:pull,push",error="insufficient_scope"/);
  const pushing = await tokenFor(admin, "repository:coequal:pull,push");
  assert.equal((await using(pushing.token)("POST", "coequal/blobs/uploads/")).status, 202);
  assert.equal((await using(token)("GET", "jaco/tags/list")).status, 401);
});

test("C9 revoking a pair ends the tokens made with it in the same moment; rotating it ends them with the old secret", async () => {
  const own = await issuePair(running, "contoso", "coequal");
  const first = (await tokenFor(own.authorization, pullScope)).token;
  const rotated = await running.admin("POST", `/keys/${own.id}/rotate`, { overlapHours: 0 });
  const fresh = pairOf(own.id, String(rotated.body["secret"]));
  const second = (await tokenFor(fresh.authorization, pullScope)).token;
  assert.equal((await using(first)("HEAD", "coequal/manifests/1.0.0")).status, 401);
  assert.equal((await using(second)("HEAD", "coequal/manifests/1.0.0")).status, 200);
  await running.admin("POST", `/keys/${own.id}/revoke`, {});
  assert.equal((await using(second)("HEAD", "coequal/manifests/1.0.0")).status, 401);
});

test("an expired token is challenged without being counted as a wrong credential; a changed one is a failed login", async () => {
  const failures = async (): Promise<number> => ((await running.admin("GET", "/audit?action=login-failed&limit=1000")).body["events"] as unknown[]).length;
  const { kek } = running.server.context;
  const credential = { kind: "pair", keyId: pair.id, secret: pair.secret } as const;
  const known = await failures();
  const old = sealRegistryToken(kek, { credential, scopes: readScopes([pullScope]), expiresAt: new Date(Date.now() - 1) });
  assert.equal((await using(old)("GET", "coequal/manifests/1.0.0")).status, 401);
  assert.equal(await failures(), known);
  const good = sealRegistryToken(kek, { credential, scopes: readScopes([pullScope]), expiresAt: new Date(Date.now() + 60_000) });
  const changed = `${good.slice(0, 60)}${good[60] === "A" ? "B" : "A"}${good.slice(61)}`;
  assert.equal(openRegistryToken(kek, changed), undefined);
  assert.equal((await using(changed)("GET", "coequal/manifests/1.0.0")).status, 401);
  assert.equal(await failures(), known + 1);
});

test("scopes are read as the protocol writes them; what is none is left out", () => {
  assert.deepEqual(readScopes(["repository:a/b:pull,push repository:c:*"]), [
    { name: "a/b", actions: ["pull", "push"] },
    { name: "c", actions: ["pull", "push", "delete"] },
  ]);
  assert.deepEqual(readScopes(["", "registry:catalog:*", "repository:UP:pull", "repository:a", `repository:${"a".repeat(300)}:pull`]), []);
  assert.ok(readScopes([Array.from({ length: 500 }, (_, index) => `repository:r${index}:pull`).join(" ")]).length <= 8);
});
