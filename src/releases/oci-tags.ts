/**
 * What a tag of an image repository means, decided from its tags and the product's releases alone.
 *
 * A release's tags are its version and `v` with its version. They are closed from the moment it is published: they never move, and nobody
 * adds or removes one. `latest` is the newest published stable release that has an image in the repository. Any other tag is the vendor's
 * own; customers see it where it names what one of the published tags names.
 */
import type { OciDigest } from "../formats/oci-digest.ts";
import { compareVersions, newestStable, ociTag, type Version } from "../model/version.ts";
import type { ReleaseState } from "../store/schema.ts";

export const latestTag = "latest";

export type TaggedRelease = { readonly version: Version; readonly state: ReleaseState; readonly replacement: Version | undefined };

export type TagMeaning = {
  /** Every tag with what a pull of it gets. */
  readonly all: ReadonlyMap<string, OciDigest>;
  /** Those that customers see. */
  readonly published: ReadonlyMap<string, OciDigest>;
  /** What the tags of published releases name, newest version first. */
  readonly roots: readonly { readonly version: Version; readonly digest: OciDigest }[];
  /** What `latest` is because of a release; undefined while no stable release has an image here. */
  readonly latest: OciDigest | undefined;
};

export function versionTags(version: Version): readonly string[] {
  return [ociTag(version), `v${ociTag(version)}`];
}

/** `sha256-<hex>` of `sha256-<hex>` (the referrers tag) and of `sha256-<hex>.sig` (cosign's older form); undefined for other tags. */
export function attachedTo(tag: string): string | undefined {
  return /^(sha(?:256|512)-[0-9a-f]{64})(?:\.[a-z]+)?$/.exec(tag)?.[1];
}

/** The release that a tag belongs to, whatever its state. */
export function releaseOfTag(releases: readonly TaggedRelease[], tag: string): TaggedRelease | undefined {
  return releases.find((release) => versionTags(release.version).includes(tag));
}

/** True where nobody may set, move or remove the tag any more. */
export function isClosedTag(releases: readonly TaggedRelease[], tag: string): boolean {
  const release = releaseOfTag(releases, tag);
  return release !== undefined && release.state !== "draft";
}

export function tagMeaning(tags: ReadonlyMap<string, OciDigest>, releases: readonly TaggedRelease[]): TagMeaning {
  const versions = releases.filter((release) => release.state === "published").map((release) => release.version);
  const roots = versions
    .toSorted((left, right) => compareVersions(right, left))
    .flatMap((version) => versionTags(version).flatMap((tag) => (tags.has(tag) ? [{ version, tag, digest: tags.get(tag) as OciDigest }] : [])));
  const newest = newestStable(roots.map((root) => root.version));
  const latest = roots.find((root) => root.version === newest)?.digest;
  const named = new Set(roots.map((root) => root.digest));
  const all = new Map(tags);
  if (latest !== undefined) all.set(latestTag, latest);
  const published = new Map(
    [...all].filter(([tag, digest]) => named.has(digest) && (!isOfAnyRelease(releases, tag) || roots.some((root) => root.tag === tag))),
  );
  return { all, published, roots: roots.map(({ version, digest }) => ({ version, digest })), latest };
}

/** The tag of a draft that names the same image as a published one still tells of a release that customers must not know. */
function isOfAnyRelease(releases: readonly TaggedRelease[], tag: string): boolean {
  return releaseOfTag(releases, tag) !== undefined;
}
