/** The way from bytes to a verified release, and everything on it that must be refused (updater facts 5). */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { before, test } from "node:test";
import { digestFromHex } from "../../src/model/digest.ts";
import { type Manifest, manifestSizeLimit } from "../../src/model/manifest.ts";
import { parseVersion, type Version } from "../../src/model/version.ts";
import { digestOf, formatChecksums } from "../../src/trust/checksums.ts";
import { createTrustPolicy, type TrustPolicy } from "../../src/trust/keyring.ts";
import { signMinisign } from "../../src/trust/minisign.ts";
import { formatMinisignPublicKey, generateMinisignKey, type MinisignSecretKey } from "../../src/trust/minisign-key.ts";
import { generateOpenpgpKey, type OpenpgpSigningKey, readSigningKey } from "../../src/trust/openpgp.ts";
import { createReleaseSigner, signSums } from "../../src/trust/release-signature.ts";
import { formatTrustedComment, parseTrustedComment } from "../../src/trust/trusted-comment.ts";
import { requireArtifact, requireDigest, type SignatureFiles, verifyRelease, verifySums } from "../../src/trust/verify-release.ts";

type Keys = { readonly openpgp: OpenpgpSigningKey; readonly openpgpPublic: string; readonly minisign: MinisignSecretKey };
type Release = { readonly sums: Uint8Array; readonly manifest: Uint8Array; readonly signatures: SignatureFiles };

const now = new Date("2026-03-01T12:00:00Z");
const epochSeconds = Date.parse("2026-03-01T11:00:00Z") / 1000;
const expected = { product: "acme", version: parseVersion("1.5.0") };
const artifactBytes = Buffer.from("the program");
const artifactName = "acme-1.5.0-linux-amd64.tar.gz";
let acme: Keys;
let stranger: Keys;

async function makeKeys(): Promise<Keys> {
  const generated = await generateOpenpgpKey({ userId: "Acme", algorithm: "ed25519", now: new Date("2026-01-01T00:00:00Z") });
  return { openpgp: await readSigningKey(Buffer.from(generated.secretKey), { now }), openpgpPublic: generated.publicKey, minisign: generateMinisignKey() };
}

before(async () => {
  [acme, stranger] = await Promise.all([makeKeys(), makeKeys()]);
});

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

function manifestOf(change: Partial<Manifest> = {}): Manifest {
  return {
    schema: 1,
    product: "acme",
    version: "1.5.0",
    tag: "v1.5.0",
    channel: "stable",
    sequence: 57,
    createdAt: "2026-03-01T11:00:00Z",
    artifacts: [{ name: artifactName, kind: "archive", os: "linux", arch: "amd64", size: artifactBytes.length, sha256: sha256(artifactBytes) }],
    ...change,
  };
}

/** A whole signed release; what is not changed is right. */
async function release(
  change: {
    manifest?: Manifest | string;
    sums?: (sums: string) => string;
    keys?: Keys;
    comment?: string;
    signedAs?: Partial<{ product: string; version: Version; sequence: number }>;
  } = {},
): Promise<Release> {
  const manifest = Buffer.from(typeof change.manifest === "string" ? change.manifest : JSON.stringify(change.manifest ?? manifestOf()));
  const written = formatChecksums([
    [artifactName, sha256(artifactBytes)],
    ["release.json", sha256(manifest)],
  ]);
  const sums = Buffer.from((change.sums ?? ((text) => text))(written));
  const keys = change.keys ?? acme;
  const signer = createReleaseSigner({ openpgp: keys.openpgp, minisign: keys.minisign, epochSeconds });
  const files = await signSums({ sums, sumsName: "SHA256SUMS", ...expected, sequence: 57, ...change.signedAs }, signer);
  const bytesOf = (suffix: string): Uint8Array | undefined => files.find((file) => file.name === `SHA256SUMS${suffix}`)?.bytes;
  const minisign = change.comment === undefined ? bytesOf(".minisig") : Buffer.from(signMinisign(sums, keys.minisign, change.comment));
  return { sums, manifest, signatures: { openpgp: bytesOf(".sig"), minisign } };
}

function policy(require: TrustPolicy["require"] = ["minisign", "openpgp"], keys: Keys = acme): Promise<TrustPolicy> {
  return createTrustPolicy({ minisign: [formatMinisignPublicKey(keys.minisign)], openpgp: { keyring: Buffer.from(keys.openpgpPublic) }, require });
}

async function minisignOnly(): Promise<TrustPolicy> {
  return createTrustPolicy({ minisign: [formatMinisignPublicKey(acme.minisign)], require: ["minisign"] });
}

async function openpgpOnly(): Promise<TrustPolicy> {
  return createTrustPolicy({ openpgp: { keyring: Buffer.from(acme.openpgpPublic), fingerprints: [acme.openpgp.fingerprint] }, require: ["openpgp"] });
}

async function refuses(given: Release, detail: string, trusted?: TrustPolicy): Promise<void> {
  const question = { ...given, expected, policy: trusted ?? (await policy()), now };
  await assert.rejects(verifyRelease(question), { code: "upgrade_verification_failed", detail });
}

