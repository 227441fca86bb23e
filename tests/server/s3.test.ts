/** The bucket API on a running server, by signed requests: what a pair may, what it may not, and what a publication in between does. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type TestContext, test } from "node:test";
import { presignedTarget, type SigningOptions, signedHeaders } from "../support/aws-signer.ts";
import { get, hexOf, issuePair, type Pair, pairOf, publish, type RunningServer, startServer } from "./running-server.ts";

type Answer = { readonly status: number; readonly headers: Headers; readonly body: Buffer; readonly text: string; readonly code: string | undefined };
type Changes = Partial<Omit<SigningOptions, "id" | "secret" | "host" | "target">> & { readonly send?: Readonly<Record<string, string>>; readonly url?: string };

/** One signed request; `send` is added, or replaced, after signing. */
async function call(running: RunningServer, pair: Pair, target: string, changes: Changes = {}): Promise<Answer> {
  const { send, url, ...signing } = changes;
  const { host } = new URL(running.url);
  const { host: _, ...headers } = signedHeaders({ id: pair.id, secret: pair.secret, host, target, ...signing });
  const response = await fetch(running.url + (url ?? target), {
    method: signing.method ?? "GET",
    headers: { ...headers, ...send },
    ...(signing.body === undefined ? {} : { body: signing.body }),
  });
  return answerOf(response);
}

async function answerOf(response: Response): Promise<Answer> {
  const body = Buffer.from(await response.arrayBuffer());
  const text = body.toString("utf8");
  return { status: response.status, headers: response.headers, body, text, code: /<Code>([^<]+)</.exec(text)?.[1] };
}

async function servedCoequal(t: TestContext): Promise<{ readonly running: RunningServer; readonly pair: Pair }> {
  const running = await startServer();
  t.after(() => running.stop());
  await publish(running, "coequal", "1.0.0");
  return { running, pair: await issuePair(running, "acme", "coequal") };
}

const keysOf = (answer: Answer): readonly string[] => [...answer.text.matchAll(/<Key>([^<]+)</g)].map((match) => match[1] ?? "");

test("C11 an object is answered whole, in ranges and on conditions, as its listing says", async (t) => {
  const { running, pair } = await servedCoequal(t);
  const content = Buffer.from(Array.from({ length: 100_000 }, (_, index) => index % 251));
  await publish(running, "coequal", "1.0.1", [{ name: "data.bin", content }]);
  const target = "/coequal-customer-packages/releases/1.0.1/data.bin";
  const head = await call(running, pair, target, { method: "HEAD", headers: { "x-amz-checksum-mode": "ENABLED" } });
  assert.equal(head.status, 200);
  assert.equal(head.headers.get("content-length"), "100000");
  assert.equal(head.headers.get("etag"), `"${hexOf(content)}"`);
  assert.equal(head.headers.get("accept-ranges"), "bytes");
  assert.equal(head.headers.get("x-amz-checksum-sha256"), createHash("sha256").update(content).digest("base64"));
  const whole = await call(running, pair, target);
  assert.ok(whole.body.equals(content));
  assert.equal(whole.headers.get("x-amz-checksum-sha256"), null);
  const tag = whole.headers.get("etag") ?? "";
  for (const [range, first, last] of [
    ["bytes=0-8388607", 0, 99_999],
    ["bytes=500-999", 500, 999],
    ["bytes=99000-", 99_000, 99_999],
    ["bytes=-5", 99_995, 99_999],
  ] as const) {
    const part = await call(running, pair, target, { headers: { range, "if-match": tag, "x-amz-checksum-mode": "ENABLED" } });
    assert.equal(part.status, 206, range);
    assert.equal(part.headers.get("content-range"), `bytes ${first}-${last}/100000`);
    assert.equal(part.headers.get("x-amz-checksum-sha256"), null, "a part has no checksum of the whole");
    assert.ok(part.body.equals(content.subarray(first, last + 1)));
  }
  const date = whole.headers.get("last-modified") ?? "";
  const outcomes: readonly (readonly [Readonly<Record<string, string>>, number, string | undefined])[] = [
    [{ "if-match": `"${"0".repeat(64)}"` }, 412, "PreconditionFailed"],
    [{ "if-unmodified-since": "Thu, 01 Jan 1970 00:00:01 GMT" }, 412, "PreconditionFailed"],
    [{ "if-none-match": tag }, 304, undefined],
    [{ "if-modified-since": date }, 304, undefined],
    [{ range: "bytes=100000-" }, 416, "InvalidRange"],
  ];
  for (const [headers, status, code] of outcomes) {
    const answer = await call(running, pair, target, { headers });
    assert.deepEqual([answer.status, answer.code], [status, code], JSON.stringify(headers));
  }
});

