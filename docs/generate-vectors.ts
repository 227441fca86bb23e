/**
 * Golden vectors: small releases, good and bad, each with the verdict that a verifier must come to. For clients in other languages; our own
 * verifier is tested on them. The same bytes on each run: the keys come from fixed seeds, and sign nothing but these.
 */
import { createHash, createPrivateKey, createPublicKey, sign } from "node:crypto";
import { parseVersion } from "../src/model/version.ts";
import { digestOf, formatChecksums } from "../src/trust/checksums.ts";
import { minisignText, signMinisign } from "../src/trust/minisign.ts";
import { formatMinisignPublicKey, keyIdBytes, type MinisignSecretKey } from "../src/trust/minisign-key.ts";
import { formatTrustedComment } from "../src/trust/trusted-comment.ts";

export type Vector = {
  readonly name: string;
  /** What the client asked for. */
  readonly expected: { readonly product: string; readonly version: string };
  /** The file that it wants to install. */
  readonly artifact: string;
  /** Base64. */
  readonly files: Readonly<Record<string, string>>;
  readonly verdict: { readonly ok: true } | { readonly ok: false; readonly code: "upgrade_verification_failed"; readonly detail: string };
};
export type VectorFile = {
  readonly about: string;
  readonly trust: { readonly minisign: readonly string[]; readonly require: readonly string[] };
  readonly vectors: readonly Vector[];
};

const product = "acme";
const artifact = "acme-linux-amd64";
const pkcs8Prefix = Buffer.from("302e020100300506032b657004220420", "hex"); // RFC 8410 7: an Ed25519 seed as PKCS #8

function keyFrom(seedText: string): MinisignSecretKey {
  const seed = createHash("sha256").update(seedText).digest();
  const privateKey = createPrivateKey({ key: Buffer.concat([pkcs8Prefix, seed]), format: "der", type: "pkcs8" });
  const publicKey = new Uint8Array(createPublicKey(privateKey).export({ format: "der", type: "spki" }).subarray(-32));
  return { keyId: seed.subarray(0, 8).toString("hex").toUpperCase(), publicKey, privateKey };
}

const key = keyFrom("slipway golden vectors, the trusted key");
const foreignKey = keyFrom("slipway golden vectors, a foreign key");
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

type Made = {
  readonly version: string;
  readonly bytes: Buffer;
  readonly manifest: Buffer;
  readonly sums: string;
  readonly comment: string;
  readonly signature: string;
};

/** A good release; what a case changes is changed before the signature, or after it. */
function release(
  version: string,
  sequence: number,
  change: {
    readonly sums?: (sums: string) => string;
    readonly manifest?: (manifest: object) => object;
    readonly comment?: string;
    readonly key?: MinisignSecretKey;
  } = {},
): Made {
  const bytes = Buffer.from(`#!/bin/sh\necho ${product} ${version}\n`);
  const plain = {
    schema: 1,
    product,
    version,
    tag: `v${version}`,
    channel: "stable",
    sequence,
    createdAt: "2026-01-01T00:00:00Z",
    artifacts: [{ name: artifact, kind: "binary", os: "linux", arch: "amd64", size: bytes.length, sha256: sha256(bytes) }],
  };
  const manifest = Buffer.from(JSON.stringify(change.manifest?.(plain) ?? plain));
  const listed = formatChecksums([
    [artifact, sha256(bytes)],
    ["release.json", sha256(manifest)],
  ]);
  const sums = change.sums?.(listed) ?? listed;
  const comment = change.comment ?? formatTrustedComment({ product, version: parseVersion(version), sequence, sumsDigest: digestOf(Buffer.from(sums)) });
  return { version, bytes, manifest, sums, comment, signature: signMinisign(Buffer.from(sums), change.key ?? key, comment) };
}

function filesOf(made: Made, change: Readonly<Record<string, Uint8Array | string | undefined>> = {}): Readonly<Record<string, string>> {
  const files: Record<string, Uint8Array | string | undefined> = {
    [artifact]: made.bytes,
    "release.json": made.manifest,
    SHA256SUMS: made.sums,
    "SHA256SUMS.minisig": made.signature,
    ...change,
  };
  return Object.fromEntries(
    Object.entries(files).flatMap(([name, content]) => (content === undefined ? [] : [[name, Buffer.from(content).toString("base64")]])),
  );
}

