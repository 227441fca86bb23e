/** The registry from the vendor's side: the endpoints of OCI distribution-spec 1.1 with their statuses, headers and codes. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { type RunningServer, startServer } from "./running-server.ts";
import {
  digestOf,
  imageOf,
  imageType,
  indexType,
  pushBlob,
  pushImage,
  putManifest,
  refusalOf,
  registryCaller,
  type Send,
  vendorOf,
} from "./registry-client.ts";

let running: RunningServer;
let send: Send;
before(async () => {
  running = await startServer({ uploadLimit: "8MiB" });
  await running.admin("POST", "/products", { name: "coequal" });
  send = vendorOf(running);
});
after(() => running.stop());

const octets = { "content-type": "application/octet-stream" };
const locationOf = (response: Response): string => response.headers.get("location") ?? assert.fail("no Location");
const withDigest = (location: string, digest: string): string => `${location}?digest=${digest}`;
const unfinished = (): Promise<string[]> => readdir(join(running.dataDir, "blobs", "unverified"));

async function startUpload(name = "coequal/app"): Promise<string> {
  const response = await send("POST", `${name}/blobs/uploads/`);
  assert.equal(response.status, 202);
  return locationOf(response);
}

test("end-1: the version check is for callers with credentials, and says which API this is", async () => {
  const response = await send("GET", "");
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("docker-distribution-api-version"), "registry/2.0");
  const stranger = await registryCaller(running.url, undefined)("GET", "");
  assert.equal(stranger.status, 401);
  assert.equal((await refusalOf(stranger)).code, "UNAUTHORIZED");
});

test("end-4a, end-6: POST, then PUT with the whole blob", async () => {
  const bytes = randomBytes(300_000);
  const digest = digestOf(bytes);
  const response = await send("PUT", withDigest(await startUpload(), digest), { body: bytes, headers: octets });
  assert.equal(response.status, 201);
  assert.equal(response.headers.get("docker-content-digest"), digest);
  const blob = await send("GET", locationOf(response));
  assert.deepEqual(Buffer.from(await blob.arrayBuffer()), bytes);
  assert.deepEqual(await unfinished(), []);
});

test("end-4b: a single POST with the digest", async () => {
  const bytes = randomBytes(1000);
  const digest = await pushBlob(send, "coequal/app", bytes);
  const head = await send("HEAD", `coequal/app/blobs/${digest}`);
  assert.deepEqual([head.status, head.headers.get("content-length"), head.headers.get("docker-content-digest")], [200, "1000", digest]);
});

test("end-5, end-13: chunks in order, each answered with where the upload stands; the last one may come with the PUT", async () => {
  const bytes = randomBytes(2500);
  let location = await startUpload();
  for (const start of [0, 1000]) {
    const chunk = { body: bytes.subarray(start, start + 1000), headers: { ...octets, "content-range": `${start}-${start + 999}` } };
    const response = await send("PATCH", location, chunk);
    assert.deepEqual([response.status, response.headers.get("range")], [202, `0-${start + 999}`]);
    location = locationOf(response);
  }
  const status = await send("GET", location);
  assert.deepEqual([status.status, status.headers.get("range"), status.headers.get("location")], [204, "0-1999", location]);
  const response = await send("PUT", withDigest(location, digestOf(bytes)), {
    body: bytes.subarray(2000),
    headers: { ...octets, "content-range": "2000-2499" },
  });
  assert.equal(response.status, 201);
  assert.deepEqual(Buffer.from(await (await send("GET", locationOf(response))).arrayBuffer()), bytes);
});

test("end-5: a chunk that begins elsewhere is 416 with the place to go on from, and takes nothing away", async () => {
  const bytes = randomBytes(900);
  const location = await startUpload();
  await send("PATCH", location, { body: bytes.subarray(0, 300), headers: { ...octets, "content-range": "0-299" } });
  for (const range of ["600-899", "0-299"]) {
    const response = await send("PATCH", location, { body: bytes.subarray(0, 300), headers: { ...octets, "content-range": range } });
    assert.deepEqual([response.status, response.headers.get("range"), response.headers.get("location")], [416, "0-299", location]);
    assert.equal((await refusalOf(response)).code, "BLOB_UPLOAD_INVALID");
  }
  const odd = await send("PATCH", location, { body: bytes.subarray(300), headers: { ...octets, "content-range": "bytes 300-899" } });
  assert.deepEqual([odd.status, (await refusalOf(odd)).code], [400, "BLOB_UPLOAD_INVALID"]);
  const short = await send("PATCH", location, { body: bytes.subarray(300), headers: { ...octets, "content-range": "300-400" } });
  assert.deepEqual([short.status, (await refusalOf(short)).code], [400, "SIZE_INVALID"]);
  await send("PATCH", location, { body: bytes.subarray(300), headers: octets });
  assert.equal((await send("PUT", withDigest(location, digestOf(bytes)))).status, 201);
});

test("bytes with another digest than named are refused by every way of pushing, and nothing of them is kept", async () => {
  const bytes = randomBytes(700);
  const wrong = digestOf(Buffer.from("something else"));
  const refusals = [
    await send("POST", `coequal/app/blobs/uploads/?digest=${wrong}`, { body: bytes, headers: octets }),
    await send("PUT", withDigest(await startUpload(), wrong), { body: bytes, headers: octets }),
  ];
  const location = await startUpload();
  await send("PATCH", location, { body: bytes, headers: octets });
  refusals.push(await send("PUT", withDigest(location, wrong)));
  for (const response of refusals) assert.deepEqual([response.status, (await refusalOf(response)).code], [400, "DIGEST_INVALID"]);
  assert.equal((await refusalOf(await send("GET", location))).code, "BLOB_UPLOAD_UNKNOWN");
  assert.equal((await send("HEAD", `coequal/app/blobs/${wrong}`)).status, 404);
  assert.equal((await send("HEAD", `coequal/app/blobs/${digestOf(bytes)}`)).status, 404);
  assert.deepEqual(await unfinished(), []);
});

test("digests of another form or algorithm, and uploads that are not there, get the codes of the specification", async () => {
  const location = await startUpload();
  const cases: readonly (readonly [string, string, number, string])[] = [
    ["PUT", withDigest(location, "sha256:short"), 400, "DIGEST_INVALID"],
    ["PUT", withDigest(location, `md5:${"0".repeat(32)}`), 400, "DIGEST_INVALID"],
    ["PUT", location, 400, "DIGEST_INVALID"],
    ["POST", "coequal/app/blobs/uploads/?digest-algorithm=md5", 400, "DIGEST_INVALID"],
    ["GET", "coequal/app/blobs/sha256:short", 400, "DIGEST_INVALID"],
    ["GET", `coequal/app/blobs/${digestOf(Buffer.from("absent"))}`, 404, "BLOB_UNKNOWN"],
    ["GET", "coequal/app/manifests/sha256:short", 400, "DIGEST_INVALID"],
    ["GET", "coequal/app/manifests/absent", 404, "MANIFEST_UNKNOWN"],
    ["PATCH", "coequal/app/blobs/uploads/0123456789abcdef0123456789abcdef", 404, "BLOB_UPLOAD_UNKNOWN"],
    ["PATCH", "coequal/app/blobs/uploads/..%2f..%2fx", 404, "NAME_UNKNOWN"],
    ["PATCH", "coequal/app/blobs/uploads/..%5c..%5cx", 404, "BLOB_UPLOAD_UNKNOWN"],
    ["POST", "coequal/Upper/blobs/uploads/", 400, "NAME_INVALID"],
    ["POST", `coequal/${"a".repeat(250)}/blobs/uploads/`, 400, "NAME_INVALID"],
    ["POST", "unknown/app/blobs/uploads/", 404, "NAME_UNKNOWN"],
    ["GET", "coequal/none/manifests/x", 404, "NAME_UNKNOWN"],
    ["GET", "coequal/none/tags/list", 404, "NAME_UNKNOWN"],
    ["POST", "coequal/app/manifests/x", 405, "UNSUPPORTED"],
    ["GET", "coequal/app/elsewhere", 404, "NAME_UNKNOWN"],
  ];
  for (const [method, path, status, code] of cases) {
    const answer = await refusalOf(await send(method, path));
    assert.deepEqual([answer.status, answer.code], [status, code], `${method} ${path}`);
  }
});

test("an upload belongs to its repository: another one cannot go on with it or end it", async () => {
  const location = await startUpload("coequal/one");
  await startUpload("coequal/two");
  const elsewhere = location.replace("coequal/one", "coequal/two");
  for (const method of ["GET", "PATCH", "DELETE"]) assert.equal((await send(method, elsewhere)).status, 404, method);
  assert.equal((await send("GET", location)).status, 204);
});

test("end-14: a cancelled upload is gone", async () => {
  const location = await startUpload();
  await send("PATCH", location, { body: randomBytes(100), headers: octets });
  assert.equal((await send("DELETE", location)).status, 204);
  for (const method of ["GET", "DELETE"]) assert.equal((await send(method, location)).status, 404);
});

test("a blob above the server's limit is refused while it comes in, and gives its space back", async () => {
  const location = await startUpload();
  const present = (await unfinished()).length;
  const response = await send("PATCH", location, { body: Buffer.alloc(8 * 1024 * 1024 + 1), headers: octets }).catch(() => undefined);
  if (response !== undefined) assert.deepEqual([response.status, (await refusalOf(response)).code], [413, "SIZE_INVALID"]);
  assert.equal((await unfinished()).length, present - 1);
});

test("end-11: a blob is mounted from the repository that has it, or from any; what no repository has begins an upload", async () => {
  const bytes = randomBytes(500);
  const digest = await pushBlob(send, "coequal/source", bytes);
  for (const parameters of [`mount=${digest}&from=coequal/source`, `mount=${digest}`]) {
    const name = `coequal/into${parameters.length}`;
    assert.equal((await send("POST", `${name}/blobs/uploads/`)).status, 202);
    assert.equal((await send("HEAD", `${name}/blobs/${digest}`)).status, 404);
    const response = await send("POST", `${name}/blobs/uploads/?${parameters}`);
    assert.deepEqual([response.status, response.headers.get("location")], [201, `/v2/${name}/blobs/${digest}`]);
    assert.deepEqual(Buffer.from(await (await send("GET", `${name}/blobs/${digest}`)).arrayBuffer()), bytes);
  }
  const artifact = await running.upload(Buffer.from("an artifact that is no layer"));
  for (const parameters of [`mount=${artifact}`, `mount=${digest}&from=coequal/none`]) {
    const response = await send("POST", `coequal/into/blobs/uploads/?${parameters}`);
    assert.equal(response.status, 202);
    assert.match(locationOf(response), /\/blobs\/uploads\//);
  }
});

test("end-2: ranges of a blob", async () => {
  const bytes = randomBytes(1000);
  const path = `coequal/app/blobs/${await pushBlob(send, "coequal/app", bytes)}`;
  const rows: readonly (readonly [string, number, number])[] = [
    ["bytes=0-99", 0, 99],
    ["bytes=900-", 900, 999],
    ["bytes=-10", 990, 999],
    ["bytes=500-5000", 500, 999],
  ];
  for (const [range, first, last] of rows) {
    const response = await send("GET", path, { headers: { range } });
    assert.deepEqual([response.status, response.headers.get("content-range")], [206, `bytes ${first}-${last}/1000`]);
    assert.deepEqual(Buffer.from(await response.arrayBuffer()), bytes.subarray(first, last + 1));
  }
  const beyond = await send("GET", path, { headers: { range: "bytes=1000-" } });
  assert.deepEqual([beyond.status, beyond.headers.get("content-range")], [416, "bytes */1000"]);
});

