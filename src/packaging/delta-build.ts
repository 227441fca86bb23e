/** Makes deltas at build time: from the files of an earlier release's artifacts to this one's, where that saves enough to be worth a file. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { decompress } from "../formats/decompress.ts";
import { deltaInputLimit, makeDelta } from "../formats/delta-make.ts";
import type { PackageCompression } from "../formats/package.ts";
import { readTar } from "../formats/tar-read.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { SlipwayError } from "../model/errors.ts";
import { type Manifest, type ManifestArtifact, manifestName, manifestSchema, manifestSizeLimit } from "../model/manifest.ts";
import { tarCompressions } from "./write-artifact.ts";

/** A delta that saves less is not made, and none that is larger is taken (updater facts 3.12). */
const worthwhileShare = 0.6;
const memberLimit = 20_000;

export type DeltaBuild = {
  /** Folders of earlier releases as `slipway build` leaves them. */
  readonly from: readonly string[];
  /** Where the new artifacts lie, and the deltas go. */
  readonly folder: string;
  readonly artifacts: readonly ManifestArtifact[];
  readonly onDelta?: (text: string) => void;
};

/** The deltas as artifacts of the release. Throws `source_missing`, `source_unusable` for a folder that holds no release, `format_invalid` for a damaged archive. */
export async function buildDeltas({ from, folder, artifacts, onDelta }: DeltaBuild): Promise<readonly ManifestArtifact[]> {
  const made: ManifestArtifact[] = [];
  for (const old of from) {
    const { version, artifacts: before } = await readManifest(old);
    for (const artifact of artifacts) {
      const shape = shapeOf(artifact);
      const same = before.filter(
        (one) => one.kind === artifact.kind && one.os === artifact.os && one.arch === artifact.arch && shapeOf(one)?.suffix === shape?.suffix,
      );
      const [base, ...others] = same;
      if (shape === undefined || base === undefined || others.length > 0) continue; // which of several is meant nobody can say
      const isTooLarge = artifact.size > deltaInputLimit || base.size > deltaInputLimit;
      const files = isTooLarge ? undefined : await readOld(join(old, base.name), base);
      const content = files === undefined ? undefined : await readPlain(join(folder, artifact.name), shape.compression);
      if (files === undefined || content === undefined) {
        onDelta?.(`${artifact.name}: no delta from ${version}, more than ${deltaInputLimit} bytes`);
        continue;
      }
      const bytes = makeDelta({ old: files, new: content });
      const share = bytes.length / artifact.size;
      if (share >= worthwhileShare) {
        onDelta?.(`${artifact.name}: no delta from ${version}, it would have ${Math.round(share * 100)} % of the size`);
        continue;
      }
      const name = `${artifact.name}.from-${version}.delta`;
      await writeFileAtomic(join(folder, name), bytes, { mode: 0o644 });
      onDelta?.(`${name}: ${bytes.length} bytes, ${(share * 100).toFixed(1)} % of ${artifact.name}`);
      const { codec, level } = shape.compression;
      if (codec === "xz") throw new SlipwayError("internal", "xz has no delta");
      made.push({
        name,
        kind: "delta",
        ...(artifact.os === undefined ? {} : { os: artifact.os }),
        ...(artifact.arch === undefined ? {} : { arch: artifact.arch }),
        size: bytes.length,
        sha256: sha256Of(bytes),
        delta: { of: artifact.name, from: sha256Of(files), codec, level },
      });
    }
  }
  return made;
}

type Shape = { readonly suffix: string; readonly compression: PackageCompression };

/** What can be made again byte for byte from its plain content: binaries, and archives by compressors that the updater brings along. */
function shapeOf({ kind, name }: ManifestArtifact): Shape | undefined {
  if (kind === "binary") return { suffix: "", compression: { codec: "none", level: 0 } };
  if (kind !== "archive") return undefined;
  for (const suffix of ["tar.gz", "tar.zst"] as const) if (name.endsWith(`.${suffix}`)) return { suffix, compression: tarCompressions[suffix] };
  return undefined;
}

async function readManifest(folder: string): Promise<Manifest> {
  const place = join(folder, manifestName);
  const bytes = await readFileBounded(place, manifestSizeLimit).catch((error: unknown) => {
    throw new SlipwayError("source_missing", `${folder} holds no release: ${manifestName} cannot be read`, { place, cause: error });
  });
  try {
    return manifestSchema.parse(JSON.parse(bytes.toString("utf8")));
  } catch (error) {
    throw new SlipwayError("source_unusable", `${place} is no description of a release`, { place, cause: error });
  }
}

/** What a delta is made from (`delta.from` of the manifest); undefined above the limit. */
async function readOld(path: string, artifact: ManifestArtifact): Promise<Buffer | undefined> {
  const { compression } = shapeOf(artifact) ?? { compression: { codec: "none", level: 0 } as const };
  if (artifact.kind === "binary") return readPlain(path, compression);
  const files = new Map<string, Buffer>();
  let size = 0;
  const plain = decompress(createReadStream(path) as AsyncIterable<Buffer>, { codec: compression.codec, limitBytes: 2 * deltaInputLimit, name: artifact.name });
  for await (const member of readTar(plain, { name: artifact.name, memberLimit, pax: "read" })) {
    if (member.kind !== "file") continue;
    size += member.sizeBytes;
    if (size > deltaInputLimit) return undefined;
    const pieces: Buffer[] = [];
    for await (const piece of member.body()) pieces.push(Buffer.from(piece));
    files.set(member.path, Buffer.concat(pieces));
  }
  return Buffer.concat([...files].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, bytes]) => bytes));
}

async function readPlain(path: string, { codec }: PackageCompression): Promise<Buffer | undefined> {
  const { size } = await stat(path);
  const pieces: Buffer[] = [];
  let total = 0;
  for await (const piece of decompress(createReadStream(path) as AsyncIterable<Buffer>, {
    codec,
    limitBytes: Math.max(size, 2 * deltaInputLimit),
    name: path,
  })) {
    total += piece.length;
    if (total > deltaInputLimit) return undefined;
    pieces.push(Buffer.from(piece));
  }
  return Buffer.concat(pieces);
}

const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
