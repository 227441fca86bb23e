/**
 * The OCI image layout: `oci-layout`, `index.json` and `blobs/sha256/<hex>`, written from values and read strictly.
 *
 * Source: OCI image-spec 1.1 image-layout.md. `index.json` names one image index or image manifest per tag with the annotation
 * `org.opencontainers.image.ref.name`. A reader trusts nothing but `index.json`: every blob is checked against the size and digest of the
 * descriptor that led to it.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { type Digest, digestFromHex, digestHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { decompress } from "./decompress.ts";
import { type OciImageConfig, parseOciConfig } from "./oci-config.ts";
import { dockerMediaTypes, isSamePlatform, type OciDescriptor, type OciPlatform, ociDocumentLimit, ociMediaTypes, parseOciJson } from "./oci-descriptor.ts";
import { isIndexType, isManifestType, layerCodec, type OciIndex, type OciManifest, parseOciManifest, renderOciIndex } from "./oci-manifest.ts";

export const layoutFileName = "oci-layout";
export const layoutIndexName = "index.json";
export const refNameAnnotation = "org.opencontainers.image.ref.name";

/** The content of `oci-layout`. */
export const layoutFileBytes = Buffer.from('{"imageLayoutVersion":"1.0.0"}', "utf8");

export function blobPath(digest: Digest): string {
  return `blobs/sha256/${digestHex(digest)}`;
}

/** `index.json` for a set of tags; each descriptor comes with its own tag. */
export function renderLayoutIndex(refs: readonly { readonly tag: string; readonly descriptor: OciDescriptor }[]): Buffer {
  const manifests = refs.map(({ tag, descriptor }) => ({ ...descriptor, annotations: { ...descriptor.annotations, [refNameAnnotation]: tag } }));
  return renderOciIndex({ manifests, annotations: {} }).bytes;
}

/** Where a layout's bytes come from: a folder, an archive, a registry. Paths are those of the layout; what is not there throws `format_invalid`. */
export type OciLayoutSource = { readonly open: (path: string) => AsyncIterable<Uint8Array> };

/** One platform of an image, checked down to its configuration. */
export type OciImage = {
  readonly descriptor: OciDescriptor;
  readonly platform: OciPlatform;
  readonly manifest: OciManifest;
  readonly config: OciImageConfig;
};

/** What one entry of `index.json` leads to. */
export type OciTaggedImage = {
  readonly tag?: string;
  readonly descriptor: OciDescriptor;
  readonly index?: OciIndex;
  readonly images: readonly OciImage[];
};

const layoutSchema = z.object({ imageLayoutVersion: z.literal("1.0.0") });

/** Images of one layout, all tags and platforms together. */
const imageLimit = 2_000;

/**
 * Reads everything but the layers. Throws `format_invalid` for a wrong digest, size, type or structure and `format_limit` above the bounds.
 * Descriptors of other kinds (attestations, signatures) are passed over.
 */
export async function readOciLayout(source: OciLayoutSource): Promise<readonly OciTaggedImage[]> {
  parseOciJson(await readBounded(source, layoutFileName), layoutSchema, layoutFileName);
  const index = parseOciManifest(await readBounded(source, layoutIndexName), ociMediaTypes.index);
  if (index.kind !== "index") throw new Error("bug: an index was parsed as something else");
  const tagged: OciTaggedImage[] = [];
  let count = 0;
  for (const descriptor of index.manifests) {
    if (!isIndexType(descriptor.mediaType) && !isManifestType(descriptor.mediaType)) continue;
    const image = await readTaggedImage(source, descriptor);
    count += image.images.length;
    if (count > imageLimit) throw new SlipwayError("format_limit", `the layout holds more than ${imageLimit} images`);
    tagged.push(image);
  }
  return tagged;
}

/** Which platforms are read; by default all. An index names the platform of each image, so that the others need not be there at all. */
export type WantedPlatform = (platform: OciPlatform) => boolean;

/** Reads the image that a descriptor names: a manifest, or an index of manifests (an index of indexes has no use and is passed over). */
export async function readTaggedImage(source: OciLayoutSource, descriptor: OciDescriptor, isWanted: WantedPlatform = () => true): Promise<OciTaggedImage> {
  const tag = descriptor.annotations?.[refNameAnnotation];
  const named = { ...(tag === undefined ? {} : { tag }), descriptor };
  const top = parseOciManifest(await readOciBlob(source, descriptor), descriptor.mediaType);
  if (top.kind === "manifest") return { ...named, images: [await readImage(source, descriptor, top)] };
  const images: OciImage[] = [];
  for (const child of platformManifests(top)) {
    if (child.platform !== undefined && !isWanted(child.platform)) continue;
    const manifest = parseOciManifest(await readOciBlob(source, child), child.mediaType);
    if (manifest.kind !== "manifest") throw new Error("bug: a manifest was parsed as something else");
    images.push(await readImage(source, child, manifest));
  }
  return { ...named, index: top, images };
}

