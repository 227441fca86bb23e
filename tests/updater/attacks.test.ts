/** The attack table of the updater (rows by number): what a source, a network or a disk may do, and that the installation stays as it was. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { gunzipSync, gzipSync } from "node:zlib";
import * as openpgp from "openpgp";
import { parseVersion } from "../../src/model/version.ts";
import { formatMinisignSecretKey, generateMinisignKey } from "../../src/trust/minisign-key.ts";
import { generateOpenpgpKey } from "../../src/trust/openpgp.ts";
import type { Machine } from "../../src/updater/machine.ts";
import { needClient } from "../support/clients.ts";
import { crookedSignature } from "../support/crooked-signature.ts";
import { archiveName, failure, makeSite, noSignal, readJson, type Site, type SiteOptions, send, startVendor, tarGz, toyFiles, type Vendor } from "./support.ts";

const signal = noSignal;

/** 1.4.2 is installed and runs; 1.5.0 is on offer. */
async function field(
  t: TestContext,
  options: SiteOptions = {},
): Promise<{ readonly vendor: Vendor; readonly site: Site; readonly release: Map<string, Buffer> }> {
  const vendor = await startVendor(t);
  await vendor.release("1.4.2");
  const site = await makeSite(vendor, options, t);
  await (await site.updater()).install({ signal });
  const release = await vendor.release("1.5.0");
  vendor.requests.length = 0;
  return { vendor, site, release };
}

/** I2: nothing of the refused release lies on a live path, the old version runs. */
async function requireUntouched(site: Site): Promise<void> {
  assert.equal(await site.running(), "1.4.2");
  assert.equal(await site.live(), "1.4.2");
  assert.deepEqual(await readdir(join(site.root, "versions")), ["1.4.2"]);
  assert.deepEqual(await readdir(site.root), ["current", "versions"]);
}

async function refusedInstall(site: Site, code: string, detail?: string, machine: Partial<Machine> = {}): Promise<Error> {
  const error = await failure((await site.updater(machine)).install({ signal }), code, detail);
  await requireUntouched(site);
  return error;
}

/** The connection ends once the updater has written `size` bytes of the part: what had arrived when it ends is not left to time. */
async function cutWhenWritten(site: Site, response: ServerResponse, size: number): Promise<void> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(5)) {
    const [id = ""] = await readdir(join(site.updates, "staging")).catch(() => []);
    const part = await stat(join(site.updates, "staging", id, "artifact.part")).catch(() => undefined);
    if ((part?.size ?? 0) >= size) break;
  }
  response.destroy();
}

const flip = (bytes: Buffer, at: number): Buffer => {
  const changed = Buffer.from(bytes);
  changed[at] = (changed[at] ?? 0) ^ 1;
  return changed;
};

test("J9 1 an artifact with one flipped bit is refused with upgrade_verification_failed before either program is touched", async (t) => {
  const { site, release } = await field(t);
  const bytes = release.get(archiveName("1.5.0")) ?? Buffer.alloc(0);
  release.set(archiveName("1.5.0"), flip(bytes, bytes.length >> 1));
  const error = await refusedInstall(site, "upgrade_verification_failed", "hash_mismatch");
  assert.match(error.message, /[0-9a-f]{64}/);
  const journal = await readJson(join(site.updates, "transaction.json"));
  assert.deepEqual([journal["phase"], journal["retryable"]], ["failed", false]);
  await failure((await site.updater()).resume({ signal }), "nothing_to_resume"); // stays terminal
});

test("J9 2 an unsigned release is refused: minisig_missing", async (t) => {
  const { site, release } = await field(t);
  release.delete("SHA256SUMS.minisig");
  await refusedInstall(site, "upgrade_verification_failed", "minisig_missing");
});

test("3 a signature by another key is refused: minisig_key_unknown", async (t) => {
  const { site, vendor } = await field(t);
  await vendor.release("1.5.0", { key: generateMinisignKey() });
  await refusedInstall(site, "upgrade_verification_failed", "minisig_key_unknown");
});

