/**
 * OpenPGP keys and signatures that every client reads: v4 keys, RSA-4096 or EdDSALegacy, SHA-512 (trust facts 4.5).
 *
 * The library's default new key (`curve25519`, algorithm 27) and v6 keys are refused by gpg 2.2-2.4 and rpm 4.18 and are never made here.
 * Signing is deterministic: no salt, no random notation, and the date is an argument.
 */
import type { Key, PrivateKey, UserID } from "openpgp";
import { SlipwayError } from "../model/errors.ts";
import { type KeyFitness, judgeKey } from "./openpgp-key-fitness.ts";
import { loadOpenpgp, openpgpSettings } from "./openpgp-library.ts";

export const openpgpAlgorithms = ["rsa4096", "ed25519"] as const;
export type OpenpgpAlgorithm = (typeof openpgpAlgorithms)[number];

export type GeneratedOpenpgpKey = {
  /** Armored; protected where a passphrase was given. */
  readonly secretKey: string;
  /** Armored. */
  readonly publicKey: string;
  /** Armored; publishing it revokes the key. */
  readonly revocationCertificate: string;
  readonly fingerprint: string;
};

/** An opened, fit key. `privateKey` stays inside the trust area. */
export type OpenpgpSigningKey = {
  /** 40 upper-case hex digits of the primary key. */
  readonly fingerprint: string;
  readonly privateKey: PrivateKey;
  readonly fitness: Extract<KeyFitness, { kind: "fit" }>;
};

/** Largest key file that is read: a key with a few hundred third-party certifications. */
export const openpgpKeySizeLimit = 1024 * 1024;

/** Makes a primary key that certifies and signs, without subkeys (old rpm knows none) and without expiry. `userId` is `Name <address>` or a name. */
export async function generateOpenpgpKey(options: {
  readonly userId: string;
  readonly algorithm: OpenpgpAlgorithm;
  readonly now: Date;
  readonly passphrase?: string;
}): Promise<GeneratedOpenpgpKey> {
  const openpgp = await loadOpenpgp();
  const kind = options.algorithm === "rsa4096" ? ({ type: "rsa", rsaBits: 4096 } as const) : ({ type: "ecc", curve: "ed25519Legacy" } as const);
  const made = await openpgp.generateKey({
    ...kind,
    userIDs: [parseUserId(options.userId)],
    subkeys: [],
    date: options.now,
    format: "armored",
    ...(options.passphrase === undefined ? {} : { passphrase: options.passphrase }),
    config: openpgpSettings(openpgp),
  });
  const [key] = await readPublicKeys(Buffer.from(made.publicKey));
  return {
    secretKey: made.privateKey,
    publicKey: made.publicKey,
    revocationCertificate: made.revocationCertificate,
    fingerprint: key === undefined ? "" : fingerprintOf(key),
  };
}

/**
 * Reads and opens a secret key, armored or binary; throws `key_invalid` for what is no single secret key, `key_locked` without the right
 * passphrase and `key_unfit` for one that is revoked, expired, weak, or certified with SHA-1.
 */
export async function readSigningKey(bytes: Uint8Array, options: { readonly now: Date; readonly passphrase?: string }): Promise<OpenpgpSigningKey> {
  const locked = await readSecretKey(bytes);
  const fingerprint = fingerprintOf(locked);
  const fitness = await judgeKey(locked, options.now);
  if (fitness.kind !== "fit") throw new SlipwayError("key_unfit", fitness.why, { detail: `key_${fitness.kind}` });
  return { fingerprint, privateKey: await openKey(locked, options.passphrase), fitness };
}

/** True where the secret key wants a passphrase; throws `key_invalid`. */
export async function isOpenpgpKeyLocked(bytes: Uint8Array): Promise<boolean> {
  return !(await readSecretKey(bytes)).isDecrypted();
}

/** One key, or several that sign the same bytes while one takes over from another: clients need the signature of one that they have. */
export type SigningKeys = OpenpgpSigningKey | readonly OpenpgpSigningKey[];

