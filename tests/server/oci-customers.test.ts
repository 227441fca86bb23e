/** The registry from a customer's side: what his pair pulls, what looks absent to him, what is said of versions that leave, and what is recorded. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { writeOciArchive } from "../../src/formats/oci-archive.ts";
import { ociDocument, ociMediaTypes } from "../../src/formats/oci-descriptor.ts";
import { renderLayoutIndex } from "../../src/formats/oci-layout.ts";
import { renderOciManifest } from "../../src/formats/oci-manifest.ts";
import { digestFromHex } from "../../src/model/digest.ts";
import { get, hexOf, issuePair, makeDraft, type Pair, publish, type RunningServer, startServer } from "./running-server.ts";
import {
  basic,
  imageOf,
  imageType,
  indexType,
  pushImage,
  putManifest,
  refusalOf,
  registryCaller,
  type Send,
  type TestImage,
  vendorOf,
} from "./registry-client.ts";

let running: RunningServer;
let vendor: Send;
let pair: Pair;
let customer: Send;
const images = new Map<string, TestImage>();

async function publishDraft(product: string, version: string, files: Awaited<ReturnType<typeof makeDraft>>): Promise<void> {
  const sums = files.find(({ name }) => name === "SHA256SUMS");
  assert.ok(sums);
  const answer = await running.admin("POST", `/products/${product}/releases/${version}/publish`, { sums: `sha256:${hexOf(sums.content)}` });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
}

/** Pushed first and published then, as a vendor does it. */
async function releaseWithImage(product: string, version: string): Promise<TestImage> {
  const files = await makeDraft(running, product, version);
  const image = await pushImage(vendor, product, version);
  images.set(`${product} ${version}`, image);
  await publishDraft(product, version, files);
  return image;
}

before(async () => {
  running = await startServer();
  vendor = vendorOf(running);
  await releaseWithImage("coequal", "1.4.0");
  await releaseWithImage("coequal", "1.5.0");
  await releaseWithImage("jaco", "0.2.0");
  pair = await issuePair(running, "northwind", "coequal");
  customer = registryCaller(running.url, pair.authorization);
});
after(() => running.stop());

const imageAt = (name: string): TestImage => images.get(name) ?? assert.fail(name);

async function tagsOf(send: Send, name: string): Promise<readonly string[]> {
  return ((await (await send("GET", `${name}/tags/list`)).json()) as { tags: string[] }).tags;
}

test("C12 a pair pulls manifest, configuration and layer of a published release, and latest is the newest stable one", async () => {
  const { digest, config, layer } = imageAt("coequal 1.5.0");
  for (const reference of ["1.5.0", "latest", digest]) {
    const response = await customer("GET", `coequal/manifests/${reference}`);
    assert.deepEqual([response.status, response.headers.get("docker-content-digest"), response.headers.get("content-type")], [200, digest, imageType]);
    await response.arrayBuffer();
  }
  for (const blob of [config, layer]) assert.equal((await customer("GET", `coequal/blobs/${blob}`)).status, 200);
  assert.deepEqual(await tagsOf(customer, "coequal"), ["1.4.0", "1.5.0", "latest", "stable"]);
});

test("C9 a draft's tags, what is untagged and the vendor's own tags do not exist for a customer, until the release is published", async () => {
  const files = await makeDraft(running, "coequal", "1.6.0");
  const draft = await pushImage(vendor, "coequal", "1.6.0");
  const edge = await pushImage(vendor, "coequal", "edge");
  await putManifest(vendor, "coequal/manifests/1.5", imageAt("coequal 1.5.0").document);
  await putManifest(vendor, "coequal/manifests/v1.6.0", imageAt("coequal 1.5.0").document);
  for (const path of ["manifests/1.6.0", "manifests/v1.6.0", `manifests/${draft.digest}`, "manifests/edge", `manifests/${edge.digest}`]) {
    for (const method of ["GET", "HEAD"]) assert.equal((await customer(method, `coequal/${path}`)).status, 404, path);
  }
  for (const blob of [draft.config, draft.layer, edge.layer]) {
    const answer = await refusalOf(await customer("GET", `coequal/blobs/${blob}`));
    assert.deepEqual([answer.status, answer.code], [404, "BLOB_UNKNOWN"]);
  }
  assert.deepEqual(await tagsOf(customer, "coequal"), ["1.4.0", "1.5", "1.5.0", "latest", "stable"]);
  assert.equal((await customer("HEAD", "coequal/manifests/latest")).headers.get("docker-content-digest"), imageAt("coequal 1.5.0").digest);
  await putManifest(vendor, "coequal/manifests/v1.6.0", draft.document);
  await publishDraft("coequal", "1.6.0", files);
  assert.deepEqual(await tagsOf(customer, "coequal"), ["1.4.0", "1.5", "1.5.0", "1.6.0", "latest", "stable", "v1.6.0"]);
  for (const tag of ["1.6.0", "latest"]) assert.equal((await customer("HEAD", `coequal/manifests/${tag}`)).headers.get("docker-content-digest"), draft.digest);
});

