/**
 * The way from downloaded bytes to a release that may be installed; nothing is believed before the step that proves it.
 *
 * Parties: the vendor's release keys sign SHA256SUMS; SHA256SUMS names release.json and every artifact by SHA-256; release.json says which
 * product, version and sequence this is. Sigstore's bundles stand beside or instead of release keys: one over the sums, one over each
 * artifact (`requireBundle`), by the vendor's workflow at the release's tag. Order: 1 the signatures over the sums, 2 the grammar of the sums, 3 the trusted comment against
 * sums and expectation, 4 release.json against the sums, 5 release.json against the expectation and the comment, 6 its artifacts against the
 * sums. Without 3 and 5 an old, validly signed release could be replayed as a new one (trust facts 4.1).
 */
import { type Digest, digestHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { type Manifest, type ManifestArtifact, manifestName, manifestSchema, manifestSizeLimit } from "../model/manifest.ts";
import { tagOf, tryParseVersion, type Version } from "../model/version.ts";
import { type Checksums, digestOf, parseChecksums } from "./checksums.ts";
import type { ProofKind, TrustPolicy } from "./keyring.ts";
import { type MinisignVerdict, verifyMinisign } from "./minisign.ts";
import { type OpenpgpDetail, verifyDetached } from "./openpgp-verify.ts";
import { type SigstoreDetail, signerAt, verifySigstoreBundle } from "./sigstore-verify.ts";
import { parseTrustedComment, type ReleaseBinding } from "./trusted-comment.ts";
import type { Verified } from "./verified.ts";

/** The `detail` of `upgrade_verification_failed`: what exactly was wrong (updater facts 3.6). */
export type VerificationDetail =
  | OpenpgpDetail
  | Extract<MinisignVerdict, { kind: "bad" }>["detail"]
  | SigstoreDetail
  | "bundle_missing"
  | "key_retired"
  | "key_set_invalid"
  | "gpg_missing"
  | "minisig_missing"
  | "trusted_comment_mismatch"
  | "sums_malformed"
  | "sums_entry_missing"
  | "sums_entry_duplicate"
  | "hash_mismatch"
  | "size_mismatch"
  | "release_json_mismatch";

/** Bytes of the signature files as they came; a file that is not there is undefined. */
export type SignatureFiles = Readonly<Partial<Record<ProofKind, Uint8Array | undefined>>>;

/** `keyId` is the key's id or fingerprint, or the identity of a Sigstore certificate. */
export type GoodSignature = { readonly kind: ProofKind; readonly keyId: string };

export type SignedSums = {
  readonly sums: Checksums;
  readonly sumsDigest: Digest;
  readonly signatures: readonly GoodSignature[];
  /** Kinds whose signature was there but for which the policy trusts no key. */
  readonly unchecked: readonly ProofKind[];
  /** What the minisign trusted comment binds; undefined where no minisign signature was checked or its comment has another form. */
  readonly binding: ReleaseBinding | undefined;
  /** The minisign trusted comment as it stands, for reports. */
  readonly trustedComment: string | undefined;
};

export type ReleaseDescription = {
  readonly product: string;
  readonly version: Version;
  readonly sequence: number;
  readonly manifest: Manifest;
  readonly sums: Checksums;
  readonly sumsDigest: Digest;
  readonly signatures: readonly GoodSignature[];
};

/**
 * Steps 1 and 2. Throws `upgrade_verification_failed` with a VerificationDetail; the only maker of Verified<SignedSums>. `version` is the one
 * that a Sigstore identity must have signed at the tag of; without it a policy with an identity throws `policy_invalid`.
 */
export async function verifySums(question: {
  readonly sums: Uint8Array;
  readonly signatures: SignatureFiles;
  readonly policy: TrustPolicy;
  readonly version?: Version | undefined;
  readonly now: Date;
}): Promise<Verified<SignedSums>> {
  const { sums, signatures, policy, now } = question;
  const good: GoodSignature[] = [];
  const unchecked: ProofKind[] = [];
  let trustedComment: string | undefined;
  if (signatures.minisign === undefined) {
    if (policy.require.includes("minisign")) throw refused("minisig_missing", "the release has no minisign signature over its sums");
  } else if (policy.minisign.length === 0) {
    unchecked.push("minisign");
  } else {
    const verdict = verifyMinisign({ data: sums, signature: signatures.minisign, keys: policy.minisign });
    if (verdict.kind === "bad") throw refused(verdict.detail, verdict.message);
    good.push({ kind: "minisign", keyId: verdict.keyId });
    trustedComment = verdict.trustedComment;
  }
  if (signatures.openpgp === undefined) {
    if (policy.require.includes("openpgp")) throw refused("gpg_missing", "the release has no OpenPGP signature over its sums");
  } else if (policy.openpgp.keys.length === 0) {
    unchecked.push("openpgp");
  } else {
    const verdict = await verifyDetached({ data: sums, signature: signatures.openpgp, keyring: policy.openpgp, now });
    if (verdict.kind === "bad") throw refused(verdict.detail, verdict.message);
    good.push({ kind: "openpgp", keyId: verdict.fingerprint });
  }
  const bundle = await checkBundle({ bundle: signatures.sigstore, name: "the sums", artifact: [sums], policy, version: question.version });
  if (bundle !== undefined) good.push({ kind: "sigstore", keyId: bundle.signer });
  else if (signatures.sigstore !== undefined) unchecked.push("sigstore");
  // A policy always requires something (keyring.ts); this stops whoever builds one by hand.
  if (good.length === 0) throw refused("sums_malformed", "no signature over the sums was checked");
  return markVerified<SignedSums>({
    sums: readSums(sums),
    sumsDigest: digestOf(sums),
    signatures: good,
    unchecked,
    trustedComment,
    binding: trustedComment === undefined ? undefined : parseTrustedComment(trustedComment),
  });
}

/**
 * Steps 1 to 6 on the bytes of the sums, their signatures and release.json: the only maker of Verified<ReleaseDescription>.
 * Throws `upgrade_verification_failed` with a VerificationDetail; whoever catches it has changed nothing yet.
 */
export async function verifyRelease(question: {
  readonly sums: Uint8Array;
  readonly signatures: SignatureFiles;
  readonly manifest: Uint8Array;
  readonly expected: { readonly product: string; readonly version: Version };
  readonly policy: TrustPolicy;
  readonly now: Date;
}): Promise<Verified<ReleaseDescription>> {
  const { expected } = question;
  const signed = await verifySums({ ...question, version: expected.version });
  const isMinisigned = signed.signatures.some((signature) => signature.kind === "minisign");
  if (isMinisigned) checkBinding(signed, expected);
  const manifest = readManifest(signed, question.manifest);
  if (manifest.product !== expected.product || manifest.version !== expected.version) {
    throw refused("release_json_mismatch", `release.json is of ${manifest.product} ${manifest.version}; expected ${expected.product} ${expected.version}`);
  }
  if (signed.binding !== undefined && signed.binding.sequence !== manifest.sequence) {
    throw refused("trusted_comment_mismatch", `the trusted comment has sequence ${signed.binding.sequence}, release.json ${manifest.sequence}`);
  }
  requireLastSequences(signed, manifest.sequence, question.policy);
  for (const artifact of manifest.artifacts) {
    const listed = signed.sums.get(artifact.name);
    if (listed === undefined) throw refused("sums_entry_missing", `${artifact.name} stands in release.json but not in the sums`);
    if (listed !== artifact.sha256) throw refused("release_json_mismatch", `${artifact.name} has another SHA-256 in release.json than in the sums`);
  }
  return markVerified<ReleaseDescription>({
    product: manifest.product,
    version: expected.version,
    sequence: manifest.sequence,
    manifest,
    sums: signed.sums,
    sumsDigest: signed.sumsDigest,
    signatures: signed.signatures,
  });
}

/**
 * Compares one downloaded artifact with what was signed and returns its row of the manifest. The caller hashes the bytes that it will use, from
 * the descriptor that it keeps. Throws `upgrade_verification_failed` with sums_entry_missing, size_mismatch or hash_mismatch.
 */
export function requireArtifact(
  release: Verified<ReleaseDescription>,
  artifact: { readonly name: string; readonly digest: Digest; readonly size: number },
): ManifestArtifact {
  const row = release.manifest.artifacts.find((candidate) => candidate.name === artifact.name);
  if (row === undefined) throw refused("sums_entry_missing", `${artifact.name} is no artifact of ${release.product} ${release.version}`);
  if (row.size !== artifact.size) throw refused("size_mismatch", `${artifact.name} has ${artifact.size} bytes; signed were ${row.size}`);
  requireDigest(release, artifact);
  return row;
}

export type BundledFile = {
  readonly name: string;
  /** As it came; undefined where there is none. */
  readonly bundle: Uint8Array | undefined;
  readonly artifact: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  /** Also an in-toto statement about the file counts, as forges make them; whoever installs takes signatures only. */
  readonly isAttestationAllowed?: boolean;
};

/**
 * The Sigstore bundle of one artifact, over the bytes that will be used, read once. Returns their digest and size, so that they need not be
 * read again, or undefined where the policy knows no Sigstore signer, or does not demand a bundle and there is none.
 * Throws `upgrade_verification_failed` with bundle_missing or a SigstoreDetail.
 */
export function requireBundle(
  release: { readonly version: Version | undefined },
  file: BundledFile,
  policy: TrustPolicy,
): Promise<{ readonly signer: string; readonly digest: Digest; readonly size: number } | undefined> {
  return checkBundle({ ...file, policy, version: release.version });
}

async function checkBundle(
  question: BundledFile & { readonly policy: TrustPolicy; readonly version: Version | undefined },
): Promise<{ readonly signer: string; readonly digest: Digest; readonly size: number } | undefined> {
  const { name, bundle, artifact, policy, version } = question;
  if (bundle === undefined) {
    if (policy.require.includes("sigstore")) throw refused("bundle_missing", `there is no Sigstore bundle of ${name}`);
    return undefined;
  }
  if (policy.sigstore === undefined) return undefined;
  if (version === undefined && policy.sigstore.kind === "keyless") {
    throw new SlipwayError("policy_invalid", "a Sigstore identity is bound to a tag, and no version was named", { hint: "add --version" });
  }
  const signer = signerAt(policy.sigstore, version === undefined ? "" : tagOf(version));
  const { isAttestationAllowed = false } = question;
  const verdict = await verifySigstoreBundle({ bundle, artifact, signer, isAttestationAllowed });
  if (verdict.kind === "bad") throw refused(verdict.detail, `${name}: ${verdict.message}`);
  return verdict;
}

/** The same against the sums alone, where no manifest is at hand: hash only. */
export function requireDigest(signed: Verified<SignedSums> | Verified<ReleaseDescription>, artifact: { readonly name: string; readonly digest: Digest }): void {
  const listed = signed.sums.get(artifact.name);
  if (listed === undefined) throw refused("sums_entry_missing", `${artifact.name} is not listed in the sums`);
  const got = digestHex(artifact.digest);
  if (got !== listed) throw refused("hash_mismatch", `${artifact.name} has SHA-256 ${got}; signed was ${listed}`);
}

/** A key that a later key set has retired may still have signed what came before its end, and nothing after (trust facts 4.4 step 5). */
function requireLastSequences(signed: SignedSums, sequence: number, policy: TrustPolicy): void {
  for (const { keyId } of signed.signatures) {
    const last = policy.lastSequences.get(keyId);
    if (last !== undefined && sequence > last) {
      throw refused("key_retired", `signed by the key ${keyId}, which was retired after sequence ${last}; this release has ${sequence}`);
    }
  }
}

function checkBinding(signed: SignedSums, expected: { readonly product: string; readonly version: Version }): void {
  const { binding } = signed;
  if (binding === undefined) throw refused("trusted_comment_mismatch", "the minisign trusted comment does not name product, version, sequence and sums");
  if (binding.sumsDigest !== signed.sumsDigest) throw refused("trusted_comment_mismatch", "the trusted comment is of other sums");
  if (binding.product !== expected.product || binding.version !== expected.version) {
    throw refused("trusted_comment_mismatch", `signed as ${binding.product} ${binding.version}; expected ${expected.product} ${expected.version}`);
  }
}

function readManifest(signed: SignedSums, bytes: Uint8Array): Manifest {
  const listed = signed.sums.get(manifestName);
  if (listed === undefined) throw refused("sums_entry_missing", `${manifestName} is not listed in the sums`);
  if (bytes.length > manifestSizeLimit) throw refused("size_mismatch", `${manifestName} has ${bytes.length} bytes; the limit is ${manifestSizeLimit}`);
  if (digestHex(digestOf(bytes)) !== listed) throw refused("release_json_mismatch", `${manifestName} is not the one that the sums list`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw refused("release_json_mismatch", `${manifestName} is not JSON`, error);
  }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success) throw refused("release_json_mismatch", `${manifestName} is not a manifest that this Slipway reads`, parsed.error);
  if (tryParseVersion(parsed.data.version) !== parsed.data.version) throw refused("release_json_mismatch", `${manifestName} names no version`);
  return parsed.data;
}

function readSums(bytes: Uint8Array): Checksums {
  try {
    return parseChecksums(bytes);
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code !== "sums_invalid") throw error;
    const detail = error.detail === "sums_entry_duplicate" ? "sums_entry_duplicate" : "sums_malformed";
    throw refused(detail, `${error.place ?? "SHA256SUMS"}: ${error.message}`, error);
  }
}

/** Not exported: nothing outside the two functions above can claim that something was verified. */
function markVerified<T>(value: T): Verified<T> {
  return value as Verified<T>;
}

function refused(detail: VerificationDetail, message: string, cause?: unknown): SlipwayError {
  return new SlipwayError("upgrade_verification_failed", message, { detail, ...(cause === undefined ? {} : { cause }) });
}
