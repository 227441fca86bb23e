/** The APK repository as the server serves it, judged by the strict verifier of the format tests and by openssl; real apk: docs/conformance.md. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { parseVersion } from "../../src/model/version.ts";
import { openRepositoryKey } from "../../src/releases/repository-key.ts";
import { openKeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import { apkBytes, apkKey, nextApkKey, signWith } from "../formats/apk-sample.ts";
import { gzipMembers, tarEntries, verifyApk, verifySignatures } from "../formats/apk-verifier.ts";
import { file, sampleSpec } from "../formats/sample.ts";
import { needClient } from "../support/clients.ts";
import { get, hexOf, issuePair, makeDraft, type Pair, publish, type RunningServer, startServer, type TestFile } from "./running-server.ts";

const product = "coequal";
let running: RunningServer;
let pair: Pair;

/** A package for x86_64 and one of no architecture, under the names that `slipway build` gives. */
async function apks(version: string, sign = signWith(apkKey)): Promise<readonly TestFile[]> {
  const parsed = parseVersion(version);
  const entries = [file(`/usr/bin/${product}`, `#!/bin/sh\necho ${version}\n`, { mode: 0o755 })];
  const program = sampleSpec({ name: product, version: parsed, entries });
  const documents = sampleSpec({ name: `${product}-doc`, version: parsed, arch: "all", entries: [file(`/usr/share/doc/${product}/README`, "read me\n")] });
  return [
    { name: `${product}_${version}_x86_64.apk`, content: await apkBytes(program, { signControl: sign }) },
    { name: `${product}-doc_${version}_noarch.apk`, content: await apkBytes(documents, { signControl: sign }) },
  ];
}

before(async () => {
  running = await startServer();
  await publish(running, product, "1.4.1", await apks("1.4.1"));
  await publish(running, product, "1.4.2", await apks("1.4.2"));
  pair = await issuePair(running, "acme", product);
});
after(() => running.stop());

const indexPath = (arch: string): string => `/apk/${product}/stable/${arch}/APKINDEX.tar.gz`;

async function fetchBytes(path: string, headers: Readonly<Record<string, string>> = {}): Promise<Buffer> {
  const response = await get(running, path, pair, headers);
  assert.equal(response.status, 200, `${path}: ${response.status}`);
  return Buffer.from(await response.arrayBuffer());
}

type Entry = Readonly<Record<string, string>>;

/** The entries of a served index, its form and its signatures checked with the key that the set-up script would install. */
async function entriesOf(arch: string): Promise<readonly Entry[]> {
  const { keyFile } = running.server.context.repositoryKey.apkKey;
  const key = await (await get(running, `/keys/apk/${keyFile}`)).text();
  const [signatures, index, ...rest] = gzipMembers(await fetchBytes(indexPath(arch)));
  assert.ok(signatures !== undefined && index !== undefined && rest.length === 0);
  assert.deepEqual(verifySignatures(signatures, index, { [keyFile]: key }), [`RSA256 ${keyFile}`, `RSA ${keyFile}`]);
  const text =
    tarEntries(index.plain, "with an end")
      .find(({ name }) => name === "APKINDEX")
      ?.content.toString("utf8") ?? "";
  return text
    .split("\n\n")
    .filter((stanza) => stanza !== "")
    .map((stanza) => Object.fromEntries(stanza.split("\n").map((line) => [line.slice(0, 1), line.slice(2)])));
}

const namesOf = (entries: readonly Entry[]): readonly string[] => entries.map((entry) => `${entry["P"]}-${entry["V"]} ${entry["A"]}`).sort();

test("every architecture has a signed index, and each entry leads to a package of the announced size and identity", async () => {
  const entries = await entriesOf("x86_64");
  assert.deepEqual(namesOf(entries), ["coequal-1.4.1-r0 x86_64", "coequal-1.4.2-r0 x86_64", "coequal-doc-1.4.1-r0 x86_64", "coequal-doc-1.4.2-r0 x86_64"]);
  assert.deepEqual(namesOf(await entriesOf("aarch64")), ["coequal-doc-1.4.1-r0 aarch64", "coequal-doc-1.4.2-r0 aarch64"]);
  for (const entry of entries) {
    // The path as apk makes it: the index names none.
    const bytes = await fetchBytes(`/apk/${product}/stable/${entry["A"]}/${entry["P"]}-${entry["V"]}.apk`);
    assert.equal(String(bytes.length), entry["S"]);
    assert.equal(verifyApk(bytes, { [apkKey.keyFile]: apkKey.publicText }).identity, entry["C"]);
  }
  const onArm = await fetchBytes(`/apk/${product}/stable/aarch64/coequal-doc-1.4.2-r0.apk`);
  assert.deepEqual(onArm, await fetchBytes(`/apk/${product}/stable/noarch/coequal-doc-1.4.2-r0.apk`));
});