/** A detached binary-document signature (type 0x00) over `data`: the bytes of a `.sig`, or armored (`Release.gpg`, `repomd.xml.asc`). */
export async function signDetached(data: Uint8Array, keys: SigningKeys, epochSeconds: number): Promise<Uint8Array> {
  const openpgp = await loadOpenpgp();
  return openpgp.sign({
    message: await openpgp.createMessage({ binary: data }),
    signingKeys: [keys].flat().map((key) => key.privateKey),
    detached: true,
    date: latestSigningDate(keys, epochSeconds),
    format: "binary",
    config: openpgpSettings(openpgp),
  });
}

export async function signDetachedArmored(data: Uint8Array, keys: SigningKeys, epochSeconds: number): Promise<string> {
  return armor(await signDetached(data, keys, epochSeconds), "signature");
}

/** The clear-signed form of `text` (InRelease), with a signature for each key: LF line ends, no trailing blanks on any line, because those are outside the signature. */
export async function clearsign(text: string, keys: SigningKeys, epochSeconds: number): Promise<string> {
  const blank = text.split("\n").findIndex((line) => /[ \t\r]$/.test(line));
  if (blank !== -1) throw new SlipwayError("signature_invalid", `line ${blank + 1} ends in white space, which a clear signature does not cover`);
  const openpgp = await loadOpenpgp();
  const signed = await openpgp.sign({
    message: await openpgp.createCleartextMessage({ text: text.replace(/\n$/, "") }),
    signingKeys: [keys].flat().map((key) => key.privateKey),
    date: latestSigningDate(keys, epochSeconds),
    config: openpgpSettings(openpgp),
  });
  return signed.replaceAll("\r\n", "\n");
}

/** The date of a signature: the release's, but never before the key and its self-signature (gpg and rpm refuse such signatures). */
export function signingDate(key: OpenpgpSigningKey, epochSeconds: number): Date {
  return new Date(Math.max(epochSeconds * 1000, key.fitness.certifiedAt.getTime()));
}

function latestSigningDate(keys: SigningKeys, epochSeconds: number): Date {
  return new Date(Math.max(...[keys].flat().map((key) => signingDate(key, epochSeconds).getTime())));
}

/** All public keys of an armored (any number of blocks) or binary keyring; secret halves are dropped. Throws `key_invalid`. */
export async function readPublicKeys(bytes: Uint8Array): Promise<readonly Key[]> {
  const openpgp = await loadOpenpgp();
  if (bytes.length > openpgpKeySizeLimit) throw new SlipwayError("key_invalid", `the keyring has ${bytes.length} bytes; the limit is ${openpgpKeySizeLimit}`);
  const config = openpgpSettings(openpgp);
  try {
    const keys = isBinary(bytes)
      ? await openpgp.readKeys({ binaryKeys: bytes, config })
      : (await Promise.all(armorBlocks(bytes).map((armoredKeys) => openpgp.readKeys({ armoredKeys, config })))).flat();
    if (keys.length > 0) return keys.map((key) => key.toPublic());
  } catch (error) {
    throw new SlipwayError("key_invalid", `this is not an OpenPGP keyring: ${error instanceof Error ? error.message : "unreadable"}`, { cause: error });
  }
  throw new SlipwayError("key_invalid", "the keyring holds no OpenPGP key");
}

/**
 * Public keys as clients import them: `gpg` binary (apt `signed-by`, gpgv), `asc` one armored block (apt reads only the first block),
 * `asc-blocks` one armored block for each key (rpm reads only the first key of a block).
 */
export async function exportPublicKeys(keyrings: readonly Uint8Array[], format: "gpg" | "asc" | "asc-blocks"): Promise<Uint8Array> {
  const keys = (await Promise.all(keyrings.map(readPublicKeys))).flat();
  const bytes = keys.map((key) => key.write());
  if (format === "gpg") return new Uint8Array(Buffer.concat(bytes));
  const blocks = format === "asc" ? [Buffer.concat(bytes)] : bytes;
  return new Uint8Array(Buffer.from((await Promise.all(blocks.map((block) => armor(block, "publicKey")))).join("")));
}

