/**
 * Signs the sums of a release: `<sums>.sig` (OpenPGP, detached, binary) and `<sums>.minisig`, whose trusted comment binds product, version,
 * sequence and the digest of the sums. The same keys, sums and date give the same bytes.
 */
import { sign } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";
import type { Version } from "../model/version.ts";
import { type ApkSignature, type ApkSigningKey, signApkMember } from "./apk-signature.ts";
import { digestOf } from "./checksums.ts";
import { signMinisign } from "./minisign.ts";
import { formatMinisignPublicKey, type MinisignSecretKey } from "./minisign-key.ts";
import { type OpenpgpSigningKey, signDetached } from "./openpgp.ts";
import { createPacketSigner, type PacketSigner } from "./openpgp-packet.ts";
import { type RpmSignature, signRpmHeader } from "./rpm-signature.ts";
import { formatTrustedComment } from "./trusted-comment.ts";

/** The release keys at work; a function is there where its key was given. Every signature is dated like the release. */
export type ReleaseSigner = {
  /** For the rpm writer: the main header's bytes in, the packet for the signature header out. */
  readonly rpmHeader?: (header: Uint8Array) => Promise<RpmSignature>;
  /** For the deb writer, where debsigs' signature is asked for: takes the members' bytes, gives the packet. */
  readonly debPackage?: () => PacketSigner;
  /** For the apk writer: the bytes of the control member in, its signatures out. */
  readonly apkMember?: (member: Uint8Array) => Promise<readonly ApkSignature[]>;
  /** The bytes of a `.sig`. */
  readonly openpgpDetached?: (bytes: Uint8Array) => Promise<Uint8Array>;
  /** The text of a `.minisig`. */
  readonly minisign?: (bytes: Uint8Array, trustedComment: string) => Promise<string>;
  /** The key that follows, during a rotation: signs `<sums>.<key id>.minisig` besides. */
  readonly minisignNext?: { readonly keyId: string; readonly sign: (bytes: Uint8Array, trustedComment: string) => Promise<string> };
  /** For the envelope of a provenance: Ed25519 over the message as it is, by the minisign key. */
  readonly envelope?: (message: Uint8Array) => Promise<{ readonly keyId: string; readonly signature: Uint8Array }>;
  /** The public halves: an armored OpenPGP key, a minisign public key file, the PEM of an apk key. */
  readonly publicKeys: { readonly openpgp?: string; readonly minisign?: string; readonly apk?: string };
  /** For messages and reports: fingerprint, key id, name in /etc/apk/keys. */
  readonly keyIds: { readonly openpgp?: string; readonly minisign?: string; readonly apk?: string };
};

/** Of the files beside the sums. */
export const signatureSuffixes = { openpgp: ".sig", minisign: ".minisig", sigstore: ".bundle" } as const;

/** Of the files that keyless signing leaves beside each artifact: the bundle, and cosign's older pair of signature and certificate. */
export const bundleSuffixes = { bundle: ".bundle", sig: ".sig", pem: ".pem" } as const;
export type BundleOutput = keyof typeof bundleSuffixes;

/**
 * Is `name` a signature of the sums, or of a file that they list? Only such files may belong to a release without standing in its sums:
 * they are made after them, and prove themselves.
 */
export function isSignatureFile(name: string, sums: { readonly name: string; readonly has: (name: string) => boolean }): boolean {
  const next = new RegExp("^(.+)\\.[0-9A-F]{16}\\.minisig$").exec(name)?.[1];
  if (next !== undefined) return next === sums.name;
  const ending = [...Object.values(signatureSuffixes), ...Object.values(bundleSuffixes)].find((suffix) => name.endsWith(suffix));
  if (ending === undefined) return false;
  const signed = name.slice(0, -ending.length);
  return signed === sums.name || sums.has(signed);
}

/** Throws `key_unfit` where an rpm is signed with a key that rpm cannot check. `epochSeconds` is SOURCE_DATE_EPOCH. */
export function createReleaseSigner(keys: {
  readonly openpgp?: OpenpgpSigningKey;
  readonly minisign?: MinisignSecretKey;
  readonly minisignNext?: MinisignSecretKey;
  readonly apk?: ApkSigningKey;
  readonly epochSeconds: number;
}): ReleaseSigner {
  const { openpgp, minisign, minisignNext, apk, epochSeconds } = keys;
  return {
    ...(openpgp === undefined
      ? {}
      : {
          rpmHeader: async (header: Uint8Array) => signRpmHeader(header, openpgp, epochSeconds),
          debPackage: () => createPacketSigner(openpgp, epochSeconds),
          openpgpDetached: (bytes: Uint8Array) => signDetached(bytes, openpgp, epochSeconds),
        }),
    ...(minisign === undefined
      ? {}
      : {
          minisign: async (bytes: Uint8Array, trustedComment: string) => signMinisign(bytes, minisign, trustedComment),
          // Neither can stand in for the other: minisign signs a bare hash, an envelope's message begins with "DSSEv1 ".
          envelope: async (message: Uint8Array) => ({ keyId: minisign.keyId, signature: sign(null, message, minisign.privateKey) }),
        }),
    ...(minisignNext === undefined
      ? {}
      : {
          minisignNext: {
            keyId: minisignNext.keyId,
            sign: async (bytes: Uint8Array, trustedComment: string) => signMinisign(bytes, minisignNext, trustedComment),
          },
        }),
    ...(apk === undefined ? {} : { apkMember: async (member: Uint8Array) => signApkMember(member, apk) }),
    publicKeys: {
      ...(openpgp === undefined ? {} : { openpgp: openpgp.privateKey.toPublic().armor() }),
      ...(minisign === undefined ? {} : { minisign: formatMinisignPublicKey(minisign) }),
      ...(apk === undefined ? {} : { apk: apk.publicText }),
    },
    keyIds: {
      ...(openpgp === undefined ? {} : { openpgp: openpgp.fingerprint }),
      ...(minisign === undefined ? {} : { minisign: minisign.keyId }),
      ...(apk === undefined ? {} : { apk: apk.keyFile }),
    },
  };
}

export type SignedFile = { readonly name: string; readonly bytes: Uint8Array };

/** The signature files that belong beside `sumsName`, named after it. Throws `key_missing` where the signer has no key at all. */
export async function signSums(
  release: { readonly sums: Uint8Array; readonly sumsName: string; readonly product: string; readonly version: Version; readonly sequence: number },
  signer: ReleaseSigner,
): Promise<readonly SignedFile[]> {
  const { sums, sumsName, product, version, sequence } = release;
  const files: SignedFile[] = [];
  if (signer.openpgpDetached !== undefined) files.push({ name: `${sumsName}${signatureSuffixes.openpgp}`, bytes: await signer.openpgpDetached(sums) });
  if (signer.minisign !== undefined) {
    const comment = formatTrustedComment({ product, version, sequence, sumsDigest: digestOf(sums) });
    files.push({ name: `${sumsName}${signatureSuffixes.minisign}`, bytes: new Uint8Array(Buffer.from(await signer.minisign(sums, comment))) });
  }
  if (signer.minisignNext !== undefined) {
    const comment = formatTrustedComment({ product, version, sequence, sumsDigest: digestOf(sums) });
    const { keyId, sign: signNext } = signer.minisignNext;
    files.push({ name: `${sumsName}.${keyId}${signatureSuffixes.minisign}`, bytes: new Uint8Array(Buffer.from(await signNext(sums, comment))) });
  }
  if (files.length === 0) throw new SlipwayError("key_missing", "no release key was named, so nothing can be signed");
  return files;
}