test("C9 another product, an unknown one and a repository with nothing published are the very same answer", async () => {
  await pushImage(vendor, "coequal/internal", "dev");
  const { digest, layer } = imageAt("jaco 0.2.0");
  const answers = new Set<string>();
  for (const name of ["jaco", "nothing", "jaco/other", "coequal/internal", "coequal/none"]) {
    for (const path of ["manifests/0.2.0", `manifests/${digest}`, `blobs/${layer}`, "tags/list"]) {
      const answer = await refusalOf(await customer("GET", `${name}/${path}`));
      answers.add(JSON.stringify({ ...answer, message: answer.message.replace(name, "*") }));
    }
  }
  assert.deepEqual([...answers], [JSON.stringify({ status: 404, code: "NAME_UNKNOWN", message: "there is no repository *" })]);
  assert.equal((await customer("GET", `coequal/blobs/${layer}`)).status, 404, "a blob of another product by its digest");
});

test("C9 a pair is read-only: every write is DENIED where it may read, and absent where it may not", async () => {
  const { digest, layer } = imageAt("coequal 1.4.0");
  const writes: readonly (readonly [string, string])[] = [
    ["POST", "blobs/uploads/"],
    ["POST", `blobs/uploads/?mount=${layer}&from=jaco`],
    ["PATCH", "blobs/uploads/0123456789abcdef0123456789abcdef"],
    ["PUT", `blobs/uploads/0123456789abcdef0123456789abcdef?digest=${layer}`],
    ["PUT", "manifests/1.4.0"],
    ["DELETE", `manifests/${digest}`],
    ["DELETE", `blobs/${layer}`],
  ];
  for (const [method, path] of writes) {
    assert.deepEqual(await codeOf(customer(method, `coequal/${path}`)), [403, "DENIED"], `${method} ${path}`);
    assert.deepEqual(await codeOf(customer(method, `jaco/${path}`)), [404, "NAME_UNKNOWN"], `${method} ${path}`);
  }
  assert.equal((await customer("GET", "coequal/manifests/1.4.0")).status, 200);
});

async function codeOf(pending: Promise<Response>): Promise<readonly [number, string]> {
  const { status, code } = await refusalOf(await pending);
  return [status, code];
}

test("a published release's tags never move, are not added to and not deleted; latest follows by itself", async () => {
  const other = (await imageOf(vendor, "coequal", "another")).document;
  assert.deepEqual(await codeOf(putManifest(vendor, "coequal/manifests/1.4.0", other)), [403, "DENIED"]);
  assert.deepEqual(await codeOf(putManifest(vendor, "coequal/manifests/v1.4.0", other)), [403, "DENIED"]);
  assert.deepEqual(await codeOf(putManifest(vendor, "coequal/manifests/latest", other)), [403, "DENIED"]);
  assert.deepEqual(await codeOf(vendor("DELETE", "coequal/manifests/1.4.0")), [403, "DENIED"]);
  assert.deepEqual(await codeOf(vendor("DELETE", `coequal/manifests/${imageAt("coequal 1.4.0").digest}`)), [403, "DENIED"]);
  assert.equal((await putManifest(vendor, "coequal/manifests/1.4.0", imageAt("coequal 1.4.0").document)).status, 201, "the same push again is no change");
});

test("what refers to a published image is pulled with it, also when it was pushed after the release; what refers to a draft is not", async () => {
  const { digest, document } = imageAt("coequal 1.4.0");
  const subject = { mediaType: imageType, digest, size: Buffer.byteLength(JSON.stringify(document)) };
  const signature = await imageOf(vendor, "coequal", "signature", { subject, artifactType: "application/x.signature" });
  await putManifest(vendor, `coequal/manifests/${signature.digest}`, signature.document);
  await pushImage(vendor, "coequal", `${digest.replace(":", "-")}.sig`, "cosign's older form");
  const secret = await pushImage(vendor, "coequal", "unpublished");
  const note = await imageOf(vendor, "coequal", "note", { subject: { ...subject, digest: secret.digest } });
  await putManifest(vendor, `coequal/manifests/${note.digest}`, note.document);
  const referrersOf = async (of: string): Promise<readonly string[]> => {
    const { manifests } = (await (await customer("GET", `coequal/referrers/${of}`)).json()) as { manifests: { digest: string }[] };
    return manifests.map((one) => one.digest);
  };
  assert.deepEqual(await referrersOf(digest), [signature.digest]);
  assert.equal((await customer("GET", `coequal/manifests/${signature.digest}`)).status, 200);
  assert.equal((await customer("GET", `coequal/blobs/${signature.layer}`)).status, 200);
  assert.equal((await customer("GET", `coequal/manifests/${digest.replace(":", "-")}.sig`)).status, 200);
  assert.deepEqual(await referrersOf(secret.digest), []);
  assert.equal((await customer("GET", `coequal/manifests/${note.digest}`)).status, 404);
  const elsewhere = await customer("GET", `coequal/none/referrers/${digest}`);
  assert.deepEqual([elsewhere.status, ((await elsewhere.json()) as { manifests: unknown[] }).manifests], [200, []]);
});

