/**
 * OpenPGP signature packets written by hand and piece by piece: v4, of a binary document (0x00), SHA-512, with the hashed subpackets creation
 * time (2), issuer fingerprint (33), issuer key id (16) and nothing else, none of them critical (RFC 9580 5.2.3).
 *
 * For where a reader is older than OpenPGP.js expects (rpm), and for data that should not be in memory at once (a deb).
 */
import { createHash, createPrivateKey, createSign, type KeyObject, sign } from "node:crypto";
import type { SecretKeyPacket } from "openpgp";
import { SlipwayError } from "../model/errors.ts";
import { type OpenpgpSigningKey, signingDate } from "./openpgp.ts";

/** Takes the signed bytes; `finish` gives the packet and ends the signer. The same bytes, key and date give the same packet. */
export type PacketSigner = {
  readonly algorithm: "rsa" | "eddsa";
  readonly update: (piece: Uint8Array) => void;
  readonly finish: () => Uint8Array;
};

const rsaAlgorithms: ReadonlySet<number> = new Set([1, 3]);
const eddsaAlgorithms: ReadonlySet<number> = new Set([22]);
const sha512 = 10;

/** Throws `key_unfit` for a key of another kind than RSA and EdDSALegacy, which rpm 4.18 and gpg 2.2 cannot check. */
export function createPacketSigner(key: OpenpgpSigningKey, epochSeconds: number): PacketSigner {
  const packet = secretPacketOf(key);
  const isRsa = rsaAlgorithms.has(packet.algorithm);
  if (!isRsa && !eddsaAlgorithms.has(packet.algorithm)) {
    throw new SlipwayError("key_unfit", `rpm 4.18 and older cannot check signatures of algorithm ${packet.algorithm}; use an RSA or ed25519 key`);
  }
  const fingerprint = packet.getFingerprintBytes();
  if (fingerprint === null) throw new SlipwayError("key_unfit", "the signing key has no fingerprint");
  const seconds = Math.floor(signingDate(key, epochSeconds).getTime() / 1000);
  const hashed = Buffer.concat([
    subpacket(2, uint32(seconds)),
    subpacket(33, Buffer.concat([Buffer.from([4]), fingerprint])),
    subpacket(16, Buffer.from(fingerprint.subarray(12))),
  ]);
  const fields = Buffer.concat([Buffer.from([4, 0x00, packet.algorithm, sha512]), uint16(hashed.length), hashed]);
  // RFC 9580 5.2.4: the data, the fields up to the hashed subpackets, and the v4 trailer with their length.
  const trailer = Buffer.concat([Buffer.from([4, 0xff]), uint32(fields.length)]);
  const digest = createHash("sha512");
  const rsa = isRsa ? createSign("sha512") : undefined; // it hashes by itself
  const update = (piece: Uint8Array): void => {
    digest.update(piece);
    rsa?.update(piece);
  };
  return {
    algorithm: isRsa ? "rsa" : "eddsa",
    update,
    finish: () => {
      update(fields);
      update(trailer);
      const value = digest.digest();
      const numbers = rsa === undefined ? signEddsa(packet, value) : [rsa.sign(rsaKey(packet))];
      const body = Buffer.concat([fields, uint16(0), value.subarray(0, 2), ...numbers.map(multiprecision)]);
      // Old packet format with a two-byte length: what rpmsign embeds and every rpm reads.
      return new Uint8Array(Buffer.concat([Buffer.from([0x80 | (2 << 2) | 1]), uint16(body.length), body]));
    },
  };
}

function secretPacketOf(key: OpenpgpSigningKey): SecretKeyPacket {
  const wanted = key.fitness.keyPacket.getFingerprint();
  const part = key.privateKey.getKeys().find((candidate) => candidate.getFingerprint() === wanted);
  const packet = part?.keyPacket;
  if (packet === undefined || !("privateParams" in packet) || packet.privateParams === null)
    throw new SlipwayError("key_locked", `the secret half of ${wanted} is not open`);
  return packet as SecretKeyPacket;
}

/** OpenPGP's numbers of an RSA key as one that node signs with. */
function rsaKey(packet: SecretKeyPacket): KeyObject {
  const { n, e } = packet.publicParams as { n: Uint8Array; e: Uint8Array };
  const { d, p, q, u } = packet.privateParams as { d: Uint8Array; p: Uint8Array; q: Uint8Array; u: Uint8Array };
  const exponent = toBigInt(d);
  // OpenPGP's u is p^-1 mod q; JWK's qi is q^-1 mod p: the primes change places (RFC 9580 5.5.5.1, RFC 7518 6.3.2).
  const jwk = {
    kty: "RSA",
    n: base64url(n),
    e: base64url(e),
    d: base64url(d),
    p: base64url(q),
    q: base64url(p),
    dp: base64url(toBytes(exponent % (toBigInt(q) - 1n))),
    dq: base64url(toBytes(exponent % (toBigInt(p) - 1n))),
    qi: base64url(u),
  };
  return createPrivateKey({ key: jwk, format: "jwk" });
}

/** EdDSALegacy signs the digest, and its two numbers are R and S (RFC 9580 5.2.3.3). */
function signEddsa(packet: SecretKeyPacket, digest: Uint8Array): readonly Buffer[] {
  const { Q } = packet.publicParams as { Q: Uint8Array };
  const { seed } = packet.privateParams as { seed: Uint8Array };
  const key: KeyObject = createPrivateKey({ key: { kty: "OKP", crv: "Ed25519", x: base64url(Q.subarray(1)), d: base64url(seed) }, format: "jwk" });
  const signature = sign(null, digest, key);
  return [signature.subarray(0, 32), signature.subarray(32)];
}

/** Type and body under 191 bytes: one length octet; the type without the critical bit. */
function subpacket(type: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([body.length + 1, type]), body]);
}

/** RFC 9580 3.2: the number of bits, then the bytes without leading zeros. */
function multiprecision(bytes: Uint8Array): Buffer {
  const start = bytes.findIndex((byte) => byte !== 0);
  const stripped = start === -1 ? new Uint8Array() : bytes.subarray(start);
  const bits = stripped.length === 0 ? 0 : stripped.length * 8 - Math.clz32((stripped[0] ?? 0) << 24);
  return Buffer.concat([uint16(bits), stripped]);
}

function uint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64url");
}

function toBigInt(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).toString("hex") || "0"}`);
}

function toBytes(value: bigint): Uint8Array {
  const hex = value.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
}