test("4 a changed trusted comment breaks the global signature: minisig_bad", async (t) => {
  const { site, release } = await field(t);
  const text = release.get("SHA256SUMS.minisig")?.toString("utf8") ?? "";
  release.set("SHA256SUMS.minisig", Buffer.from(text.replace("version:1.5.0", "version:1.5.1")));
  await refusedInstall(site, "upgrade_verification_failed", "minisig_bad");
});

test("5 a legacy signature by the right key is refused: minisig_legacy (minisign -l makes it)", async (t) => {
  if (!needClient(t, "minisign")) return;
  const { vendor, site, release } = await field(t);
  await writeFile(join(site.folder, "sec"), await formatMinisignSecretKey(vendor.key));
  await writeFile(join(site.folder, "SHA256SUMS"), release.get("SHA256SUMS") ?? "");
  await promisify(execFile)("minisign", [
    "-S",
    "-l",
    "-W",
    "-s",
    join(site.folder, "sec"),
    "-m",
    join(site.folder, "SHA256SUMS"),
    "-x",
    join(site.folder, "sig"),
  ]);
  release.set("SHA256SUMS.minisig", await readFile(join(site.folder, "sig")));
  await refusedInstall(site, "upgrade_verification_failed", "minisig_legacy");
});

/** A vendor that signs with OpenPGP; the customer pins its fingerprint. */
async function openpgpField(
  t: TestContext,
  isRsa = false,
): Promise<{
  readonly site: Site;
  readonly vendor: Vendor;
  readonly sign: (make: (data: Uint8Array, key: openpgp.PrivateKey) => Promise<Uint8Array>) => Promise<void>;
  readonly keyring: string;
  readonly key: openpgp.PrivateKey;
}> {
  const vendor = await startVendor(t);
  const date = new Date("2026-01-01T00:00:00Z");
  // EdDSA in the library refuses to make weak signatures; RSA does not.
  const armoredKey = isRsa
    ? (await openpgp.generateKey({ type: "rsa", rsaBits: 2048, userIDs: [{ name: "Toy" }], subkeys: [], date, format: "armored" })).privateKey
    : (await generateOpenpgpKey({ userId: "Toy <release@toy.example>", algorithm: "ed25519", now: date })).secretKey;
  const key = await openpgp.readPrivateKey({ armoredKey });
  const site = await makeSite(vendor, { trust: `{ openpgp: { keyring: toy.asc, fingerprints: [${key.getFingerprint().toUpperCase()}] } }` }, t);
  const keyring = join(site.folder, "toy.asc");
  await writeFile(keyring, key.toPublic().armor());
  const sign = async (make: (data: Uint8Array, key: openpgp.PrivateKey) => Promise<Uint8Array>): Promise<void> => {
    for (const [version, release] of vendor.releases) {
      const bytes = await (version === "1.4.2" ? good : make)(release.get("SHA256SUMS") ?? Buffer.alloc(0), key);
      release.delete("SHA256SUMS.minisig");
      release.set("SHA256SUMS.sig", Buffer.from(bytes));
    }
  };
  const good = (data: Uint8Array): Promise<Uint8Array> => crookedSignature({ key, data, date: new Date() });
  await vendor.release("1.4.2");
  await sign(good);
  await (await site.updater()).install({ signal });
  await vendor.release("1.5.0");
  return { site, vendor, sign, keyring, key };
}

test("7 a signature by a revoked OpenPGP key is refused although gpg exits 0: gpg_revoked", async (t) => {
  const { site, sign, keyring, key } = await openpgpField(t);
  await sign((data) => crookedSignature({ key, data, date: new Date() }));
  const { publicKey } = await openpgp.revokeKey({ key, format: "object" });
  await writeFile(keyring, publicKey.armor());
  await refusedInstall(site, "upgrade_verification_failed", "gpg_revoked");
});

test("8 an OpenPGP signature with SHA-1 is refused although gpg exits 0: gpg_weak_hash", async (t) => {
  const { site, sign, key } = await openpgpField(t, true);
  await sign((data) => crookedSignature({ key, data, date: new Date(), hash: "sha1" }));
  await refusedInstall(site, "upgrade_verification_failed", "gpg_weak_hash");
});

