/**
 * Writes an image layer: a tar of a file system tree, compressed, with both of its names computed in one pass.
 *
 * The `diff_id` is the digest of the plain tar, the blob's digest that of the compressed one (OCI image-spec 1.1 config.md, layer.md).
 * Members are sorted, relative to the root without `./`, each path once, owners are numbers without names (the image's own passwd gives
 * them a meaning), and the only time is `epochSeconds`: the same entries give the same digest on any machine.
 */
import { createHash } from "node:crypto";
import type { Digest } from "../model/digest.ts";
import { digestFromHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { countingSink, gatheringSink, pour } from "./byte-source.ts";
import { createCompressor } from "./compress.ts";
import { checkEntries, comparePaths, undeclaredParents } from "./entry-path.ts";
import { type OciDescriptor, ociMediaTypes } from "./oci-descriptor.ts";
import type { ByteSink, GhostEntry, PackageEntry } from "./package.ts";
import { tarBlockSize, tarHeader, tarPadding } from "./tar.ts";

/** An entry of a package whose owner has been looked up: layers carry numbers only. */
export type OciLayerEntry = Exclude<PackageEntry, GhostEntry> & { readonly uid: number; readonly gid: number };

export type OciLayerCompression = { readonly codec: "gzip" | "zstd" | "none"; readonly level: number };

export type OciLayerSpec = {
  /** Sorted by path in byte order, each path once. */
  readonly entries: readonly OciLayerEntry[];
  /**
   * `declare` writes every parent folder as root:root 0755 and is right on scratch. `leave` writes only what was declared and is right on
   * a base: a folder entry would replace the base's `/lib -> usr/lib` or reset the mode of its `/tmp`.
   */
  readonly parents: "declare" | "leave";
  readonly compression: OciLayerCompression;
  readonly epochSeconds: number;
};

export type OciLayer = { readonly descriptor: OciDescriptor; readonly diffId: Digest };

/** Names with this prefix delete files of lower layers (layer.md, "Whiteouts"): a product's file must not become such an order. */
const whiteoutPrefix = ".wh.";

const layerTypes = { gzip: ociMediaTypes.layerGzip, zstd: ociMediaTypes.layerZstd, none: ociMediaTypes.layer } as const;

/**
 * Streams the layer into `sink` and returns its descriptor and diff_id. Throws `path_unsafe` for a path that is not absolute and
 * normalised or that reads as a whiteout, `format_limit` for owners above 2097151, `source_unusable` for a source that changed.
 */
export async function writeOciLayer(spec: OciLayerSpec, sink: ByteSink): Promise<OciLayer> {
  checkEntries(spec.entries);
  const plainHash = createHash("sha256");
  const packedHash = createHash("sha256");
  const counted = countingSink((piece) => {
    packedHash.update(piece);
    return sink(piece);
  });
  const compressor = createCompressor(spec.compression, counted.sink);
  const plain = gatheringSink((piece) => {
    plainHash.update(piece);
    return compressor.write(piece);
  });
  for (const entry of withParents(spec)) await writeMember(entry, spec.epochSeconds, plain.sink);
  await plain.sink(new Uint8Array(2 * tarBlockSize));
  await plain.end();
  await compressor.end();
  return {
    descriptor: { mediaType: layerTypes[spec.compression.codec], digest: digestFromHex(packedHash.digest("hex")), size: counted.count() },
    diffId: digestFromHex(plainHash.digest("hex")),
  };
}

function withParents(spec: OciLayerSpec): readonly OciLayerEntry[] {
  if (spec.parents === "leave") return spec.entries;
  const parents = undeclaredParents(spec.entries).map(
    (path): OciLayerEntry => ({ kind: "directory", path, mode: 0o755, owner: "root", group: "root", uid: 0, gid: 0 }),
  );
  return [...spec.entries, ...parents].sort((left, right) => comparePaths(left.path, right.path));
}

async function writeMember(entry: OciLayerEntry, epochSeconds: number, sink: ByteSink): Promise<void> {
  const name = entry.path.slice(1);
  if (name.split("/").some((part) => part.startsWith(whiteoutPrefix))) {
    throw new SlipwayError("path_unsafe", `${entry.path}: in an image, a name that starts with ${whiteoutPrefix} deletes files; rename it`);
  }
  const common = { epochSeconds, owner: "", group: "", uid: entry.uid, gid: entry.gid };
  switch (entry.kind) {
    case "file":
      await sink(tarHeader({ ...common, name, kind: "file", mode: entry.mode, sizeBytes: entry.source.size }));
      await pour(entry.source, sink, { name: entry.path });
      await sink(tarPadding(entry.source.size));
      return;
    case "directory":
      await sink(tarHeader({ ...common, name: `${name}/`, kind: "directory", mode: entry.mode }));
      return;
    case "symlink":
      await sink(tarHeader({ ...common, name, kind: "symlink", mode: 0o777, target: entry.target }));
      return;
    default:
      return entry satisfies never;
  }
}