test("J9 a whole release signed by both keys is verified, with its sums, sequence and signers", async () => {
  const given = await release();
  const verified = await verifyRelease({ ...given, expected, policy: await policy(), now });
  assert.equal(verified.sequence, 57);
  assert.equal(verified.sumsDigest, digestOf(given.sums));
  assert.equal(verified.sums.get(artifactName), sha256(artifactBytes));
  assert.deepEqual(verified.signatures, [
    { kind: "minisign", keyId: acme.minisign.keyId },
    { kind: "openpgp", keyId: acme.openpgp.fingerprint },
  ]);
});

test("J9 the product's policy decides which signature is enough", async () => {
  const given = await release();
  const { signatures } = given;
  const minisigned = { ...given, signatures: { minisign: signatures.minisign } };
  const pgpSigned = { ...given, signatures: { openpgp: signatures.openpgp } };
  assert.equal((await verifyRelease({ ...minisigned, expected, policy: await minisignOnly(), now })).sequence, 57);
  assert.equal((await verifyRelease({ ...pgpSigned, expected, policy: await openpgpOnly(), now })).sequence, 57);
  await refuses(minisigned, "gpg_missing");
  await refuses(pgpSigned, "minisig_missing");
});

test("J9 attack 2: a release without any signature is refused", async () => {
  const given = await release();
  await refuses({ ...given, signatures: {} }, "minisig_missing");
  await refuses({ ...given, signatures: {} }, "gpg_missing", await openpgpOnly());
});

test("attack 3: a release signed by strangers is refused as minisig_key_unknown and gpg_wrong_key", async () => {
  const given = await release({ keys: stranger });
  await refuses(given, "minisig_key_unknown");
  await refuses(given, "gpg_wrong_key", await openpgpOnly());
});

test("attack 4: a changed trusted comment is minisig_bad", async () => {
  const given = await release();
  const text = Buffer.from(given.signatures.minisign ?? []).toString("utf8");
  await refuses({ ...given, signatures: { ...given.signatures, minisign: Buffer.from(text.replace("seq:57", "seq:58")) } }, "minisig_bad");
});

test("a present but bad signature is a failure even where the policy requires only the other kind", async () => {
  const given = await release();
  const foreign = await release({ keys: stranger });
  await refuses({ ...given, signatures: { ...given.signatures, openpgp: foreign.signatures.openpgp } }, "gpg_wrong_key", await policy(["minisign"]));
  await refuses({ ...given, signatures: { ...given.signatures, minisign: foreign.signatures.minisign } }, "minisig_key_unknown", await policy(["openpgp"]));
});

test("a signature of a kind for which no key is trusted is reported as unchecked, never as good", async () => {
  const signed = await verifySums({ ...(await release()), policy: await minisignOnly(), now });
  assert.deepEqual(signed.unchecked, ["openpgp"]);
  assert.deepEqual(signed.signatures, [{ kind: "minisign", keyId: acme.minisign.keyId }]);
});

test("attack 1: one flipped bit in the artifact is hash_mismatch, another length size_mismatch, an unknown name sums_entry_missing", async () => {
  const verified = await verifyRelease({ ...(await release()), expected, policy: await policy(), now });
  const good = { name: artifactName, digest: digestOf(artifactBytes), size: artifactBytes.length };
  assert.equal(requireArtifact(verified, good).kind, "archive");
  const flipped = Buffer.from(artifactBytes);
  flipped.writeUInt8(flipped.readUInt8(3) ^ 1, 3);
  const refusal = (detail: string): object => ({ code: "upgrade_verification_failed", detail });
  assert.throws(() => requireArtifact(verified, { ...good, digest: digestOf(flipped) }), refusal("hash_mismatch"));
  assert.throws(() => requireArtifact(verified, { ...good, size: good.size + 1 }), refusal("size_mismatch"));
  assert.throws(() => requireArtifact(verified, { ...good, name: "acme-1.5.0-linux-arm64.tar.gz" }), refusal("sums_entry_missing"));
  assert.throws(() => requireDigest(verified, { name: "absent", digest: digestOf(artifactBytes) }), refusal("sums_entry_missing"));
});

test("a flipped bit anywhere in the sums is refused", async () => {
  const given = await release();
  const trusted = await policy();
  for (let index = 0; index < given.sums.length; index += 7) {
    const sums = Uint8Array.from(given.sums);
    sums[index] = (sums[index] ?? 0) ^ 1;
    await assert.rejects(verifyRelease({ ...given, sums, expected, policy: trusted, now }), { code: "upgrade_verification_failed" });
  }
});

test("attack 11: signed sums in another grammar are refused all the same", async () => {
  await refuses(await release({ sums: (text) => text.replaceAll("\n", "\r\n") }), "sums_malformed");
  await refuses(await release({ sums: (text) => text.toUpperCase() }), "sums_malformed");
  await refuses(await release({ sums: (text) => text.replaceAll("  ", " *") }), "sums_malformed");
  await refuses(await release({ sums: (text) => text + text }), "sums_entry_duplicate");
});