test("9 a good signature by another key is refused: the fingerprint is pinned", async (t) => {
  const { site, sign, keyring, key } = await openpgpField(t);
  const other = await openpgp.generateKey({ type: "ecc", curve: "ed25519Legacy", userIDs: [{ name: "Other" }], format: "object" });
  await writeFile(keyring, `${key.toPublic().armor()}\n${other.privateKey.toPublic().armor()}`);
  await sign((data) => crookedSignature({ key: other.privateKey, data, date: new Date() }));
  await refusedInstall(site, "upgrade_verification_failed", "gpg_wrong_key");
});

test("an OpenPGP-signed release goes through", async (t) => {
  const { site, sign, key } = await openpgpField(t);
  await sign((data) => crookedSignature({ key, data, date: new Date() }));
  await (await site.updater()).install({ signal });
  assert.equal(await site.running(), "1.5.0");
});

for (const [name, change] of [
  ["CRLF", (text: string) => text.replaceAll("\n", "\r\n")],
  [
    "upper-case hex",
    (text: string) => text.toUpperCase().replaceAll("TOY-V1.5.0-LINUX-AMD64.TAR.GZ", archiveName("1.5.0")).replace("RELEASE.JSON", "release.json"),
  ],
  ["a binary marker", (text: string) => text.replaceAll("  ", " *")],
  ["an escaped name", (text: string) => `\\${text}`],
  ["a comment", (text: string) => `# sums\n${text}`],
] as const) {
  test(`11 sums with ${name} are refused, well signed as they are`, async (t) => {
    const { site, vendor } = await field(t);
    await vendor.release("1.5.0", { changeSums: change });
    await refusedInstall(site, "upgrade_verification_failed", "sums_malformed");
  });
}

for (const [name, entries, code] of [
  ["a parent path", [{ name: "../../escaped", content: "x" }], "format_invalid"],
  ["an absolute path", [{ name: "/tmp/slipway-escaped", content: "x" }], "format_invalid"],
  ["a drive letter", [{ name: "C:\\escaped", content: "x" }], "format_invalid"],
  ["a device", [{ name: "null", content: "", type: "3" }], "format_invalid"],
  ["a FIFO", [{ name: "pipe", content: "", type: "6" }], "format_invalid"],
  ["a hard link", [{ name: "link", content: "", type: "1" }], "format_invalid"],
  ["a link out of the release", [{ name: "share/etc", target: "../../../etc" }], "format_invalid"],
  ["an absolute link", [{ name: "etc", target: "/etc" }], "format_invalid"],
  [
    "a link and a file through it",
    [
      { name: "share/x", target: "." },
      { name: "share/x/y", content: "z" },
    ],
    "format_invalid",
  ],
  ["a file twice", [{ name: "bin/toy", content: "#!/bin/sh\n" }], "format_invalid"],
  ["a file that is not listed", [{ name: "bin/extra", content: "x" }], "upgrade_verification_failed"],
] as const) {
  test(`31 a signed archive with ${name} is refused, and nothing is written outside the staging folder`, async (t) => {
    const { site, vendor } = await field(t);
    const files = Object.entries(toyFiles("1.5.0")).map(([path, { content, mode }]) => ({ name: path, content, ...(mode === undefined ? {} : { mode }) }));
    await vendor.release("1.5.0", { archive: await tarGz([...files, ...entries]) });
    await refusedInstall(site, code);
    await assert.rejects(stat("/tmp/slipway-escaped"), { code: "ENOENT" });
  });
}

test("J9 1 a signed archive whose content is not what the signed release.json lists is refused file by file", async (t) => {
  const { site, vendor } = await field(t);
  const files = Object.entries(toyFiles("1.5.0")).map(([path, { content, mode }]) => ({
    name: path,
    content: path === "bin/toyctl" ? content.replace("1.5.0", "6.6.6") : content,
    ...(mode === undefined ? {} : { mode }),
  }));
  await vendor.release("1.5.0", { archive: await tarGz(files) });
  await refusedInstall(site, "upgrade_verification_failed", "hash_mismatch");
  await vendor.release("1.5.1", { archive: await tarGz(files.slice(1)), files: toyFiles("1.5.1") });
  await failure((await site.updater()).install({ signal }), "upgrade_verification_failed");
  await requireUntouched(site);
});

