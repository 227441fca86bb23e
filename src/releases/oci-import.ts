/**
 * Images that a release brings along as archives (`kind: image`) become pullable: `<product>:<version>`, or `<product>/<image>:<version>`.
 *
 * It happens while the release is still a draft, whose tags customers do not see; the switch that publishes the release shows them. The
 * archive is an artifact under the release's signatures, and every byte taken from it is checked against the digests in it.
 */
import { repositoryOfArchive } from "../formats/oci-reference.ts";
import { layoutFileName, layoutIndexName, type OciLayoutSource, type OciTaggedImage, readOciLayout } from "../formats/oci-layout.ts";
import { ociDocumentLimit } from "../formats/oci-descriptor.ts";
import type { OciDigest } from "../formats/oci-digest.ts";
import { readTar, requireMember } from "../formats/tar-read.ts";
import { type Digest, digestFromHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Manifest } from "../model/manifest.ts";
import { ociTag, type Version } from "../model/version.ts";
import type { AuditActor } from "../store/audit-events.ts";
import type { Store } from "../store/store.ts";
import { addBlob } from "./oci-blobs.ts";
import { findManifest, putManifest, storedTags } from "./oci-manifests.ts";
import { openRepository, type OciRepository } from "./oci-repositories.ts";
import { versionTags } from "./oci-tags.ts";
import type { Artifact, ReleaseWithArtifacts } from "./releases.ts";

/** 1,000 images of 100 layers. */
const memberLimit = 100_000;

/**
 * Safe to repeat: what is there is not stored again. Throws `format_invalid` for an archive that is no image layout or whose bytes do not
 * fit its digests, `name_invalid` for a file name that gives no repository.
 */
export async function importImages(
  store: Store,
  input: { readonly release: ReleaseWithArtifacts; readonly manifest: Manifest; readonly actor: AuditActor },
): Promise<void> {
  const { release, manifest, actor } = input;
  for (const described of manifest.artifacts.filter(({ kind }) => kind === "image")) {
    const artifact = release.artifacts.find(({ name }) => name === described.name);
    if (artifact === undefined) throw new Error(`bug: ${described.name} was checked and is not attached`);
    const repository = await openRepository(store, repositoryOfArchive(release.product, release.version, artifact.name));
    await importArchive(store, { repository, artifact, version: release.version, actor });
  }
}

type Imported = { readonly repository: OciRepository; readonly artifact: Artifact; readonly version: Version; readonly actor: AuditActor };

async function importArchive(store: Store, { repository, artifact, version, actor }: Imported): Promise<void> {
  const source = await unpackLayout(store, artifact);
  const image = await chooseImage(source, { artifact, version });
  const documents = [image.descriptor, ...(image.index === undefined ? [] : image.images.map((one) => one.descriptor))];
  for (const { config, layers } of image.images.map((one) => one.manifest)) {
    for (const { digest, size } of [config, ...layers]) {
      const stored = await store.blobs.stat(digest);
      if (stored?.size !== size) throw new SlipwayError("format_invalid", `${artifact.name} lacks the blob ${digest} of ${size} bytes`);
      await addBlob(store, repository, { digest: digest as Digest & OciDigest, blob: digest, size });
    }
  }
  const present = await storedTags(store.db, repository);
  const wanted = versionTags(version).filter((tag) => tag === ociTag(version) || tag === image.tag || present.has(tag));
  // Platforms first, the index that lists them last.
  for (const document of documents.toReversed()) {
    const digest = document.digest as Digest & OciDigest;
    const tags = document === image.descriptor ? wanted : [];
    const isThere = (await findManifest(store, repository, digest)) !== undefined && tags.every((tag) => present.get(tag) === digest);
    if (isThere) continue;
    const bytes = await store.blobs.read(document.digest, ociDocumentLimit);
    await putManifest(store, repository, { bytes, mediaType: document.mediaType, digest, tags, actor });
  }
}

/** Stores the archive's blobs, each checked against its name, and gives the layout as a source of documents. */
async function unpackLayout(store: Store, artifact: Artifact): Promise<OciLayoutSource> {
  const files = new Map<string, Buffer>();
  const archive = await store.blobs.open(artifact.digest);
  for await (const entry of readTar(archive, { name: artifact.name, memberLimit, pax: "read" })) {
    const member = requireMember(entry, artifact.name);
    if (member.kind !== "file") continue;
    const hex = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(member.path)?.[1];
    if (hex !== undefined) await storeBlob(store, { artifact, digest: digestFromHex(hex), body: member.body() });
    else if (member.path === layoutFileName || member.path === layoutIndexName) {
      if (member.sizeBytes > ociDocumentLimit) throw new SlipwayError("format_limit", `${artifact.name}: ${member.path} has ${member.sizeBytes} bytes`);
      files.set(member.path, Buffer.concat(await Array.fromAsync(member.body())));
    }
  }
  return {
    open: async function* (path) {
      const file = files.get(path);
      if (file !== undefined) {
        yield file;
        return;
      }
      const hex = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(path)?.[1];
      if (hex === undefined || (await store.blobs.stat(digestFromHex(hex))) === undefined) {
        throw new SlipwayError("format_invalid", `${artifact.name} has no ${path}`);
      }
      yield* await store.blobs.open(digestFromHex(hex));
    },
  };
}

async function storeBlob(
  store: Store,
  { artifact, digest, body }: { readonly artifact: Artifact; readonly digest: Digest; readonly body: AsyncIterable<Uint8Array> },
): Promise<void> {
  if ((await store.blobs.stat(digest)) !== undefined) return;
  const stored = await store.blobs.put(body);
  if (stored.digest !== digest)
    throw new SlipwayError("format_invalid", `${artifact.name}: the blob ${digest} has the digest ${stored.digest}`, { detail: "hash_mismatch" });
}

/** The image that the archive tags with the version, else the only one that it has. */
async function chooseImage(source: OciLayoutSource, wanted: { readonly artifact: Artifact; readonly version: Version }): Promise<OciTaggedImage> {
  const images = await readOciLayout(source);
  const tagged = images.find(({ tag }) => tag !== undefined && versionTags(wanted.version).includes(tag));
  const [first, ...others] = images;
  const image = tagged ?? (others.every((other) => other.descriptor.digest === first?.descriptor.digest) ? first : undefined);
  if (image !== undefined) return image;
  throw new SlipwayError("format_invalid", `${wanted.artifact.name} has ${images.length} images and none with the tag ${ociTag(wanted.version)}`);
}
