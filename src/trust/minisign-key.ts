/**
 * minisign keys: an Ed25519 pair with an eight-byte key id, in minisign's own file forms (minisign 0.11, "Public keys" and "Secret keys").
 *
 * Public: comment line, then base64 of `Ed` | key id 8 | public key 32.
 * Secret: comment line, then base64 of `Ed` | kdf 2 | `B2` | salt 32 | opslimit u64le | memlimit u64le | key id 8, seed 32, public key 32,
 * BLAKE2b-256 32. With kdf `Sc` the last 104 bytes are XORed with the stream of libsodium's scrypt; with kdf 0 they are plain.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { blake2b } from "@noble/hashes/blake2.js";
import { SlipwayError } from "../model/errors.ts";

export type MinisignPublicKey = {
  /** 16 upper-case hex digits, as minisign prints it: the eight bytes read as a little-endian number. */
  readonly keyId: string;
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
};

export type MinisignSecretKey = MinisignPublicKey & { readonly privateKey: KeyObject };

export type MinisignProtection = {
  readonly passphrase: string;
  /** Memory of the key derivation; 1 GiB by default, as minisign does: 4-9 s and 1 GiB for each guess. */
  readonly memoryBytes?: number;
};

const secretLength = 158;
const protectedLength = 104;
/** libsodium's SENSITIVE limits: what minisign writes, and the most that a file may ask of this machine. */
const sensitive = { operations: 33_554_432, memoryBytes: 1_073_741_824 };
const commentLimit = 1024; // minisign.h COMMENTMAXBYTES
const commentPrefix = "untrusted comment: ";

export function generateMinisignKey(): MinisignSecretKey {
  const { privateKey } = generateKeyPairSync("ed25519");
  return { keyId: keyIdText(randomBytes(8)), publicKey: publicBytes(privateKey), privateKey };
}

/** Reads a public key file, or its bare base64 line (`RW…`, as `minisign -V -P` takes it); throws `key_invalid`. */
export function parseMinisignPublicKey(text: string): MinisignPublicKey {
  const bytes = decodeBase64(encodedLine(text), 42);
  if (bytes === undefined || bytes.toString("latin1", 0, 2) !== "Ed") throw new SlipwayError("key_invalid", "this is not a minisign public key");
  return { keyId: keyIdText(bytes.subarray(2, 10)), publicKey: new Uint8Array(bytes.subarray(10)) };
}

/** Byte for byte what `minisign -G` writes. */
export function formatMinisignPublicKey(key: MinisignPublicKey): string {
  const bytes = Buffer.concat([Buffer.from("Ed"), keyIdBytes(key.keyId), key.publicKey]);
  // minisign prints the number without leading zeros.
  return `${commentPrefix}minisign public key ${key.keyId.replace(/^0+(?=.)/, "")}\n${bytes.toString("base64")}\n`;
}

/** True where the text is a secret key that wants a passphrase; throws `key_invalid` where it is no secret key at all. */
export function isMinisignKeyLocked(text: string): boolean {
  return splitSecret(text).kdf === "Sc";
}

/**
 * Opens a secret key; throws `key_invalid` for a broken one and `key_locked` without or with the wrong passphrase.
 * The public half inside must be what the seed gives: a swapped one would leak the seed through two signatures of one message.
 */
export async function readMinisignSecretKey(text: string, passphrase?: string): Promise<MinisignSecretKey> {
  const { kdf, salt, operations, memoryBytes, rest } = splitSecret(text);
  if (kdf === "Sc") {
    if (passphrase === undefined) throw new SlipwayError("key_locked", "the minisign key is protected by a passphrase");
    if (operations > sensitive.operations || memoryBytes > sensitive.memoryBytes) {
      throw new SlipwayError("key_invalid", `the minisign key asks for ${memoryBytes} bytes of memory; the limit is ${sensitive.memoryBytes}`);
    }
    xorInto(rest, await deriveStream({ passphrase, salt, operations, memoryBytes }));
  }
  const keyId = rest.subarray(0, 8);
  const seed = rest.subarray(8, 40);
  const publicKey = rest.subarray(40, 72);
  const checksum = rest.subarray(72, 104);
  const isUnchecked = kdf === "none" && checksum.every((byte) => byte === 0); // minisign -W leaves the checksum empty
  if (!isUnchecked && !timingSafeEqual(checksum, keyChecksum(rest))) {
    throw kdf === "Sc"
      ? new SlipwayError("key_locked", "the passphrase does not open the minisign key")
      : new SlipwayError("key_invalid", "the minisign secret key is damaged: its checksum differs");
  }
  const privateKey = createPrivateKey({ key: Buffer.concat([pkcs8Prefix, seed]), format: "der", type: "pkcs8" });
  const derived = publicBytes(privateKey);
  if (!timingSafeEqual(derived, publicKey)) throw new SlipwayError("key_invalid", "the minisign secret key is damaged: its two halves do not belong together");
  const key = { keyId: keyIdText(keyId), publicKey: derived, privateKey };
  rest.fill(0);
  return key;
}