test("an index brings its platforms along", async () => {
  const files = await makeDraft(running, "coequal", "1.7.0");
  const platform = await imageOf(vendor, "coequal", "amd64");
  await putManifest(vendor, `coequal/manifests/${platform.digest}`, platform.document);
  const size = Buffer.byteLength(JSON.stringify(platform.document));
  const index = {
    schemaVersion: 2,
    mediaType: indexType,
    manifests: [{ mediaType: imageType, digest: platform.digest, size, platform: { os: "linux", architecture: "amd64" } }],
  };
  assert.equal((await putManifest(vendor, "coequal/manifests/1.7.0", index, indexType)).status, 201);
  assert.equal((await customer("GET", `coequal/manifests/${platform.digest}`)).status, 404);
  await publishDraft("coequal", "1.7.0", files);
  assert.equal((await customer("GET", `coequal/manifests/${platform.digest}`)).status, 200);
  assert.equal((await customer("GET", `coequal/blobs/${platform.layer}`)).status, 200);
  assert.deepEqual(await codeOf(vendor("DELETE", `coequal/manifests/${platform.digest}`)), [403, "DENIED"]);
});

test("C14 every pull is an audit event with version, artifact and bytes; HEAD and lists are none", async () => {
  const pulls = async (): Promise<Record<string, unknown>[]> =>
    (await running.admin("GET", "/audit?action=download&customer=contoso&limit=100")).body["events"] as Record<string, unknown>[];
  const own = await issuePair(running, "contoso", "coequal");
  const send = registryCaller(running.url, own.authorization);
  const { digest, layer } = imageAt("coequal 1.5.0");
  for (const path of ["manifests/1.5.0", `blobs/${layer}`]) await send("HEAD", `coequal/${path}`);
  await send("GET", "coequal/tags/list");
  await send("GET", `coequal/referrers/${digest}`);
  assert.deepEqual(await pulls(), []);
  const sizes: number[] = [];
  for (const path of ["manifests/1.5.0", `manifests/${digest}`, `blobs/${layer}`]) {
    sizes.push((await (await send("GET", `coequal/${path}`, { headers: { "user-agent": "docker/26.1.5" } })).arrayBuffer()).byteLength);
  }
  await (await send("GET", `coequal/blobs/${layer}`, { headers: { range: "bytes=0-3" } })).arrayBuffer();
  const events = (await pulls()).toReversed();
  assert.deepEqual(
    events.map(({ protocol, product, version, artifact, bytes, status, keyId }) => [protocol, product, version, artifact, bytes, status, keyId]),
    [
      ["oci", "coequal", "1.5.0", "coequal:1.5.0", sizes[0], 200, own.id],
      ["oci", "coequal", "1.5.0", `coequal@${digest}`, sizes[1], 200, own.id],
      ["oci", "coequal", "1.5.0", `coequal@${layer}`, sizes[2], 200, own.id],
      ["oci", "coequal", "1.5.0", `coequal@${layer}`, 4, 206, own.id],
    ],
  );
  assert.equal(events[0]?.["client"], "docker/26.1.5");
});

