/** Makes deltas at build time: from the files of an earlier release's artifacts to this one's, where that saves enough to be worth a file. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { decompress } from "../formats/decompress.ts";
import { makeDelta } from "../formats/delta-make.ts";
import type { PackageCompression } from "../formats/package.ts";
import { readTar } from "../formats/tar-read.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { createHashedFile } from "../io/hashed-file.ts";
import { openSegments, type Segment, type SegmentReader } from "../io/segments.ts";
import { createSpool } from "../io/spool.ts";
import { digestHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { type Manifest, type ManifestArtifact, manifestName, manifestSchema, manifestSizeLimit } from "../model/manifest.ts";
import { tarCompressions } from "./write-artifact.ts";

/** A delta that saves less is not made, and none that is larger is taken (updater facts 3.12). */
const worthwhileShare = 0.6;
const memberLimit = 20_000;
/** A bound against bombs: what an artifact may unpack to. It is put on disk, never into memory. */
const contentLimitBytes = 64 * 1024 ** 3;

/** A release that is being built: its artifacts are there. */
export type DeltaPlace = {
  readonly version: string;
  /** Where the artifacts lie, and the deltas go. */
  readonly folder: string;
  /** For what is unpacked meanwhile: as much as the largest pair of artifacts holds, twice. */
  readonly workFolder: string;
  readonly artifacts: readonly ManifestArtifact[];
  readonly signal?: AbortSignal | undefined;
};

export type DeltaBuild = DeltaPlace & {
  /** Folders of earlier releases as `slipway build` leaves them; of their artifacts only those that a delta can be made from need be there. */
  readonly from: readonly string[];
  readonly onDelta?: (text: string) => void;
  /** The bytes of an artifact's content that are done. */
  readonly onProgress?: (delta: string, done: number, total: number) => void;
};

/**
 * The deltas as artifacts of the release. Throws `source_missing`, `source_unusable` for a folder that holds no release, `format_invalid` for a
 * damaged archive, `interrupted`.
 */
export async function buildDeltas(build: DeltaBuild): Promise<readonly ManifestArtifact[]> {
  const made: ManifestArtifact[] = [];
  for (const folder of build.from) {
    const { version, artifacts } = await readReleaseManifest(folder);
    for (const artifact of build.artifacts) {
      const base = deltaBase({ ...artifact, version: build.version }, { version, artifacts });
      const delta = base === undefined ? undefined : await makeOne(build, { artifact, version, base, folder });
      if (delta !== undefined) made.push(delta);
    }
  }
  return made;
}

/** What a delta is called: `acme-linux-amd64.tar.gz.from-1.4.2.delta`. */
export const deltaName = (artifact: string, version: string): string => `${artifact}.from-${version}.delta`;

type Kind = Pick<ManifestArtifact, "name" | "kind" | "os" | "arch">;

/**
 * The one artifact of an earlier release that a delta to `artifact` is made from: of several of a kind the one whose name differs in the version
 * alone. Undefined where there is none.
 */
export function deltaBase<A extends Kind>(
  artifact: Kind & { readonly version: string },
  before: { readonly version: string; readonly artifacts: readonly A[] },
): A | undefined {
  const shape = shapeOf(artifact);
  if (shape === undefined) return undefined;
  const same = before.artifacts.filter(
    (one) => one.kind === artifact.kind && one.os === artifact.os && one.arch === artifact.arch && shapeOf(one)?.suffix === shape.suffix,
  );
  return same.length === 1 ? same[0] : same.find(({ name }) => name.replaceAll(before.version, artifact.version) === artifact.name);
}

type Shape = { readonly suffix: string; readonly compression: PackageCompression & { readonly codec: "none" | "gzip" | "zstd" } };

const shapes: readonly Shape[] = (["tar.gz", "tar.zst"] as const).map((suffix) => ({ suffix: `.${suffix}`, compression: tarCompressions[suffix] }));

/** What can be made again byte for byte from its plain content: binaries, and archives by compressors that the updater brings along. */
function shapeOf({ kind, name }: Kind): Shape | undefined {
  if (kind === "binary") return { suffix: "", compression: { codec: "none", level: 0 } };
  return kind === "archive" ? shapes.find(({ suffix }) => name.endsWith(suffix)) : undefined;
}

type Making = { readonly artifact: ManifestArtifact; readonly version: string; readonly base: ManifestArtifact; readonly folder: string };

