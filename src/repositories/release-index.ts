/** `index.json`: what one product offers to a customer, for the updater and for scripts. */
import { compareVersions, isStable, newestStable, type Version } from "../model/version.ts";

/** Additions are allowed, and ignored by older readers; a change of meaning is a new `schema`. */
export type ReleaseIndex = {
  readonly schema: 1;
  readonly product: string;
  /** The newest release of each channel. */
  readonly channels: Readonly<Record<string, string>>;
  /** Newest version first; `publishedAt` in ISO 8601, UTC. */
  readonly releases: readonly {
    readonly version: string;
    /** The most stable channel that it is in; `channels` has all, most stable first. */
    readonly channel: string;
    readonly channels: readonly string[];
    readonly sequence: number;
    readonly publishedAt: string;
    readonly state: "published";
    /** Announced: from about then on it is listed no more. */
    readonly retiresAt?: string;
    /** By channel, where the updater is to wait on some machines; package managers do not read it. */
    readonly rollouts?: Readonly<Record<string, MachineRollout>>;
  }[];
  /** The stable versions that are supported, newest first (C18). */
  readonly supported: readonly string[];
  /** What left by retention or was withdrawn, and what to take instead. */
  readonly retired: readonly {
    readonly version: string;
    /** Withdrawn: the vendor took it back; retired: it left by retention, or is about to and is listed no more. */
    readonly state: "withdrawn" | "retired";
    readonly replacement?: string;
    /** Why it was withdrawn. */
    readonly reason?: string;
    /** No upgrade path passes it by: it must be had elsewhere. A withdrawn one is none any more. */
    readonly waypoint?: true;
  }[];
};

/** Machines of one customer: each has a random id, HMAC-SHA256 of which under the salt, modulo 10,000, says whether its turn has come. */
export type MachineRollout = { readonly salt: string; readonly percent: number /** None begins, whatever its turn. */; readonly halted?: true };

export type VisibleRelease = {
  readonly version: Version;
  /** Most stable first; one at least. */
  readonly channels: readonly string[];
  readonly sequence: number;
  readonly publishedAt: Date;
  readonly retiresAt?: Date | undefined;
  readonly rollouts?: Readonly<Record<string, MachineRollout>> | undefined;
};
export type GoneRelease = {
  readonly version: Version;
  readonly state: "withdrawn" | "retired";
  readonly replacement?: Version | undefined;
  readonly reason?: string | undefined;
  readonly isWaypoint?: boolean | undefined;
};

/** Builds the value from the releases that the reader may see, in any order. `stable` is the newest stable version (C3), any other channel its newest version. */
export function releaseIndex(product: string, releases: readonly VisibleRelease[], retired: readonly GoneRelease[]): ReleaseIndex {
  const newestFirst = releases.toSorted((left, right) => compareVersions(right.version, left.version) || right.sequence - left.sequence);
  const channels: Record<string, string> = {};
  for (const { channels: names, version } of newestFirst) for (const name of names) channels[name] ??= version;
  const supported = newestFirst.filter(({ channels: names, version }) => names.includes("stable") && isStable(version));
  const stable = newestStable(supported.map(({ version }) => version));
  if (stable !== undefined) channels["stable"] = stable;
  return {
    schema: 1,
    product,
    channels: Object.fromEntries(Object.entries(channels).sort(([left], [right]) => (left < right ? -1 : 1))),
    releases: newestFirst.map(({ version, channels: names, sequence, publishedAt, retiresAt, rollouts = {} }) => ({
      version,
      channel: names[0] ?? "",
      channels: names,
      sequence,
      publishedAt: publishedAt.toISOString(),
      state: "published",
      ...(retiresAt === undefined ? {} : { retiresAt: retiresAt.toISOString() }),
      ...(Object.keys(rollouts).length === 0 ? {} : { rollouts }),
    })),
    supported: supported.map(({ version }) => version),
    retired: retired
      .toSorted((left, right) => compareVersions(right.version, left.version))
      .map(({ version, state, replacement, reason, isWaypoint }) => ({
        version,
        state,
        ...(replacement === undefined ? {} : { replacement }),
        ...(reason === undefined ? {} : { reason }),
        ...(isWaypoint === true && state === "retired" ? { waypoint: true as const } : {}),
      })),
  };
}
