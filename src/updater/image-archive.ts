/**
 * The image of a release as an OCI archive: the whole one that the release carries, or only its documents (index, manifest, configuration) where
 * the engine fetched the layers itself. Either way everything follows from the one signed digest.
 */
import type { FileHandle } from "node:fs/promises";
import { open, rm } from "node:fs/promises";
import { bytesSource } from "../formats/byte-source.ts";
import { findOciArchiveFiles, type OciArchiveFiles } from "../formats/oci-archive.ts";
import { isSamePlatform, ociMediaTypes, ociPlatform } from "../formats/oci-descriptor.ts";
import { blobPath, layoutFileBytes, layoutFileName, layoutIndexName, type OciImage, type OciLayoutSource, readTaggedImage } from "../formats/oci-layout.ts";
import { parseOciManifest, renderOciIndex } from "../formats/oci-manifest.ts";
import { createTarWriter } from "../formats/tar.ts";
import { readStreamBounded } from "../io/bounded-read.ts";
import { readHandle } from "../io/hash-file.ts";
import { writeAll } from "../io/write-all.ts";
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { ManifestArtifact } from "../model/manifest.ts";
import { formatTarget, type Target } from "../model/target.ts";

const readBytes = 256 * 1024;
const indexLimitBytes = 1024 * 1024;

export type ImageArchive = { readonly name: string; readonly files: OciArchiveFiles; readonly source: OciLayoutSource };

/** Reads the archive where it was verified: on the open descriptor, whatever its name leads to by now. */
export async function openImageArchive(handle: FileHandle, name: string): Promise<ImageArchive> {
  const files = await findOciArchiveFiles(readHandle(handle), name);
  const openFile = (path: string): AsyncIterable<Uint8Array> => {
    const file = files.get(path);
    if (file === undefined)
      throw new SlipwayError("format_invalid", `${name} is no whole image layout: there is no ${path} in it`, { hint: "nothing was changed; tell the vendor" });
    return readRange(handle, file.offset, file.size);
  };
  return { name, files, source: { open: openFile } };
}

async function* readRange(handle: FileHandle, offset: number, size: number): AsyncGenerator<Uint8Array> {
  for (let done = 0; done < size; ) {
    const piece = Buffer.allocUnsafe(Math.min(readBytes, size - done));
    const { bytesRead } = await handle.read(piece, 0, piece.length, offset + done);
    if (bytesRead === 0) throw new SlipwayError("format_invalid", "the archive became shorter", { hint: "run the upgrade again: it is fetched again" });
    yield piece.subarray(0, bytesRead);
    done += bytesRead;
  }
}

/** One platform's image, and what an engine may call it: by its configuration, its manifest or the index, as the engine's store has it. */
export type WantedImage = { readonly image: OciImage; readonly names: readonly Digest[] };

/** The image for `target`, proven from the signed digest down. Throws `upgrade_verification_failed`, `format_invalid`. */
export async function wantedImage({ name, source }: ImageArchive, artifact: ManifestArtifact, target: Target): Promise<WantedImage> {
  const wrong = (text: string): SlipwayError => new SlipwayError("upgrade_verification_failed", text, { detail: "release_json_mismatch" });
  const index = parseOciManifest(await readStreamBounded(source.open(layoutIndexName), indexLimitBytes, layoutIndexName), ociMediaTypes.index);
  const [top] = index.kind === "index" ? index.manifests : [];
  if (top === undefined || top.digest !== artifact.image?.digest)
    throw wrong(`${name} holds ${top?.digest ?? "no image"}; release.json lists ${artifact.image?.digest ?? "none"}`);
  const platform = ociPlatform(target);
  const { images } = await readTaggedImage(source, top, (one) => isSamePlatform(one, platform));
  const image = images.find((one) => isSamePlatform(one.platform, platform));
  if (image === undefined) throw wrong(`${name} has no image for ${formatTarget(target)}`);
  return { image, names: [image.manifest.config.digest, image.descriptor.digest, top.digest] };
}

/**
 * The one image as every engine loads it. Docker's own store reads its older `manifest.json` (26.1 takes a plain layout for its oldest format, and
 * fails); containerd's and podman read the layout, which names one image only because podman refuses several, and keeps the signed digest.
 */
export async function writeLoadable(path: string, { source }: ImageArchive, { descriptor, manifest: { config, layers } }: OciImage): Promise<void> {
  const dockers = [{ Config: blobPath(config.digest), RepoTags: null, Layers: layers.map((layer) => blobPath(layer.digest)) }];
  await rm(path, { force: true });
  const output = await open(path, "wx", 0o600);
  try {
    const tar = createTarWriter((piece) => writeAll(output, piece));
    const header = { kind: "file", mode: 0o644, epochSeconds: 0 } as const;
    const small = (name: string, bytes: Buffer): Promise<void> => tar.add({ name, ...header }, bytesSource(bytes));
    await small("manifest.json", Buffer.from(JSON.stringify(dockers)));
    await small(layoutFileName, layoutFileBytes);
    await small(layoutIndexName, renderOciIndex({ manifests: [descriptor], annotations: {} }).bytes); // a tag in it would become a name
    const blobs = new Map([descriptor, config, ...layers].map(({ digest, size }) => [digest, size]));
    for (const [digest, size] of blobs) await tar.add({ name: blobPath(digest), ...header }, { size, open: () => source.open(blobPath(digest)) });
    await tar.end();
  } finally {
    await output.close();
  }
}