/** The secret key as minisign writes it: protected by the passphrase, or plain (`minisign -W`) without one. */
export async function formatMinisignSecretKey(key: MinisignSecretKey, protection?: MinisignProtection): Promise<string> {
  const seed = key.privateKey.export({ format: "der", type: "pkcs8" }).subarray(-32);
  const rest = Buffer.concat([keyIdBytes(key.keyId), seed, key.publicKey, Buffer.alloc(32)]);
  const limits = Buffer.alloc(16);
  const salt = Buffer.alloc(32);
  if (protection !== undefined) {
    const memoryBytes = Math.min(protection.memoryBytes ?? sensitive.memoryBytes, sensitive.memoryBytes);
    const operations = memoryBytes / 32;
    keyChecksum(rest).copy(rest, 72);
    salt.set(randomBytes(32));
    limits.writeBigUInt64LE(BigInt(operations), 0);
    limits.writeBigUInt64LE(BigInt(memoryBytes), 8);
    xorInto(rest, await deriveStream({ passphrase: protection.passphrase, salt, operations, memoryBytes }));
  }
  const kdf = protection === undefined ? Buffer.alloc(2) : Buffer.from("Sc");
  const bytes = Buffer.concat([Buffer.from("Ed"), kdf, Buffer.from("B2"), salt, limits, rest]);
  rest.fill(0);
  return `${commentPrefix}minisign encrypted secret key\n${bytes.toString("base64")}\n`;
}

/** Base64 that says exactly one thing: right length, no white space, no stray bits. */
export function decodeBase64(text: string, length: number): Buffer | undefined {
  const bytes = Buffer.from(text, "base64");
  return bytes.length === length && bytes.toString("base64") === text ? bytes : undefined;
}

export function keyIdText(bytes: Uint8Array): string {
  return Buffer.from(bytes.toReversed()).toString("hex").toUpperCase();
}

export function keyIdBytes(keyId: string): Buffer {
  return Buffer.from(Buffer.from(keyId, "hex").toReversed());
}

const pkcs8Prefix = Buffer.from("302e020100300506032b657004220420", "hex"); // RFC 8410 7: PrivateKeyInfo of an Ed25519 seed

function publicBytes(privateKey: KeyObject): Uint8Array {
  return new Uint8Array(createPublicKey(privateKey).export({ format: "der", type: "spki" }).subarray(-32));
}

type SecretParts = { kdf: "Sc" | "none"; salt: Buffer; operations: number; memoryBytes: number; rest: Buffer };

function splitSecret(text: string): SecretParts {
  const bytes = decodeBase64(encodedLine(text), secretLength);
  if (bytes === undefined) throw new SlipwayError("key_invalid", "this is not a minisign secret key");
  const kdf = bytes.toString("latin1", 2, 4);
  if (bytes.toString("latin1", 0, 2) !== "Ed" || bytes.toString("latin1", 4, 6) !== "B2" || (kdf !== "Sc" && kdf !== "\0\0")) {
    throw new SlipwayError("key_invalid", "this minisign secret key is of a kind that Slipway does not know");
  }
  return {
    kdf: kdf === "Sc" ? "Sc" : "none",
    salt: bytes.subarray(6, 38),
    operations: Number(bytes.readBigUInt64LE(38)),
    memoryBytes: Number(bytes.readBigUInt64LE(46)),
    rest: bytes.subarray(secretLength - protectedLength),
  };
}

/** The base64 line, alone (as it stands in a variable or after `-P`) or below its comment. */
function encodedLine(text: string): string {
  const lines = text.trim().split(/\r?\n/);
  const [first = "", second = ""] = lines;
  if (lines.length === 1) return first;
  if (lines.length === 2 && first.startsWith(commentPrefix) && first.length <= commentLimit) return second;
  throw new SlipwayError("key_invalid", `a minisign key has two lines, the first beginning "${commentPrefix}"`);
}

/** BLAKE2b-256 over algorithm, key id and secret key; node:crypto has BLAKE2b only with 64 bytes. */
function keyChecksum(rest: Buffer): Buffer {
  return Buffer.from(blake2b(Buffer.concat([Buffer.from("Ed"), rest.subarray(0, 72)]), { dkLen: 32 }));
}

/** libsodium's crypto_pwhash_scryptsalsa208sha256 with its `pickparams`: turns the two limits into scrypt's N and p. */
async function deriveStream(parameters: { passphrase: string; salt: Buffer; operations: number; memoryBytes: number }): Promise<Buffer> {
  const blockSize = 8;
  const operations = Math.max(parameters.operations, 32_768);
  const isMemoryPlenty = operations < parameters.memoryBytes / 32;
  const largestCost = isMemoryPlenty ? operations / (blockSize * 4) : parameters.memoryBytes / (blockSize * 128);
  let cost = 2;
  while (cost <= largestCost / 2) cost *= 2;
  const parallelization = isMemoryPlenty ? 1 : Math.max(1, Math.floor(Math.min(operations / 4 / cost, 0x3fff_ffff) / blockSize));
  const maxmem = 128 * cost * blockSize + 128 * blockSize * parallelization + 1024 * 1024;
  return new Promise((resolve, reject) => {
    scrypt(parameters.passphrase, parameters.salt, protectedLength, { cost, blockSize, parallelization, maxmem }, (error, stream) => {
      // Node's word for "no error" is null, Bun's is undefined.
      if (!(error instanceof Error)) resolve(stream);
      else reject(new SlipwayError("key_locked", `the minisign key's passphrase could not be tried: ${error.message}`, { cause: error }));
    });
  });
}

function xorInto(target: Buffer, stream: Buffer): void {
  for (let index = 0; index < target.length; index += 1) target[index] = (target[index] ?? 0) ^ (stream[index] ?? 0);
}
