/**
 * minisign signatures: four lines, of which two are signatures.
 *
 * 1 `untrusted comment: …` (anyone may change it)   2 base64 of `ED` | key id 8 | Ed25519 over BLAKE2b-512 of the data
 * 3 `trusted comment: …`                            4 base64 of Ed25519 over line 2's signature and line 3's comment
 * Line 4 is what makes line 3 trustworthy: both are always checked. `Ed` in line 2 is the old form that signs the data itself; minisign
 * accepts it still, we do not.
 */
import { createHash, createPublicKey, sign, verify } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";
import { decodeBase64, keyIdBytes, keyIdText, type MinisignPublicKey, type MinisignSecretKey } from "./minisign-key.ts";

export type MinisignVerdict =
  | { readonly kind: "good"; readonly keyId: string; readonly trustedComment: string }
  | { readonly kind: "bad"; readonly detail: "minisig_bad" | "minisig_key_unknown" | "minisig_legacy"; readonly message: string };

/** Longest signature file that is read: minisign's comment limits are 1,024 and 8,192 bytes. */
export const minisigSizeLimit = 16 * 1024;
const untrustedLimit = 1024; // minisign.h COMMENTMAXBYTES
const trustedLimit = 8192; // minisign.h TRUSTEDCOMMENTMAXBYTES
const untrustedPrefix = "untrusted comment: ";
const trustedPrefix = "trusted comment: ";

/** Signs; the same data, key and comment give the same bytes. Throws `signature_invalid` for a comment that does not fit one line. */
export function signMinisign(data: Uint8Array, key: MinisignSecretKey, trustedComment: string): string {
  if (!isOneLine(trustedComment, trustedLimit)) {
    throw new SlipwayError("signature_invalid", "a trusted comment is one line of at most 8192 bytes without control characters");
  }
  const signature = sign(null, prehash(data), key.privateKey);
  const globalSignature = sign(null, Buffer.concat([signature, Buffer.from(trustedComment)]), key.privateKey);
  return minisignText({ keyId: key.keyId, signature, trustedComment, globalSignature });
}

/** What the first signature is over: BLAKE2b-512 of the file. The second is over the first and the trusted comment. */
export function minisignDigest(data: Uint8Array): Uint8Array {
  return prehash(data);
}

/** The four lines of a `.minisig`, from signatures that are made elsewhere. Throws `signature_invalid` for a comment that does not fit one line. */
export function minisignText(parts: {
  readonly keyId: string;
  readonly signature: Uint8Array;
  readonly trustedComment: string;
  readonly globalSignature: Uint8Array;
}): string {
  const { keyId, signature, trustedComment, globalSignature } = parts;
  if (!isOneLine(trustedComment, trustedLimit)) {
    throw new SlipwayError("signature_invalid", "a trusted comment is one line of at most 8192 bytes without control characters");
  }
  const encoded = Buffer.concat([Buffer.from("ED"), keyIdBytes(keyId), signature]).toString("base64");
  const global = Buffer.from(globalSignature).toString("base64");
  return `${untrustedPrefix}signature from minisign secret key ${keyId}\n${encoded}\n${trustedPrefix}${trustedComment}\n${global}\n`;
}

/** Verifies both signatures against the trusted keys; never throws for bad input, the verdict says what is wrong. */
export function verifyMinisign(question: {
  readonly data: Uint8Array;
  readonly signature: Uint8Array;
  readonly keys: readonly MinisignPublicKey[];
}): MinisignVerdict {
  const parsed = parseSignature(question.signature);
  if (typeof parsed === "string") return { kind: "bad", detail: "minisig_bad", message: parsed };
  const candidates = question.keys.filter((key) => key.keyId === parsed.keyId);
  if (candidates.length === 0) return { kind: "bad", detail: "minisig_key_unknown", message: `signed by minisign key ${parsed.keyId}, which is not trusted` };
  if (parsed.algorithm === "Ed") {
    return { kind: "bad", detail: "minisig_legacy", message: "signed in minisign's legacy form, without hashing first; sign again with a current minisign" };
  }
  const digest = prehash(question.data);
  const covered = Buffer.concat([parsed.signature, Buffer.from(parsed.trustedComment)]);
  const isGood = candidates.some((key) => {
    const publicKey = createPublicKey({ key: Buffer.concat([spkiPrefix, key.publicKey]), format: "der", type: "spki" });
    return verify(null, digest, publicKey, parsed.signature) && verify(null, covered, publicKey, parsed.globalSignature);
  });
  if (!isGood)
    return { kind: "bad", detail: "minisig_bad", message: `the minisign signature by key ${parsed.keyId} does not fit the file or its trusted comment` };
  return { kind: "good", keyId: parsed.keyId, trustedComment: parsed.trustedComment };
}

const spkiPrefix = Buffer.from("302a300506032b6570032100", "hex"); // RFC 8410 4: SubjectPublicKeyInfo of an Ed25519 key

type ParsedSignature = {
  readonly algorithm: "ED" | "Ed";
  readonly keyId: string;
  readonly signature: Buffer;
  readonly trustedComment: string;
  readonly globalSignature: Buffer;
};

/** The four lines, or what is wrong with them. */
function parseSignature(bytes: Uint8Array): ParsedSignature | string {
  if (bytes.length > minisigSizeLimit) return `the minisign signature has ${bytes.length} bytes; the limit is ${minisigSizeLimit}`;
  const text = decodeUtf8(bytes);
  const lines = text?.split("\n") ?? [];
  if (lines.length !== 5 || lines[4] !== "") return "a minisign signature has exactly four lines, each ended by a line feed";
  const [untrusted = "", encoded = "", trusted = "", encodedGlobal = ""] = lines;
  if (!untrusted.startsWith(untrustedPrefix) || !isOneLine(untrusted, untrustedLimit)) return "line 1 of the minisign signature is not an untrusted comment";
  const packet = decodeBase64(encoded, 74);
  const algorithm = packet?.toString("latin1", 0, 2);
  if (packet === undefined || (algorithm !== "ED" && algorithm !== "Ed")) return "line 2 of the minisign signature is not a minisign signature";
  const trustedComment = trusted.slice(trustedPrefix.length);
  if (!trusted.startsWith(trustedPrefix) || !isOneLine(trustedComment, trustedLimit)) return "line 3 of the minisign signature is not a trusted comment";
  const globalSignature = decodeBase64(encodedGlobal, 64);
  if (globalSignature === undefined) return "line 4 of the minisign signature is not a signature";
  return { algorithm, keyId: keyIdText(packet.subarray(2, 10)), signature: packet.subarray(10), trustedComment, globalSignature };
}

function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined; // the verdict says so
  }
}

/** Tabs are minisign's own separators; any other control character could hide text on a terminal. */
function isOneLine(text: string, limit: number): boolean {
  return Buffer.byteLength(text) <= limit && !/[^\P{Cc}\t]/u.test(text);
}

function prehash(data: Uint8Array): Buffer {
  return createHash("blake2b512").update(data).digest();
}