test("31 a bomb is cut at what release.json lists and a little more: format_limit", async (t) => {
  const { site, vendor } = await field(t);
  const files = Object.entries(toyFiles("1.5.0")).map(([path, { content, mode }]) => ({ name: path, content, ...(mode === undefined ? {} : { mode }) }));
  const archive = gzipSync(Buffer.concat([gunzipSync(await tarGz(files)), Buffer.alloc(64 * 1024 * 1024)]));
  assert.ok(archive.length < 128 * 1024);
  await vendor.release("1.5.0", { archive });
  await refusedInstall(site, "format_limit");
});

for (const path of ["../../etc/passwd", "/etc/passwd", "a/../../b", "__proto__/x", "bin/toy/", "C:/windows/x", "bin\\toy"]) {
  test(`31 release.json that lists ${JSON.stringify(path)} is refused`, async (t) => {
    const { site, vendor } = await field(t);
    await vendor.release("1.5.0", {
      changeManifest: (manifest) => ({
        ...manifest,
        artifacts: manifest.artifacts.map((artifact) => ({
          ...artifact,
          files: [...(artifact.files ?? []), { path, sha256: "0".repeat(64), mode: 0o755, size: 1 }],
        })),
      }),
    });
    await refusedInstall(site, "upgrade_verification_failed", "release_json_mismatch");
  });
}

test("31 an archive with a link inside the release keeps it", async (t) => {
  const { site, vendor } = await field(t);
  const files = Object.entries(toyFiles("1.5.0")).map(([path, { content, mode }]) => ({ name: path, content, ...(mode === undefined ? {} : { mode }) }));
  await vendor.release("1.5.0", { archive: await tarGz([...files, { name: "bin/alias", target: "toy" }]) });
  await (await site.updater()).install({ signal });
  assert.match(await readFile(join(site.root, "current/bin/alias"), "utf8"), /VERSION=1\.5\.0/);
});

test("32 a newest release that is older than the installed one, validly signed, is refused: downgrade_refused", async (t) => {
  const { site, vendor } = await field(t);
  vendor.releases.clear();
  await vendor.release("1.3.0");
  vendor.faults.index = () => ({
    schema: 1,
    product: "toy",
    channels: { stable: "1.3.0" },
    releases: [{ version: "1.3.0", channel: "stable", sequence: 9999, state: "published" }],
  });
  await refusedInstall(site, "downgrade_refused");
  await failure((await site.updater()).install({ version: parseVersion("1.3.0"), signal }), "downgrade_refused");
  assert.equal((await (await site.updater()).check({ signal })).offer.kind, "none");
});

test("32 an old, validly signed release under a new name is refused: trusted_comment_mismatch", async (t) => {
  const { site, vendor } = await field(t);
  vendor.releases.set("1.5.0", vendor.releases.get("1.4.2") ?? new Map());
  vendor.faults.index = () => ({
    schema: 1,
    product: "toy",
    channels: {},
    releases: [{ version: "1.5.0", channel: "stable", sequence: 9999, state: "published" }],
  });
  await refusedInstall(site, "upgrade_verification_failed", "trusted_comment_mismatch");
});

test("32 a higher version that was made before what this machine has seen is refused: metadata_rollback", async (t) => {
  const { site, vendor } = await field(t);
  await vendor.release("1.5.0", { sequence: 5 });
  const error = await refusedInstall(site, "metadata_rollback");
  assert.match(error.message, /sequence 5/);
});

