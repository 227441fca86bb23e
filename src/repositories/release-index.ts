/** `index.json`: what one product offers to a customer, for the updater and for scripts. */
import { compareVersions, newestStable, type Version } from "../model/version.ts";

/** Additions are allowed, and ignored by older readers; a change of meaning is a new `schema`. */
export type ReleaseIndex = {
  readonly schema: 1;
  readonly product: string;
  /** The newest release of each channel. */
  readonly channels: Readonly<Record<string, string>>;
  /** Newest version first; `publishedAt` in ISO 8601, UTC. */
  readonly releases: readonly {
    readonly version: string;
    readonly channel: string;
    readonly sequence: number;
    readonly publishedAt: string;
    readonly state: "published";
  }[];
  /** What left by retention or was withdrawn, and what to take instead. */
  readonly retired: readonly { readonly version: string; readonly replacement?: string }[];
};

export type VisibleRelease = { readonly version: Version; readonly channel: string; readonly sequence: number; readonly publishedAt: Date };
export type GoneRelease = { readonly version: Version; readonly replacement?: Version };

/** Builds the value from the releases that the reader may see, in any order. `stable` is the newest stable version (C3), any other channel its newest version. */
export function releaseIndex(product: string, releases: readonly VisibleRelease[], retired: readonly GoneRelease[]): ReleaseIndex {
  const newestFirst = releases.toSorted((left, right) => compareVersions(right.version, left.version) || right.sequence - left.sequence);
  const channels: Record<string, string> = {};
  for (const { channel, version } of newestFirst) channels[channel] ??= version;
  const stable = newestStable(releases.filter(({ channel }) => channel === "stable").map(({ version }) => version));
  if (stable !== undefined) channels["stable"] = stable;
  return {
    schema: 1,
    product,
    channels: Object.fromEntries(Object.entries(channels).sort(([left], [right]) => (left < right ? -1 : 1))),
    releases: newestFirst.map(({ version, channel, sequence, publishedAt }) => ({
      version,
      channel,
      sequence,
      publishedAt: publishedAt.toISOString(),
      state: "published",
    })),
    retired: retired
      .toSorted((left, right) => compareVersions(right.version, left.version))
      .map(({ version, replacement }) => ({ version, ...(replacement === undefined ? {} : { replacement }) })),
  };
}
