/** A mirror over HTTP: ranges, conditions, pairs, paths that lead elsewhere, and images at /v2. */
import assert from "node:assert/strict";
import { symlink, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { requireCommand, runCommand } from "../../src/io/command.ts";
import { addPair, readPairs } from "../../src/mirror/pairs.ts";
import { serveMirror } from "../../src/server/mirror-server.ts";
import { needClient } from "../support/clients.ts";
import { createSampleMirror, createSampleVendor, memorySource, product, type SampleMirror, type SampleVendor, sha256 } from "./sample-source.ts";

const listen = { host: "127.0.0.1", port: 0 };

async function served(t: TestContext, pairsFile?: string): Promise<{ vendor: SampleVendor; mirror: SampleMirror; address: string }> {
  const vendor = await createSampleVendor();
  const mirror = await createSampleMirror(t, vendor);
  await mirror.sync(memorySource(vendor));
  const server = await serveMirror({ directory: mirror.directory, listen, pairs: pairsFile === undefined ? undefined : await readPairs(pairsFile) });
  t.after(() => server.stop());
  return { vendor, mirror, address: server.address };
}

/** A path exactly as written: fetch would tidy it up first. */
function rawStatus(address: string, path: string, method = "GET"): Promise<number> {
  return new Promise((done, fail) => {
    const { hostname, port } = new URL(address);
    const call = request({ hostname, port, path, method }, (response) => {
      response.resume();
      done(response.statusCode ?? 0);
    });
    call.on("error", fail);
    call.end();
  });
}

test("C7 a served mirror answers ranges and conditions, and a switch of the set changes what is answered", async (t) => {
  const { vendor, mirror, address } = await served(t);
  const path = `apt/${product}/pool/main/c/${product}/${product}_1.0.0_amd64.deb`;
  const whole = await fetch(`${address}/${path}`);
  const bytes = Buffer.from(await whole.arrayBuffer());
  assert.equal(sha256(bytes), sha256(vendor.get(path)));
  const etag = whole.headers.get("etag") ?? "";
  const part = await fetch(`${address}/${path}`, { headers: { range: "bytes=10-19", "if-range": etag } });
  assert.deepEqual([part.status, part.headers.get("content-range")], [206, `bytes 10-19/${bytes.length}`]);
  assert.deepEqual(Buffer.from(await part.arrayBuffer()), bytes.subarray(10, 20));
  assert.equal((await fetch(`${address}/${path}`, { headers: { "if-none-match": etag } })).status, 304);
  assert.equal((await fetch(`${address}/${path}`, { headers: { range: `bytes=${bytes.length}-` } })).status, 416);
  const inRelease = `${address}/apt/${product}/dists/stable/InRelease`;
  const before = await fetch(inRelease);
  const since = before.headers.get("last-modified") ?? "";
  assert.equal((await fetch(inRelease, { headers: { "if-modified-since": since } })).status, 304);
  await new Promise((done) => setTimeout(done, 1100));
  await vendor.publish("1.1.0");
  await mirror.sync(memorySource(vendor));
  const after = await fetch(inRelease, { headers: { "if-modified-since": since } });
  assert.equal(after.status, 200);
  assert.notEqual(await after.text(), await before.text());
});

test("C7 a reader that took repomd.xml gets its signature of the same set", async (t) => {
  const { vendor, mirror, address } = await served(t);
  const repodata = `${address}/yum/${product}/stable/repodata`;
  const signature = vendor.get(`yum/${product}/stable/repodata/repomd.xml.asc`).toString();
  await fetch(`${repodata}/repomd.xml`);
  await new Promise((done) => setTimeout(done, 1100));
  await vendor.publish("1.1.0");
  await mirror.sync(memorySource(vendor));
  assert.equal(await (await fetch(`${repodata}/repomd.xml.asc`)).text(), signature);
  await fetch(`${repodata}/repomd.xml`);
  assert.notEqual(await (await fetch(`${repodata}/repomd.xml.asc`)).text(), signature);
});

test("C7 no path of a served mirror leads out of its tree, to a folder, or to a write", async (t) => {
  const { mirror, address } = await served(t);
  await writeFile(join(mirror.folder, "outside"), "secret");
  await symlink(join(mirror.folder, "outside"), join(mirror.directory, "current", "link"));
  const paths = [
    "/",
    "/apt",
    "/apt/",
    "/../mirror.yaml",
    "/apt/../../blobs",
    "/%2e%2e/%2e%2e/outside",
    "/apt/%2e%2e%2f%2e%2e%2foutside",
    "//etc/passwd",
    "/link",
    "/a%00b",
    "/%zz",
    `/apt/${"a".repeat(5000)}`,
    "/v2/../outside/manifests/x",
    "/v2/x/manifests/..%2f..%2fx",
  ];
  for (const path of paths) assert.ok([400, 404].includes(await rawStatus(address, path)), path);
  for (const method of ["POST", "PUT", "DELETE"]) assert.equal(await rawStatus(address, "/keys/x", method), 405);
});

test("C7 with a list of pairs only they read, keys apart; secrets are in no file", async (t) => {
  const vendor = await createSampleVendor();
  const mirror = await createSampleMirror(t, vendor);
  await mirror.sync(memorySource(vendor));
  const file = join(mirror.folder, "pairs");
  const { secret } = await addPair(file, "branch");
  await assert.rejects(addPair(file, "branch"), { code: "conflict" });
  const server = await serveMirror({ directory: mirror.directory, listen, pairs: await readPairs(file) });
  t.after(() => server.stop());
  const ask = async (path: string, pair?: string): Promise<Response> =>
    fetch(`${server.address}/${path}`, pair === undefined ? {} : { headers: { authorization: `Basic ${Buffer.from(pair).toString("base64")}` } });
  const path = `releases/${product}/index.json`;
  const refused = await ask(path);
  assert.deepEqual([refused.status, refused.headers.get("www-authenticate")?.startsWith("Basic ")], [401, true]);
  for (const wrong of ["branch:", `branch:${secret}x`, `other:${secret}`, "branch"]) assert.equal((await ask(path, wrong)).status, 401, wrong);
  assert.equal((await ask(path, `branch:${secret}`)).status, 200);
  assert.equal((await ask(`keys/${product}.asc`)).status, 200);
  const images = await ask("v2/");
  assert.deepEqual([images.status, ((await images.json()) as { errors: { code: string }[] }).errors[0]?.code], [401, "UNAUTHORIZED"]);
});

test("C7 skopeo copies an image from a served mirror and from the layout in its tree, by tag and by digest", async (t) => {
  if (!needClient(t, "skopeo")) return;
  const { vendor, mirror, address } = await served(t);
  const digest = `sha256:${sha256(vendor.get(`v2/${product}/manifests/1.0.0`))}`;
  const registry = `docker://${new URL(address).host}/${product}`;
  const skopeo = (words: readonly string[]): Promise<string> => requireCommand(["skopeo", "--insecure-policy", ...words], { timeoutMs: 60_000 });
  for (const [at, from] of [`${registry}:1.0.0`, `${registry}@${digest}`, `oci:${join(mirror.directory, "current/images", product)}:1.0.0`].entries()) {
    const options = from.startsWith("docker:") ? ["--src-tls-verify=false"] : [];
    await skopeo(["copy", "--quiet", "--all", ...options, from, `dir:${join(mirror.folder, `copy-${at}`)}`]);
  }
  const tags = JSON.parse(await skopeo(["list-tags", "--tls-verify=false", registry])) as { Tags: string[] };
  assert.deepEqual(tags.Tags, ["1.0.0", "latest"]);
  const missing = await runCommand(["skopeo", "inspect", "--raw", "--tls-verify=false", `${registry}:9.9.9`], { timeoutMs: 60_000 });
  assert.notEqual(missing.exitCode, 0);
  assert.match(missing.stderr, /manifest unknown/i);
});
