/** The base of an image: an image layout on disk, or one pulled from a registry into a layout, checked by digest all the way down. */
import { isSamePlatform, type OciPlatform, ociDocumentLimit } from "../formats/oci-descriptor.ts";
import type { OciLayoutSource } from "../formats/oci-layout.ts";
import { type OciImage, type OciTaggedImage, platformManifests, readOciLayout, readTaggedImage } from "../formats/oci-layout.ts";
import { ociManifestTypes, parseOciManifest } from "../formats/oci-manifest.ts";
import { formatOciReference, type OciReference } from "../formats/oci-reference.ts";
import type { RegistryClient } from "../io/registry-client.ts";
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { type ImageLayout, openImageLayout } from "./image-layout.ts";

export type ImageBase = {
  /** As `org.opencontainers.image.base.name` says it; absent for a layout, which has no name that means anything elsewhere. */
  readonly name?: string;
  /** Of the index, or of the manifest where there is no index. */
  readonly digest: Digest;
  readonly source: OciLayoutSource;
  /** Throws `source_missing` where the base has no image for the platform. */
  readonly imageFor: (platform: OciPlatform) => OciImage;
};

/** Reads a base from a layout folder. Throws `source_missing` where the tag is not there or not clear, `format_invalid` for a broken layout. */
export async function openLayoutBase(folder: string, tag?: string): Promise<ImageBase> {
  const source = openImageLayout(folder);
  const images = await readOciLayout(source);
  const found = tag === undefined ? images : images.filter((image) => image.tag === tag);
  const [image, ...others] = found;
  if (image === undefined || others.length > 0) {
    const tags = images.map((one) => one.tag ?? "(none)").join(", ");
    throw new SlipwayError(
      "source_missing",
      `${folder}: ${tag === undefined ? "name one of the tags" : `no single image has the tag ${tag}`}; there are: ${tags}`,
      { place: folder },
    );
  }
  return baseOf(image, source);
}

export type PullRequest = {
  readonly client: RegistryClient;
  /** With a digest. */
  readonly reference: OciReference;
  readonly platforms: readonly OciPlatform[];
  /** Where documents and layers are kept; blobs that are there already are not asked for again. */
  readonly layout: ImageLayout;
};

/**
 * Pulls the platforms that are needed. Every byte is checked against the digest of the reference: the manifest by it, the rest by what the
 * manifest says. Throws what the registry client throws, `format_invalid`, and `usage` for a reference without a digest.
 */
export async function pullBase({ client, reference, platforms, layout }: PullRequest): Promise<ImageBase> {
  const { repository, digest } = reference;
  if (digest === undefined) throw new SlipwayError("usage", `${formatOciReference(reference)}: a base needs a digest`);
  const isWanted = (platform: OciPlatform): boolean => platforms.some((wanted) => isSamePlatform(wanted, platform));
  const pullManifest = async (wanted: Digest) => {
    const { bytes, mediaType } = await client.getManifest(repository, wanted, ociManifestTypes);
    const descriptor = { mediaType, digest: wanted, size: bytes.length };
    await layout.putDocument({ descriptor, bytes });
    return { descriptor, parsed: parseOciManifest(bytes, mediaType) };
  };
  const pullBlob = async (blob: { readonly digest: Digest; readonly size: number }): Promise<void> => {
    if (!(await layout.hasBlob(blob))) await client.pullBlob(repository, blob, (bytes) => layout.putVerified(blob, bytes));
  };

  const top = await pullManifest(digest);
  const manifests = top.parsed.kind === "manifest" ? [top.parsed] : [];
  if (top.parsed.kind === "index") {
    for (const child of platformManifests(top.parsed)) {
      if (child.platform !== undefined && !isWanted(child.platform)) continue;
      const { parsed } = await pullManifest(child.digest);
      if (parsed.kind === "manifest") manifests.push(parsed);
    }
  }
  for (const { config, layers } of manifests) {
    if (config.size > ociDocumentLimit)
      throw new SlipwayError("format_limit", `the configuration ${config.digest} has ${config.size} bytes; the limit is ${ociDocumentLimit}`);
    for (const blob of [config, ...layers]) await pullBlob(blob);
  }
  const image = await readTaggedImage(layout.source, top.descriptor, isWanted);
  const { host, tag } = reference;
  return { ...baseOf(image, layout.source), name: formatOciReference({ host, repository, ...(tag === undefined ? {} : { tag }) }) };
}

function baseOf(image: OciTaggedImage, source: OciLayoutSource): ImageBase {
  return {
    digest: image.descriptor.digest,
    source,
    imageFor: (platform) => {
      const found = image.images.find((candidate) => isSamePlatform(candidate.platform, platform));
      if (found !== undefined) return found;
      const there = image.images.map((one) => `${one.platform.os}/${one.platform.architecture}`).join(", ");
      throw new SlipwayError(
        "source_missing",
        `the base ${image.descriptor.digest} has no image for ${platform.os}/${platform.architecture}; it has: ${there}`,
      );
    },
  };
}
