/**
 * OCI content descriptors, media types and platforms, and the one way in which our OCI JSON is written and foreign JSON is read.
 *
 * Source: OCI image-spec 1.1 descriptor.md, media-types.md, image-index.md. JSON is rendered from literals whose key order is fixed here,
 * maps are sorted by key, and there is no white space: the same image gives the same bytes, and so the same digest, everywhere.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { lazyObject } from "../model/lazy-object.ts";
import { type Digest, digestFromHex, isDigest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Target } from "../model/target.ts";
import { comparePaths } from "./entry-path.ts";

export const ociMediaTypes = {
  index: "application/vnd.oci.image.index.v1+json",
  manifest: "application/vnd.oci.image.manifest.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar",
  layerGzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  layerZstd: "application/vnd.oci.image.layer.v1.tar+zstd",
} as const;

/** Docker's schema 2: what many base images still are. The bytes mean the same, so each has an OCI type that says so. */
export const dockerMediaTypes = {
  list: "application/vnd.docker.distribution.manifest.list.v2+json",
  manifest: "application/vnd.docker.distribution.manifest.v2+json",
  config: "application/vnd.docker.container.image.v1+json",
  layer: "application/vnd.docker.image.rootfs.diff.tar",
  layerGzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
} as const;

/** Largest manifest, index or config that is read: registries need to take no more than 4 MiB (OCI distribution-spec, end-7). */
export const ociDocumentLimit = 4 * 1024 * 1024;

export type OciPlatform = { readonly architecture: string; readonly os: string; readonly variant?: string; readonly "os.version"?: string };

export type OciAnnotations = Readonly<Record<string, string>>;

export type OciDescriptor = {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly platform?: OciPlatform;
  readonly annotations?: OciAnnotations;
};

/** A document with its descriptor: what is stored under the digest. */
export type OciDocument = { readonly descriptor: OciDescriptor; readonly bytes: Buffer };

/** A target in the words of OCI, which are Go's: the architecture's variant stands apart. */
export function ociPlatform(target: Target): OciPlatform {
  if (target.arch === "armv7") return { architecture: "arm", os: target.os, variant: "v7" };
  if (target.arch === "arm64") return { architecture: "arm64", os: target.os, variant: "v8" };
  return { architecture: target.arch, os: target.os };
}

/** Platforms that run the same programs: an arm64 without a variant is v8 (containerd's platform normalisation). */
export function isSamePlatform(left: OciPlatform, right: OciPlatform): boolean {
  const variant = ({ architecture, variant: own }: OciPlatform): string => own ?? (architecture === "arm64" ? "v8" : "");
  return left.os === right.os && left.architecture === right.architecture && variant(left) === variant(right);
}

/** A map with its keys in byte order. */
export function sortedMap<Value>(map: Readonly<Record<string, Value>>): Readonly<Record<string, Value>> {
  return Object.fromEntries(Object.entries(map).sort(([left], [right]) => comparePaths(left, right)));
}

/** The descriptor as it is written: fixed key order, nothing that is empty. */
export function descriptorLiteral(descriptor: OciDescriptor): Readonly<Record<string, unknown>> {
  const { mediaType, digest, size, annotations, platform } = descriptor;
  return {
    mediaType,
    digest,
    size,
    ...(annotations === undefined || Object.keys(annotations).length === 0 ? {} : { annotations: sortedMap(annotations) }),
    ...(platform === undefined ? {} : { platform: platformLiteral(platform) }),
  };
}

function platformLiteral(platform: OciPlatform): Readonly<Record<string, unknown>> {
  const { architecture, os, variant } = platform;
  const osVersion = platform["os.version"];
  return { architecture, os, ...(osVersion === undefined ? {} : { "os.version": osVersion }), ...(variant === undefined ? {} : { variant }) };
}

/** Renders a literal and names the bytes by their digest. */
export function ociDocument(mediaType: string, literal: unknown): OciDocument {
  const bytes = Buffer.from(JSON.stringify(literal), "utf8");
  return { bytes, descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length } };
}

export function digestOf(bytes: Uint8Array): Digest {
  return digestFromHex(createHash("sha256").update(bytes).digest("hex"));
}

const platformSchema = lazyObject(() => ({
  architecture: z.string().min(1).max(64),
  os: z.string().min(1).max(64),
  variant: z.string().max(64).optional(),
  "os.version": z.string().max(64).optional(),
}));

export const annotationsSchema = z.record(z.string().min(1).max(512), z.string().max(256 * 1024));

/** Unknown keys are dropped, as the specification asks of readers; digests other than SHA-256 are refused, because nothing here could check them. */
export const descriptorSchema = lazyObject(() => ({
  mediaType: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/, "is not a media type"),
  digest: z.custom<Digest>(isDigest, "is not a sha256 digest"),
  size: z.int().nonnegative(),
  platform: platformSchema.optional(),
  annotations: annotationsSchema.nullish().transform((value) => value ?? undefined),
}));

/** Drops the keys that zod leaves behind as `undefined`. */
export function asDescriptor(parsed: z.output<typeof descriptorSchema>): OciDescriptor {
  const { mediaType, digest, size, platform, annotations } = parsed;
  return {
    mediaType,
    digest,
    size,
    ...(platform === undefined ? {} : { platform: asPlatform(platform) }),
    ...(annotations === undefined ? {} : { annotations }),
  };
}

export function asPlatform(parsed: z.output<typeof platformSchema>): OciPlatform {
  const osVersion = parsed["os.version"];
  return {
    architecture: parsed.architecture,
    os: parsed.os,
    ...(parsed.variant === undefined || parsed.variant === "" ? {} : { variant: parsed.variant }),
    ...(osVersion === undefined ? {} : { "os.version": osVersion }),
  };
}

/** Foreign JSON through a schema; throws `format_invalid` naming the field, and `format_limit` above `ociDocumentLimit`. */
export function parseOciJson<Schema extends z.ZodType>(bytes: Uint8Array, schema: Schema, what: string): z.output<Schema> {
  if (bytes.length > ociDocumentLimit) throw new SlipwayError("format_limit", `the ${what} has ${bytes.length} bytes; the limit is ${ociDocumentLimit}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new SlipwayError("format_invalid", `the ${what} is not JSON`, { cause: error });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new SlipwayError("format_invalid", `the ${what} is not valid: ${issue?.path.join(".") ?? ""} ${issue?.message ?? ""}`, { cause: parsed.error });
}
