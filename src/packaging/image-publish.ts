/**
 * Publishes a built image in a registry: the image and the tags of its version first, then the tags that go from release to release.
 *
 * What is pushed is what the release's manifest names: the digest of the image index that the build wrote down stands there, under the
 * release's signature, and the bytes on disk must lead to it.
 */
import { type OciTaggedImage, readOciLayout } from "../formats/oci-layout.ts";
import { ociManifestTypes, parseOciManifest } from "../formats/oci-manifest.ts";
import type { RegistryClient } from "../io/registry-client.ts";
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { ManifestArtifact } from "../model/manifest.ts";
import { compareVersions, ociTag, tryParseVersion, type Version } from "../model/version.ts";
import { openImageArchive } from "./image-archive.ts";
import { type ImagePush, pushImage } from "./image-push.ts";

export type ImagePublication = {
  readonly client: RegistryClient;
  /** In the registry, its namespace included. */
  readonly repository: string;
  /** The tar of the built release. */
  readonly path: string;
  /** As the manifest describes it. */
  readonly image: NonNullable<ManifestArtifact["image"]>;
  readonly version: Version;
  /** Called before anything is sent, with the bytes of all blobs. */
  readonly onStart?: (totalBytes: number) => void;
  readonly onBlob?: NonNullable<ImagePush["onBlob"]>;
};

export type PublishedImage = {
  readonly digest: Digest;
  /** All that name the image now. */
  readonly tags: readonly string[];
  /** Those that named an older release's image before. */
  readonly movedTags: readonly string[];
  /** Those that stay where they are, at a newer release. */
  readonly keptTags: readonly string[];
};

const versionAnnotation = "org.opencontainers.image.version";

/**
 * Safe to run again. Throws `immutable` before anything is sent where a tag of this version names another image, `format_invalid` where the
 * tar does not hold the image that the manifest names, and what the registry client throws.
 */
export async function publishImage(publication: ImagePublication): Promise<PublishedImage> {
  const { client, repository, version } = publication;
  const archive = await openImageArchive(publication.path);
  try {
    const image = findImage(await readOciLayout(archive.source), publication);
    const blobs = new Map(image.images.flatMap(({ manifest }) => [manifest.config, ...manifest.layers]).map((blob) => [blob.digest, blob.size]));
    publication.onStart?.(blobs.values().reduce((sum, size) => sum + size, 0));
    const push: Omit<ImagePush, "tags"> = {
      client,
      repository,
      source: archive.source,
      image,
      ...(publication.onBlob === undefined ? {} : { onBlob: publication.onBlob }),
    };
    const own = publication.image.tags.filter((tag) => tag.includes(ociTag(version)));
    const { digest } = await pushImage({ ...push, tags: own });
    const moving: string[] = [];
    const kept: string[] = [];
    for (const tag of publication.image.tags) {
      if (own.includes(tag)) continue;
      const isNewer = await namesNewer({ client, repository, tag, version });
      (isNewer ? kept : moving).push(tag);
    }
    const { movedTags } = await pushImage({ ...push, tags: moving, mayMoveTags: true });
    return { digest, tags: [...own, ...moving], movedTags, keptTags: kept };
  } finally {
    await archive.close();
  }
}

function findImage(images: readonly OciTaggedImage[], { image, path }: ImagePublication): OciTaggedImage {
  const found = images.find(({ descriptor }) => descriptor.digest === image.digest);
  if (found !== undefined) return found;
  throw new SlipwayError("format_invalid", `the archive does not hold the image ${image.digest} that the release names`, {
    place: path,
    hint: "build the release again: the archive is not the one that was built with it",
  });
}

/** True where the tag names the image of a newer release: a patch of an old line must not take `latest` back. */
async function namesNewer(at: {
  readonly client: RegistryClient;
  readonly repository: string;
  readonly tag: string;
  readonly version: Version;
}): Promise<boolean> {
  const { client, repository, tag } = at;
  if ((await client.findManifest(repository, tag, ociManifestTypes)) === undefined) return false;
  const { bytes, mediaType } = await client.getManifest(repository, tag, ociManifestTypes);
  const present = tryParseVersion(parseOciManifest(bytes, mediaType).annotations[versionAnnotation] ?? "");
  return present !== undefined && compareVersions(present, at.version) > 0;
}