test("33 K1 versions are ordered as SemVer orders them, and a preview is only installed when it is named", async (t) => {
  const { site, vendor } = await field(t);
  for (const version of ["1.9.0", "1.10.0", "1.11.0-rc.1", "1.5.0-rc.1"]) await vendor.release(version);
  const check = await (await site.updater()).check({ signal });
  assert.ok(check.offer.kind === "upgrade");
  assert.equal(check.offer.version, "1.10.0");
  assert.deepEqual(
    check.offer.skipped.map((skipped) => skipped.version),
    ["1.11.0-rc.1", "1.5.0-rc.1"],
  );
  await (await site.updater()).install({ version: parseVersion("v1.11.0-rc.1"), signal });
  assert.equal(await site.running(), "1.11.0-rc.1");
});

test("35 a body longer than the signed length is cut one byte after it: size_mismatch", async (t) => {
  const { site, vendor, release } = await field(t);
  const bytes = release.get(archiveName("1.5.0")) ?? Buffer.alloc(0);
  let sent = 0;
  vendor.faults.answer = (_request, response, file) => {
    if (file !== archiveName("1.5.0")) return false;
    response.writeHead(200, { etag: '"x"' });
    response.write(bytes);
    const pour = (): void => {
      if (response.destroyed || sent > 512 * 1024 * 1024) return;
      sent += 65_536;
      if (response.write(Buffer.alloc(65_536))) setImmediate(pour);
      else response.once("drain", pour);
    };
    pour();
    return true;
  };
  await refusedInstall(site, "upgrade_verification_failed", "size_mismatch");
  assert.ok(sent < 64 * 1024 * 1024, `the source got rid of ${sent} bytes`);
});

test("35 an endless description is cut at its limit", async (t) => {
  const { site, vendor } = await field(t);
  vendor.faults.answer = (_request, response, file) => {
    if (file !== "SHA256SUMS") return false;
    response.writeHead(200);
    const pour = (): void => {
      if (!response.destroyed && response.write(Buffer.alloc(65_536, "a"))) setImmediate(pour);
      else response.once("drain", pour);
    };
    pour();
    return true;
  };
  await refusedInstall(site, "too_large");
});

test("35 a connection that ends early is retried and continued where it ended", async (t) => {
  const { site, vendor, release } = await field(t);
  const bytes = release.get(archiveName("1.5.0")) ?? Buffer.alloc(0);
  let cuts = 0;
  vendor.faults.answer = (request, response, file) => {
    if (file !== archiveName("1.5.0") || cuts >= 2) return false;
    cuts += 1;
    const from = Number(/\d+/.exec(request.headers.range ?? "0")?.[0]);
    response.writeHead(from === 0 ? 200 : 206, {
      etag: `"${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}"`,
      "content-length": bytes.length - from,
      "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
    });
    response.write(bytes.subarray(from, from + 200), () => void cutWhenWritten(site, response, from + 200));
    return true;
  };
  await (await site.updater()).install({ signal });
  assert.equal(await site.running(), "1.5.0");
  const ranges = vendor.requests.filter((line) => line.includes(".tar.gz"));
  assert.deepEqual(
    ranges.map((line) => line.split(" ")[2]),
    [undefined, "bytes=200-", "bytes=400-"],
  );
});

test("38 a part that was damaged on disk costs one fresh download, and is not terminal", async (t) => {
  const { site, vendor, release } = await field(t);
  const bytes = release.get(archiveName("1.5.0")) ?? Buffer.alloc(0);
  let isCut = false;
  vendor.faults.answer = (_request, response, file) => {
    if (file !== archiveName("1.5.0") || isCut) return false;
    isCut = true;
    response.writeHead(200, { etag: `"${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}"`, "content-length": bytes.length });
    response.write(bytes.subarray(0, 300), () => void cutWhenWritten(site, response, 300));
    return true;
  };
  const damage = async (): Promise<void> => {
    const [id = ""] = await readdir(join(site.updates, "staging"));
    const part = join(site.updates, "staging", id, "artifact.part");
    await writeFile(part, flip(await readFile(part), 100));
  };
  await (await site.updater({ sleep: damage })).install({ signal });
  assert.equal(await site.running(), "1.5.0");
  assert.deepEqual(
    vendor.requests.filter((line) => line.includes(".tar.gz")).map((line) => line.split(" ")[2]),
    [undefined, "bytes=300-", undefined],
  );
});