test("openssl accepts the signature of the served index with the served key", async (t) => {
  if (!needClient(t, "openssl")) return;
  const folder = await mkdtemp(join(tmpdir(), "slipway-apk-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const { keyFile } = running.server.context.repositoryKey.apkKey;
  const [signatures, index] = gzipMembers(await fetchBytes(indexPath("x86_64")));
  assert.ok(signatures !== undefined && index !== undefined);
  const [signature] = tarEntries(signatures.plain, "without an end");
  await writeFile(join(folder, "key"), await (await get(running, `/keys/apk/${keyFile}`)).text());
  await writeFile(join(folder, "index"), index.packed);
  await writeFile(join(folder, "signature"), signature?.content ?? "");
  const verify = (): Promise<{ stdout: string }> =>
    promisify(execFile)("openssl", ["dgst", "-sha256", "-verify", "key", "-signature", "signature", "index"], { cwd: folder });
  assert.match((await verify()).stdout, /Verified OK/);
  const bytes = await readFile(join(folder, "index"));
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  await writeFile(join(folder, "index"), bytes);
  await assert.rejects(verify());
});

test("what a pair may not read, what was never there and what is no path of a package are the same 404", async () => {
  await running.admin("POST", "/products", { name: "another" });
  const stranger = await issuePair(running, "other", "another");
  for (const path of [indexPath("x86_64"), `/apk/${product}/stable/x86_64/coequal-1.4.2-r0.apk`, `/setup/${product}/apk.sh`])
    assert.equal((await get(running, path, stranger)).status, 404, path);
  for (const path of [
    `/apk/${product}/preview/x86_64/APKINDEX.tar.gz`,
    `/apk/${product}/stable/armv7/APKINDEX.tar.gz`,
    `/apk/${product}/stable/x86_64/coequal-1.4.3-r0.apk`,
    `/apk/${product}/stable/aarch64/coequal-1.4.2-r0.apk`,
    `/apk/${product}/stable/x86_64/deeper/coequal-1.4.2-r0.apk`,
    `/apk/${product}/stable/x86_64/..%2Fnoarch/coequal-doc-1.4.2-r0.apk`,
    `/apk/${product}/stable/x86_64/coequal_1.4.2_x86_64.apk`,
    "/apk/unknown/stable/x86_64/APKINDEX.tar.gz",
  ]) {
    assert.equal((await get(running, path, pair)).status, 404, path);
  }
  const open = await get(running, indexPath("x86_64"));
  assert.deepEqual([open.status, open.headers.get("www-authenticate")?.startsWith("Basic ")], [401, true]);
});

test("an index is given out whole whatever date apk asks with: the date is of apk's own clock", async () => {
  const response = await get(running, indexPath("x86_64"), pair, { "if-modified-since": new Date(Date.now() + 3_600_000).toUTCString() });
  assert.equal(response.status, 200);
  const known = { "if-none-match": response.headers.get("etag") ?? "" };
  await response.arrayBuffer();
  assert.equal((await get(running, indexPath("x86_64"), pair, known)).status, 304);
});

test("C9 a download through apk is in the audit trail as protocol apk, with version and artifact", async () => {
  await fetchBytes(`/apk/${product}/stable/x86_64/coequal-doc-1.4.1-r0.apk`, { "user-agent": "libfetch/2.0" });
  const { body } = await running.admin("GET", "/audit?action=download&limit=1");
  const [event] = body["events"] as Record<string, unknown>[];
  assert.deepEqual(
    ["protocol", "version", "artifact", "customer", "client", "result"].map((key) => event?.[key]),
    ["apk", "1.4.1", "coequal-doc_1.4.1_noarch.apk", "acme", "libfetch/2.0", "complete"],
  );
});

test("a file that is no apk is refused at upload, and so is a second package of one name and version", async () => {
  await makeDraft(running, product, "1.4.9", await apks("1.4.9"));
  const attach = async (name: string, content: Uint8Array) =>
    running.admin("PUT", `/products/${product}/releases/1.4.9/artifacts/${name}`, { digest: await running.upload(content), size: content.length });
  const [good] = await apks("1.4.9");
  assert.ok(good !== undefined);
  for (const [name, content] of [
    ["none.apk", Buffer.from("no package")],
    ["half.apk", good.content.subarray(0, good.content.length - 100)],
    ["more.apk", Buffer.concat([good.content, Buffer.from("x")])],
  ] as const) {
    const { status, body } = await attach(name, content);
    assert.deepEqual([status, (body["error"] as { code: string }).code], [422, "format_invalid"], name);
  }
  const [published] = await apks("1.4.2");
  const taken = await attach("again.apk", published?.content ?? Buffer.alloc(0));
  assert.deepEqual([taken.status, (taken.body["error"] as { code: string }).code], [409, "conflict"]);
});

test("two packages that apk would fetch by one path are not published together", async () => {
  const spec = sampleSpec({ name: "twin", version: parseVersion("1.0.0"), entries: [file("/usr/bin/twin", "x")] });
  const files = await makeDraft(running, "twin", "1.0.0", [
    { name: "twin_1.0.0_x86_64.apk", content: await apkBytes(spec) },
    { name: "twin_1.0.0_noarch.apk", content: await apkBytes({ ...spec, arch: "all" }) },
  ]);
  const sums = files.find(({ name }) => name === "SHA256SUMS")?.content ?? Buffer.alloc(0);
  const { status, body } = await running.admin("POST", "/products/twin/releases/1.0.0/publish", { sums: `sha256:${hexOf(sums)}` });
  assert.deepEqual([status, (body["error"] as { code: string }).code], [409, "conflict"]);
  assert.equal((await running.admin("GET", "/products/twin/releases/1.0.0")).body["state"], "draft");
});

test("with an apk release key registered, a release with an apk of another key or of none is not published; the key is open to all", async () => {
  const name = "signed";
  const draft = async (version: string, signControl: ReturnType<typeof signWith> | undefined): Promise<number> => {
    const spec = sampleSpec({ name, version: parseVersion(version), entries: [file(`/usr/bin/${name}`, version)] });
    const files = await makeDraft(running, name, version, [{ name: `${name}_${version}_x86_64.apk`, content: await apkBytes(spec, { signControl }) }]);
    const sums = files.find((one) => one.name === "SHA256SUMS")?.content ?? Buffer.alloc(0);
    const answer = await running.admin("POST", `/products/${name}/releases/${version}/publish`, { sums: `sha256:${hexOf(sums)}` });
    if (answer.status !== 200) assert.equal((answer.body["error"] as { code: string }).code, "signature_invalid");
    return answer.status;
  };
  const keyPath = `/keys/apk/${apkKey.keyFile}`;
  await running.admin("POST", "/products", { name });
  assert.equal((await get(running, keyPath)).status, 404);
  const refused = await running.admin("PUT", `/products/${name}/release-keys`, { apk: "-----BEGIN PRIVATE KEY-----\n" });
  assert.deepEqual([refused.status, (refused.body["error"] as { code: string }).code], [400, "key_invalid"]);
  const set = await running.admin("PUT", `/products/${name}/release-keys`, { apk: apkKey.publicText });
  assert.deepEqual([set.status, set.body], [200, { apk: apkKey.publicText }]);
  assert.equal(await (await get(running, keyPath)).text(), apkKey.publicText);
  assert.equal((await get(running, `/keys/apk/${nextApkKey.keyFile}`)).status, 404);
  assert.equal((await get(running, `/keys/apk/..%2F${name}.asc`)).status, 404);
  assert.deepEqual([await draft("1.0.0", undefined), await draft("1.0.1", signWith(nextApkKey)), await draft("1.0.2", signWith(apkKey))], [422, 422, 200]);
});

test("a path is the same path percent-encoded, as proxies and some clients write it", async () => {
  const path = `/apk/${product}/stable/x86_64/coequal-doc-1.4.2-r0.apk`;
  const encoded = `/apk/${product}/stable/x86_64/coequal%2Ddoc-1%2e4%2E2-r0.apk`;
  assert.deepEqual(await fetchBytes(encoded), await fetchBytes(path));
});

test("C6 a withdrawn release leaves every index at once and its packages answer 410; an untouched channel's index stays the same bytes", async () => {
  const sha = async (): Promise<string> =>
    createHash("sha256")
      .update(await fetchBytes(indexPath("aarch64")))
      .digest("hex");
  const start = await sha();
  await publish(running, product, "1.6.0");
  assert.equal(await sha(), start, "a release without apks leaves the index alone");
  await publish(running, product, "1.6.1", await apks("1.6.1"));
  assert.ok(namesOf(await entriesOf("aarch64")).includes("coequal-doc-1.6.1-r0 aarch64"));
  assert.equal((await running.admin("POST", `/products/${product}/releases/1.6.1/withdraw`, { reason: "test" })).status, 200);
  for (const arch of ["x86_64", "aarch64"]) assert.ok(!namesOf(await entriesOf(arch)).some((name) => name.includes("1.6.1")), arch);
  for (const path of ["x86_64/coequal-1.6.1-r0.apk", "aarch64/coequal-doc-1.6.1-r0.apk"])
    assert.equal((await get(running, `/apk/${product}/stable/${path}`, pair)).status, 410, path);
});

test("C6 retention takes retired releases from the APK index", async () => {
  const name = "kept";
  const spec = (version: string) => sampleSpec({ name, version: parseVersion(version), entries: [file(`/usr/bin/${name}`, version)] });
  for (let patch = 0; patch < 12; patch += 1) {
    const version = `1.0.${patch}`;
    await publish(running, name, version, [{ name: `${name}_${version}_x86_64.apk`, content: await apkBytes(spec(version)) }]);
  }
  const reader = await issuePair(running, "acme", name);
  const listed = async (): Promise<string> => {
    const [, index] = gzipMembers(Buffer.from(await (await get(running, `/apk/${name}/stable/x86_64/APKINDEX.tar.gz`, reader)).arrayBuffer()));
    return index?.plain.toString("latin1") ?? "";
  };
  assert.match(await listed(), /^V:1\.0\.0-r0$/m);
  const { body } = await running.admin("GET", `/products/${name}/retention`);
  assert.equal((await running.admin("POST", `/products/${name}/retention`, { basis: body["basis"] })).status, 200);
  assert.deepEqual((await listed()).match(/^V:.*$/gm)?.length, 10);
  assert.doesNotMatch(await listed(), /^V:1\.0\.[01]-r0$/m);
  assert.equal((await get(running, `/apk/${name}/stable/x86_64/kept-1.0.0-r0.apk`, reader)).status, 410);
});

test("a product whose last snapshot was made before APK was served gets its index with the next release", async () => {
  const name = "older";
  await publish(running, name, "1.0.0");
  const { db } = running.server.context.store;
  const { id: productId } = await db.selectFrom("products").select("id").where("name", "=", name).executeTakeFirstOrThrow();
  const { id, views } = await db.selectFrom("snapshots").select(["id", "views"]).where("product_id", "=", productId).executeTakeFirstOrThrow();
  const { apk, ...earlier } = JSON.parse(views) as Record<string, unknown>;
  assert.deepEqual(apk, {});
  await db
    .updateTable("snapshots")
    .set({ views: JSON.stringify(earlier) })
    .where("id", "=", id)
    .execute();
  const spec = sampleSpec({ name, version: parseVersion("1.0.1"), entries: [file(`/usr/bin/${name}`, "x")] });
  await publish(running, name, "1.0.1", [{ name: `${name}_1.0.1_x86_64.apk`, content: await apkBytes(spec) }]);
  const reader = await issuePair(running, "acme", name);
  assert.equal((await get(running, `/apk/${name}/stable/x86_64/APKINDEX.tar.gz`, reader)).status, 200);
});

test("the set-up script names this server and carries the caller's pair outside of any address, and the key of the indexes", async () => {
  const response = await get(running, `/setup/${product}/apk.sh`, pair);
  const text = await response.text();
  assert.equal(response.headers.get("cache-control"), "no-store");
  const { keyFile, publicText } = running.server.context.repositoryKey.apkKey;
  assert.ok(text.includes(`cat > /etc/apk/keys/${keyFile} <<'END'\n${publicText}END\n`));
  assert.match(text, new RegExp(`^machine 127\\.0\\.0\\.1 login ${pair.id} password ${pair.secret}$`, "m"));
  assert.match(text, new RegExp(`^echo '${running.url}/apk/${product}/stable' > /etc/apk/repositories\\.d/${product}-stable\\.list$`, "m"));
  assert.equal((await get(running, `/setup/unknown/apk.sh`, pair)).status, 404);
});

test("the key that signs indexes is the same after a restart, and rests encrypted", async () => {
  const { store, repositoryKey } = running.server.context;
  const again = await openRepositoryKey(store, await openKeyEncryptionKey({ dataDir: running.dataDir }));
  assert.deepEqual([again.apkKey.keyFile, again.fingerprint], [repositoryKey.apkKey.keyFile, repositoryKey.fingerprint]);
  const row = await store.db.selectFrom("server_keys").selectAll().where("use", "=", "repository-apk").executeTakeFirstOrThrow();
  assert.equal(row.id, repositoryKey.apkKey.keyFile);
  assert.doesNotMatch(`${row.sealed_private}${row.public_text}`, /PRIVATE/);
});