test("a blob of no bytes, and blobs and manifests named by SHA-512", async () => {
  const empty = await pushBlob(send, "coequal/app", Buffer.alloc(0));
  assert.equal((await (await send("GET", `coequal/app/blobs/${empty}`)).arrayBuffer()).byteLength, 0);
  const bytes = randomBytes(400);
  const digest = digestOf(bytes, "sha512");
  const created = await send("PUT", withDigest(await startUpload(), digest), { body: bytes, headers: octets });
  assert.deepEqual([created.status, created.headers.get("docker-content-digest")], [201, digest]);
  assert.deepEqual(Buffer.from(await (await send("GET", `coequal/app/blobs/${digest}`)).arrayBuffer()), bytes);
  const { document } = await imageOf(send, "coequal/app", "long names");
  const name = digestOf(Buffer.from(JSON.stringify(document)), "sha512");
  assert.equal((await putManifest(send, `coequal/app/manifests/${name}`, document)).status, 201);
  assert.equal((await send("HEAD", `coequal/app/manifests/${name}`)).headers.get("docker-content-digest"), name);
});

test("end-7, end-3: a manifest comes back byte for byte, by tag and by digest, as the type it was pushed with", async () => {
  const { document } = await imageOf(send, "coequal/app", "exact");
  const bytes = Buffer.from(`  ${JSON.stringify(document, null, 3)}\n`);
  const digest = digestOf(bytes);
  const response = await send("PUT", "coequal/app/manifests/exact", { body: bytes, headers: { "content-type": `${imageType}; charset=utf-8` } });
  assert.equal(response.status, 201);
  assert.deepEqual([response.headers.get("docker-content-digest"), response.headers.get("oci-subject")], [digest, null]);
  for (const reference of ["exact", digest]) {
    const got = await send("GET", `coequal/app/manifests/${reference}`);
    assert.deepEqual([got.status, got.headers.get("content-type"), got.headers.get("docker-content-digest")], [200, imageType, digest]);
    assert.deepEqual(Buffer.from(await got.arrayBuffer()), bytes);
    const head = await send("HEAD", `coequal/app/manifests/${reference}`);
    assert.deepEqual([head.status, head.headers.get("content-length"), head.headers.get("docker-content-digest")], [200, String(bytes.length), digest]);
  }
});

