/**
 * A verifier of apks that shares no line with the reader: it takes the file apart by hand (Buffer, inflateRawSync, crc32, createVerify) and
 * asserts each rule that apk-tools 2.14.10 and 3.0.6 were seen to enforce, so that a mistake common to writer and reader shows.
 */
import assert from "node:assert/strict";
import { createHash, createVerify } from "node:crypto";
import { crc32, inflateRawSync } from "node:zlib";

type Engine = { readonly buffer: Buffer; readonly engine: { readonly bytesWritten: number } };

/** One gzip member with the plain bytes in it. */
export type Member = { readonly packed: Buffer; readonly plain: Buffer };

/** Cuts a file at the borders of its gzip members; the header must have no name, no time and no system in it. */
export function gzipMembers(bytes: Buffer): readonly Member[] {
  const members: Member[] = [];
  for (let at = 0; at < bytes.length; ) {
    assert.equal(bytes.subarray(at, at + 4).toString("hex"), "1f8b0800", `a gzip header without flags at ${at}`);
    assert.equal(bytes.readUInt32LE(at + 4), 0, "MTIME is 0");
    assert.equal(bytes[at + 9], 255, "OS is unknown");
    const { buffer: plain, engine } = inflateRawSync(bytes.subarray(at + 10), { info: true }) as unknown as Engine;
    const trailer = at + 10 + engine.bytesWritten;
    assert.equal(bytes.readUInt32LE(trailer), crc32(plain), "CRC-32");
    assert.equal(bytes.readUInt32LE(trailer + 4), plain.length, "ISIZE");
    members.push({ packed: bytes.subarray(at, trailer + 8), plain });
    at = trailer + 8;
  }
  return members;
}

export type Entry = {
  readonly name: string;
  readonly type: string;
  readonly mode: number;
  readonly target: string;
  readonly owner: string;
  readonly group: string;
  readonly mtime: number;
  readonly content: Buffer;
  readonly pax: Readonly<Record<string, string>>;
};

const field = (block: Buffer, at: number, size: number): string => {
  const end = block.indexOf(0, at);
  return block.toString("utf8", at, end === -1 || end > at + size ? at + size : end);
};

/** ustar only: octal digits and a closing NUL, a right checksum, PAX `x` for what does not fit, and the end exactly where it is to be. */
export function tarEntries(plain: Buffer, end: "without an end" | "with an end"): readonly Entry[] {
  const entries: Entry[] = [];
  let pax: Record<string, string> = {};
  let at = 0;
  for (; at < plain.length; ) {
    const block = plain.subarray(at, at + 512);
    assert.equal(block.length, 512, "whole blocks");
    if (block[0] === 0) break;
    assert.equal(block.toString("latin1", 257, 265), "ustar\u000000", "POSIX magic");
    assert.equal(
      block.subarray(329).findIndex((byte) => byte !== 0),
      -1,
      "no device, no prefix",
    );
    for (const [offset, size] of [
      [100, 8],
      [108, 8],
      [116, 8],
      [124, 12],
      [136, 12],
    ] as const) {
      assert.match(block.toString("latin1", offset, offset + size), new RegExp(`^[0-7]{${size - 1}}\\0$`), `octal at ${offset}`);
    }
    const octal = (offset: number, size: number): number => Number.parseInt(block.toString("latin1", offset, offset + size), 8);
    const sum = block.reduce((total, byte, place) => total + (place >= 148 && place < 156 ? 32 : byte), 0);
    assert.equal(octal(148, 6), sum, "header checksum");
    assert.equal(octal(108, 8) + octal(116, 8), 0, "uid and gid are 0: names count");
    const [type, size] = [String.fromCharCode(block[156] ?? 0), octal(124, 12)];
    const content = plain.subarray(at + 512, at + 512 + size);
    assert.equal(content.length, size, "whole contents");
    const padded = at + 512 + Math.ceil(size / 512) * 512;
    assert.ok(
      plain.subarray(at + 512 + size, padded).every((byte) => byte === 0),
      "padding is zero",
    );
    at = padded;
    if (type === "x") {
      assert.deepEqual(pax, {}, "one PAX header before a member");
      pax = paxOf(content);
      continue;
    }
    const stored = { name: field(block, 0, 100), target: field(block, 157, 100) };
    if (pax["path"] !== undefined) assert.ok(Buffer.byteLength(pax["path"]) > 100, "a PAX path only where it is needed");
    entries.push({
      name: pax["path"] ?? stored.name,
      type,
      mode: octal(100, 8),
      target: pax["linkpath"] ?? stored.target,
      owner: field(block, 265, 32),
      group: field(block, 297, 32),
      mtime: octal(136, 12),
      content,
      pax,
    });
    pax = {};
  }
  const rest = plain.subarray(at);
  assert.equal(rest.length, end === "with an end" ? 1024 : 0, `a tar ${end}`);
  assert.ok(rest.every((byte) => byte === 0));
  return entries;
}

