/**
 * What a registry must know of a manifest that it is given: what it refers to, and how it is listed among the referrers of another one.
 *
 * Source: OCI image-spec 1.1 manifest.md and image-index.md, distribution-spec 1.1 "Pushing Manifests" and "Listing Referrers". A registry
 * keeps bytes that it does not understand: unknown keys and unknown types of content are taken, an ambiguous document is not (oci-manifest.ts).
 */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { annotationsSchema, dockerMediaTypes, type OciAnnotations, ociDocumentLimit, ociMediaTypes, parseOciJson } from "./oci-descriptor.ts";
import { isOciDigest, type OciDigest } from "./oci-digest.ts";
import { isIndexType, isManifestType } from "./oci-manifest.ts";

export type OciChild = {
  readonly digest: OciDigest;
  readonly kind: "manifest" | "blob";
  /** False for layers that may not be distributed: their bytes are somewhere else. */
  readonly isRequired: boolean;
};

export type PushedManifest = {
  readonly mediaType: string;
  /** Each digest once. */
  readonly children: readonly OciChild[];
  readonly subject: OciDigest | undefined;
  /** As a referrer is listed: of an image manifest without one, its configuration's media type. */
  readonly artifactType: string | undefined;
  readonly annotations: OciAnnotations;
};

const mediaTypeSchema = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/, "is not a media type");

const referenceSchema = z.object({
  mediaType: mediaTypeSchema,
  digest: z.custom<OciDigest>(isOciDigest, "is not a sha256 or sha512 digest"),
  size: z.int().nonnegative(),
  urls: z.array(z.string()).nullish(),
});

/** A manifest of 4 MiB holds about 20,000 descriptors; each becomes a row. */
const childLimit = 20_000;

const common = {
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  artifactType: mediaTypeSchema.or(z.literal("")).optional(),
  subject: referenceSchema.nullish(),
  annotations: annotationsSchema.nullish(),
};

const manifestSchema = z.object({
  ...common,
  manifests: z.undefined("stands beside layers: the document is ambiguous").optional(),
  config: referenceSchema,
  layers: z.array(referenceSchema).max(childLimit),
});

const indexSchema = z.object({
  ...common,
  config: z.undefined("stands beside manifests: the document is ambiguous").optional(),
  layers: z.undefined("stands beside manifests: the document is ambiguous").optional(),
  manifests: z.array(referenceSchema).max(childLimit),
});

const anySchema = z.object({ mediaType: z.string().optional() });

const foreignTypes: ReadonlySet<string> = new Set([
  "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
  ...["tar", "tar+gzip", "tar+zstd"].map((form) => `application/vnd.oci.image.layer.nondistributable.v1.${form}`),
]);

/**
 * Reads the document as the type that it was pushed with; without one, as the type that it says of itself. Throws `format_invalid` for what
 * is no image manifest or index, `format_limit` above 4 MiB.
 */
export function readPushedManifest(bytes: Uint8Array, pushedType: string | undefined): PushedManifest {
  const mediaType = pushedType ?? parseOciJson(bytes, anySchema, "manifest").mediaType ?? ociMediaTypes.manifest;
  if (isIndexType(mediaType)) {
    const parsed = parseOciJson(bytes, indexSchema, "image index");
    const children = parsed.manifests.map((child) => ({ digest: child.digest, kind: "manifest" as const, isRequired: true }));
    return described(mediaType, parsed, { children, configType: undefined });
  }
  if (isManifestType(mediaType)) {
    const parsed = parseOciJson(bytes, manifestSchema, "image manifest");
    const children = [parsed.config, ...parsed.layers].map((child) => ({ digest: child.digest, kind: "blob" as const, isRequired: !isElsewhere(child) }));
    return described(mediaType, parsed, { children, configType: parsed.config.mediaType });
  }
  throw new SlipwayError("format_invalid", `${mediaType.slice(0, 200)} is neither an image manifest nor an image index`, {
    hint: `push ${[ociMediaTypes.manifest, ociMediaTypes.index, dockerMediaTypes.manifest, dockerMediaTypes.list].join(", ")} of at most ${ociDocumentLimit} bytes`,
  });
}

function isElsewhere(child: z.output<typeof referenceSchema>): boolean {
  return foreignTypes.has(child.mediaType) || (child.urls ?? []).length > 0;
}

type Parsed = z.output<typeof manifestSchema> | z.output<typeof indexSchema>;

function described(
  mediaType: string,
  parsed: Parsed,
  read: { readonly children: readonly OciChild[]; readonly configType: string | undefined },
): PushedManifest {
  if (parsed.mediaType !== undefined && parsed.mediaType !== mediaType) {
    throw new SlipwayError("format_invalid", `a document announced as ${mediaType} says that it is ${parsed.mediaType.slice(0, 200)}`);
  }
  const artifactType = parsed.artifactType === "" ? undefined : parsed.artifactType;
  return {
    mediaType,
    children: [...new Map(read.children.map((child) => [child.digest, child])).values()],
    subject: parsed.subject?.digest,
    artifactType: artifactType ?? read.configType,
    annotations: parsed.annotations ?? {},
  };
}
