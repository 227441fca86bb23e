/** What a verifier trusts, and which signatures it demands: the trust policy, checked once when it is read. */
import { SlipwayError } from "../model/errors.ts";
import { type MinisignPublicKey, parseMinisignPublicKey } from "./minisign-key.ts";
import { type OpenpgpKeyring, pinKeys } from "./openpgp-verify.ts";

export const signatureKinds = ["minisign", "openpgp"] as const;
export type SignatureKind = (typeof signatureKinds)[number];

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
  readonly require: readonly SignatureKind[];
};

/** A policy as files and settings give it. */
export type TrustPolicySource = {
  /** Public key files or bare `RW…` lines. */
  readonly minisign?: readonly string[];
  /** An armored or binary keyring; `fingerprints` pins some of its primary keys, without them every key in it counts. */
  readonly openpgp?: { readonly keyring: Uint8Array; readonly fingerprints?: readonly string[] };
  readonly require: readonly SignatureKind[];
};

/** Throws `policy_invalid` for a policy that would accept everything or nothing, `key_invalid` for an unreadable key. */
export async function createTrustPolicy(source: TrustPolicySource): Promise<TrustPolicy> {
  const minisign = (source.minisign ?? []).map(parseMinisignPublicKey);
  const openpgp = source.openpgp === undefined ? { keys: [] } : await pinKeys(source.openpgp.keyring, source.openpgp.fingerprints);
  if (source.require.length === 0) throw new SlipwayError("policy_invalid", "the trust policy requires no signature at all");
  const counts = { minisign: minisign.length, openpgp: openpgp.keys.length };
  for (const kind of source.require) {
    if (counts[kind] === 0) throw new SlipwayError("policy_invalid", `the trust policy requires ${kind} signatures but trusts no ${kind} key`);
  }
  return { minisign, openpgp, require: [...new Set(source.require)] };
}

/** Tells a minisign public key (file or bare line) and the PEM of an apk key from an OpenPGP keyring by their first bytes. */
export function kindOfPublicKey(bytes: Uint8Array): ReleaseKeyKind {
  const start = Buffer.from(bytes.subarray(0, 64)).toString("latin1");
  if (/^\s*-----BEGIN (?:RSA )?PUBLIC KEY-----/.test(start)) return "apk";
  return start.startsWith("untrusted comment:") || /^RW[0-9A-Za-z+/]{54}\s*$/.test(start) ? "minisign" : "openpgp";
}