function paxOf(content: Buffer): Record<string, string> {
  const records: Record<string, string> = {};
  for (let at = 0; at < content.length; ) {
    const length = Number.parseInt(content.toString("latin1", at), 10);
    const record = content.toString("utf8", at, at + length);
    const [, key, value] = /^\d+ ([^=]+)=([^]*)\n$/.exec(record) ?? [];
    assert.ok(key !== undefined && value !== undefined, `a PAX record of ${length} bytes: ${JSON.stringify(record)}`);
    records[key] = value;
    at += length;
  }
  return records;
}

/** File name in /etc/apk/keys -> PEM. */
export type Keys = Readonly<Record<string, string>>;

/** Names and order of the signatures, each checked as apk checks it: PKCS#1 v1.5 over the bytes of the next member. */
export function verifySignatures(signatures: Member, signed: Member, keys: Keys): readonly string[] {
  const entries = tarEntries(signatures.plain, "without an end");
  return entries.map(({ name, type, content }) => {
    const [, algorithm, keyFile] = /^\.SIGN\.(RSA256|RSA)\.([A-Za-z0-9._-]+\.rsa\.pub)$/.exec(name) ?? [];
    const key = keys[keyFile ?? ""];
    assert.ok(type === "0" && key !== undefined, name);
    const verifier = createVerify(algorithm === "RSA256" ? "sha256" : "sha1").update(signed.packed);
    assert.ok(verifier.verify(key, content), `${name} fits`);
    return `${algorithm} ${keyFile}`;
  });
}

export type VerifiedApk = {
  readonly signatures: readonly string[];
  readonly info: readonly (readonly [string, string])[];
  readonly scripts: Readonly<Record<string, string>>;
  readonly entries: readonly Entry[];
  readonly identity: string;
};

const sha = (algorithm: "sha1" | "sha256", bytes: Uint8Array | string): string => createHash(algorithm).update(bytes).digest("hex");
const versionPattern = /^[0-9]+(\.[0-9]+)*[a-z]?(_(alpha|beta|pre|rc|cvs|svn|git|hg|p)[0-9]*)*(-r[0-9]+)$/;
const relationPattern = /^!?[A-Za-z0-9/_][A-Za-z0-9/_.+:-]*((<|<=|=|>=|>)(?<version>.+))?$/;

