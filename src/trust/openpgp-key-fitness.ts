/**
 * Whether an OpenPGP key is good enough to make or carry a signature: our own rules, because gpg answers 0 for revoked and expired keys
 * and every library draws its lines elsewhere (trust facts 4.5).
 */
import type { AnyKeyPacket, Key, KeyID, SignaturePacket } from "openpgp";
import { loadOpenpgp, openpgpSettings } from "./openpgp-library.ts";

export type KeyFitness =
  | {
      readonly kind: "fit";
      /** The packet that signs: the primary key's or a signing subkey's. */
      readonly keyPacket: AnyKeyPacket;
      /** Creation of the signing key: no signature may be older. */
      readonly createdAt: Date;
      /** Where the self-signature is younger than the key: signatures are dated no earlier, so that every verifier finds it valid. */
      readonly certifiedAt: Date;
    }
  | { readonly kind: "revoked" | "expired" | "weak" | "unusable"; readonly why: string };

/** SHA-256, SHA-384, SHA-512 (RFC 9580 9.5). SHA-224 and older are refused by apt 3.0 and by us. */
export const strongHashes: ReadonlySet<number> = new Set([8, 9, 10]);
/** RSA (1, 3), ECDSA (19), EdDSALegacy (22), Ed25519 (27). */
const signingAlgorithms: ReadonlySet<number> = new Set([1, 3, 19, 22, 27]);
const leastRsaBits = 2048;

/**
 * Judges the key at `now`; `signingKeyId` picks the primary key or a subkey, without it the newest one that may sign.
 * Expiry counts at `now`, not at the time of the signature: what was signed by a key that has expired since is refused for a new installation.
 */
export async function judgeKey(key: Key, now: Date, signingKeyId?: KeyID): Promise<KeyFitness> {
  const settings = openpgpSettings(await loadOpenpgp());
  const fingerprint = key.getFingerprint();
  const weakness = packetWeakness(key.keyPacket);
  if (weakness !== undefined) return { kind: "weak", why: `key ${fingerprint}: ${weakness}` };
  // A revocation over an old hash may be beyond the library's checking (EdDSA with SHA-1): in doubt it revokes.
  const isRevokedInDoubt = key.revocationSignatures.some((signature) => !isStrong(signature));
  if (isRevokedInDoubt || (await key.isRevoked(undefined, undefined, now, settings))) return { kind: "revoked", why: `key ${fingerprint} is revoked` };
  const expiry = await key.getExpirationTime(undefined, settings);
  if (expiry === null) return { kind: "unusable", why: `key ${fingerprint} has no valid user id` };
  if (expiry <= now) return { kind: "expired", why: `key ${fingerprint} expired on ${dayOf(expiry)}` };
  const certification = await primaryCertification(key, now);
  if (certification === undefined) return { kind: "unusable", why: `key ${fingerprint} has no user id that is valid now` };
  if (!isStrong(certification))
    return { kind: "weak", why: `key ${fingerprint} certifies itself with an old hash; refresh it, for example by setting its expiry again` };
  const subkey = key.subkeys.find((candidate) => signingKeyId !== undefined && candidate.getKeyID().equals(signingKeyId));
  if (subkey !== undefined) {
    const id = subkey.getFingerprint();
    if (await subkey.isRevoked(undefined as never, undefined as never, now, settings)) return { kind: "revoked", why: `subkey ${id} is revoked` };
    const subkeyExpiry = await subkey.getExpirationTime(now, settings);
    if (subkeyExpiry !== null && subkeyExpiry <= now) return { kind: "expired", why: `subkey ${id} expired on ${dayOf(subkeyExpiry)}` };
  }
  return judgeSigningKey(key, now, signingKeyId);
}

async function judgeSigningKey(key: Key, now: Date, signingKeyId?: KeyID): Promise<KeyFitness> {
  const settings = openpgpSettings(await loadOpenpgp());
  const fingerprint = key.getFingerprint();
  const certification = await primaryCertification(key, now);
  let signing: Awaited<ReturnType<Key["getSigningKey"]>>;
  try {
    signing = await key.getSigningKey(signingKeyId, now, undefined, settings);
  } catch (error) {
    return { kind: "unusable", why: `key ${fingerprint} may not sign: ${error instanceof Error ? error.message : String(error)}` };
  }
  const weakness = packetWeakness(signing.keyPacket);
  if (weakness !== undefined) return { kind: "weak", why: `key ${signing.getFingerprint()}: ${weakness}` };
  const binding = "bindingSignatures" in signing ? await signing.verify(now, settings) : undefined;
  if (binding !== undefined && !isStrong(binding)) return { kind: "weak", why: `subkey ${signing.getFingerprint()} is bound with an old hash` };
  const dates = [key.getCreationTime(), signing.getCreationTime(), certification?.created, binding?.created].filter((date) => date instanceof Date);
  return {
    kind: "fit",
    keyPacket: signing.keyPacket,
    createdAt: signing.getCreationTime(),
    certifiedAt: new Date(Math.max(...dates.map((date) => date.getTime()))),
  };
}

async function primaryCertification(key: Key, now: Date): Promise<SignaturePacket | undefined> {
  const settings = openpgpSettings(await loadOpenpgp());
  try {
    return (await key.getPrimaryUser(now, undefined, settings)).selfCertification;
  } catch {
    return undefined; // no user id is valid: the caller says so
  }
}

function isStrong(signature: SignaturePacket): boolean {
  return signature.hashAlgorithm !== null && strongHashes.has(signature.hashAlgorithm);
}

/** What is wrong with the key's own numbers, or undefined. Version 6 keys are read by neither gpg 2.2-2.4 nor rpm 4.18. */
function packetWeakness(packet: { readonly version: number; readonly algorithm: number; getAlgorithmInfo(): { bits?: number } }): string | undefined {
  if (packet.version !== 4) return `version ${packet.version} keys are not supported, only version 4`;
  if (!signingAlgorithms.has(packet.algorithm)) return `algorithm ${packet.algorithm} is not one for signing`;
  const { bits } = packet.getAlgorithmInfo();
  return bits !== undefined && bits < leastRsaBits ? `RSA with ${bits} bits; at least ${leastRsaBits} are needed` : undefined;
}

function dayOf(date: Date | number): string {
  return new Date(date).toISOString().slice(0, 10);
}
