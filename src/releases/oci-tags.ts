/**
 * What a tag of an image repository means, decided from its tags and the product's releases alone.
 *
 * A release's tags are its version and `v` with its version. They are closed from the moment it is published: they never move, and nobody
 * adds or removes one. `latest` is the newest stable version of the channel stable that has an image in the repository, and the name of each
 * channel is its newest version. Any other tag is the vendor's own; customers see it where it names what one of the published tags names.
 */
import type { OciDigest } from "../formats/oci-digest.ts";
import { compareVersions, newestStable, ociTag, type Version } from "../model/version.ts";
import { stableChannel } from "../policy/visibility.ts";
import type { ReleaseState } from "../store/schema.ts";

export const latestTag = "latest";

export type TaggedRelease = {
  readonly version: Version;
  readonly state: ReleaseState;
  readonly replacement: Version | undefined;
  /** Why it was withdrawn. */
  readonly reason?: string | undefined;
  /** Those that list it; without them there are no tags of channels. */
  readonly channels?: readonly string[];
};

/** What one reader may pull, and what his channels list; as a Scope has it (listing.ts). */
export type SeenReleases = { readonly fetchable: ReadonlySet<Version>; readonly versionsIn: (channel: string) => readonly Version[] };

export type TagMeaning = {
  /** Every tag with what a pull of it gets. */
  readonly all: ReadonlyMap<string, OciDigest>;
  /** Those that customers see. */
  readonly published: ReadonlyMap<string, OciDigest>;
  /** What the tags of published releases name, newest version first. */
  readonly roots: readonly { readonly version: Version; readonly digest: OciDigest }[];
  /** Tags that follow releases by themselves: `latest`, absent while no stable release has an image here, and the channels. */
  readonly following: ReadonlyMap<string, OciDigest>;
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

/** `seen` limits it to one reader; without it everything that is published counts. */
export function tagMeaning(tags: ReadonlyMap<string, OciDigest>, releases: readonly TaggedRelease[], seen?: SeenReleases): TagMeaning {
  const open = releases.filter((release) => release.state === "published" && (seen === undefined || seen.fetchable.has(release.version)));
  const versions = open.map((release) => release.version);
  const roots = versions
    .toSorted((left, right) => compareVersions(right, left))
    .flatMap((version) => versionTags(version).flatMap((tag) => (tags.has(tag) ? [{ version, tag, digest: tags.get(tag) as OciDigest }] : [])));
  const following = followingTags(roots, open, seen);
  const named = new Set(roots.map((root) => root.digest));
  const all = new Map([...tags, ...following]);
  const published = new Map(
    [...all].filter(([tag, digest]) => named.has(digest) && (!isOfAnyRelease(releases, tag) || roots.some((root) => root.tag === tag))),
  );
  return { all, published, roots: roots.map(({ version, digest }) => ({ version, digest })), following };
}

function followingTags(
  roots: readonly { readonly version: Version; readonly digest: OciDigest }[],
  open: readonly TaggedRelease[],
  seen: SeenReleases | undefined,
): ReadonlyMap<string, OciDigest> {
  const isIn = (release: TaggedRelease, channel: string): boolean =>
    (release.channels === undefined ? channel === stableChannel : release.channels.includes(channel)) &&
    (seen === undefined || seen.versionsIn(channel).includes(release.version));
  const following = new Map<string, OciDigest>();
  const follow = (tag: string, channel: string, choose: (versions: readonly Version[]) => Version | undefined): void => {
    const inChannel = new Set(open.filter((release) => isIn(release, channel)).map((release) => release.version));
    const newest = choose(roots.map((root) => root.version).filter((version) => inChannel.has(version)));
    const digest = roots.find((root) => root.version === newest)?.digest;
    if (digest !== undefined) following.set(tag, digest);
  };
  follow(latestTag, stableChannel, newestStable);
  // The roots are in order, newest first.
  for (const channel of new Set(open.flatMap((release) => release.channels ?? [])))
    follow(channel, channel, channel === stableChannel ? newestStable : ([first]) => first);
  return following;
}

/** The tag of a draft that names the same image as a published one still tells of a release that customers must not know. */
function isOfAnyRelease(releases: readonly TaggedRelease[], tag: string): boolean {
  return releaseOfTag(releases, tag) !== undefined;
}
