/**
 * Reads the images of the wanted releases and lays them out as OCI image layouts below `images/<repository>/`.
 *
 * A version's tag leads to a digest, the digest to everything below it, and the registry is asked for what refers to it (signatures, bills of
 * materials). Where release.json names the image, the tag must lead to the digest that was signed. Of an index only the wanted platforms are
 * followed; the index itself stays as it is, since its digest is what was signed. OCI image-spec 1.1 image-layout.md, distribution-spec 1.1.
 */
import { z } from "zod";
import { ociDocumentLimit, ociMediaTypes, parseOciJson } from "../formats/oci-descriptor.ts";
import { layoutFileBytes, refNameAnnotation } from "../formats/oci-layout.ts";
import { isIndexType, isManifestType, ociManifestTypes } from "../formats/oci-manifest.ts";
import { readPushedManifest } from "../formats/oci-pushed-manifest.ts";
import { SlipwayError } from "../model/errors.ts";
import { ociTag, type Version } from "../model/version.ts";
import type { ReleaseDescription } from "../trust/verify-release.ts";
import { addDocument, addFile, type Collected, type Collecting, movedError, sha256Hex } from "./collect.ts";

const tagListLimit = 4 * 1024 * 1024;
const tagsPerPage = 1_000;
const tagLimit = 20_000;
const manifestLimit = 20_000;

const tagListSchema = z.object({ tags: z.array(z.string().max(128)).max(tagLimit).nullable() });
const referenceSchema = z.looseObject({
  mediaType: z.string().max(255),
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/, "is not a sha256 digest"),
  size: z.int().nonnegative(),
  platform: z.looseObject({ os: z.string(), architecture: z.string(), variant: z.string().optional() }).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});
type Reference = z.output<typeof referenceSchema>;
const listingSchema = z.looseObject({ manifests: z.array(referenceSchema).max(manifestLimit) });
const blobsSchema = z.looseObject({ config: referenceSchema, layers: z.array(referenceSchema).max(10_000) });

export type WantedImages = {
  /** Of the wanted releases; the signed digests, where release.json names images. */
  readonly releases: readonly ReleaseDescription[];
  /** Every version of the list, wanted or not: their tags are never taken for tags of the vendor's own. */
  readonly known: readonly Version[];
};

/** Throws `upgrade_verification_failed` where a tag does not lead to what was signed. */
export async function collectImages(collecting: Collecting, wanted: WantedImages, collected: Collected): Promise<void> {
  const named = wanted.releases.flatMap(({ manifest }) => manifest.artifacts.flatMap(({ image }) => (image === undefined ? [] : [image.repository])));
  for (const repository of [...new Set([collecting.product, ...collecting.selection.images, ...named])].sort())
    await collectRepository(collecting, { repository, wanted }, collected);
}

type Repository = { readonly repository: string; readonly wanted: WantedImages };
type Document = { readonly bytes: Buffer; readonly hex: string; readonly mediaType: string };

async function collectRepository(collecting: Collecting, { repository, wanted }: Repository, collected: Collected): Promise<void> {
  const reader = imageReader(collecting, repository);
  const tags = await reader.tags();
  if (tags === undefined) return;
  const refs: { readonly tag: string; readonly document: Document }[] = [];
  const isVersionTag = (tag: string, versions: readonly Version[]): boolean =>
    versions.some((version) => tag === ociTag(version) || tag === `v${ociTag(version)}`);
  for (const release of wanted.releases) {
    for (const tag of [ociTag(release.version), `v${ociTag(release.version)}`]) {
      if (!tags.includes(tag)) continue;
      const document = await reader.manifest(tag);
      if (document === undefined) throw movedError(`${repository}:${tag}`);
      requireSigned(release, { repository, tag, hex: document.hex });
      refs.push({ tag, document });
    }
  }
  const roots = new Set(refs.map(({ document }) => document.hex));
  for (const tag of tags) {
    if (isVersionTag(tag, wanted.known) || /^sha256-[0-9a-f]{64}/.test(tag)) continue;
    const document = await reader.manifest(tag);
    if (document !== undefined && roots.has(document.hex)) refs.push({ tag, document });
  }
  if (refs.length === 0) return;
  const root = `images/${repository}`;
  const seen = new Map<string, Document>();
  const referrers: Reference[] = [];
  const open: Document[] = refs.map(({ document }) => document);
  for (let document = open.pop(); document !== undefined; document = open.pop()) {
    if (seen.has(document.hex)) continue;
    seen.set(document.hex, document);
    if (seen.size > manifestLimit) throw new SlipwayError("format_limit", `${repository} leads to more than ${manifestLimit} manifests`);
    await addDocument(collecting, collected, { path: `${root}/blobs/sha256/${document.hex}`, bytes: document.bytes, immutable: true });
    open.push(...(await collectBelow(collecting, { repository, document, reader }, collected)));
    for (const referrer of await reader.referrers(document.hex)) {
      referrers.push(referrer);
      open.push(await reader.required(referrer.digest));
    }
  }
  await addDocument(collecting, collected, { path: `${root}/oci-layout`, bytes: layoutFileBytes });
  await addDocument(collecting, collected, { path: `${root}/index.json`, bytes: layoutIndex(refs, referrers) });
}

