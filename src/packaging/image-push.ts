/** Pushes an image from a layout to a registry: blobs, then manifests, then tags, so that a tag never names an image that is not all there. */

import type { OciDescriptor } from "../formats/oci-descriptor.ts";
import { blobPath, type OciLayoutSource, type OciTaggedImage, readOciBlob } from "../formats/oci-layout.ts";
import { ociManifestTypes } from "../formats/oci-manifest.ts";
import type { RegistryClient } from "../io/registry-client.ts";
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";

export type ImagePush = {
  readonly client: RegistryClient;
  readonly repository: string;
  readonly tags: readonly string[];
  readonly source: OciLayoutSource;
  readonly image: OciTaggedImage;
  /** Repositories of the same registry that may have some of the blobs already. */
  readonly mountFrom?: readonly string[];
  /** Tags such as `latest` move; a version's tag never does. */
  readonly mayMoveTags?: boolean;
  readonly onBlob?: (blob: { readonly digest: Digest; readonly size: number; readonly outcome: "present" | "mounted" | "uploaded" }) => void;
};

/** Blobs on their way at once: enough to hide the round trips. */
const blobsAtOnce = 3;

/**
 * Safe to run again: what is there is not sent again. Throws `immutable` before anything is sent where a tag names another image, and what
 * the registry client throws; tags are as they were then.
 */
export async function pushImage(push: ImagePush): Promise<{ readonly digest: Digest; readonly movedTags: readonly string[] }> {
  const { client, repository, image, source } = push;
  const { digest } = image.descriptor;
  if (image.index !== undefined && image.index.manifests.length !== image.images.length) {
    throw new SlipwayError("format_invalid", `${digest} is an index with more than images in it; copy it with a tool that knows attestations`);
  }
  const missingTags: string[] = [];
  const movedTags: string[] = [];
  for (const tag of push.tags) {
    const present = await client.findManifest(repository, tag, ociManifestTypes);
    if (present === digest) continue;
    if (present !== undefined && push.mayMoveTags !== true) {
      throw new SlipwayError("immutable", `${client.host}/${repository}:${tag} is ${present} already, this image is ${digest}`, { detail: "tag_taken" });
    }
    if (present !== undefined) movedTags.push(tag);
    missingTags.push(tag);
  }
  const isThere = (await client.findManifest(repository, digest, ociManifestTypes)) === digest;
  if (!isThere) {
    await pushBlobs(push);
    if (image.index !== undefined) for (const { descriptor } of image.images) await putDocument(push, descriptor.digest, descriptor);
    await putDocument(push, digest, image.descriptor);
  }
  const bytes = await readOciBlob(source, image.descriptor);
  for (const tag of missingTags) await client.putManifest(repository, tag, { bytes, mediaType: image.descriptor.mediaType });
  for (const tag of missingTags) {
    const stored = await client.findManifest(repository, tag, ociManifestTypes);
    if (stored !== digest)
      throw new SlipwayError("upload_invalid", `${client.host}/${repository}:${tag} is ${stored ?? "not there"} after the push of ${digest}`);
  }
  return { digest, movedTags };
}

async function putDocument({ client, repository, source }: ImagePush, reference: string, descriptor: OciDescriptor): Promise<void> {
  await client.putManifest(repository, reference, { bytes: await readOciBlob(source, descriptor), mediaType: descriptor.mediaType });
}

async function pushBlobs(push: ImagePush): Promise<void> {
  const blobs = new Map(push.image.images.flatMap(({ manifest }) => [manifest.config, ...manifest.layers]).map((blob) => [blob.digest, blob]));
  const queue = blobs.values();
  let isFailed = false;
  const worker = async (): Promise<void> => {
    for (const { digest, size } of queue) {
      if (isFailed) return;
      try {
        const outcome = await push.client.pushBlob(push.repository, { digest, size, open: () => push.source.open(blobPath(digest)) }, push.mountFrom);
        push.onBlob?.({ digest, size, outcome });
      } catch (error) {
        isFailed = true;
        throw error;
      }
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: blobsAtOnce }, worker));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}