/** minisign's old form: the signature is over the file itself, not over its hash. */
function legacySignature(made: Made): string {
  const signature = sign(null, Buffer.from(made.sums), key.privateKey);
  const globalSignature = sign(null, Buffer.concat([signature, Buffer.from(made.comment)]), key.privateKey);
  const lines = minisignText({ keyId: key.keyId, signature, trustedComment: made.comment, globalSignature }).split("\n");
  lines[1] = Buffer.concat([Buffer.from("Ed"), keyIdBytes(key.keyId), signature]).toString("base64");
  return lines.join("\n");
}

export function vectorFile(): VectorFile {
  const good = release("1.5.0", 57);
  const older = release("1.4.2", 41);
  const flipped = Buffer.from(good.bytes);
  flipped[0] = (flipped[0] ?? 0) ^ 1;
  const bad = (name: string, detail: string, files: Readonly<Record<string, string>>, version = "1.5.0"): Vector => ({
    name,
    expected: { product, version },
    artifact,
    files,
    verdict: { ok: false, code: "upgrade_verification_failed", detail },
  });
  const signed = (change: Parameters<typeof release>[2]): Readonly<Record<string, string>> => filesOf(release("1.5.0", 57, change));
  return {
    about: "Verify each as trust says; the verdict is the only right answer. Files are base64. Generated by docs/generate.ts.",
    trust: { minisign: [formatMinisignPublicKey(key).trim().split("\n").at(-1) ?? ""], require: ["minisign"] },
    vectors: [
      { name: "a good release", expected: { product, version: "1.5.0" }, artifact, files: filesOf(good), verdict: { ok: true } },
      bad("one bit of the artifact is flipped", "hash_mismatch", filesOf(good, { [artifact]: flipped })),
      bad("the artifact is cut", "size_mismatch", filesOf(good, { [artifact]: good.bytes.subarray(0, -1) })),
      bad("the artifact has one byte more", "size_mismatch", filesOf(good, { [artifact]: Buffer.concat([good.bytes, Buffer.from("\n")]) })),
      bad("there is no signature", "minisig_missing", filesOf(good, { "SHA256SUMS.minisig": undefined })),
      bad("the signature is by an unknown key", "minisig_key_unknown", signed({ key: foreignKey })),
      bad("a foreign key claims the trusted key's id", "minisig_bad", signed({ key: { ...foreignKey, keyId: key.keyId } })),
      bad("the trusted comment was edited after signing", "minisig_bad", filesOf(good, { "SHA256SUMS.minisig": good.signature.replace("1.5.0", "1.5.1") })),
      bad("a signature in minisign's legacy form, by the right key", "minisig_legacy", filesOf(good, { "SHA256SUMS.minisig": legacySignature(good) })),
      bad("the sums were changed after signing", "minisig_bad", filesOf(good, { SHA256SUMS: good.sums.replace(/^./, (digit) => (digit === "0" ? "1" : "0")) })),
      bad("an older release under the newer one's name", "trusted_comment_mismatch", filesOf(older)),
      bad(
        "release.json is of another version",
        "release_json_mismatch",
        signed({ manifest: (manifest) => ({ ...manifest, version: "1.5.1", tag: "v1.5.1" }) }),
      ),
      bad("release.json is of another product", "release_json_mismatch", signed({ manifest: (manifest) => ({ ...manifest, product: "other" }) })),
      bad("release.json was exchanged", "release_json_mismatch", filesOf(good, { "release.json": older.manifest })),
      bad("the sums have CRLF", "sums_malformed", signed({ sums: (sums) => sums.replaceAll("\n", "\r\n") })),
      bad("the sums have a hash in upper case", "sums_malformed", signed({ sums: (sums) => sums.toUpperCase() })),
      bad("the artifact stands in the sums twice", "sums_entry_duplicate", signed({ sums: (sums) => `${sums.split("\n")[0] ?? ""}\n${sums}` })),
      bad("the artifact does not stand in the sums", "sums_entry_missing", signed({ sums: (sums) => `${sums.split("\n")[1] ?? ""}\n` })),
    ],
  };
}

/** By its path under docs/. */
export function vectorPages(): Readonly<Record<string, string>> {
  return { "reference/vectors/releases.json": `${JSON.stringify(vectorFile(), undefined, 1)}\n` };
}
