/** What a source may send that a mirror must not take: each case ends with its code, and readers see what they saw before. */
import assert from "node:assert/strict";
import { readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { requireCommand } from "../../src/io/command.ts";
import { httpSource } from "../../src/mirror/source.ts";
import { parseVersion } from "../../src/model/version.ts";
import { clearsign, signDetachedArmored } from "../../src/trust/openpgp.ts";
import { aptEntryOf, printingPackage, writeTestDeb } from "../support/test-packages.ts";
import { makeTestKey } from "../support/test-repository.ts";
import { createSampleMirror, createSampleVendor, memorySource, product, type SampleVendor, serveVendor, sha256 } from "./sample-source.ts";

const dist = `apt/${product}/dists/stable`;
const repodata = `yum/${product}/stable/repodata`;

/** Signs what the vendor's own key would never sign. */
async function signRelease(vendor: SampleVendor, change: (text: string) => string, key = vendor.repositoryKey): Promise<void> {
  const text = change(vendor.get(`${dist}/Release`).toString());
  const seconds = Math.floor(Date.now() / 1000);
  vendor.put(`${dist}/Release`, text);
  vendor.put(`${dist}/Release.gpg`, await signDetachedArmored(Buffer.from(text), key.signingKey, seconds));
  vendor.put(`${dist}/InRelease`, await clearsign(text, key.signingKey, seconds));
}

/** Replaces Packages of amd64 by this text, under a good signature. */
async function signPackages(vendor: SampleVendor, text: string): Promise<void> {
  const gz = gzipSync(text);
  vendor.put(`${dist}/main/binary-amd64/by-hash/SHA256/${sha256(gz)}`, gz);
  await signRelease(vendor, (release) =>
    release.replace(/^ [0-9a-f]{64} \d+ main\/binary-amd64\/Packages\.gz$/m, ` ${sha256(gz)} ${gz.length} main/binary-amd64/Packages.gz`),
  );
}

const stanza = (filename: string, size = "1"): string =>
  `Package: x\nVersion: 1\nArchitecture: amd64\nFilename: ${filename}\nSize: ${size}\nSHA256: ${sha256("x")}\n\n`;

const cases: readonly { readonly name: string; readonly code: string; readonly spoil: (vendor: SampleVendor) => Promise<void> | void }[] = [
  {
    name: "a package with other bytes of the same size",
    code: "upgrade_verification_failed",
    spoil: (vendor) => {
      for (const [path, bytes] of vendor.files) if (path.endsWith("_1.1.0_amd64.deb")) vendor.files.set(path, Buffer.from(bytes).fill(0, 100, 120));
    },
  },
  {
    name: "a package that ends early",
    code: "upgrade_verification_failed",
    spoil: (vendor) => {
      for (const [path, bytes] of vendor.files) if (path.endsWith("1.1.0-1.x86_64.rpm")) vendor.files.set(path, bytes.subarray(0, 200));
    },
  },
  {
    name: "a package with more bytes than listed",
    code: "upgrade_verification_failed",
    spoil: (vendor) => {
      for (const [path, bytes] of vendor.files) if (path.endsWith("_1.1.0_arm64.deb")) vendor.files.set(path, Buffer.concat([bytes, Buffer.alloc(1)]));
    },
  },
  { name: "a package whose place leads out of the tree", code: "path_unsafe", spoil: (vendor) => signPackages(vendor, stanza("../../../../etc/cron.d/x")) },
  { name: "a package whose place is absolute", code: "path_unsafe", spoil: (vendor) => signPackages(vendor, stanza("/etc/cron.d/x")) },
  { name: "a package whose name is a command of the shell", code: "path_unsafe", spoil: (vendor) => signPackages(vendor, stanza("pool/$(id).deb")) },
  {
    name: "one place with two contents",
    code: "upgrade_verification_failed",
    spoil: (vendor) => signPackages(vendor, stanza("pool/a.deb") + stanza("pool/a.deb").replace(sha256("x"), sha256("y"))),
  },
  {
    name: "a package without a digest",
    code: "upgrade_verification_failed",
    spoil: (vendor) => signPackages(vendor, "Package: x\nFilename: pool/x.deb\nSize: 1\n\n"),
  },
  { name: "a bomb in the index", code: "format_limit", spoil: (vendor) => signPackages(vendor, "x".repeat(3_000_000)) },
  {
    name: "a release file that expired",
    code: "upgrade_verification_failed",
    spoil: (vendor) => signRelease(vendor, (text) => text.replace(/^Valid-Until: .*$/m, "Valid-Until: Thu, 01 Jan 2026 00:00:00 UTC")),
  },
  {
    name: "the release file of another suite",
    code: "upgrade_verification_failed",
    spoil: (vendor) => signRelease(vendor, (text) => text.replace(/^(Suite|Codename): .*$/gm, "$1: preview")),
  },
  {
    name: "a release file by a key that nobody pinned",
    code: "upgrade_verification_failed",
    spoil: async (vendor) => signRelease(vendor, (text) => text, await makeTestKey("stranger", "ed25519")),
  },
  {
    name: "another text in InRelease than in Release",
    code: "signature_invalid",
    spoil: async (vendor) => vendor.put(`${dist}/InRelease`, await clearsign("Origin: x\n", vendor.repositoryKey.signingKey, Math.floor(Date.now() / 1000))),
  },
  {
    name: "bytes before the signed text of InRelease",
    code: "signature_invalid",
    spoil: (vendor) => vendor.put(`${dist}/InRelease`, `SHA256:\n${vendor.get(`${dist}/InRelease`).toString()}`),
  },
  {
    name: "another repomd.xml under the old signature",
    code: "upgrade_verification_failed",
    spoil: (vendor) => vendor.put(`${repodata}/repomd.xml`, vendor.get(`${repodata}/repomd.xml`).toString().replace("<revision>", "<revision>9")),
  },
  {
    name: "an apk index with a changed byte",
    code: "signature_invalid",
    spoil: (vendor) => {
      const path = `apk/${product}/stable/x86_64/APKINDEX.tar.gz`;
      const bytes = vendor.get(path);
      // The operating system field of the second member's header: outside of deflate and checksum, inside what is signed.
      const second = bytes.indexOf(Buffer.from([0x1f, 0x8b, 8]), 10);
      bytes[second + 9] = 3;
      vendor.put(path, bytes);
    },
  },
  {
    name: "an apk with other content",
    code: "upgrade_verification_failed",
    spoil: (vendor) => {
      for (const [path, bytes] of vendor.files) if (path.endsWith(".apk")) vendor.files.set(path, Buffer.from(bytes).fill(1, bytes.length - 60));
    },
  },
  {
    name: "sums that nobody signed",
    code: "upgrade_verification_failed",
    spoil: (vendor) => vendor.put(`releases/${product}/1.1.0/SHA256SUMS`, `${sha256("x")}  release.json\n`),
  },
  {
    name: "an old release in the place of a new one",
    code: "upgrade_verification_failed",
    spoil: async (vendor) =>
      vendor.writeRelease({ version: parseVersion("1.0.0"), sequence: 1, artifacts: [], imageDigest: `sha256:${sha256("")}`, place: parseVersion("1.1.0") }),
  },
  {
    name: "a tag that leads to another image than was signed",
    code: "upgrade_verification_failed",
    spoil: (vendor) => vendor.put(`v2/${product}/manifests/1.1.0`, vendor.get(`v2/${product}/manifests/1.0.0`)),
  },
  {
    name: "an index of another product",
    code: "server_error",
    spoil: (vendor) => vendor.put(`releases/${product}/index.json`, '{"schema":1,"product":"other","channels":{},"releases":[],"retired":[]}'),
  },
];

test("C7 nothing of a hostile or damaged source reaches the readers of a mirror", async (t) => {
  const vendor = await createSampleVendor(["1.0.0"]);
  const base = await createSampleMirror(t, vendor);
  await base.sync(memorySource(vendor));
  await vendor.publish("1.1.0");
  const good = new Map(vendor.files);
  for (const { name, code, spoil } of cases) {
    await t.test(`C7 refused: ${name}`, async (inner) => {
      vendor.files.clear();
      for (const [path, bytes] of good) vendor.files.set(path, bytes);
      // A mirror of 1.0.0 of its own: what an earlier case fetched must not stand in for what this one spoils.
      const mirror = await createSampleMirror(inner, vendor);
      await requireCommand(["cp", "-a", base.directory, mirror.directory], { timeoutMs: 20_000 });
      const before = await readlink(join(mirror.directory, "current"));
      await spoil(vendor);
      await assert.rejects(mirror.sync(memorySource(vendor)), { code });
      assert.equal(await readlink(join(mirror.directory, "current")), before);
      assert.deepEqual((await readdir(join(mirror.directory, "current", "releases", product))).sort(), ["1.0.0", "index.json", "latest"]);
    });
  }
});

test("C7 a server that says 401, 403 or 404 ends the sync at once, 503 and 429 are waited for, a cut download goes on where it was", async (t) => {
  const vendor = await createSampleVendor();
  const mirror = await createSampleMirror(t, vendor);
  let refusal: number | undefined = 401;
  const failures: number[] = [];
  let cuts = 1;
  const deb = `/apt/${product}/pool/main/c/${product}/${product}_1.0.0_amd64.deb`;
  const ranges: (string | undefined)[] = [];
  const server = await serveVendor(t, vendor, (path, response, headers) => {
    if (refusal !== undefined) {
      response.writeHead(refusal).end();
      return true;
    }
    const failure = path === deb ? failures.shift() : undefined;
    if (failure !== undefined) {
      response.writeHead(failure, { "retry-after": "0" }).end();
      return true;
    }
    if (path !== deb) return false;
    ranges.push(headers.range);
    if (cuts === 0) return false;
    cuts -= 1;
    const bytes = vendor.get(deb.slice(1));
    response.writeHead(200, { etag: `"${sha256(bytes)}"`, "content-length": bytes.length });
    response.write(bytes.subarray(0, 300), () => setTimeout(() => response.destroy(), 50));
    return true;
  });
  const source = httpSource({ url: new URL(server.url), fetch: globalThis.fetch, credentials: { keyId: "AK", secret: "s" }, isPlainHttpAllowed: false });
  for (const [status, code] of [
    [401, "unauthorized"],
    [403, "forbidden"],
    [404, "not_found"],
  ] as const) {
    refusal = status;
    await assert.rejects(mirror.sync(source), { code });
  }
  refusal = undefined;
  failures.push(503, 429);
  assert.equal((await mirror.sync(source)).result, "synced");
  assert.deepEqual(ranges, [undefined, "bytes=300-"]);
});

test("C7 a body without an end is cut at the size that was signed", async (t) => {
  const vendor = await createSampleVendor();
  const mirror = await createSampleMirror(t, vendor);
  const server = await serveVendor(t, vendor, (path, response) => {
    if (!path.endsWith("_1.0.0_amd64.deb")) return false;
    response.writeHead(200);
    const pour = (): void => {
      while (response.write(Buffer.alloc(65_536))) if (response.destroyed) return;
      response.once("drain", pour);
    };
    pour();
    return true;
  });
  const source = httpSource({ url: new URL(server.url), fetch: globalThis.fetch, credentials: undefined, isPlainHttpAllowed: false });
  await assert.rejects(mirror.sync(source), { code: "upgrade_verification_failed", detail: "size_mismatch" });
});

test("C7 the pair is never sent readable over a network", () => {
  const credentials = { keyId: "AK", secret: "s" };
  const open = (text: string) => () => httpSource({ url: new URL(text), fetch: globalThis.fetch, credentials, isPlainHttpAllowed: false });
  assert.throws(open("http://releases.example.com"), { code: "setting_invalid" });
  assert.throws(open("https://AK:s@releases.example.com"), { code: "setting_invalid" });
  assert.doesNotThrow(open("http://127.0.0.1:8420"));
});

test("C7 a package of another origin in a signed index is taken as the index says, and listed once", async (t) => {
  const vendor = await createSampleVendor();
  const mirror = await createSampleMirror(t, vendor);
  const bytes = await writeTestDeb(printingPackage("tool", parseVersion("2.0.0")));
  vendor.put(`apt/${product}/pool/main/t/tool/tool_2.0.0_amd64.deb`, bytes);
  await vendor.repository.publishApt(vendor.repositoryKey, { add: [await aptEntryOf(bytes, "pool/main/t/tool/tool_2.0.0_amd64.deb")] });
  await mirror.sync(memorySource(vendor));
  assert.deepEqual(await readdir(join(mirror.directory, "current", "apt", product, "pool", "main")), ["c", "t"]);
});
