/** Syncs from a vendor in memory: what arrives, what is fetched again, what a part is, and what stays while readers are in it. */
import assert from "node:assert/strict";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { readApkIndex } from "../../src/formats/apk-index-read.ts";
import { readCurrentSet, readSetManifest } from "../../src/mirror/file-set.ts";
import { pinKeys, verifyDetached } from "../../src/trust/openpgp-verify.ts";
import { nextApkKey } from "../formats/apk-sample.ts";
import { makeTestKey } from "../support/test-repository.ts";
import { createSampleMirror, createSampleVendor, memorySource, product, type SampleMirror, sha256 } from "./sample-source.ts";

async function treeOf(mirror: SampleMirror): Promise<readonly string[]> {
  const entries = await readdir(join(mirror.directory, "current"), { recursive: true, withFileTypes: true });
  const root = (await readdir(join(mirror.directory, "current"))).length;
  assert.ok(root > 0);
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).split("/current/")[1] ?? "")
    .sort();
}

const read = (mirror: SampleMirror, path: string): Promise<Buffer> => readFile(join(mirror.directory, "current", path));

test("C7 a mirror holds every format byte for byte as the vendor signed it, and a second sync fetches nothing", async (t) => {
  const vendor = await createSampleVendor(["1.0.0", "1.1.0"]);
  const mirror = await createSampleMirror(t, vendor);
  const source = memorySource(vendor);
  const first = await mirror.sync(source);
  assert.equal(first.result, "synced");
  assert.deepEqual(first.products[product], { versions: ["1.1.0", "1.0.0"], indexes: "upstream", isStill: true });
  const files = await treeOf(mirror);
  for (const path of files) {
    if (/^(?:keys|images)\//.test(path) || path.endsWith("repomd.xml.key")) continue;
    const upstream = vendor.files.get(`/${path.replace(/\/latest\//, "/1.1.0/").replace("latest", "1.1.0")}`);
    assert.ok(upstream !== undefined, path);
    assert.equal(sha256(await read(mirror, path)), sha256(upstream), path);
  }
  for (const path of vendor.files.keys())
    if (/^\/(?:apt|yum|apk)\//.test(path) && !/by-hash|repodata\/[0-9a-f]{64}/.test(path)) assert.ok(files.includes(path.slice(1)), path);
  const layout = JSON.parse((await read(mirror, `images/${product}/index.json`)).toString()) as { manifests: { annotations: Record<string, string> }[] };
  assert.deepEqual(
    layout.manifests.map(({ annotations }) => annotations["org.opencontainers.image.ref.name"]),
    ["1.0.0", "1.1.0", "latest"],
  );
  source.log.length = 0;
  assert.equal((await mirror.sync(source)).result, "unchanged");
  assert.deepEqual(
    source.log.filter((line) => /releases\/coequal\/\d.*(?:SHA256SUMS|minisig|json)$/.test(line)),
    [],
    "nor the sums of releases, which never change",
  );
  assert.deepEqual(
    source.log.filter((line) => line.startsWith("fetch ")),
    [],
  );
});

test("C7 a dry run says what would come and leaves readers alone", async (t) => {
  const vendor = await createSampleVendor();
  const mirror = await createSampleMirror(t, vendor);
  const planned = await mirror.sync(memorySource(vendor), { isDryRun: true });
  assert.equal(planned.result, "planned");
  assert.ok(planned.fetchedFiles > 5);
  await assert.rejects(stat(join(mirror.directory, "current")));
});

test("C7 a part by architecture keeps the vendor's signed indexes and leaves the other packages and platforms out", async (t) => {
  const vendor = await createSampleVendor();
  const mirror = await createSampleMirror(t, vendor);
  await mirror.sync(memorySource(vendor), { selection: { architectures: ["amd64"] } });
  const files = await treeOf(mirror);
  assert.deepEqual(await read(mirror, `apt/${product}/dists/stable/InRelease`), vendor.get(`apt/${product}/dists/stable/InRelease`));
  assert.ok(files.some((path) => path.endsWith("_amd64.deb")) && files.some((path) => path.endsWith(".x86_64.rpm")));
  assert.deepEqual(
    files.filter((path) => /arm64|aarch64/.test(path)),
    [],
  );
  const blobs = files.filter((path) => path.startsWith(`images/${product}/blobs`));
  assert.equal(blobs.length, 4, "the index, one manifest, its configuration and its layer");
});

test("C7 the last K versions come with indexes of the mirror's own, over packages that the vendor's release keys signed", async (t) => {
  const vendor = await createSampleVendor(["1.0.0", "1.1.0"]);
  const mirror = await createSampleMirror(t, vendor);
  const own = await makeTestKey("mirror", "ed25519");
  const summary = await mirror.sync(memorySource(vendor), { selection: { last: 1 }, keys: { openpgp: own.signingKey, apk: nextApkKey } });
  assert.deepEqual(summary.products[product], { versions: ["1.1.0"], indexes: "own", isStill: true });
  const root = `apt/${product}/dists/stable`;
  const keyring = await pinKeys(await read(mirror, `keys/${product}.gpg`), [own.fingerprint]);
  const verdict = await verifyDetached({
    data: await read(mirror, `${root}/Release`),
    signature: await read(mirror, `${root}/Release.gpg`),
    keyring,
    now: new Date(),
  });
  assert.equal(verdict.kind, "good");
  const packages = gunzipSync(await read(mirror, `${root}/main/binary-amd64/Packages.gz`)).toString();
  assert.deepEqual(packages.match(/^Version: .*/gm), ["Version: 1.1.0"]);
  const index = await readApkIndex(await read(mirror, `apk/${product}/stable/x86_64/APKINDEX.tar.gz`));
  assert.equal(index.stanzas.length, 1);
  const files = await treeOf(mirror);
  assert.deepEqual(
    files.filter((path) => path.includes("1.0.0")),
    [],
  );
  const list = JSON.parse((await read(mirror, `releases/${product}/index.json`)).toString()) as { releases: { version: string }[] };
  assert.deepEqual(
    list.releases.map(({ version }) => version),
    ["1.1.0"],
  );
});

test("C7 what left the source stays for readers of the old index for some hours, then its bytes go", async (t) => {
  const vendor = await createSampleVendor(["1.0.0", "1.1.0"]);
  const mirror = await createSampleMirror(t, vendor);
  const source = memorySource(vendor);
  let now = new Date();
  const clock = { now: () => now };
  await mirror.sync(source, { clock });
  await vendor.withdraw("1.0.0");
  now = new Date(now.getTime() + 60_000);
  await mirror.sync(source, { clock });
  const old = `apt/${product}/pool/main/c/${product}/${product}_1.0.0_amd64.deb`;
  assert.ok((await treeOf(mirror)).includes(old), "listed a minute ago");
  const sets = (await readdir(join(mirror.directory, "sets"))).filter((name) => name.endsWith(".json"));
  const manifest = await readSetManifest(join(mirror.directory, "sets", sets.sort().at(-1) ?? ""));
  assert.ok(manifest.files.find(({ path }) => path === old)?.until !== undefined);
  now = new Date(now.getTime() + 2 * 3_600_000);
  await mirror.sync(source, { clock });
  assert.ok(!(await treeOf(mirror)).includes(old));
  now = new Date(now.getTime() + 60_000);
  await vendor.publish("1.2.0");
  const last = await mirror.sync(source, { clock });
  assert.ok(last.freedBytes > 0, "the set before the last one is gone, and the bytes that only it held");
});

test("C7 a source that is older than the mirror is refused, unless that is meant; a withdrawn release is not older", async (t) => {
  const vendor = await createSampleVendor(["1.0.0"]);
  const mirror = await createSampleMirror(t, vendor);
  const source = memorySource(vendor);
  await mirror.sync(source);
  const before = new Map(vendor.files);
  await new Promise((done) => setTimeout(done, 1100)); // dates of releases are whole seconds
  await vendor.publish("1.1.0");
  await mirror.sync(source);
  const after = new Map(vendor.files);
  vendor.files.clear();
  for (const [path, bytes] of before) vendor.files.set(path, bytes);
  await assert.rejects(mirror.sync(source), { code: "metadata_rollback" });
  assert.ok((await treeOf(mirror)).some((path) => path.includes("1.1.0")));
  assert.equal((await mirror.sync(source, { isOlderAllowed: true })).result, "synced");
  vendor.files.clear();
  for (const [path, bytes] of after) vendor.files.set(path, bytes);
  await mirror.sync(source);
  await vendor.withdraw("1.1.0");
  assert.equal((await mirror.sync(source)).result, "synced");
});

test("C7 a publication in the middle of a sync gives the old state or the new one, never parts of both", async (t) => {
  const vendor = await createSampleVendor(["1.0.0"]);
  const mirror = await createSampleMirror(t, vendor);
  const source = memorySource(vendor);
  let publications = 0;
  source.onRead = async (path) => {
    if (publications < 2 && path === `apt/${product}/dists/stable/Release`) {
      publications += 1;
      await vendor.publish(`1.0.${publications}`);
    }
  };
  const summary = await mirror.sync(source);
  assert.equal(summary.products[product]?.isStill, true);
  assert.deepEqual(summary.products[product]?.versions, ["1.0.2", "1.0.1", "1.0.0"]);
  for (const [path, version] of [
    [`apt/${product}/dists/stable/main/binary-amd64/Packages.gz`, "Version: 1.0.2"],
    [`releases/${product}/index.json`, '"1.0.2"'],
  ] as const) {
    const bytes = await read(mirror, path);
    assert.ok((path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString().includes(version), path);
  }
  assert.ok(mirror.events.some((event) => event.kind === "reading" && event.attempt > 1));
});

test("C7 a release that is withdrawn between its listing and its download makes the sync read again", async (t) => {
  const vendor = await createSampleVendor(["1.0.0", "1.1.0"]);
  const mirror = await createSampleMirror(t, vendor);
  const source = memorySource(vendor);
  let isWithdrawn = false;
  source.onRead = async (path) => {
    if (!isWithdrawn && path.endsWith(".deb")) {
      isWithdrawn = true;
      await vendor.withdraw("1.1.0");
    }
  };
  const summary = await mirror.sync(source);
  assert.deepEqual(summary.products[product]?.versions, ["1.0.0"]);
});

test("C7 a product without apks needs no key for them; with apks, and without their key, nothing is taken", async (t) => {
  const vendor = await createSampleVendor();
  const mirror = await createSampleMirror(t, vendor);
  const pinned = { openpgp: "vendor.asc", minisign: "vendor.pub" };
  await assert.rejects(mirror.sync(memorySource(vendor), { pinned }), { code: "policy_invalid" });
  assert.equal(await readCurrentSet(mirror.directory), undefined);
  for (const path of vendor.files.keys()) if (path.startsWith("/apk/")) vendor.files.delete(path);
  assert.equal((await mirror.sync(memorySource(vendor), { pinned })).result, "synced");
});
