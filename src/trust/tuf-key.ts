/** TUF keys: ed25519; PEM on disk, hex in metadata, named by the SHA-256 of their canonical JSON as securesystemslib does it. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";
import { canonicalJson } from "./canonical-json.ts";
import type { TufKeyJson } from "./tuf-metadata.ts";

export type TufPublicKey = {
  /** 64 hex digits. */
  readonly keyId: string;
  /** As it stands in root and targets metadata. */
  readonly json: TufKeyJson;
};
export type TufSigningKey = TufPublicKey & {
  /** Hex. */
  readonly sign: (bytes: Uint8Array) => string;
};
export type NewTufKey = TufPublicKey & { readonly publicText: string; readonly privateKey: KeyObject };

export const tufKeySizeLimit = 4096;

export function generateTufKey(): NewTufKey {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return { ...describe(publicKey), publicText: publicKey.export({ type: "spki", format: "pem" }).toString(), privateKey };
}

/** PKCS#8 PEM, protected with AES-256 where there is a passphrase. */
export function formatTufSecretKey(key: NewTufKey, passphrase?: string): string {
  const form = { type: "pkcs8", format: "pem" } as const;
  return key.privateKey.export(passphrase === undefined ? form : { ...form, cipher: "aes-256-cbc", passphrase }).toString();
}

/** True where the secret key wants a passphrase; throws `key_invalid` for what is no PEM secret key. */
export function isTufKeyLocked(text: string): boolean {
  const [, label] = /^-----BEGIN ((?:ENCRYPTED )?PRIVATE KEY)-----\r?\n[\s\S]+?-----END \1-----\s*$/.exec(text.trimStart()) ?? [];
  if (label === undefined || text.length > tufKeySizeLimit) throw new SlipwayError("key_invalid", "this is not the PEM of a TUF key");
  return label.startsWith("ENCRYPTED");
}

/** Throws `key_invalid`, `key_locked`, or `key_unfit` for another algorithm than ed25519. */
export function readTufSigningKey(text: string, passphrase?: string): TufSigningKey {
  const isLocked = isTufKeyLocked(text);
  if (isLocked && passphrase === undefined) throw new SlipwayError("key_locked", "the TUF key is protected by a passphrase");
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey({ key: text, format: "pem", ...(isLocked && passphrase !== undefined ? { passphrase } : {}) });
  } catch (error) {
    if (isLocked) throw new SlipwayError("key_locked", "the passphrase does not open the TUF key", { cause: error });
    throw new SlipwayError("key_invalid", "this is not the PEM of a TUF key", { cause: error });
  }
  return signingKeyOf(privateKey);
}

export function signingKeyOf(privateKey: KeyObject): TufSigningKey {
  return { ...describe(createPublicKey(privateKey)), sign: (bytes) => sign(null, bytes, privateKey).toString("hex") };
}

/** Reads the PEM of a public key; throws `key_invalid` or `key_unfit`. */
export function readTufPublicKey(text: string): TufPublicKey {
  if (!text.trimStart().startsWith("-----BEGIN PUBLIC KEY-----") || text.length > tufKeySizeLimit) {
    throw new SlipwayError("key_invalid", "this is not the PEM of a public TUF key");
  }
  try {
    return describe(createPublicKey({ key: text, format: "pem" }));
  } catch (error) {
    if (error instanceof SlipwayError) throw error;
    throw new SlipwayError("key_invalid", "this is not the PEM of a public TUF key", { cause: error });
  }
}

function describe(publicKey: KeyObject): TufPublicKey {
  if (publicKey.asymmetricKeyType !== "ed25519") {
    throw new SlipwayError("key_unfit", `TUF keys here are ed25519, not ${publicKey.asymmetricKeyType ?? "symmetric"}`, {
      hint: "make one with `slipway keys new NAME --type tuf`",
    });
  }
  // The last 32 bytes of the SubjectPublicKeyInfo (RFC 8410 section 4).
  const hex = publicKey.export({ type: "spki", format: "der" }).subarray(-32).toString("hex");
  const json: TufKeyJson = { keytype: "ed25519", scheme: "ed25519", keyval: { public: hex } };
  return { keyId: createHash("sha256").update(canonicalJson(json)).digest("hex"), json };
}
