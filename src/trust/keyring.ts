/** What a verifier trusts, and which signatures it demands: the trust policy, checked once when it is read. */
import { SlipwayError } from "../model/errors.ts";
import { type MinisignPublicKey, parseMinisignPublicKey } from "./minisign-key.ts";
import { fingerprintOf } from "./openpgp.ts";
import { type OpenpgpKeyring, pinKeys } from "./openpgp-verify.ts";
import type { SigstorePolicy } from "./sigstore-policy.ts";

/** Made with release keys over the sums. */
export const signatureKinds = ["minisign", "openpgp"] as const;
export type SignatureKind = (typeof signatureKinds)[number];

/** What a policy can demand: signatures by release keys, and Sigstore bundles, over the sums and over the artifact itself. */
export const proofKinds = [...signatureKinds, "sigstore"] as const;
export type ProofKind = (typeof proofKinds)[number];

/** The kinds of release key: besides those that sign the sums, the one that signs apks. */
export const releaseKeyKinds = [...signatureKinds, "apk"] as const;
export type ReleaseKeyKind = (typeof releaseKeyKinds)[number];

/**
 * Signatures of a required kind must be there; a signature of a kind that has keys here must be good where it is there, required or not.
 * A kind without keys is not looked at: nothing could be said about it.
 */
export type TrustPolicy = {
  readonly minisign: readonly MinisignPublicKey[];
  readonly openpgp: OpenpgpKeyring;
  /** Undefined: no bundle is looked at. */
  readonly sigstore: SigstorePolicy | undefined;
  readonly require: readonly ProofKind[];
  /** Key id or fingerprint -> sequence of the last release that it may have signed; keys that are not here have no end. */
  readonly lastSequences: ReadonlyMap<string, number>;
};

/** A policy as files and settings give it. */
export type TrustPolicySource = {
  /** Public key files or bare `RW…` lines. */
  readonly minisign?: readonly string[];
  /** An armored or binary keyring; `fingerprints` pins some of its primary keys, without them every key in it counts. */
  readonly openpgp?: { readonly keyring: Uint8Array; readonly fingerprints?: readonly string[] };
  readonly sigstore?: SigstorePolicy;
  /** Keys that a verified release has added, each pinned by its fingerprint. */
  readonly addedOpenpgp?: readonly { readonly publicKey: Uint8Array; readonly fingerprint: string }[];
  readonly lastSequences?: ReadonlyMap<string, number>;
  readonly require: readonly ProofKind[];
};

/** Throws `policy_invalid` for a policy that would accept everything or nothing, `key_invalid` for an unreadable key. */
export async function createTrustPolicy(source: TrustPolicySource): Promise<TrustPolicy> {
  const minisign = (source.minisign ?? []).map(parseMinisignPublicKey);
  const pinned = source.openpgp === undefined ? { keys: [] } : await pinKeys(source.openpgp.keyring, source.openpgp.fingerprints);
  const added = source.addedOpenpgp ?? [];
  const keyrings = [...(source.openpgp === undefined ? [] : [source.openpgp.keyring]), ...added.map(({ publicKey }) => publicKey)];
  const fingerprints = new Set([...pinned.keys.map(fingerprintOf), ...added.map(({ fingerprint }) => fingerprint)]);
  // Copies of one key are merged: a revocation in any of them counts.
  const openpgp = added.length === 0 ? pinned : await pinKeys(keyrings, [...fingerprints]);
  if (source.require.length === 0) throw new SlipwayError("policy_invalid", "the trust policy requires no signature at all");
  const { sigstore } = source;
  const counts = { minisign: minisign.length, openpgp: openpgp.keys.length, sigstore: sigstore === undefined ? 0 : 1 };
  for (const kind of source.require) {
    if (counts[kind] === 0)
      throw new SlipwayError(
        "policy_invalid",
        `the trust policy requires ${kind} signatures but trusts no ${kind} ${kind === "sigstore" ? "identity" : "key"}`,
      );
  }
  return { minisign, openpgp, sigstore, require: [...new Set(source.require)], lastSequences: source.lastSequences ?? new Map() };
}

/** Tells a minisign public key (file or bare line) and the PEM of an apk key from an OpenPGP keyring by their first bytes. */
export function kindOfPublicKey(bytes: Uint8Array): ReleaseKeyKind {
  const start = Buffer.from(bytes.subarray(0, 64)).toString("latin1");
  if (/^\s*-----BEGIN (?:RSA )?PUBLIC KEY-----/.test(start)) return "apk";
  return start.startsWith("untrusted comment:") || /^RW[0-9A-Za-z+/]{54}\s*$/.test(start) ? "minisign" : "openpgp";
}
