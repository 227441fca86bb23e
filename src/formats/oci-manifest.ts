/**
 * Image manifests (one platform) and image indexes (all platforms): rendered as ours, read strictly as OCI's or Docker's.
 *
 * Source: OCI image-spec 1.1 manifest.md, image-index.md. A document that could be read as both is refused: two readers would see two
 * images under one digest (CVE-2021-41190).
 */
import { z } from "zod";
import { lazyObject } from "../model/lazy-object.ts";
import { SlipwayError } from "../model/errors.ts";
import {
  annotationsSchema,
  asDescriptor,
  descriptorLiteral,
  descriptorSchema,
  dockerMediaTypes,
  type OciAnnotations,
  type OciDescriptor,
  type OciDocument,
  ociDocument,
  ociMediaTypes,
  parseOciJson,
  sortedMap,
} from "./oci-descriptor.ts";

export type OciManifest = {
  readonly kind: "manifest";
  readonly config: OciDescriptor;
  readonly layers: readonly OciDescriptor[];
  readonly annotations: OciAnnotations;
};

export type OciIndex = { readonly kind: "index"; readonly manifests: readonly OciDescriptor[]; readonly annotations: OciAnnotations };

/** The media types that a registry is asked for (Accept), the wanted first. */
export const ociManifestTypes: readonly string[] = [ociMediaTypes.index, ociMediaTypes.manifest, dockerMediaTypes.list, dockerMediaTypes.manifest];

export function isIndexType(mediaType: string): boolean {
  return mediaType === ociMediaTypes.index || mediaType === dockerMediaTypes.list;
}

export function isManifestType(mediaType: string): boolean {
  return mediaType === ociMediaTypes.manifest || mediaType === dockerMediaTypes.manifest;
}

export function renderOciManifest(manifest: Omit<OciManifest, "kind">): OciDocument {
  return ociDocument(ociMediaTypes.manifest, {
    schemaVersion: 2,
    mediaType: ociMediaTypes.manifest,
    config: descriptorLiteral(manifest.config),
    layers: manifest.layers.map(descriptorLiteral),
    ...annotationsLiteral(manifest.annotations),
  });
}

export function renderOciIndex(index: Omit<OciIndex, "kind">): OciDocument {
  return ociDocument(ociMediaTypes.index, {
    schemaVersion: 2,
    mediaType: ociMediaTypes.index,
    manifests: index.manifests.map(descriptorLiteral),
    ...annotationsLiteral(index.annotations),
  });
}

function annotationsLiteral(annotations: OciAnnotations): Readonly<Record<string, unknown>> {
  return Object.keys(annotations).length === 0 ? {} : { annotations: sortedMap(annotations) };
}

/** More layers than overlay file systems can stack, more platforms than exist. */
const layerLimit = 500;
const manifestLimit = 1_000;

const noAnnotations = annotationsSchema.nullish().transform((value) => value ?? {});

const manifestSchema = lazyObject(() => ({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  manifests: z.undefined("stands beside layers: the document is ambiguous").optional(),
  config: descriptorSchema,
  layers: z.array(descriptorSchema).max(layerLimit),
  annotations: noAnnotations,
}));

const indexSchema = lazyObject(() => ({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  config: z.undefined("stands beside manifests: the document is ambiguous").optional(),
  layers: z.undefined("stands beside manifests: the document is ambiguous").optional(),
  manifests: z.array(descriptorSchema).max(manifestLimit),
  annotations: noAnnotations,
}));

/** Reads what a descriptor of this media type names; throws `format_invalid`, also where the document says another type of itself. */
export function parseOciManifest(bytes: Uint8Array, mediaType: string): OciManifest | OciIndex {
  if (isIndexType(mediaType)) {
    const parsed = parseOciJson(bytes, indexSchema, "image index");
    checkOwnType(parsed.mediaType, mediaType);
    return { kind: "index", manifests: parsed.manifests.map(asDescriptor), annotations: parsed.annotations };
  }
  if (isManifestType(mediaType)) {
    const parsed = parseOciJson(bytes, manifestSchema, "image manifest");
    checkOwnType(parsed.mediaType, mediaType);
    return { kind: "manifest", config: asDescriptor(parsed.config), layers: parsed.layers.map(asDescriptor), annotations: parsed.annotations };
  }
  throw new SlipwayError("format_invalid", `${mediaType} is neither an image manifest nor an image index`);
}

function checkOwnType(own: string | undefined, expected: string): void {
  if (own !== undefined && own !== expected) throw new SlipwayError("format_invalid", `a document announced as ${expected} says that it is ${own}`);
}

const layerTypes: Readonly<Record<string, string>> = {
  [ociMediaTypes.layer]: ociMediaTypes.layer,
  [ociMediaTypes.layerGzip]: ociMediaTypes.layerGzip,
  [ociMediaTypes.layerZstd]: ociMediaTypes.layerZstd,
  [dockerMediaTypes.layer]: ociMediaTypes.layer,
  [dockerMediaTypes.layerGzip]: ociMediaTypes.layerGzip,
};

/** A layer of a base under its OCI type; throws `format_invalid` for foreign, non-distributable or encrypted layers. */
export function asOciLayer(descriptor: OciDescriptor): OciDescriptor {
  const mediaType = layerTypes[descriptor.mediaType];
  if (mediaType === undefined) throw new SlipwayError("format_invalid", `a layer of type ${descriptor.mediaType} cannot be part of an image of ours`);
  return { mediaType, digest: descriptor.digest, size: descriptor.size };
}

/** How a layer's blob is compressed; throws `format_invalid` for other types. */
export function layerCodec(mediaType: string): "gzip" | "zstd" | "none" {
  switch (layerTypes[mediaType]) {
    case ociMediaTypes.layerGzip:
      return "gzip";
    case ociMediaTypes.layerZstd:
      return "zstd";
    case ociMediaTypes.layer:
      return "none";
    default:
      throw new SlipwayError("format_invalid", `${mediaType} is not a layer type`);
  }
}