/** 40 upper-case hex digits, as gpg prints them. */
export function fingerprintOf(key: Key): string {
  return key.getFingerprint().toUpperCase();
}

/** What people compare: fingerprint, user ids, algorithm. */
export function describeKey(key: Key): {
  readonly fingerprint: string;
  readonly userIds: readonly string[];
  readonly algorithm: string;
  readonly createdAt: Date;
} {
  const { algorithm, bits, curve } = key.getAlgorithmInfo();
  return {
    fingerprint: fingerprintOf(key),
    userIds: key.getUserIDs(),
    algorithm: bits === undefined ? (curve ?? algorithm) : `rsa${bits}`,
    createdAt: key.getCreationTime(),
  };
}

/** When the primary key ends; undefined for one that does not. Throws `key_invalid` for a key without a valid user id. */
export async function keyExpiry(key: Key): Promise<Date | undefined> {
  const end = await key.getExpirationTime(undefined, openpgpSettings(await loadOpenpgp()));
  if (end === null) throw new SlipwayError("key_invalid", `the key ${fingerprintOf(key)} has no valid user id`);
  return end instanceof Date ? end : undefined;
}

async function armor(bytes: Uint8Array, type: "signature" | "publicKey"): Promise<string> {
  const openpgp = await loadOpenpgp();
  return openpgp.armor(openpgp.enums.armor[type], bytes, undefined, undefined, undefined, true, openpgpSettings(openpgp)).replaceAll("\r\n", "\n");
}

async function readSecretKey(bytes: Uint8Array): Promise<PrivateKey> {
  const openpgp = await loadOpenpgp();
  if (bytes.length > openpgpKeySizeLimit) throw new SlipwayError("key_invalid", `the key has ${bytes.length} bytes; the limit is ${openpgpKeySizeLimit}`);
  const config = openpgpSettings(openpgp);
  let keys: PrivateKey[];
  try {
    keys = isBinary(bytes)
      ? await openpgp.readPrivateKeys({ binaryKeys: bytes, config })
      : await openpgp.readPrivateKeys({ armoredKeys: Buffer.from(bytes).toString("utf8"), config });
  } catch (error) {
    // The library's message may quote what it read; only its kind is passed on.
    throw new SlipwayError("key_invalid", "this is not an OpenPGP secret key", { cause: error });
  }
  const [key] = keys;
  if (key === undefined || keys.length !== 1) throw new SlipwayError("key_invalid", `expected one OpenPGP secret key, found ${keys.length}`);
  return key;
}

async function openKey(key: PrivateKey, passphrase: string | undefined): Promise<PrivateKey> {
  if (key.isDecrypted()) return key;
  const fingerprint = fingerprintOf(key);
  if (passphrase === undefined) throw new SlipwayError("key_locked", `the OpenPGP key ${fingerprint} is protected by a passphrase`);
  const openpgp = await loadOpenpgp();
  try {
    return await openpgp.decryptKey({ privateKey: key, passphrase, config: openpgpSettings(openpgp) });
  } catch (error) {
    throw new SlipwayError("key_locked", `the passphrase does not open the OpenPGP key ${fingerprint}`, { cause: error });
  }
}

/** Binary packets have the highest bit of the first byte set (RFC 9580 4.2); armor is ASCII. */
export function isBinary(bytes: Uint8Array): boolean {
  return ((bytes[0] ?? 0) & 0x80) !== 0;
}

function armorBlocks(bytes: Uint8Array): readonly string[] {
  const text = Buffer.from(bytes).toString("utf8");
  return text.match(/-----BEGIN PGP [A-Z ]+-----[\s\S]*?-----END PGP [A-Z ]+-----/g) ?? [text];
}

function parseUserId(text: string): UserID {
  const [, name = text, email] = /^(.*?)\s*<([^<>\s]+@[^<>\s]+)>$/.exec(text.trim()) ?? [];
  if (text.trim() === "" || text.length > 200 || /[\p{Cc}]/u.test(text))
    throw new SlipwayError("usage", 'a user id looks like "Acme Releases <release@acme.example>"');
  return { name: name.trim(), ...(email === undefined ? {} : { email }) };
}
