/**
 * Verifies detached OpenPGP signatures by our own policy, never by what a library or gpg would let pass: gpg exits 0 for a revoked key, an
 * expired key, a SHA-1 signature and one dated in the future, and takes any key of the keyring (updater facts, finding 1).
 *
 * A signature counts when it is v4, of type 0x00, over SHA-256 or better, made by a fit key whose primary fingerprint is pinned, not before
 * that key existed, not later than now (+5 minutes of clock difference), and not expired. A file may carry several signatures (key
 * rotation): those by keys that are not pinned are passed over, every one by a pinned key must be good, and one must be there.
 */
import type { Key, LiteralDataPacket, SignaturePacket } from "openpgp";
import { SlipwayError } from "../model/errors.ts";
import { fingerprintOf, isBinary, readPublicKeys } from "./openpgp.ts";
import { judgeKey, strongHashes } from "./openpgp-key-fitness.ts";
import { loadOpenpgp, openpgpSettings } from "./openpgp-library.ts";
import { type OpenpgpPacket, splitPackets } from "./openpgp-packets.ts";

export type OpenpgpDetail = "gpg_bad" | "gpg_revoked" | "gpg_expired" | "gpg_weak_hash" | "gpg_wrong_key";

export type OpenpgpVerdict =
  | { readonly kind: "good"; readonly fingerprint: string; readonly signedAt: Date }
  | { readonly kind: "bad"; readonly detail: OpenpgpDetail; readonly message: string };

/** Pinned keys, one entry for each primary fingerprint. */
export type OpenpgpKeyring = { readonly keys: readonly Key[] };

/** Largest signature file: 16 RSA-4096 signatures are 10 KB. */
export const openpgpSignatureSizeLimit = 64 * 1024;
const signatureLimit = 16;
const clockDifferenceMs = 5 * 60 * 1000;
const signaturePacketTag = 2;
const binaryDocument = 0x00;
const unfitDetails = { revoked: "gpg_revoked", expired: "gpg_expired", weak: "gpg_weak_hash", unusable: "gpg_bad" } as const;

/**
 * The keys of the keyrings whose primary fingerprints are pinned; without `fingerprints` all of them (the file itself is the pin).
 * Throws `key_invalid` for an unreadable keyring and `policy_invalid` where a pinned key is missing from it.
 */
export async function pinKeys(keyrings: Uint8Array | readonly Uint8Array[], fingerprints?: readonly string[]): Promise<OpenpgpKeyring> {
  const settings = openpgpSettings(await loadOpenpgp());
  const merged = new Map<string, Key>();
  for (const key of (await Promise.all((keyrings instanceof Uint8Array ? [keyrings] : keyrings).map(readPublicKeys))).flat()) {
    // The same key twice: a revocation in one copy must count, so the copies are merged.
    const known = merged.get(fingerprintOf(key));
    merged.set(fingerprintOf(key), known === undefined ? key : await known.update(key, undefined, settings));
  }
  if (fingerprints === undefined) return { keys: [...merged.values()] };
  return {
    keys: fingerprints.map((text) => {
      const fingerprint = text.replaceAll(" ", "").toUpperCase();
      const key = merged.get(fingerprint);
      if (key === undefined) throw new SlipwayError("policy_invalid", `the keyring does not hold the pinned key ${fingerprint.slice(0, 80)}`);
      return key;
    }),
  };
}

/** The verdict on `signature` (binary or armored) over `data` at `now`; never throws for bad input. */
export async function verifyDetached(question: {
  readonly data: Uint8Array;
  readonly signature: Uint8Array;
  readonly keyring: OpenpgpKeyring;
  readonly now: Date;
}): Promise<OpenpgpVerdict> {
  const packets = await readPackets(question.signature);
  if (typeof packets === "string") return bad("gpg_bad", packets);
  let good: OpenpgpVerdict | undefined;
  const strangers: string[] = [];
  for (const packet of packets) {
    const signature = await readSignaturePacket(packet);
    if (typeof signature === "string") return bad("gpg_bad", signature);
    const key = findKey(question.keyring, signature);
    if (key === undefined) {
      strangers.push(signature.issuerKeyID.toHex().toUpperCase());
      continue;
    }
    const verdict = await judgeSignature(signature, key, question);
    if (verdict.kind === "bad") return verdict;
    good ??= verdict;
  }
  return good ?? bad("gpg_wrong_key", `signed by OpenPGP key ${strangers.join(", ")}, which is not trusted`);
}