test("end-7: documents that are no manifest, that are two at once, or whose parts are missing, are refused", async () => {
  const { document, layer } = await imageOf(send, "coequal/app", "refused");
  const absent = { mediaType: imageType, digest: digestOf(Buffer.from("absent")), size: 6 };
  const rows: readonly (readonly [string, unknown, string, string])[] = [
    ["not JSON at all", "x", imageType, "MANIFEST_INVALID"],
    ["an unknown type", { schemaVersion: 2 }, "application/json", "MANIFEST_INVALID"],
    ["schema 1", { schemaVersion: 1, fsLayers: [] }, "application/vnd.docker.distribution.manifest.v1+json", "MANIFEST_INVALID"],
    ["image and index at once", { ...document, manifests: [] }, imageType, "MANIFEST_INVALID"],
    ["another type than announced", document, indexType, "MANIFEST_INVALID"],
    ["a digest of another form", { ...document, layers: [{ ...absent, digest: "sha256:x" }] }, imageType, "MANIFEST_INVALID"],
    ["a negative size", { ...document, layers: [{ ...absent, size: -1 }] }, imageType, "MANIFEST_INVALID"],
    ["a layer that is not there", { ...document, layers: [absent] }, imageType, "MANIFEST_BLOB_UNKNOWN"],
    ["a platform that is not there", { schemaVersion: 2, mediaType: indexType, manifests: [absent] }, indexType, "MANIFEST_BLOB_UNKNOWN"],
  ];
  for (const [what, body, type, code] of rows) {
    const answer = await refusalOf(await putManifest(send, "coequal/app/manifests/refused", body, type));
    assert.deepEqual([answer.status, answer.code], [400, code], what);
  }
  assert.equal((await send("HEAD", "coequal/app/manifests/refused")).status, 404);
  const wrong = await refusalOf(await putManifest(send, `coequal/app/manifests/${layer}`, document));
  assert.deepEqual([wrong.status, wrong.code], [400, "DIGEST_INVALID"]);
  const tag = await refusalOf(await putManifest(send, "coequal/app/manifests/.dots", document));
  assert.deepEqual([tag.status, tag.code], [400, "MANIFEST_INVALID"]);
});

