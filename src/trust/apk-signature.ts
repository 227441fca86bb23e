/**
 * apk's signatures: RSA, PKCS#1 v1.5, over the bytes of a control or index member, by a key that clients keep in /etc/apk/keys.
 *
 * apk finds a key by the file name that stands in the signature's own name, so the name is made from the key alone: the same key has the same
 * name wherever it signs, and two vendors' keys never share one. Packages are signed by a release key, indexes by a repository key.
 * Each member gets SHA-256 first and SHA-1 for clients before apk-tools 2.12; apk takes the first whose key it has. We check SHA-256 only.
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPair, type KeyObject, sign, verify } from "node:crypto";
import { promisify } from "node:util";
import { SlipwayError } from "../model/errors.ts";

export type ApkSignature = { readonly algorithm: "RSA256" | "RSA"; readonly keyFile: string; readonly bytes: Uint8Array };

export type ApkPublicKey = {
  /** Name in /etc/apk/keys: `slipway-0123456789abcdef.rsa.pub`. */
  readonly keyFile: string;
  /** PEM (SubjectPublicKeyInfo): the content of that file. */
  readonly publicText: string;
  readonly publicKey: KeyObject;
};
export type ApkSigningKey = ApkPublicKey & { readonly privateKey: KeyObject };

/** Largest PEM that is read, in bytes; an RSA-4096 key has 3,400. */
export const apkKeySizeLimit = 16 * 1024;
const modulusBits = 4096;
/** abuild's own keys had 2,048 bits for years. */
const leastModulusBits = 2048;

/** RSA-4096; takes some seconds. */
export async function generateApkKey(): Promise<ApkSigningKey> {
  const { privateKey, publicKey } = await promisify(generateKeyPair)("rsa", { modulusLength: modulusBits });
  return { ...describe(publicKey), privateKey };
}

/** PKCS#8 PEM, protected with AES-256 where there is a passphrase: openssl and abuild-sign read both. */
export function formatApkSecretKey(key: ApkSigningKey, passphrase?: string): string {
  const form = { type: "pkcs8", format: "pem" } as const;
  return key.privateKey.export(passphrase === undefined ? form : { ...form, cipher: "aes-256-cbc", passphrase }).toString();
}

/** True where the secret key wants a passphrase; throws `key_invalid` for what is no PEM secret key. */
export function isApkKeyLocked(text: string): boolean {
  const [, label, body] = /^-----BEGIN ((?:RSA |ENCRYPTED )?PRIVATE KEY)-----\r?\n([\s\S]+?)-----END \1-----\s*$/.exec(text.trimStart()) ?? [];
  if (label === undefined || body === undefined || text.length > apkKeySizeLimit) throw new SlipwayError("key_invalid", "this is not a PEM private key");
  return label.startsWith("ENCRYPTED") || body.includes("ENCRYPTED");
}

/** Opens a secret key (PKCS#8 or PKCS#1 PEM); throws `key_invalid`, `key_locked` or `key_unfit` (not RSA, or below 2,048 bits). */
export function readApkSigningKey(text: string, passphrase?: string): ApkSigningKey {
  const isLocked = isApkKeyLocked(text);
  if (isLocked && passphrase === undefined) throw new SlipwayError("key_locked", "the apk key is protected by a passphrase");
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey({ key: text, format: "pem", ...(isLocked && passphrase !== undefined ? { passphrase } : {}) });
  } catch (error) {
    if (isLocked) throw new SlipwayError("key_locked", "the passphrase does not open the apk key", { cause: error });
    throw new SlipwayError("key_invalid", "this is not a PEM private key", { cause: error });
  }
  requireFit(privateKey);
  return { ...describe(createPublicKey(privateKey)), privateKey };
}

/** Reads the PEM of a public key; throws `key_invalid` or `key_unfit`. */
export function readApkPublicKey(text: string): ApkPublicKey {
  if (!/^-----BEGIN (?:RSA )?PUBLIC KEY-----/.test(text.trimStart()) || text.length > apkKeySizeLimit)
    throw new SlipwayError("key_invalid", "this is not a PEM public key");
  let publicKey: KeyObject;
  try {
    publicKey = createPublicKey({ key: text, format: "pem" });
  } catch (error) {
    throw new SlipwayError("key_invalid", "this is not a PEM public key", { cause: error });
  }
  requireFit(publicKey);
  return describe(publicKey);
}

/** Signs a control or index member. PKCS#1 v1.5 has no randomness: the same key and bytes give the same signatures. */
export function signApkMember(member: Uint8Array, key: ApkSigningKey): readonly ApkSignature[] {
  const { keyFile, privateKey } = key;
  return [
    { algorithm: "RSA256", keyFile, bytes: new Uint8Array(sign("sha256", member, privateKey)) },
    { algorithm: "RSA", keyFile, bytes: new Uint8Array(sign("sha1", member, privateKey)) },
  ];
}

/**
 * The trusted key that signed the member; throws `signature_invalid` (`detail`: `signature_missing`, `signature_bad`). As in apk, the first
 * RSA256 signature whose key is trusted decides: a bad one is not made good by another.
 */
export function verifyApkMember(
  signed: { readonly member: Uint8Array; readonly signatures: readonly { readonly algorithm: string; readonly keyFile: string; readonly bytes: Uint8Array }[] },
  trusted: readonly ApkPublicKey[],
): ApkPublicKey {
  for (const signature of signed.signatures) {
    if (signature.algorithm !== "RSA256") continue;
    const key = trusted.find(({ keyFile }) => keyFile === signature.keyFile);
    if (key === undefined) continue;
    if (verify("sha256", signed.member, key.publicKey, signature.bytes)) return key;
    throw new SlipwayError("signature_invalid", `the signature of ${key.keyFile} does not fit the bytes`, { detail: "signature_bad" });
  }
  const names = signed.signatures.map(({ algorithm, keyFile }) => `${algorithm} ${keyFile}`);
  throw new SlipwayError("signature_invalid", `no RSA256 signature by a trusted key; there ${names.length === 0 ? "is none" : `are: ${names.join(", ")}`}`, {
    detail: "signature_missing",
  });
}

function describe(publicKey: KeyObject): ApkPublicKey {
  const id = createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("hex")
    .slice(0, 16);
  return { keyFile: `slipway-${id}.rsa.pub`, publicText: publicKey.export({ type: "spki", format: "pem" }).toString(), publicKey };
}

function requireFit(key: KeyObject): void {
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== "rsa") throw new SlipwayError("key_unfit", `apk checks RSA signatures only; this key is ${key.asymmetricKeyType ?? "unknown"}`);
  if (bits < leastModulusBits) throw new SlipwayError("key_unfit", `the apk key has ${bits} bits; at least ${leastModulusBits} are needed`);
}