test("39 a source that has fewer bytes than the part (416) leads to a download from 0", async (t) => {
  const { site, vendor, release } = await field(t);
  const bytes = release.get(archiveName("1.5.0")) ?? Buffer.alloc(0);
  let step = 0;
  vendor.faults.answer = (_request, response, file) => {
    if (file !== archiveName("1.5.0") || step >= 2) return false;
    step += 1;
    if (step === 1) {
      response.writeHead(200, { etag: '"a"', "content-length": bytes.length });
      response.write(bytes.subarray(0, 300), () => void cutWhenWritten(site, response, 300));
    } else response.writeHead(416, { "content-range": "bytes */100" }).end();
    return true;
  };
  await (await site.updater()).install({ signal });
  assert.equal(await site.running(), "1.5.0");
});

test("40 credentials go to their own origin only, and a redirect to another host is followed without them", async (t) => {
  const { site, vendor, release } = await field(t);
  const seen: (string | undefined)[] = [];
  const { createServer } = await import("node:http");
  const mirror = createServer((request, response) => {
    seen.push(request.headers.authorization);
    send(request, response, release.get(archiveName("1.5.0")));
  });
  await new Promise<void>((resolve) => mirror.listen(0, "127.0.0.1", resolve));
  t.after(() => mirror.close());
  const { port } = mirror.address() as import("node:net").AddressInfo;
  vendor.faults.answer = (_request, response, file) => {
    if (file !== archiveName("1.5.0")) return false;
    response.writeHead(302, { location: `http://127.0.0.1:${port}/elsewhere` }).end();
    return true;
  };
  await (await site.updater()).install({ signal });
  assert.equal(await site.running(), "1.5.0");
  assert.deepEqual(seen, [undefined]);
});

for (const location of ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://169.254.169.254/latest/meta-data", "http://metadata.google.internal/x"]) {
  test(`40 a redirect to ${location} is refused`, async (t) => {
    const { site, vendor } = await field(t);
    vendor.faults.answer = (_request, response, file) => {
      if (file !== archiveName("1.5.0")) return false;
      response.writeHead(302, { location }).end();
      return true;
    };
    await refusedInstall(site, "network_unreachable", "redirect_refused");
  });
}

test("40 a redirect from https to http is refused", async (t) => {
  const { site } = await field(t, {});
  const calls: string[] = [];
  const fake: Machine["fetch"] = async (url) => {
    calls.push(url instanceof Request ? url.url : url.toString());
    return new Response(null, { status: 302, headers: { location: "http://releases.example.com/x" } });
  };
  const text = await readFile(site.file, "utf8");
  await writeFile(site.file, text.replace(/url: http:\/\/127[^\n]*/, "url: https://releases.example.com"));
  await refusedInstall(site, "network_unreachable", "redirect_refused", { fetch: fake });
  assert.ok(calls.every((url) => url.startsWith("https://releases.example.com/")));
});

for (const [status, code, isRetried] of [
  [401, "unauthorized", false],
  [403, "forbidden", false],
  [404, "not_found", false],
  [410, "gone", false],
  [429, "rate_limited", true],
  [503, "server_error", true],
] as const) {
  test(`41 HTTP ${status} for the artifact is ${code}${isRetried ? " and retried as Retry-After says" : ", at once"}`, async (t) => {
    const { site, vendor } = await field(t);
    const waits: number[] = [];
    vendor.faults.answer = (_request, response, file) => {
      if (file !== archiveName("1.5.0")) return false;
      response.writeHead(status, { "retry-after": "7", "content-type": "application/json" }).end(JSON.stringify({ error: { message: "use 1.5.3" } }));
      return true;
    };
    const error = await refusedInstall(site, code, `http_${status}`, { sleep: async (ms) => void waits.push(ms) });
    assert.match(error.message, /use 1\.5\.3/);
    assert.doesNotMatch(error.message, /toy-secret/);
    assert.deepEqual(waits, isRetried ? [7000, 7000, 7000] : []);
    const journal = await readJson(join(site.updates, "transaction.json"));
    assert.deepEqual([journal["phase"], journal["retryable"]], ["failed", isRetried]);
  });
}