test("C12 the dates of what changes run backwards, and conditions on them know the very date alone", async (t) => {
  const { running, pair } = await servedCoequal(t);
  const target = "/coequal/deb/dists/stable/Release";
  const before = await call(running, pair, target);
  await publish(running, "coequal", "1.0.1");
  const after = await call(running, pair, target);
  const [old, fresh] = [before.headers.get("last-modified") ?? "", after.headers.get("last-modified") ?? ""];
  assert.ok(Date.parse(fresh) < Date.parse(old));
  assert.equal((await call(running, pair, target, { headers: { "if-modified-since": fresh } })).status, 304);
  assert.equal((await call(running, pair, target, { headers: { "if-modified-since": old } })).status, 200, "the older copy is not taken for the present one");
  assert.equal((await call(running, pair, target, { headers: { "if-unmodified-since": fresh } })).status, 200);
  assert.equal((await call(running, pair, target, { headers: { "if-unmodified-since": old } })).status, 412);
});

test("C12 C13 a publication in the middle of a sync mixes nothing: pages and objects are of the snapshot that the listing began with", async (t) => {
  const { running, pair } = await servedCoequal(t);
  const list = (query: string) => call(running, pair, `/coequal?${query}`);
  const all = keysOf(await list("encoding-type=url&list-type=2&prefix="));
  const read = async (key: string): Promise<string> => (await call(running, pair, `/coequal/${key}`)).text;
  const first = await list("encoding-type=url&list-type=2&max-keys=3&prefix=");
  await publish(running, "coequal", "1.0.1");
  const seen = [...keysOf(first)];
  let token = /<NextContinuationToken>([^<]+)</.exec(first.text)?.[1];
  while (token !== undefined) {
    const page = await list(`continuation-token=${encodeURIComponent(token)}&encoding-type=url&list-type=2&max-keys=3&prefix=`);
    seen.push(...keysOf(page));
    token = /<NextContinuationToken>([^<]+)</.exec(page.text)?.[1];
  }
  assert.deepEqual(seen, all);
  const release = await read("deb/dists/stable/Release");
  const packages = (await call(running, pair, "/coequal/deb/dists/stable/main/binary-amd64/Packages.gz")).body;
  assert.ok(release.includes(` ${hexOf(packages)} `), "Release names the Packages.gz that was served with it");
  const repomd = await read("rpm/repodata/repomd.xml");
  for (const key of seen.filter((one) => one.startsWith("rpm/repodata/") && one.endsWith(".xml.gz"))) {
    const index = await call(running, pair, `/coequal/${key}`);
    assert.equal(index.status, 200, `${key} of the snapshot before is still there`);
    assert.ok(repomd.includes(hexOf(index.body)), key);
  }
  assert.notEqual(await read("deb/dists/stable/Release"), release, "the next copy is of the present");
  const forged = Buffer.from(JSON.stringify(["another-snapshot", "a"])).toString("base64url");
  assert.equal((await list(`continuation-token=${forged}&list-type=2`)).code, "InvalidArgument");
});

