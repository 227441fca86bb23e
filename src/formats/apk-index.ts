/**
 * APKINDEX.tar.gz (apk-v2(5)): signatures | a tar of `DESCRIPTION` and `APKINDEX`, each part one gzip member.
 *
 * apk tells the parts by the borders of the gzip members, so an index cannot be made of stored blocks as those of apt and dnf are.
 */
import { packSegment, packSignatures, type SignApk } from "./apk-segment.ts";

/** apk 3 reads a longer description as nothing. */
const descriptionLimit = 160;

export type ApkIndexSpec = {
  /** Entries of the index, each ended by an empty line, in the order in which they stand in it. */
  readonly stanzas: readonly string[];
  /** Shown by `apk update`; cut at 160 bytes. */
  readonly description: string;
  readonly epochSeconds: number;
};

/** The bytes of the index; the same input and signatures give the same bytes. It is held in memory: about 400 plain bytes per package. */
export async function writeApkIndex(spec: ApkIndexSpec, signIndex: SignApk): Promise<Uint8Array> {
  const { epochSeconds } = spec;
  const description = Buffer.from(spec.description)
    .subarray(0, descriptionLimit)
    .toString("utf8")
    .replace(/\ufffd+$/, "");
  const members = [
    { name: "DESCRIPTION", content: Buffer.from(description), mode: 0o644 },
    { name: "APKINDEX", content: Buffer.from(spec.stanzas.join("")), mode: 0o644 },
  ];
  const index = await packSegment(members, { epochSeconds, isLast: true });
  return new Uint8Array(Buffer.concat([await packSignatures(await signIndex(index), epochSeconds), index]));
}