test("41 where the first source is down, a mirror is used", async (t) => {
  const vendor = await startVendor(t);
  await vendor.release("1.4.2");
  const site = await makeSite(vendor, { url: "http://127.0.0.1:9", source: `  mirrors: [{ url: "${vendor.url}", key_id: acme-1, secret: "file:secret" }]` }, t);
  await (await site.updater()).install({ signal });
  assert.equal(await site.running(), "1.4.2");
});

test("K10 an interrupted download is resumed; a retryable failure too, a bounded number of times", async (t) => {
  const { site, vendor } = await field(t);
  vendor.faults.answer = (_request, response, file) => {
    if (file !== archiveName("1.5.0")) return false;
    response.writeHead(503).end();
    return true;
  };
  await refusedInstall(site, "server_error");
  await failure((await site.updater()).resume({ signal }), "server_error");
  await failure((await site.updater()).resume({ signal }), "server_error");
  const journal = await readJson(join(site.updates, "transaction.json"));
  assert.deepEqual([journal["phase"], journal["retryable"], journal["attempt"]], ["failed", false, 3]);
  await failure((await site.updater()).resume({ signal }), "nothing_to_resume");
  await requireUntouched(site);
  delete vendor.faults.answer;
  await (await site.updater()).install({ signal });
  assert.equal(await site.running(), "1.5.0");
});

test("what was verified is resumed offline", async (t) => {
  const { site, vendor } = await field(t);
  const controller = new AbortController();
  const stopAt = (phase: string): Partial<Machine> => ({ observe: (event) => void (event.event === "phase" && event.phase === phase && controller.abort()) });
  await failure((await site.updater(stopAt("downloaded"))).install({ signal: controller.signal }), "interrupted");
  assert.equal((await readJson(join(site.updates, "transaction.json")))["phase"], "downloaded");
  vendor.releases.clear();
  await (await site.updater()).resume({ signal });
  assert.equal(await site.running(), "1.5.0");
});

test("67 an approval older than 15 minutes does not install by itself: needs_confirmation; saying install again does", async (t) => {
  const { site } = await field(t);
  const controller = new AbortController();
  await failure(
    (await site.updater({ observe: (event) => void (event.event === "phase" && event.phase === "downloaded" && controller.abort()) })).install({
      signal: controller.signal,
    }),
    "interrupted",
  );
  const later = { now: () => new Date(Date.now() + 16 * 60_000) };
  const error = await failure((await site.updater({ clock: later })).resume({ signal }), "needs_confirmation");
  assert.equal(error.exitCode, 42);
  await requireUntouched(site);
  await (await site.updater({ clock: later })).install({ signal });
  assert.equal(await site.running(), "1.5.0");
});

test("64 a state that changes all the time is not backed up half, and the upgrade stops: backup_inconsistent", async (t) => {
  const { site } = await field(t);
  const writer = spawn("/bin/sh", ["-c", `while :; do echo x >> ${site.folder}/data/busy; done`], { stdio: "ignore" });
  t.after(() => writer.kill("SIGKILL"));
  await writeFile(join(site.folder, "data/large"), Buffer.alloc(16 * 1024 * 1024));
  await refusedInstall(site, "backup_failed", "backup_inconsistent");
  writer.kill("SIGKILL");
  assert.equal((await readdir(join(site.updates, "backups"))).filter((name) => name.endsWith(".tmp")).length, 0);
});

test("82 the access pair never stands in the journal, the state, the history or a message", async (t) => {
  const { site, vendor } = await field(t);
  vendor.faults.answer = (_request, response) => {
    response.writeHead(401).end();
    return true;
  };
  const error = await refusedInstall(site, "unauthorized");
  const files = await Promise.all(
    ["transaction.json", "state.json", "history.jsonl"].map((name) => readFile(join(site.updates, name), "utf8").catch(() => "")),
  );
  assert.doesNotMatch([error.message, ...files, JSON.stringify(site.events)].join("\n"), /toy-secret-4711/);
});