test("end-7: 4 MiB are taken, a byte more is 413", async () => {
  const { document } = await imageOf(send, "coequal/app", "large");
  const sized = (bytes: number): Record<string, unknown> => {
    const room = bytes - Buffer.byteLength(JSON.stringify({ ...document, padding: "" }));
    return { ...document, padding: "x".repeat(room) };
  };
  assert.equal((await putManifest(send, "coequal/app/manifests/large", sized(4 * 1024 * 1024))).status, 201);
  const answer = await refusalOf(await putManifest(send, "coequal/app/manifests/larger", sized(4 * 1024 * 1024 + 1)));
  assert.deepEqual([answer.status, answer.code], [413, "SIZE_INVALID"]);
});

test("end-7: layers that may not be distributed need not be there; docker's own types are taken", async () => {
  const { document } = await imageOf(send, "coequal/app", "foreign");
  const foreign = { mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar", digest: digestOf(Buffer.from("theirs")), size: 6 };
  assert.equal((await putManifest(send, "coequal/app/manifests/foreign", { ...document, layers: [foreign] })).status, 201);
  const type = "application/vnd.docker.distribution.manifest.v2+json";
  assert.equal((await putManifest(send, "coequal/app/manifests/docker", { ...document, mediaType: type }, type)).status, 201);
  assert.equal((await send("HEAD", "coequal/app/manifests/docker")).headers.get("content-type"), type);
});

test("end-7b: a manifest pushed by digest is given the tags of the parameters", async () => {
  const { document, digest } = await imageOf(send, "coequal/app", "tagged");
  const response = await putManifest(send, `coequal/app/manifests/${digest}?tag=1.2.3&tag=1.2&tag=one`, document);
  assert.deepEqual([response.status, response.headers.get("oci-tag")], [201, "1.2.3, 1.2, one"]);
  for (const tag of ["1.2.3", "1.2", "one"]) assert.equal((await send("HEAD", `coequal/app/manifests/${tag}`)).headers.get("docker-content-digest"), digest);
});

test("end-8: tags in byte order, in pages with a Link; none for n=0", async () => {
  for (const tag of ["b", "A", "c", "a", "_x"]) await pushImage(send, "coequal/tags", tag, "one image");
  const list = async (query: string) => {
    const response = await send("GET", `coequal/tags/tags/list${query}`);
    return { body: (await response.json()) as { name: string; tags: string[] }, link: response.headers.get("link") };
  };
  assert.deepEqual((await list("")).body, { name: "coequal/tags", tags: ["A", "_x", "a", "b", "c"] });
  const first = await list("?n=2");
  assert.deepEqual(first.body.tags, ["A", "_x"]);
  assert.equal(first.link, '</v2/coequal/tags/tags/list?n=2&last=_x>; rel="next"');
  assert.deepEqual((await list("?n=2&last=_x")).body.tags, ["a", "b"]);
  assert.deepEqual(await list("?n=2&last=b"), { body: { name: "coequal/tags", tags: ["c"] }, link: null });
  assert.deepEqual((await list("?last=a")).body.tags, ["b", "c"]);
  assert.deepEqual(await list("?n=0"), { body: { name: "coequal/tags", tags: [] }, link: null });
  assert.equal((await send("GET", "coequal/tags/tags/list?n=-1")).status, 400);
});

test("end-12: referrers of a subject that may come later, filtered, with what the fallback tag lists; empty is no error", async () => {
  const name = "coequal/referred";
  const { document, digest } = await imageOf(send, name, "subject");
  const subject = { mediaType: imageType, digest, size: Buffer.byteLength(JSON.stringify(document)) };
  const none = await send("GET", `${name}/referrers/${digest}`);
  assert.deepEqual([none.status, none.headers.get("content-type")], [200, indexType]);
  assert.deepEqual(await none.json(), { schemaVersion: 2, mediaType: indexType, manifests: [] });
  const signature = (await imageOf(send, name, "signature", { subject, artifactType: "application/x.signature", annotations: { by: "us" } })).document;
  const pushed = await putManifest(send, `${name}/manifests/${digestOf(Buffer.from(JSON.stringify(signature)))}`, signature);
  assert.deepEqual([pushed.status, pushed.headers.get("oci-subject")], [201, digest]);
  const sbom = (await imageOf(send, name, "sbom", { subject })).document;
  await putManifest(send, `${name}/manifests/sbom`, sbom);
  const old = await pushImage(send, name, "old-style");
  const listed = { mediaType: imageType, digest: old.digest, size: 10, artifactType: "application/x.old" };
  const missing = { ...listed, digest: digestOf(Buffer.from("gone")) };
  const fallback = { schemaVersion: 2, mediaType: indexType, manifests: [listed] };
  assert.equal((await putManifest(send, `${name}/manifests/${digest.replace(":", "-")}`, fallback, indexType)).status, 201);
  assert.equal((await putManifest(send, `${name}/manifests/x`, { ...fallback, manifests: [missing] }, indexType)).status, 400);
  type Listed = { digest: string; artifactType?: string; annotations?: Record<string, string> };
  const referrers = async (query = "") => {
    const response = await send("GET", `${name}/referrers/${digest}${query}`);
    return { filters: response.headers.get("oci-filters-applied"), manifests: ((await response.json()) as { manifests: Listed[] }).manifests };
  };
  const all = await referrers();
  assert.equal(all.filters, null);
  assert.deepEqual(
    all.manifests.map((one) => one.artifactType).toSorted((left = "", right = "") => (left < right ? -1 : 1)),
    ["application/vnd.oci.image.config.v1+json", "application/x.old", "application/x.signature"],
  );
  const filtered = await referrers("?artifactType=application/x.signature");
  assert.equal(filtered.filters, "artifactType");
  assert.deepEqual(
    filtered.manifests.map((one) => [one.digest, one.annotations]),
    [[digestOf(Buffer.from(JSON.stringify(signature))), { by: "us" }]],
  );
  assert.equal((await send("GET", `${name}/referrers/sha256:x`)).status, 400);
});

test("end-12: a list of referrers above the size of a manifest comes in pages", async () => {
  const name = "coequal/many";
  const subject = { mediaType: imageType, digest: digestOf(Buffer.from("later")), size: 5 };
  const annotations = Object.fromEntries(Array.from({ length: 8 }, (_, index) => [`note-${index}`, "x".repeat(250_000)]));
  for (const content of ["one", "two", "three"]) {
    const { document, digest } = await imageOf(send, name, content, { subject, annotations });
    assert.equal((await putManifest(send, `${name}/manifests/${digest}`, document)).status, 201);
  }
  const found: string[] = [];
  let path: string | undefined = `${name}/referrers/${subject.digest}`;
  let pages = 0;
  while (path !== undefined) {
    const response = await send("GET", path);
    const { manifests } = (await response.json()) as { manifests: { digest: string }[] };
    found.push(...manifests.map((one) => one.digest));
    path = /^<([^>]+)>; rel="next"$/.exec(response.headers.get("link") ?? "")?.[1];
    pages += 1;
  }
  assert.equal(new Set(found).size, 3);
  assert.ok(pages > 1);
});

test("end-9, end-10: tags, manifests with all their tags, and blobs nothing is made of any more", async () => {
  const name = "coequal/deleted";
  const image = await pushImage(send, name, "one");
  await putManifest(send, `${name}/manifests/two`, image.document);
  const used = await refusalOf(await send("DELETE", `${name}/blobs/${image.layer}`));
  assert.deepEqual([used.status, used.code], [405, "UNSUPPORTED"]);
  assert.equal((await send("DELETE", `${name}/manifests/one`)).status, 202);
  assert.equal((await send("HEAD", `${name}/manifests/one`)).status, 404);
  assert.equal((await send("HEAD", `${name}/manifests/two`)).status, 200);
  assert.equal((await send("DELETE", `${name}/manifests/${image.digest}`)).status, 202);
  for (const reference of ["two", image.digest]) assert.equal((await send("HEAD", `${name}/manifests/${reference}`)).status, 404);
  assert.equal((await send("DELETE", `${name}/blobs/${image.layer}`)).status, 202);
  for (const path of [`blobs/${image.layer}`, `manifests/${image.digest}`, "manifests/one"])
    assert.equal((await send("DELETE", `${name}/${path}`)).status, 404);
  assert.equal((await send("DELETE", `coequal/nowhere/manifests/${image.digest}`)).status, 404);
});

test("C16 an upload goes on after a restart of the server", async () => {
  const own = await startServer();
  try {
    await own.admin("POST", "/products", { name: "coequal" });
    const bytes = randomBytes(5000);
    const vendor = vendorOf(own);
    const location = locationOf(await vendor("POST", "coequal/blobs/uploads/"));
    await vendor("PATCH", location, { body: bytes.subarray(0, 3000), headers: octets });
    await own.server.stop();
    const again = await startServer({ dataDir: own.dataDir });
    const later = registryCaller(again.url, `Bearer ${own.adminToken}`);
    assert.equal((await later("GET", location)).headers.get("range"), "0-2999");
    await later("PATCH", location, { body: bytes.subarray(3000), headers: octets });
    assert.equal((await later("PUT", withDigest(location, digestOf(bytes)))).status, 201);
    await again.stop();
  } finally {
    await own.stop();
  }
});

test("pushes and deletions stand in the audit trail", async () => {
  const image = await pushImage(send, "coequal/audited", "1");
  await send("DELETE", "coequal/audited/manifests/1");
  for (const action of ["image.push", "image.delete"]) {
    const events = (await running.admin("GET", `/audit?action=${action}&limit=1`)).body["events"] as Record<string, unknown>[];
    assert.deepEqual([events[0]?.["artifact"], events[0]?.["product"], events[0]?.["protocol"]], ["coequal/audited:1", "coequal", "oci"]);
    if (action === "image.push") assert.equal(events[0]?.["detail"], image.digest);
  }
});