/** The manifests of an index that are images; BuildKit's attestations stand there too, as manifests of an unknown platform. */
export function platformManifests(index: OciIndex): readonly OciDescriptor[] {
  return index.manifests.filter((child) => isManifestType(child.mediaType) && child.platform?.os !== "unknown");
}

async function readImage(source: OciLayoutSource, descriptor: OciDescriptor, manifest: OciManifest): Promise<OciImage> {
  const { config: configDescriptor, layers } = manifest;
  if (configDescriptor.mediaType !== ociMediaTypes.config && configDescriptor.mediaType !== dockerMediaTypes.config) {
    throw new SlipwayError("format_invalid", `${descriptor.digest} is no container image: its configuration is ${configDescriptor.mediaType}`);
  }
  const config = parseOciConfig(await readOciBlob(source, configDescriptor));
  if (config.diffIds.length !== layers.length) {
    throw new SlipwayError("format_invalid", `${descriptor.digest} has ${layers.length} layers, and its configuration ${config.diffIds.length} diff_ids`);
  }
  if (descriptor.platform !== undefined && !isSamePlatform(descriptor.platform, config.platform)) {
    throw new SlipwayError("format_invalid", `${descriptor.digest} stands in the index for another platform than its configuration names`);
  }
  return { descriptor, platform: config.platform, manifest, config };
}

/**
 * Reads every layer of an image: its blob against the descriptor, its plain bytes against the diff_id. Throws `format_invalid` on any
 * difference, `format_limit` where a layer unpacks to more than `limitBytes`.
 */
export async function verifyOciLayers(source: OciLayoutSource, image: OciImage, limitBytes: number): Promise<void> {
  for (const [position, descriptor] of image.manifest.layers.entries()) {
    const name = `layer ${descriptor.digest}`;
    const plain = createHash("sha256");
    const blob = verifiedBlob(source.open(blobPath(descriptor.digest)), descriptor);
    for await (const piece of decompress(blob, { codec: layerCodec(descriptor.mediaType), limitBytes, name })) plain.update(piece);
    const diffId = digestFromHex(plain.digest("hex"));
    if (diffId !== image.config.diffIds[position]) {
      throw new SlipwayError("format_invalid", `${name} unpacks to ${diffId}, the configuration says ${image.config.diffIds[position]}`, {
        detail: "diff_id_mismatch",
      });
    }
  }
}

/**
 * The bytes of a blob, counted and hashed on their way. The last piece comes before the digest is known: who keeps the bytes must wait for
 * the end, where a difference throws `format_invalid`.
 */
export async function* verifiedBlob(bytes: AsyncIterable<Uint8Array>, descriptor: Pick<OciDescriptor, "digest" | "size">): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  let left = descriptor.size;
  for await (const piece of bytes) {
    left -= piece.length;
    if (left < 0) throw new SlipwayError("format_invalid", `blob ${descriptor.digest} has more than its ${descriptor.size} bytes`, { detail: "size_mismatch" });
    hash.update(piece);
    yield piece;
  }
  if (left > 0)
    throw new SlipwayError("format_invalid", `blob ${descriptor.digest} ends ${left} bytes before its ${descriptor.size}`, { detail: "size_mismatch" });
  const actual = digestFromHex(hash.digest("hex"));
  if (actual !== descriptor.digest) throw new SlipwayError("format_invalid", `blob ${descriptor.digest} has the digest ${actual}`, { detail: "hash_mismatch" });
}

/** A small blob (manifest, index, configuration), checked; throws `format_invalid`, and `format_limit` above 4 MiB. */
export async function readOciBlob(source: OciLayoutSource, descriptor: OciDescriptor): Promise<Buffer> {
  if (descriptor.size > ociDocumentLimit) {
    throw new SlipwayError("format_limit", `${descriptor.mediaType} ${descriptor.digest} has ${descriptor.size} bytes; the limit is ${ociDocumentLimit}`);
  }
  const pieces: Uint8Array[] = [];
  for await (const piece of verifiedBlob(source.open(blobPath(descriptor.digest)), descriptor)) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

async function readBounded(source: OciLayoutSource, path: string): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of source.open(path)) {
    size += piece.length;
    if (size > ociDocumentLimit) throw new SlipwayError("format_limit", `${path} has more than ${ociDocumentLimit} bytes`);
    pieces.push(Buffer.from(piece));
  }
  return Buffer.concat(pieces, size);
}