/** Undefined where the delta would not be worth a file. */
async function makeOne(build: DeltaBuild, { artifact, version, base, folder }: Making): Promise<ManifestArtifact | undefined> {
  const name = deltaName(artifact.name, version);
  const shape = shapeOf(artifact);
  if (shape === undefined) throw new SlipwayError("internal", `${artifact.name} has no delta`);
  const scratch = (part: string): string => join(build.workFolder, `${name}.${part}`);
  const parts = { control: scratch("control"), differences: scratch("differences"), extra: scratch("extra") };
  const [oldPath, newPath] = [scratch("old"), scratch("new")];
  let old: SegmentReader | undefined;
  let fresh: SegmentReader | undefined;
  try {
    old = openSegments(oldPath, await unpackOld({ path: join(folder, base.name), artifact: base, into: oldPath }));
    fresh = openSegments(newPath, await unpackWhole({ path: join(build.folder, artifact.name), compression: shape.compression, into: newPath }));
    const { header, sizes } = await makeStreams(build, { name, old, fresh, parts });
    const size = header.length + sizes.reduce((sum, one) => sum + one, 0);
    const share = size / artifact.size;
    if (share >= worthwhileShare) {
      build.onDelta?.(`${artifact.name}: no delta from ${version}, it would have ${Math.round(share * 100)} % of the size`);
      return undefined;
    }
    const file = await createHashedFile(join(build.folder, name), 0o644);
    file.write(header);
    for (const path of Object.values(parts)) for await (const piece of createReadStream(path) as AsyncIterable<Buffer>) file.write(piece);
    const { digest } = await file.close();
    build.onDelta?.(`${name}: ${size} bytes, ${(share * 100).toFixed(1)} % of ${artifact.name}`);
    return {
      name,
      kind: "delta",
      ...(artifact.os === undefined ? {} : { os: artifact.os }),
      ...(artifact.arch === undefined ? {} : { arch: artifact.arch }),
      size,
      sha256: digestHex(digest),
      delta: { of: artifact.name, from: hashOf(old), ...shape.compression },
    };
  } finally {
    old?.close();
    fresh?.close();
    for (const path of [...Object.values(parts), oldPath, newPath]) await rm(path, { force: true });
  }
}

type Streams = {
  readonly name: string;
  readonly old: SegmentReader;
  readonly fresh: SegmentReader;
  readonly parts: { readonly control: string; readonly differences: string; readonly extra: string };
};

async function makeStreams(
  { signal, onProgress }: DeltaBuild,
  { name, old, fresh, parts }: Streams,
): Promise<{ readonly header: Buffer; readonly sizes: readonly number[] }> {
  const [control, differences, extra] = [await createSpool(parts.control), await createSpool(parts.differences), await createSpool(parts.extra)];
  try {
    const header = await makeDelta({
      old,
      new: fresh,
      streams: { control: control.write, differences: differences.write, extra: extra.write },
      onProgress: (done) => {
        if (signal?.aborted === true) throw new SlipwayError("interrupted", `interrupted while making ${name}`);
        onProgress?.(name, done, fresh.size);
      },
    });
    return { header, sizes: [(await control.finish()).size, (await differences.finish()).size, (await extra.finish()).size] };
  } catch (error) {
    for (const spool of [control, differences, extra]) await spool.remove();
    throw error;
  }
}

/** The manifest of a folder as `slipway build` leaves it; throws `source_missing`, `source_unusable`. */
export async function readReleaseManifest(folder: string): Promise<Manifest> {
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

type Unpacking = { readonly path: string; readonly into: string };

/** What a delta is made from (`delta.from` of the manifest): a binary, or an archive's files in the order of their paths. */
async function unpackOld({ path, artifact, into }: Unpacking & { readonly artifact: ManifestArtifact }): Promise<readonly Segment[]> {
  const compression = shapeOf(artifact)?.compression ?? { codec: "none", level: 0 };
  if (artifact.kind === "binary") return unpackWhole({ path, compression, into });
  const files = new Map<string, Segment>();
  const spool = await createSpool(into);
  let offset = 0;
  try {
    for await (const member of readTar(plainBytes(path, compression), { name: artifact.name, memberLimit, pax: "read" })) {
      if (member.kind !== "file") continue;
      files.set(member.path, { offset, size: member.sizeBytes });
      for await (const piece of member.body()) spool.write(piece);
      offset += member.sizeBytes;
    }
  } finally {
    await spool.finish();
  }
  return [...files].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, segment]) => segment);
}

async function unpackWhole({ path, compression, into }: Unpacking & { readonly compression: PackageCompression }): Promise<readonly Segment[]> {
  const spool = await createSpool(into);
  try {
    for await (const piece of plainBytes(path, compression)) spool.write(piece);
  } finally {
    await spool.finish();
  }
  return [{ offset: 0, size: (await spool.finish()).size }];
}

function plainBytes(path: string, { codec }: PackageCompression): AsyncIterable<Uint8Array> {
  return decompress(createReadStream(path) as AsyncIterable<Buffer>, { codec, limitBytes: contentLimitBytes, name: path });
}

function hashOf(reader: SegmentReader): string {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(1024 * 1024);
  for (let at = 0; at < reader.size; at += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, reader.size - at));
    reader.readInto(at, piece);
    hash.update(piece);
  }
  return hash.digest("hex");
}