/** A tag that leads elsewhere than the release says is an image that nobody signed. */
function requireSigned(release: ReleaseDescription, found: { readonly repository: string; readonly tag: string; readonly hex: string }): void {
  for (const { image } of release.manifest.artifacts) {
    if (image === undefined || image.repository !== found.repository || !image.tags.includes(found.tag)) continue;
    if (image.digest === `sha256:${found.hex}`) continue;
    throw new SlipwayError("upgrade_verification_failed", `${found.repository}:${found.tag} is sha256:${found.hex}; signed was ${image.digest}`, {
      detail: "hash_mismatch",
    });
  }
}

type Below = { readonly repository: string; readonly document: Document; readonly reader: ImageReader };

/** Adds the blobs of an image; returns the manifests of an index that are wanted. */
async function collectBelow(collecting: Collecting, { repository, document, reader }: Below, collected: Collected): Promise<readonly Document[]> {
  // The strict reading of the registry, so that no document passes here that a registry would refuse.
  readPushedManifest(document.bytes, document.mediaType);
  if (isIndexType(document.mediaType)) {
    const { manifests } = parseOciJson(document.bytes, listingSchema, `${repository}@sha256:${document.hex}`);
    const children = manifests
      .filter((child) => isManifestType(child.mediaType) || isIndexType(child.mediaType))
      .filter((child) => isWantedPlatform(collecting, child));
    return Promise.all(children.map((child) => reader.required(child.digest)));
  }
  const { config, layers } = parseOciJson(document.bytes, blobsSchema, `${repository}@sha256:${document.hex}`);
  for (const blob of [config, ...layers]) {
    const hex = blob.digest.slice("sha256:".length);
    addFile(collected, {
      path: `images/${repository}/blobs/sha256/${hex}`,
      source: reader.blobPath(hex),
      size: blob.size,
      proof: { kind: "sha256", hex },
      immutable: true,
    });
  }
  return [];
}

/** BuildKit's attestations stand in an index as manifests of an unknown platform: they belong to all. */
function isWantedPlatform({ selection }: Collecting, { platform }: Reference): boolean {
  if (selection.architectures === undefined || platform === undefined || platform.os === "unknown") return true;
  const arch = platform.architecture === "arm" ? "armv7" : platform.architecture;
  return (selection.architectures as readonly string[]).includes(arch);
}

function layoutIndex(refs: readonly { readonly tag: string; readonly document: Document }[], referrers: readonly Reference[]): Uint8Array {
  const tagged = refs
    .toSorted((left, right) => (left.tag < right.tag ? -1 : 1))
    .map(({ tag, document }) => ({
      mediaType: document.mediaType,
      digest: `sha256:${document.hex}`,
      size: document.bytes.length,
      annotations: { [refNameAnnotation]: tag },
    }));
  // Without a tag: oras and slipway find what refers to an image among the manifests of the layout.
  const untagged = [...new Map(referrers.map((referrer) => [referrer.digest, referrer])).values()].sort((left, right) => (left.digest < right.digest ? -1 : 1));
  const manifests = [...tagged, ...untagged.map(({ mediaType, digest, size }) => ({ mediaType, digest, size }))];
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociMediaTypes.index, manifests }));
}

type ImageReader = {
  /** Undefined where there is no such repository. */
  readonly tags: () => Promise<readonly string[] | undefined>;
  /** By tag. */
  readonly manifest: (tag: string) => Promise<Document | undefined>;
  /** By digest; throws where it is not there or is something else. */
  readonly required: (digest: string) => Promise<Document>;
  readonly referrers: (hex: string) => Promise<readonly Reference[]>;
  /** Where a blob is at the source. */
  readonly blobPath: (hex: string) => string;
};