test("attack 32: an older, validly signed release offered as the new one is trusted_comment_mismatch, by OpenPGP alone release_json_mismatch", async () => {
  const old = await release({ manifest: manifestOf({ version: "1.4.0", sequence: 50 }), signedAs: { version: parseVersion("1.4.0"), sequence: 50 } });
  await refuses(old, "trusted_comment_mismatch");
  await refuses({ ...old, signatures: { openpgp: old.signatures.openpgp } }, "release_json_mismatch", await openpgpOnly());
});

test("attack 32: old sums under a new name of the same version, and another product of the same vendor, are refused", async () => {
  await refuses(await release({ signedAs: { product: "other" } }), "trusted_comment_mismatch");
  await refuses(await release({ manifest: manifestOf({ product: "other" }) }), "release_json_mismatch");
  await refuses(await release({ manifest: manifestOf({ version: "1.4.0" }) }), "release_json_mismatch");
  await refuses(await release({ signedAs: { sequence: 58 } }), "trusted_comment_mismatch");
});

test("attack 33: 1.5.0 does not stand for 1.5.0-rc.1, 1.5.0+other or v1.5.0", async () => {
  for (const version of ["1.5.0-rc.1", "1.5.0+other"]) {
    await refuses(await release({ manifest: manifestOf({ version }) }), "release_json_mismatch");
    await refuses(await release({ signedAs: { version: parseVersion(version) } }), "trusted_comment_mismatch");
  }
  await refuses(await release({ manifest: manifestOf({ version: "v1.5.0" }) }), "release_json_mismatch");
});

test("a trusted comment of another form, or over other sums, is trusted_comment_mismatch", async () => {
  await refuses(await release({ comment: "timestamp:1795248578\tfile:SHA256SUMS\thashed" }), "trusted_comment_mismatch");
  const foreign = formatTrustedComment({ ...expected, sequence: 57, sumsDigest: digestFromHex("0".repeat(64)) });
  await refuses(await release({ comment: foreign }), "trusted_comment_mismatch");
});

test("release.json that the sums do not list, that differs, or that is no manifest is refused", async () => {
  const given = await release();
  await refuses({ ...given, manifest: Buffer.from(JSON.stringify(manifestOf({ channel: "preview" }))) }, "release_json_mismatch");
  await refuses(
    await release({
      sums: (text) =>
        text
          .split("\n")
          .filter((line) => !line.endsWith("release.json"))
          .join("\n"),
    }),
    "sums_entry_missing",
  );
  await refuses(await release({ manifest: JSON.stringify(manifestOf()) + " ".repeat(manifestSizeLimit) }), "size_mismatch"); // signed, and longer than is read
  for (const manifest of ["", "{", "[]", '{"schema":2}', JSON.stringify({ ...manifestOf(), sequence: -1 })]) {
    await refuses(await release({ manifest }), "release_json_mismatch");
  }
});

test("an artifact of release.json that the sums lack is sums_entry_missing, one with another hash release_json_mismatch", async () => {
  const [artifact] = manifestOf().artifacts;
  assert.ok(artifact);
  await refuses(await release({ manifest: manifestOf({ artifacts: [artifact, { ...artifact, name: "extra.deb" }] }) }), "sums_entry_missing");
  await refuses(await release({ manifest: manifestOf({ artifacts: [{ ...artifact, sha256: "0".repeat(64) }] }) }), "release_json_mismatch");
});

test("attack 16: a policy that requires nothing, or a kind without a key, is policy_invalid before anything is read", async () => {
  await assert.rejects(createTrustPolicy({ require: [] }), { code: "policy_invalid" });
  await assert.rejects(createTrustPolicy({ require: ["minisign"] }), { code: "policy_invalid" });
  await assert.rejects(createTrustPolicy({ minisign: [formatMinisignPublicKey(acme.minisign)], require: ["minisign", "openpgp"] }), { code: "policy_invalid" });
  const empty: TrustPolicy = { minisign: [], openpgp: { keys: [] }, sigstore: undefined, require: [], lastSequences: new Map() };
  await refuses(await release(), "sums_malformed", empty);
});

test("the trusted comment is read only in its exact form", () => {
  const binding = { ...expected, sequence: 57, sumsDigest: digestFromHex("ab".repeat(32)) };
  const text = formatTrustedComment(binding);
  assert.equal(text, `product:acme version:1.5.0 seq:57 sums:sha256:${"ab".repeat(32)}`);
  assert.deepEqual(parseTrustedComment(text), binding);
  const wrong = [
    ` ${text}`,
    `${text} `,
    text.replace("seq:57", "seq:057"),
    text.replace("seq:57", "seq:-1"),
    text.replace("1.5.0", "v1.5.0"),
    text.replace("ab", "AB"),
    `${text}\tx`,
  ];
  for (const other of [...wrong, text.replace("seq:57", "seq:9999999999999999")]) assert.equal(parseTrustedComment(other), undefined, other);
});

test("the signatures of a release are the same bytes when it is signed again", async () => {
  assert.deepEqual(await release(), await release());
});
