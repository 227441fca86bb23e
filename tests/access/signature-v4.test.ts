/** SigV4 against the examples that AWS publishes with their signatures, and against what is wrong with a signature. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  checkSigningTime,
  emptyPayload,
  readQuery,
  readSignature,
  type SignatureFault,
  type SignedRequest,
  signingKey,
  signingSecret,
  unsignedPayload,
} from "../../src/access/signature-v4.ts";
import { sealedSigningKey } from "../../src/access/signing-keys.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { parseKeyEncryptionKey, seal } from "../../src/store/key-encryption-key.ts";
import { presignedTarget, signedHeaders } from "../support/aws-signer.ts";

type Example = {
  readonly name: string;
  readonly method?: string;
  readonly path: string;
  readonly query?: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly payload?: string;
  /** Id, scope and headers of the credential. */
  readonly scope?: string;
  readonly signature: string;
};

/** "Signature Calculations for the Authorization Header" and "Using Query Parameters" of the S3 API Reference. */
const s3Key = { id: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" };
const s3Headers = { host: "examplebucket.s3.amazonaws.com", "x-amz-content-sha256": emptyPayload, "x-amz-date": "20130524T000000Z" };
const s3Examples: readonly Example[] = [
  {
    name: "GET Object with a range",
    path: "/test.txt",
    headers: { ...s3Headers, range: "bytes=0-9" },
    signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
  },
  {
    name: "PUT Object with a dollar in its key",
    method: "PUT",
    path: "/test%24file.text",
    headers: {
      ...s3Headers,
      date: "Fri, 24 May 2013 00:00:00 GMT",
      "x-amz-content-sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
      "x-amz-storage-class": "REDUCED_REDUNDANCY",
    },
    payload: "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
    signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
  },
  {
    name: "GET Bucket lifecycle, a parameter without a value",
    path: "/",
    query: "lifecycle",
    headers: s3Headers,
    signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
  },
  {
    name: "GET Bucket with two parameters",
    path: "/",
    query: "prefix=J&max-keys=2",
    headers: s3Headers,
    signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
  },
];

/** AWS's Signature Version 4 test suite, and the ListUsers example of the IAM User Guide. */
const suiteKey = { id: "AKIDEXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };
const suiteHeaders = { host: "example.amazonaws.com", "x-amz-date": "20150830T123600Z" };
const suiteExamples: readonly Example[] = [
  { name: "get-vanilla", path: "/", headers: suiteHeaders, signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
  { name: "post-vanilla", method: "POST", path: "/", headers: suiteHeaders, signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b" },
  {
    name: "get-vanilla-query-order-key-case",
    path: "/",
    query: "Param2=value2&Param1=value1",
    headers: suiteHeaders,
    signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
  },
  {
    name: "ListUsers",
    path: "/",
    query: "Action=ListUsers&Version=2010-05-08",
    headers: { "content-type": "application/x-www-form-urlencoded; charset=utf-8", host: "iam.amazonaws.com", "x-amz-date": "20150830T123600Z" },
    scope: "us-east-1/iam",
    signature: "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
  },
];

function requestOf(example: Example, key: { readonly id: string }, scope: string): SignedRequest {
  const day = (example.headers["x-amz-date"] ?? "").slice(0, 8);
  const names = Object.keys(example.headers).sort().join(";");
  const authorization = `AWS4-HMAC-SHA256 Credential=${key.id}/${day}/${scope}/aws4_request,SignedHeaders=${names},Signature=${example.signature}`;
  return { method: example.method ?? "GET", path: example.path, query: readQuery(example.query ?? ""), headers: { ...example.headers, authorization } };
}

for (const [key, scope, examples] of [
  [s3Key, "us-east-1/s3", s3Examples],
  [suiteKey, "us-east-1/service", suiteExamples],
] as const) {
  for (const example of examples) {
    test(`C9 AWS's published example is accepted with its secret alone: ${example.name}`, () => {
      const request = requestOf(example, key, example.scope ?? scope);
      const signature = readSignature(request);
      const payloadHash = example.payload ?? emptyPayload;
      assert.equal(signature.keyId, key.id);
      assert.equal(signingSecret({ request, signature, payloadHash, secrets: ["other", key.secret, "another"], keyOf: signingKey }), key.secret);
      assert.equal(signingSecret({ request, signature, payloadHash, secrets: ["other", ""], keyOf: signingKey }), undefined);
      assert.equal(signingSecret({ request, signature, payloadHash: unsignedPayload, secrets: [key.secret], keyOf: signingKey }), undefined);
      assert.equal(signingSecret({ request: { ...request, method: "DELETE" }, signature, payloadHash, secrets: [key.secret], keyOf: signingKey }), undefined);
      assert.equal(signingSecret({ request: { ...request, path: "/other" }, signature, payloadHash, secrets: [key.secret], keyOf: signingKey }), undefined);
      const query = [...request.query, ["more", ""] as const];
      assert.equal(signingSecret({ request: { ...request, query }, signature, payloadHash, secrets: [key.secret], keyOf: signingKey }), undefined);
    });
  }
}

const presignedQuery = [
  "X-Amz-Algorithm=AWS4-HMAC-SHA256",
  "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request",
  "X-Amz-Date=20130524T000000Z",
  "X-Amz-Expires=86400",
  "X-Amz-SignedHeaders=host",
  "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
].join("&");

test("C9 AWS's presigned example is accepted until its day is over", () => {
  const request: SignedRequest = { method: "GET", path: "/test.txt", query: readQuery(presignedQuery), headers: { host: "examplebucket.s3.amazonaws.com" } };
  const signature = readSignature(request);
  assert.equal(signingSecret({ request, signature, payloadHash: unsignedPayload, secrets: [s3Key.secret], keyOf: signingKey }), s3Key.secret);
  checkSigningTime(signature, new Date("2013-05-24T00:00:00Z"));
  checkSigningTime(signature, new Date("2013-05-25T00:00:00Z"));
  for (const late of ["2013-05-25T00:00:01Z", "2026-01-01T00:00:00Z", "2013-05-23T23:00:00Z"]) {
    assert.throws(() => checkSigningTime(signature, new Date(late)), faults("AccessDenied"), late);
  }
});

test("keys with blanks, plus, percent and letters beyond ASCII are encoded once for S3", () => {
  const at = new Date("2026-03-01T12:00:00Z");
  for (const key of ["a b", "a+b", "100%", "ü/ñ", "~tilde", "(1)!*'"]) {
    const target = `/bucket/${key
      .split("/")
      .map((part) => encodeURIComponent(part).replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`))
      .join("/")}`;
    const headers = signedHeaders({ id: "AKID", secret: "s", target, host: "localhost", at });
    const request: SignedRequest = { method: "GET", path: target, query: [], headers };
    assert.equal(signingSecret({ request, signature: readSignature(request), payloadHash: emptyPayload, secrets: ["s"], keyOf: signingKey }), "s", key);
  }
});

function faults(fault: SignatureFault) {
  return (error: unknown): boolean => error instanceof SlipwayError && error.code === "unauthorized" && error.detail === fault;
}

const now = new Date("2026-03-01T12:00:00Z");
const good = signedHeaders({ id: "AKID", secret: "s", target: "/b", host: "localhost", at: now });
const goodAuthorization = good["authorization"] ?? "";
const withAuthorization = (change: (text: string) => string): Record<string, string> => ({ ...good, authorization: change(goodAuthorization) });

const crooked: readonly (readonly [what: string, headers: Record<string, string>, query: string, fault: SignatureFault])[] = [
  ["the signature before version 4", { host: "localhost", authorization: "AWS AKID:abc" }, "", "InvalidRequest"],
  ["the asymmetric variant", withAuthorization((text) => text.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")), "", "InvalidRequest"],
  ["no credential", withAuthorization((text) => text.replace(/Credential=[^,]+/, "Credential=")), "", "AuthorizationHeaderMalformed"],
  ["a scope with one part more", withAuthorization((text) => text.replace("/s3/", "/s3/x/")), "", "AuthorizationHeaderMalformed"],
  ["a scope of another end", withAuthorization((text) => text.replace("aws4_request", "aws5_request")), "", "AuthorizationHeaderMalformed"],
  ["a scope of another day", withAuthorization((text) => text.replace("/20260301/", "/20260302/")), "", "AuthorizationHeaderMalformed"],
  ["a scope of no day", withAuthorization((text) => text.replace("/20260301/", "//")), "", "AuthorizationHeaderMalformed"],
  ["a cut signature", withAuthorization((text) => text.slice(0, -1)), "", "AuthorizationHeaderMalformed"],
  [
    "an upper-case signature",
    withAuthorization((text) => text.replace(/Signature=.*/, (part) => `Signature=${part.slice(10).toUpperCase()}A`)),
    "",
    "AuthorizationHeaderMalformed",
  ],
  ["two signatures", withAuthorization((text) => `${text}, Signature=${"0".repeat(64)}`), "", "AuthorizationHeaderMalformed"],
  ["no date", { host: "localhost", authorization: goodAuthorization }, "", "AccessDenied"],
  ["a date that is none", { ...good, "x-amz-date": "20269901T120000Z" }, "", "AuthorizationHeaderMalformed"],
  ["host not signed", withAuthorization((text) => text.replace("host;", "")), "", "AccessDenied"],
  ["an amz header added on the way", { ...good, "x-amz-copy-source": "/other/key" }, "", "AccessDenied"],
  [
    "a session token",
    signedHeaders({ id: "AKID", secret: "s", target: "/b", host: "localhost", at: now, headers: { "x-amz-security-token": "t" } }),
    "",
    "InvalidToken",
  ],
  ["a presigned query without its parts", { host: "localhost" }, "X-Amz-Signature=00", "AuthorizationQueryParametersError"],
  ["a presigned query with one part twice", { host: "localhost" }, `${presignedQuery}&X-Amz-Expires=1`, "AuthorizationQueryParametersError"],
  ["more than a week", { host: "localhost" }, presignedQuery.replace("86400", "604801"), "AuthorizationQueryParametersError"],
  ["a negative time", { host: "localhost" }, presignedQuery.replace("86400", "-1"), "AuthorizationQueryParametersError"],
];

for (const [what, headers, query, fault] of crooked) {
  test(`a request with ${what} is refused as ${fault} before any secret is looked up`, () => {
    assert.throws(() => readSignature({ method: "GET", path: "/b", query: readQuery(query), headers }), faults(fault));
  });
}

test("broken percent-encoding is no query", () => {
  assert.throws(() => readQuery("prefix=%zz"), faults("InvalidURI"));
});

test("a clock may be fifteen minutes off, either way, and no more", () => {
  const signature = readSignature({ method: "GET", path: "/b", query: [], headers: good });
  for (const minutes of [-15, 0, 15]) checkSigningTime(signature, new Date(now.getTime() + minutes * 60_000));
  for (const minutes of [-15.1, 15.1, 1440]) {
    assert.throws(() => checkSigningTime(signature, new Date(now.getTime() + minutes * 60_000)), faults("RequestTimeTooSkewed"));
  }
});

test("a presigned request of the tests' own signer is the same as AWS's", () => {
  const target = presignedTarget({
    ...s3Key,
    target: "/test.txt",
    host: "examplebucket.s3.amazonaws.com",
    region: "us-east-1",
    at: new Date("2013-05-24T00:00:00Z"),
    expiresSeconds: 86_400,
  });
  assert.equal(target, `/test.txt?${presignedQuery}`);
});

test("C9 a signing key is derived once for each sealed secret and scope, and is the one of AWS's derivation", () => {
  const kek = parseKeyEncryptionKey("11".repeat(32));
  const sealed = { envelope: seal(kek, s3Key.secret, "row"), context: "row" };
  const scope = "20130524/us-east-1/s3/aws4_request";
  const key = sealedSigningKey(kek, sealed, scope);
  assert.equal(key, signingKey(s3Key.secret, scope));
  const other = parseKeyEncryptionKey("22".repeat(32));
  assert.equal(sealedSigningKey(other, sealed, scope), key, "kept: it is not opened a second time");
  assert.notEqual(sealedSigningKey(kek, sealed, scope.replace("s3", "ecr")), key);
  for (let day = 10; day < 30; day += 1) sealedSigningKey(kek, sealed, `201306${day}/us-east-1/s3/aws4_request`);
  assert.throws(() => sealedSigningKey(other, sealed, scope), { code: "key_locked" }, "only a few scopes are kept");
  assert.throws(() => sealedSigningKey(other, { ...sealed }, scope), { code: "key_locked" }, "it hangs on this very credential");
});