test("C9 a pair sees its product's bucket; another product's is like none at all, and nothing can be written", async (t) => {
  const { running, pair } = await servedCoequal(t);
  await publish(running, "secret", "2.0.0");
  assert.match((await call(running, pair, "/")).text, /<Buckets><Bucket><Name>coequal<\/Name>.*?<\/Bucket><\/Buckets>/);
  for (const target of ["/BUCKET", "/BUCKET/", "/BUCKET/SHA256SUMS", "/BUCKET?list-type=2", "/BUCKET?location="]) {
    const [other, none] = await Promise.all(["secret", "nothing"].map((bucket) => call(running, pair, target.replace("BUCKET", bucket))));
    assert.deepEqual([other?.status, other?.code], [404, "NoSuchBucket"], target);
    const shape = (answer: Answer | undefined): string => (answer?.text ?? "").replace(/<RequestId>.*<\/RequestId>/, "").replaceAll(/secret|nothing/g, "");
    assert.equal(shape(other), shape(none));
  }
  assert.equal((await call(running, pair, "/coequal", { method: "HEAD" })).headers.get("x-amz-bucket-region"), "us-east-2");
  assert.match((await call(running, pair, "/coequal?location=", { region: "eu-central-1" })).text, /<LocationConstraint[^>]*>eu-central-1</);
  assert.match((await call(running, pair, "/coequal?location=", { region: "us-east-1" })).text, /<LocationConstraint[^>]*\/>/);
  for (const key of ["nope", "deb", "deb/", "deb/../SHA256SUMS", "..%2f..%2fslipway.db", "releases/latest/SHA256SUMS", "%00"]) {
    const answer = await call(running, pair, `/coequal/${key}`, { url: `/coequal/${key}` });
    assert.ok(["NoSuchKey", "SignatureDoesNotMatch"].includes(answer.code ?? ""), `${key}: ${answer.status} ${answer.text}`);
  }
  for (const [method, target] of [
    ["PUT", "/coequal/x"],
    ["DELETE", "/coequal/SHA256SUMS"],
    ["POST", "/coequal/x?uploads="],
    ["PUT", "/coequal"],
    ["POST", "/coequal?delete="],
  ] as const) {
    const answer = await call(running, pair, target, { method, ...(method === "DELETE" ? {} : { body: "content" }) });
    assert.deepEqual([answer.status, answer.code], [403, "AccessDenied"], `${method} ${target}`);
    assert.match(answer.text, /read-only/);
  }
  for (const query of ["acl=", "versions=", "tagging=", "uploads="]) assert.equal((await call(running, pair, `/coequal?${query}`)).code, "NotImplemented");
  assert.equal((await call(running, pair, "/coequal/SHA256SUMS?partNumber=1")).code, "NotImplemented");
});

