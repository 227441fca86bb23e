/**
 * The segments of apk's files: each a tar in a gzip member of its own, one behind the other.
 *
 * A package is signature | control | data, an index is signature | index. The signature segment holds `.SIGN.<algorithm>.<key file>`, each a
 * signature over the bytes of the next member as compressed. apk reads one tar across the members, so only the last one has the two
 * zero blocks of a tar's end (apk-v2(5); apk-tools package.c, extract_v2.c).
 */
import { bytesSource } from "./byte-source.ts";
import { createCompressor } from "./compress.ts";
import { createTarWriter } from "./tar.ts";

/** `RSA256` is PKCS#1 v1.5 over SHA-256, `RSA` over SHA-1, for apk before 2.12. */
export const apkSignatureAlgorithms = ["RSA256", "RSA"] as const;
export type ApkSignatureAlgorithm = (typeof apkSignatureAlgorithms)[number];

export type ApkSignature = {
  readonly algorithm: ApkSignatureAlgorithm;
  /** Name of the public key in /etc/apk/keys: apk finds the key by it alone. */
  readonly keyFile: string;
  readonly bytes: Uint8Array;
};

/** Signs the bytes of a control or index member; several signatures let a client that trusts one of the keys go on. */
export type SignApk = (member: Uint8Array) => Promise<readonly ApkSignature[]>;

export type SegmentMember = { readonly name: string; readonly content: Uint8Array; readonly mode: number };

export type SegmentOptions = {
  readonly epochSeconds: number;
  /** True for the last segment of a file. */
  readonly isLast: boolean;
};

/** A segment of small members as one gzip member; it is held in memory. */
export async function packSegment(members: readonly SegmentMember[], { epochSeconds, isLast }: SegmentOptions): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  const compressor = createCompressor({ codec: "gzip", level: 9 }, (piece) => void pieces.push(Uint8Array.from(piece)));
  const tar = createTarWriter(compressor.write);
  for (const { name, content, mode } of members) await tar.add({ name, kind: "file", mode, epochSeconds, pax: {} }, bytesSource(content));
  if (isLast) await tar.end();
  await compressor.end();
  return new Uint8Array(Buffer.concat(pieces));
}

/** The segment that stands before what is signed. apk takes the first one whose key it has: the order given is the order of preference. */
export async function packSignatures(signatures: readonly ApkSignature[], epochSeconds: number): Promise<Uint8Array> {
  const members = signatures.map(({ algorithm, keyFile, bytes }) => ({ name: `.SIGN.${algorithm}.${keyFile}`, content: bytes, mode: 0o644 }));
  return packSegment(members, { epochSeconds, isLast: false });
}