async function judgeSignature(signature: SignaturePacket, key: Key, question: { readonly data: Uint8Array; readonly now: Date }): Promise<OpenpgpVerdict> {
  const { now } = question;
  const fingerprint = fingerprintOf(key);
  const fitness = await judgeKey(key, now, signature.issuerKeyID);
  if (fitness.kind === "revoked") return bad("gpg_revoked", fitness.why);
  if (!strongHashes.has(signature.hashAlgorithm ?? 0)) {
    return bad("gpg_weak_hash", `the signature by ${fingerprint} uses hash algorithm ${signature.hashAlgorithm ?? 0}; SHA-256 or better is needed`);
  }
  if (fitness.kind !== "fit") return bad(unfitDetails[fitness.kind], fitness.why);
  const signedAt = signature.created;
  if (signedAt === null) return bad("gpg_bad", `the signature by ${fingerprint} has no date`);
  if (signedAt.getTime() > now.getTime() + clockDifferenceMs)
    return bad("gpg_bad", `the signature by ${fingerprint} is dated in the future: ${signedAt.toISOString()}`);
  if (signedAt < fitness.createdAt) return bad("gpg_bad", `the signature by ${fingerprint} is older than its key: ${signedAt.toISOString()}`);
  if (signature.getExpirationTime() <= now) return bad("gpg_expired", `the signature by ${fingerprint} has expired`);
  try {
    const openpgp = await loadOpenpgp();
    const message = await openpgp.createMessage({ binary: question.data });
    const literal = message.packets.findPacket(openpgp.enums.packet.literalData) as LiteralDataPacket;
    // No date: the library's rules on time are replaced by the ones above.
    await signature.verify(fitness.keyPacket, openpgp.enums.signature.binary, literal, null as never, true, openpgpSettings(openpgp));
  } catch (error) {
    return bad("gpg_bad", `the signature by ${fingerprint} does not fit the file: ${error instanceof Error ? error.message : "unreadable"}`);
  }
  return { kind: "good", fingerprint, signedAt };
}

/** By fingerprint where the signature names one (subpacket 33), else by key id (subpacket 16); the cryptographic check follows in any case. */
function findKey(keyring: OpenpgpKeyring, signature: SignaturePacket): Key | undefined {
  const issuer = signature.issuerFingerprint === null ? undefined : Buffer.from(signature.issuerFingerprint).toString("hex");
  return keyring.keys.find((key) =>
    key.getKeys().some((part) => (issuer === undefined ? part.getKeyID().equals(signature.issuerKeyID) : part.getFingerprint() === issuer)),
  );
}

async function readPackets(bytes: Uint8Array): Promise<readonly OpenpgpPacket[] | string> {
  if (bytes.length === 0 || bytes.length > openpgpSignatureSizeLimit)
    return `the OpenPGP signature has ${bytes.length} bytes; the limit is ${openpgpSignatureSizeLimit}`;
  const binary = isBinary(bytes) ? bytes : await unarmorSignature(bytes);
  const packets = binary === undefined ? undefined : splitPackets(binary);
  if (packets === undefined || packets.length === 0) return "this is not an OpenPGP signature";
  if (packets.length > signatureLimit) return `more than ${signatureLimit} OpenPGP signatures in one file`;
  return packets;
}

/** The packets of an armored signature; undefined for what is none. */
export async function unarmorSignature(bytes: Uint8Array): Promise<Uint8Array | undefined> {
  const openpgp = await loadOpenpgp();
  const text = Buffer.from(bytes).toString("latin1").trim();
  if (!text.startsWith("-----BEGIN PGP SIGNATURE-----") || !text.endsWith("-----END PGP SIGNATURE-----") || text.split("-----BEGIN").length !== 2)
    return undefined;
  try {
    const { data } = await openpgp.unarmor(text);
    return data instanceof Uint8Array ? data : undefined;
  } catch {
    return undefined; // reported as no signature
  }
}

/** A v4 binary-document signature as a value, or why it is none. */
async function readSignaturePacket(packet: OpenpgpPacket): Promise<SignaturePacket | string> {
  if (packet.tag !== signaturePacketTag) return `the file holds an OpenPGP packet of type ${packet.tag} where only signatures belong`;
  const [version, type] = packet.body;
  if (version !== 4) return `OpenPGP signatures of version ${version ?? 0} are not supported, only version 4`;
  if (type !== binaryDocument) return `the OpenPGP signature is of type ${type ?? 0}, not one over a binary file`;
  const openpgp = await loadOpenpgp();
  try {
    const { packets } = await openpgp.readSignature({ binarySignature: packet.bytes, config: openpgpSettings(openpgp) });
    const [signature] = packets;
    return packets.length === 1 && signature !== undefined ? signature : "this is not an OpenPGP signature";
  } catch (error) {
    return `the OpenPGP signature cannot be read: ${error instanceof Error ? error.message : "unreadable"}`;
  }
}

function bad(detail: OpenpgpDetail, message: string): OpenpgpVerdict {
  return { kind: "bad", detail, message };
}