test("C9 signatures that are wrong, old, of a revoked pair or changed on the way are refused in AWS's words, and audited", async (t) => {
  const { running, pair } = await servedCoequal(t);
  const target = "/coequal/SHA256SUMS";
  const minutes = (count: number): Date => new Date(Date.now() + count * 60_000);
  const refusals: readonly (readonly [Promise<Answer>, number, string])[] = [
    [call(running, pairOf(pair.id, "wrong"), target), 403, "SignatureDoesNotMatch"],
    [call(running, pairOf("AKIAIOSFODNN7EXAMPLE", pair.secret), target), 403, "InvalidAccessKeyId"],
    [call(running, pair, target, { url: "/coequal/coequal.gpg" }), 403, "SignatureDoesNotMatch"],
    [call(running, pair, target, { at: minutes(-16) }), 403, "RequestTimeTooSkewed"],
    [call(running, pair, target, { at: minutes(16) }), 403, "RequestTimeTooSkewed"],
    [call(running, pair, target, { service: "ec2", headers: { "x-amz-content-sha256": hexOf(Buffer.alloc(0)) } }), 400, "AuthorizationHeaderMalformed"],
    [call(running, pair, target, { send: { "x-amz-copy-source": "/other/key" } }), 403, "AccessDenied"],
    [call(running, pair, target, { headers: { range: "bytes=0-1" }, send: { range: "bytes=0-99" } }), 403, "SignatureDoesNotMatch"],
    [call(running, pair, target, { send: { authorization: "AWS4-HMAC-SHA256 nonsense" } }), 400, "AuthorizationHeaderMalformed"],
  ];
  for (const [promised, status, code] of refusals) {
    const answer = await promised;
    assert.deepEqual([answer.status, answer.code], [status, code]);
    assert.ok(!answer.text.includes(pair.secret));
  }
  const rotated = await running.admin("POST", `/keys/${pair.id}/rotate`, {});
  const fresh = pairOf(pair.id, String(rotated.body["secret"]));
  for (const live of [pair, fresh]) assert.equal((await call(running, live, target)).status, 200, "both secrets live during a rotation");
  const presigned = presignedTarget({ ...fresh, host: new URL(running.url).host, target, expiresSeconds: 60 });
  assert.equal((await get(running, presigned)).status, 200);
  assert.equal((await answerOf(await get(running, presigned.replace("SHA256SUMS", "coequal.gpg")))).code, "SignatureDoesNotMatch");
  const late = presignedTarget({ ...fresh, host: new URL(running.url).host, target, expiresSeconds: 60, at: minutes(-2) });
  assert.match((await answerOf(await get(running, late))).text, /<Code>AccessDenied<\/Code><Message>Request has expired</);
  assert.equal((await running.admin("POST", `/keys/${pair.id}/revoke`, {})).status, 200);
  for (const dead of [pair, fresh]) assert.equal((await call(running, dead, target)).code, "InvalidAccessKeyId");
  assert.equal((await answerOf(await get(running, presigned))).code, "InvalidAccessKeyId", "a presigned address dies with its pair");

  const { body } = await running.admin("GET", "/audit?limit=100");
  const events = body["events"] as readonly Record<string, unknown>[];
  const failures = events.filter((event) => event["action"] === "login-failed");
  assert.ok(failures.length >= 6 && failures.every((event) => event["protocol"] === "s3" && event["status"] === 403));
  const pulls = events.filter((event) => event["action"] === "download");
  assert.deepEqual(
    new Set(pulls.map((event) => [event["customer"], event["keyId"], event["protocol"], event["product"], event["result"], event["path"]].join(" "))),
    new Set([`acme ${pair.id} s3 coequal complete ${target}`]),
  );
  assert.ok(!JSON.stringify(events).includes("X-Amz-Signature"));
});

test("C9 a flood of wrong signatures is slowed down, and the right one goes through all the while", async (t) => {
  const { running, pair } = await servedCoequal(t);
  const codes = new Set<string | undefined>();
  for (let attempt = 0; attempt < 15; attempt += 1) codes.add((await call(running, pairOf(pair.id, `guess ${attempt}`), "/coequal")).code);
  assert.deepEqual(codes, new Set(["SignatureDoesNotMatch", "SlowDown"]));
  assert.equal((await call(running, pair, "/coequal?list-type=2")).status, 200);
});

test("C6 an object of a retired or withdrawn version is gone, and the answer names the replacement", async (t) => {
  const { running, pair } = await servedCoequal(t);
  await publish(running, "coequal", "1.0.1");
  assert.equal((await running.admin("POST", "/products/coequal/releases/1.0.0/withdraw", {})).status, 200);
  for (const key of ["deb/pool/main/c/coequal/coequal_1.0.0_amd64.deb", "rpm/x86_64/coequal-1.0.0-1.x86_64.rpm", "releases/1.0.0/SHA256SUMS"]) {
    const answer = await call(running, pair, `/coequal/${key}`);
    assert.deepEqual([answer.status, answer.code], [410, "NoSuchKey"], key);
    assert.match(answer.text, /Gone - coequal 1\.0\.0 was withdrawn by the vendor; use 1\.0\.1 instead/);
    assert.equal((await call(running, pair, `/coequal/${key}`, { method: "HEAD" })).status, 410);
  }
  assert.ok(!keysOf(await call(running, pair, "/coequal?list-type=2")).some((key) => key.includes("1.0.0")));
});