function imageReader(collecting: Collecting, repository: string): ImageReader {
  return collecting.fetching.source.imagesAs === "registry" ? registryReader(collecting, repository) : layoutReader(collecting, repository);
}

function registryReader(collecting: Collecting, repository: string): ImageReader {
  const { source, signal } = collecting.fetching;
  const root = `v2/${repository}`;
  const manifest = async (reference: string): Promise<Document | undefined> => {
    const bytes = await source.read(`${root}/manifests/${reference}`, { limit: ociDocumentLimit, signal, accept: ociManifestTypes.join(", ") });
    return bytes === undefined ? undefined : asDocument(bytes);
  };
  return {
    tags: async () => {
      const tags: string[] = [];
      for (let last = ""; tags.length < tagLimit; last = tags.at(-1) ?? "") {
        const bytes = await source.read(`${root}/tags/list?n=${tagsPerPage}${last === "" ? "" : `&last=${encodeURIComponent(last)}`}`, {
          limit: tagListLimit,
          signal,
        });
        if (bytes === undefined) return tags.length === 0 ? undefined : tags;
        const page = parseOciJson(bytes, tagListSchema, `the tags of ${repository}`).tags ?? [];
        tags.push(...page);
        if (page.length < tagsPerPage) return tags;
      }
      throw new SlipwayError("format_limit", `${repository} has more than ${tagLimit} tags`);
    },
    manifest,
    required: async (digest) => {
      const kept = await collecting.known(`images/${repository}/blobs/sha256/${digest.slice("sha256:".length)}`);
      return checkDocument(kept === undefined ? await manifest(digest) : asDocument(kept), repository, digest);
    },
    referrers: async (hex) => {
      const bytes = await source.read(`${root}/referrers/sha256:${hex}`, { limit: ociDocumentLimit, signal });
      return bytes === undefined ? [] : parseOciJson(bytes, listingSchema, `what refers to ${repository}@sha256:${hex}`).manifests;
    },
    blobPath: (hex) => `${root}/blobs/sha256:${hex}`,
  };
}

function layoutReader(collecting: Collecting, repository: string): ImageReader {
  const { source, signal } = collecting.fetching;
  const root = `images/${repository}`;
  const blob = async (hex: string): Promise<Document | undefined> => {
    const bytes = await source.read(`${root}/blobs/sha256/${hex}`, { limit: ociDocumentLimit, signal });
    return bytes === undefined ? undefined : asDocument(bytes);
  };
  const entries = async (): Promise<readonly Reference[] | undefined> => {
    const bytes = await source.read(`${root}/index.json`, { limit: ociDocumentLimit, signal });
    return bytes === undefined ? undefined : parseOciJson(bytes, listingSchema, `${root}/index.json`).manifests;
  };
  const required = async (digest: string): Promise<Document> => checkDocument(await blob(digest.slice("sha256:".length)), repository, digest);
  return {
    tags: async () => (await entries())?.flatMap(({ annotations }) => annotations?.[refNameAnnotation] ?? []),
    manifest: async (tag) => {
      const entry = (await entries())?.find(({ annotations }) => annotations?.[refNameAnnotation] === tag);
      return entry === undefined ? undefined : required(entry.digest);
    },
    required,
    referrers: async (hex) => {
      const untagged = ((await entries()) ?? []).filter(({ annotations }) => annotations?.[refNameAnnotation] === undefined);
      const found: Reference[] = [];
      for (const entry of untagged) {
        const { bytes, mediaType } = await required(entry.digest);
        if (readPushedManifest(bytes, mediaType).subject === `sha256:${hex}`) found.push(entry);
      }
      return found;
    },
    blobPath: (hex) => `${root}/blobs/sha256/${hex}`,
  };
}

const typedSchema = z.looseObject({ mediaType: z.string().max(255).optional(), manifests: z.unknown().optional() });

function asDocument(bytes: Buffer): Document {
  const { mediaType, manifests } = parseOciJson(bytes, typedSchema, "a manifest");
  return { bytes, hex: sha256Hex(bytes), mediaType: mediaType ?? (manifests === undefined ? ociMediaTypes.manifest : ociMediaTypes.index) };
}

function checkDocument(document: Document | undefined, repository: string, digest: string): Document {
  if (document === undefined) throw new SlipwayError("upgrade_verification_failed", `${repository}@${digest} is not there`, { detail: "sums_entry_missing" });
  if (`sha256:${document.hex}` !== digest)
    throw new SlipwayError("upgrade_verification_failed", `${repository}@${digest} has the digest sha256:${document.hex}`, { detail: "hash_mismatch" });
  return document;
}