/** Every rule for a signed package. `keys` undefined: it has no signature segment. */
export function verifyApk(bytes: Buffer, keys: Keys | undefined): VerifiedApk {
  const members = gzipMembers(bytes);
  assert.equal(members.length, keys === undefined ? 2 : 3, "signature, control, data: one gzip member each");
  const [control, data] = members.slice(-2);
  assert.ok(control !== undefined && data !== undefined);
  const signatures = keys === undefined || members[0] === undefined ? [] : verifySignatures(members[0], control, keys);
  const [first, ...scripts] = tarEntries(control.plain, "without an end");
  assert.equal(first?.name, ".PKGINFO", ".PKGINFO comes first");
  const info = infoLines(first.content.toString("utf8"));
  const one = (key: string): string => {
    const values = info.filter(([name]) => name === key);
    assert.equal(values.length, 1, `${key} once`);
    return values[0]?.[1] ?? "";
  };
  for (const script of scripts) {
    assert.match(script.name, /^\.(?:(?:pre|post)-(?:install|upgrade|deinstall)|trigger)$/);
    assert.deepEqual([script.type, script.mode], ["0", 0o755], script.name);
    assert.match(script.content.toString("utf8"), /^#!\//);
  }
  assert.match(one("pkgname"), /^[a-z0-9][a-z0-9+._-]*$/);
  assert.match(one("pkgver"), versionPattern);
  assert.match(one("arch"), /^(noarch|x86_64|x86|aarch64|armhf|armv7|ppc64le|s390x|riscv64|loongarch64)$/);
  for (const key of ["pkgdesc", "license", "maintainer", "origin"]) assert.notEqual(one(key), "");
  one("url");
  assert.match(one("builddate"), /^\d+$/);
  assert.match(one("size"), /^[1-9]\d*$/, "with the size 0 apk installs nothing and says OK");
  assert.equal(one("datahash"), sha("sha256", data.packed), "datahash is that of the compressed member");
  for (const [key, value] of info
    .filter(([name]) => ["depend", "provides", "replaces", "install_if"].includes(name))
    .flatMap(([name, text]) => text.split(" ").map((word) => [name, word] as const))) {
    const version = relationPattern.exec(value)?.groups?.["version"];
    assert.match(value, relationPattern, `${key} = ${value}`);
    // The revision is optional in a dependency.
    if (version !== undefined) assert.match(/-r\d+$/.test(version) ? version : `${version}-r0`, versionPattern, `${key} = ${value}`);
  }
  const entries = tarEntries(data.plain, "with an end");
  checkData(entries);
  const content = entries.reduce((sum, { type, content: body, target }) => sum + (type === "2" ? Buffer.byteLength(target) : body.length), 0);
  assert.equal(Number(one("size")), Math.max(1, content));
  const identity = `Q1${createHash("sha1").update(control.packed).digest("base64")}`;
  return { signatures, info, scripts: Object.fromEntries(scripts.map(({ name, content: body }) => [name, body.toString("utf8")])), entries, identity };
}

function infoLines(text: string): readonly (readonly [string, string])[] {
  assert.ok(text.endsWith("\n"));
  return text
    .slice(0, -1)
    .split("\n")
    .map((line) => {
      const at = line.indexOf(" = ");
      assert.ok(at > 0, line);
      return [line.slice(0, at), line.slice(at + 3)] as const;
    });
}

function checkData(entries: readonly Entry[]): void {
  const folders = new Set<string>();
  const names = new Set<string>();
  for (const { name, type, target, content, pax } of entries) {
    assert.ok(!/^[./]|\/\.{1,2}\/|\/\/|\/\.keep_/.test(name), `${name} is relative and apk takes it`);
    const path = name.replace(/\/$/, "");
    assert.equal(name.endsWith("/"), type === "5", name);
    assert.ok(!names.has(path), `${path} once`);
    names.add(path);
    const parent = path.split("/").slice(0, -1).join("/");
    assert.ok(parent === "" || folders.has(parent), `${parent} stands before ${path}`);
    const checksum = pax["APK-TOOLS.checksum.SHA1"];
    if (type === "5") {
      folders.add(path);
      assert.equal(checksum, undefined, "folders have no checksum");
    } else {
      assert.match(type, /^[02]$/, "regular files and symbolic links only");
      assert.equal(checksum, sha("sha1", type === "2" ? target : content), `the checksum of ${name}`);
    }
  }
}