test("C10 an ECR login gives a password for the registry, as long as its pair lives; a scoped token is none", async (t) => {
  const { running, pair } = await servedCoequal(t);
  const headers = { "content-type": "application/x-amz-json-1.1", "x-amz-target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken" };
  const login = (changes: Changes = {}, as: Pair = pair): Promise<Answer> =>
    call(running, as, "/", { method: "POST", service: "ecr", headers, body: "{}", ...changes });
  const answer = await login();
  assert.equal(answer.status, 200, answer.text);
  const { authorizationData } = JSON.parse(answer.text) as {
    authorizationData: readonly { authorizationToken: string; expiresAt: number; proxyEndpoint: string }[];
  };
  const [data] = authorizationData;
  assert.equal(data?.proxyEndpoint, running.url);
  assert.ok(Math.abs((data?.expiresAt ?? 0) - Date.now() / 1000 - 12 * 3600) < 60);
  const basic = { authorization: `Basic ${data?.authorizationToken ?? ""}` };
  assert.ok(
    Buffer.from(data?.authorizationToken ?? "", "base64")
      .toString("utf8")
      .startsWith("AWS:"),
  );
  assert.equal((await fetch(`${running.url}/v2/`, { headers: basic })).status, 200);
  const traded = await fetch(`${running.url}/token?scope=repository:coequal:pull`, { headers: basic });
  assert.equal(traded.status, 200);
  const { token } = (await traded.json()) as { token: string };
  assert.equal((await fetch(`${running.url}/v2/`, { headers: { authorization: `Bearer ${token}` } })).status, 200);
  const scoped = pairOf("AWS", token).authorization;
  assert.equal((await fetch(`${running.url}/token?scope=repository:coequal:pull`, { headers: { authorization: scoped } })).status, 401);

  const refusals: readonly (readonly [Promise<Answer>, string])[] = [
    [login({}, pairOf(pair.id, "wrong")), "InvalidSignatureException"],
    [login({}, pairOf("AKIAIOSFODNN7EXAMPLE", pair.secret)), "UnrecognizedClientException"],
    [login({ at: new Date(Date.now() - 3_600_000) }), "InvalidSignatureException"],
    [login({ service: "s3" }), "AccessDeniedException"],
    [login({ headers: { ...headers, "x-amz-target": "AmazonEC2ContainerRegistry_V20150921.DeleteRepository" } }), "UnknownOperationException"],
  ];
  for (const [promised, type] of refusals) {
    const refused = await promised;
    assert.equal(refused.status, 400);
    assert.equal((JSON.parse(refused.text) as Record<string, unknown>)["__type"], type);
  }
  const form = { "content-type": "application/x-www-form-urlencoded" };
  const identity = await call(running, pair, "/", { method: "POST", service: "sts", headers: form, body: "Action=GetCallerIdentity&Version=2011-06-15" });
  assert.match(identity.text, new RegExp(`<Arn>arn:aws:iam::000000000000:user/acme</Arn><UserId>${pair.id}</UserId>`));
  assert.equal((await call(running, pair, "/", { method: "POST", service: "sts", headers: form, body: "Action=AssumeRole" })).code, "NotImplemented");

  await running.admin("POST", `/keys/${pair.id}/revoke`, {});
  assert.equal((await fetch(`${running.url}/v2/`, { headers: basic })).status, 401);
});

test("signed requests reach buckets alone and unsigned ones never do, whatever the path", async (t) => {
  const { running, pair } = await servedCoequal(t);
  for (const target of ["/healthz", "/apt/coequal/dists/stable/Release", "/v2/", "/api/v1/products", "/keys/coequal.gpg"]) {
    assert.equal((await call(running, pair, target)).code, "NoSuchBucket", target);
  }
  assert.equal((await get(running, "/coequal/SHA256SUMS")).status, 404);
  assert.equal((await get(running, "/coequal/SHA256SUMS", pair)).status, 404);
  assert.equal((await get(running, "/coequal/SHA256SUMS?X-Amz-Signature=00", pair)).status, 404, "an Authorization header of another kind wins");
  assert.equal((await answerOf(await get(running, "/coequal/SHA256SUMS?X-Amz-Signature=00"))).code, "AuthorizationQueryParametersError");
  const older = await answerOf(await get(running, `/coequal/SHA256SUMS?AWSAccessKeyId=${pair.id}&Signature=Zm9v&Expires=4102444800`));
  assert.deepEqual([older.status, older.code], [400, "InvalidRequest"], "what AWS CLI 1 presigns for us-east-1");
  assert.match(older.text, /<Message>[^<]*Please use AWS4-HMAC-SHA256\.</);
});