test("C6 a version about to leave is announced in the Warning header; one that left says what to use instead", async () => {
  const own = await startServer();
  try {
    const push = vendorOf(own);
    const versions = Array.from({ length: 11 }, (_, patch) => `2.0.${patch}`);
    for (const version of versions) {
      const files = await makeDraft(own, "coequal", version);
      await pushImage(push, "coequal", version);
      const sums = files.find(({ name }) => name === "SHA256SUMS");
      await own.admin("POST", `/products/coequal/releases/${version}/publish`, { sums: `sha256:${hexOf(sums?.content ?? Buffer.alloc(0))}` });
    }
    const reader = await issuePair(own, "northwind", "coequal");
    const send = registryCaller(own.url, reader.authorization);
    const leaving = await send("HEAD", "coequal/manifests/2.0.0");
    assert.match(
      leaving.headers.get("warning") ?? "",
      /^299 - "coequal 2\.0\.0 is older than the newest 10 stable versions and will be removed soon; use 2\.0\.10 instead"$/,
    );
    assert.equal((await send("HEAD", "coequal/manifests/2.0.10")).headers.get("warning"), null);
    const plan = await own.admin("GET", "/products/coequal/retention");
    assert.equal((await own.admin("POST", "/products/coequal/retention", { basis: plan.body["basis"] })).status, 200);
    const gone = await refusalOf(await send("GET", "coequal/manifests/2.0.0"));
    assert.deepEqual(gone, { status: 404, code: "MANIFEST_UNKNOWN", message: "coequal 2.0.0 is no longer kept; use 2.0.10 instead" });
    assert.equal((await own.admin("POST", "/products/coequal/releases/2.0.10/withdraw", {})).status, 200);
    assert.match((await refusalOf(await send("GET", "coequal/manifests/2.0.10"))).message, /was withdrawn by the vendor; use 2\.0\.9 instead/);
    const previous = (await push("HEAD", "coequal/manifests/2.0.9")).headers.get("docker-content-digest");
    assert.equal((await send("HEAD", "coequal/manifests/latest")).headers.get("docker-content-digest"), previous);
    const trail = (await own.admin("GET", "/audit?action=download&limit=10")).body["events"] as Record<string, unknown>[];
    assert.deepEqual(
      trail.map(({ result, version }) => [result, version]),
      [
        ["gone", "2.0.10"],
        ["gone", "2.0.0"],
      ],
    );
  } finally {
    await own.stop();
  }
});

test("the same pair works with any user name's Basic form that is its own, and an admin token as a password; nothing else does", async () => {
  for (const authorization of [basic(pair.id, pair.secret), basic("anybody", running.adminToken), `Bearer ${running.adminToken}`]) {
    assert.equal((await registryCaller(running.url, authorization)("GET", "coequal/tags/list")).status, 200);
  }
  for (const authorization of [basic(pair.id, "wrong"), basic("AWS", pair.secret), "Bearer slipway_registry_a1.AAAA", "Bearer x", "Digest x"]) {
    const response = await registryCaller(running.url, authorization)("GET", "coequal/tags/list");
    assert.equal(response.status, 401, authorization);
    assert.match(
      response.headers.get("www-authenticate") ?? "",
      /^Bearer realm="http:\/\/127\.0\.0\.1:\d+\/token",service="127\.0\.0\.1:\d+",scope="repository:coequal:pull"$/,
    );
    await response.arrayBuffer();
  }
  assert.equal(
    (await get(running, "/releases/coequal/index.json", { ...pair, authorization: basic("x", running.adminToken) })).status,
    401,
    "only the registry takes a token as a password",
  );
});

test("C3 an image archive of a release is pullable as <product>:<version> when the release is published", async () => {
  const { archive, digest, layer } = await archiveOf("coequal", "3.0.0");
  const name = "coequal-3.0.0-oci.tar";
  await publish(running, "coequal", "3.0.0", [{ name, content: archive }]);
  for (const tag of ["3.0.0", "latest"]) assert.equal((await customer("HEAD", `coequal/manifests/${tag}`)).headers.get("docker-content-digest"), digest);
  assert.equal((await customer("GET", `coequal/blobs/${layer}`)).status, 200);
  const second = await archiveOf("worker", "3.0.0");
  const files = await makeDraft(running, "coequal", "3.0.1", [{ name: "worker-3.0.1-oci.tar", content: second.archive }]);
  assert.equal((await customer("GET", "coequal/worker/tags/list")).status, 404);
  await publishDraft("coequal", "3.0.1", files);
  assert.deepEqual(await tagsOf(customer, "coequal/worker"), ["3.0.1", "latest", "stable"]);
});

/** A layout in a tar, as `slipway build` writes it, of one tiny image. */
async function archiveOf(name: string, version: string): Promise<{ archive: Uint8Array; digest: string; layer: string }> {
  const content = Buffer.from(`layer of ${name} ${version}`);
  const layer = { mediaType: ociMediaTypes.layer, digest: digestFromHex(hexOf(content)), size: content.length };
  const config = ociDocument(ociMediaTypes.config, {
    architecture: "amd64",
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: [layer.digest] },
    history: [],
  });
  const manifest = renderOciManifest({ config: config.descriptor, layers: [layer], annotations: {} });
  const blobs = new Map([config, manifest, { descriptor: layer, bytes: content }].map((one) => [one.descriptor.digest, bytesSource(one.bytes)]));
  const pieces: Uint8Array[] = [];
  await writeOciArchive(
    { index: renderLayoutIndex([{ tag: version, descriptor: manifest.descriptor }]), blobs, epochSeconds: 1_780_000_000 },
    async (piece) => {
      pieces.push(Buffer.from(piece));
    },
  );
  return { archive: Buffer.concat(pieces), digest: manifest.descriptor.digest, layer: layer.digest };
}
