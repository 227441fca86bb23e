/**
 * Releases as TUF metadata lists them: the plain source, with nothing in it that the metadata does not know.
 *
 * The index of releases is unsigned; here it loses what is not listed, so that nobody can offer an old list as the newest, and gains nothing. A
 * release's files must be the listed bytes, its sequence the listed one. What a release is worth besides is still proven by its own signatures.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { z } from "zod";
import { acquireLock } from "../io/lock.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { manifestName } from "../model/manifest.ts";
import type { Version } from "../model/version.ts";
import { signatureSuffixes } from "../trust/release-signature.ts";
import { sigstoreRootTarget } from "../trust/sigstore-policy.ts";
import { tufLimits, type TufTarget } from "../trust/tuf-metadata.ts";
import { narrowerRollout, type Rollout, rolloutSchema } from "./cohort.ts";
import type { Installation } from "./installation.ts";
import type { Machine } from "./machine.ts";
import type { ReleaseFiles, ReleaseIndex, ReleaseSource } from "./release-source.ts";
import { followSigstoreRoot } from "./sigstore-root.ts";
import { ensurePrivate, findStateDirectory } from "./state-directory.ts";
import { readTufMemory, requireTrustedClock, writeTufMemory } from "./tuf-memory.ts";
import { tufRemote } from "./tuf-remote.ts";
import { openTufSession, type TufSession } from "./tuf-session.ts";

const lockWaitMs = 10_000;

export type TufTrustSection = { readonly root: string; readonly offline_root?: string | undefined; readonly url?: string | undefined };

type Listing = { readonly installation: Installation; readonly machine: Machine; readonly source: ReleaseSource; readonly tuf: TufTrustSection };

/** What `source` has, as far as the metadata lists it. */
export function listedSource(listing: Listing): ReleaseSource {
  const { installation, source } = listing;
  return {
    ...source,
    index: async (signal, options) => {
      const index = await source.index(signal, options);
      return withTuf(listing, signal, (session) => listedIndex(session, index, installation.channel));
    },
    files: async (version, signal) => {
      const files = await source.files(version, signal);
      await withTuf(listing, signal, (session) =>
        requireListed(session, { product: installation.product, version, channel: installation.channel, files, sumsName: installation.source.sums }),
      );
      return files;
    },
  };
}

/**
 * Brings the metadata up to date and looks into it. Where the updater has a folder on this machine, what was learned is kept, under a lock of its
 * own; before the first installation nothing is written. Throws `clock_untrusted` and what TufSession.refresh throws.
 */
async function withTuf<T>({ installation, machine, tuf }: Listing, signal: AbortSignal, look: (session: TufSession) => Promise<T>): Promise<T> {
  const directory = await findStateDirectory(installation.stateDir);
  const now = machine.clock.now();
  // What is carried has its own repository: other keys for snapshot and timestamp, which last longer.
  const repository = installation.bundle === undefined ? "online" : "offline";
  const remote = tufRemote(installation, machine, { url: repository === "online" ? tuf.url : undefined, repository, signal });
  const open = async (kept: { readonly folder: string; readonly memory: string } | undefined): Promise<T> => {
    const memory = kept === undefined ? undefined : await readTufMemory(kept.memory);
    requireTrustedClock(memory, now);
    const session = await openTufSession({
      folder: kept?.folder,
      pinnedRoot: await readPinnedRoot(installation, tuf),
      floor: memory?.[repository],
      now,
      source: remote,
      onRepair: (text) => machine.observe({ event: "warning", text }),
    });
    let isFresh = false;
    try {
      await session.refresh();
      isFresh = true;
      if (kept !== undefined && namesSigstoreRoot(installation)) {
        const followed = await followSigstoreRoot(installation.stateDir, await session.find(sigstoreRootTarget), remote.target);
        if (followed === "followed") machine.observe({ event: "step", step: "trust", text: "the vendor's Sigstore trusted root changed; it is followed" });
      }
      return await look(session);
    } finally {
      if (kept !== undefined)
        await writeTufMemory(kept.memory, { ...memory, [repository]: session.floor(), ...(isFresh ? { refreshedAt: now.getTime() } : {}) });
    }
  };
  if (directory === undefined) return open(undefined);
  const trust = join(directory.path, "trust");
  await ensurePrivate(trust);
  const lock = await acquireLock(trust, "tuf", { waitMs: lockWaitMs });
  try {
    return await open({ folder: join(trust, repository), memory: join(directory.path, "tuf.json") });
  } finally {
    await lock.release();
  }
}

/** Whoever trusts a bare key without a log has nothing that a trusted root would say something about. */
const namesSigstoreRoot = ({ trust }: Installation): boolean => trust.sigstore?.trusted_root !== undefined;

async function readPinnedRoot(installation: Installation, tuf: TufTrustSection): Promise<Uint8Array> {
  const root = installation.bundle === undefined ? tuf.root : tuf.offline_root;
  if (root === undefined) {
    throw new SlipwayError("installation_invalid", "trust.tuf demands metadata, and names no offline_root for what is carried over an air gap", {
      place: installation.place,
      hint: "add offline_root: the root of the vendor's offline repository, `/tuf/<product>/offline/metadata/1.root.json`",
    });
  }
  try {
    return await readFileBounded(root, tufLimits.root);
  } catch (error) {
    throw new SlipwayError("installation_invalid", `cannot read ${root}, the TUF root`, { place: installation.place, cause: error });
  }
}

const listedRelease = z.looseObject({
  version: z.string(),
  sequence: z.int().nonnegative(),
  /** Signed, so that nobody on the way can offer the release to more machines; absent: to all. */
  rollout: rolloutSchema.optional(),
  /** No path passes it by; it stays listed when it has left retention. */
  waypoint: z.boolean().optional(),
});

/**
 * The index without what its channel's role does not list: a channel that nobody vouches for offers nothing, and a release is in no channel but
 * those that list it. Of the rollouts the narrower of signed and unsigned counts: a halt takes effect at once, a widening when it is signed.
 */
async function listedIndex(session: TufSession, index: ReleaseIndex, own: string): Promise<ReleaseIndex> {
  const roles = new Map<string, Readonly<Record<string, TufTarget>>>();
  const listed = async (channel: string, { version, sequence }: ReleaseIndex["releases"][number]): Promise<z.output<typeof listedRelease> | undefined> => {
    const targets = roles.get(channel) ?? (await session.role(`${index.product}-${channel}`)) ?? {};
    roles.set(channel, targets);
    const path = `${index.product}/${channel}/${version}/${manifestName}`;
    const entry = listedRelease.safeParse(Object.hasOwn(targets, path) ? targets[path]?.custom : undefined);
    return entry.success && entry.data.version === version && entry.data.sequence === sequence ? entry.data : undefined;
  };
  const releases: ReleaseIndex["releases"] = [];
  for (const release of index.releases) {
    // The channel of the installation, where it is in it, and the one that it is of; others are no business of this machine.
    const claimed = [...new Set([...(release.channels?.includes(own) === true ? [own] : []), release.channel])];
    const rollouts: Record<string, Rollout> = {};
    const channels: string[] = [];
    for (const channel of claimed) {
      const entry = await listed(channel, release);
      if (entry === undefined) continue;
      channels.push(channel);
      const rollout = narrowerRollout(entry.rollout, release.rollouts?.[channel]);
      if (rollout !== undefined) rollouts[channel] = rollout;
    }
    const [channel] = channels;
    if (channel !== undefined) releases.push({ ...release, channel, channels, rollouts });
  }
  const offered = new Set(releases.map(({ version }) => version));
  const waypoints = waypointsOf(roles.get(own) ?? {}).filter((version) => !offered.has(version));
  return { ...index, releases, retired: [...index.retired, ...waypoints.map((version) => ({ version, state: "retired" as const, waypoint: true }))] };
}

/** An index that keeps quiet about a waypoint would lead past it. */
function waypointsOf(targets: Readonly<Record<string, TufTarget>>): readonly string[] {
  return Object.values(targets).flatMap(({ custom }) => {
    const entry = listedRelease.safeParse(custom);
    return entry.success && entry.data.waypoint === true ? [entry.data.version] : [];
  });
}

const describedRelease = z.looseObject({
  channel: z.string().max(200),
  sequence: z.int(),
  artifacts: z.array(z.looseObject({ name: z.string(), size: z.int(), sha256: z.string() })).max(20_000),
});

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return undefined; // the schema refuses it, with the same words as any other that is no manifest
  }
}

type Described = {
  readonly product: string;
  readonly version: Version /** Of the installation. */;
  readonly channel: string;
  readonly files: ReleaseFiles;
  readonly sumsName: string;
};

/** The first channel that lists the release: a promoted one stands in the installation's channel, and its manifest names the one it came from. */
async function listingChannel(
  session: TufSession,
  at: { readonly product: string; readonly version: Version; readonly channels: readonly string[] },
): Promise<string> {
  for (const channel of at.channels) if ((await session.find(`${at.product}/${channel}/${at.version}/${manifestName}`)) !== undefined) return channel;
  const text = `the metadata lists no ${at.product} ${at.version} in ${at.channels.join(" or ")}`;
  throw new SlipwayError("upgrade_verification_failed", text, { detail: "target_not_listed" });
}

/** Every byte of a release's description, and each artifact that it names, as listed. Throws `upgrade_verification_failed`. */
async function requireListed(session: TufSession, { product, version, channel: own, files, sumsName }: Described): Promise<void> {
  const parsed = describedRelease.safeParse(jsonOf(files.manifest));
  if (!parsed.success)
    throw new SlipwayError("upgrade_verification_failed", `${manifestName} cannot be read`, { detail: "release_json_mismatch", cause: parsed.error });
  const { artifacts, sequence } = parsed.data;
  const channel = await listingChannel(session, { product, version, channels: [...new Set([own, parsed.data.channel])] });
  const require = async (name: string, seen: { readonly size: number; readonly sha256: string }): Promise<TufTarget> => {
    const path = `${product}/${channel}/${version}/${name}`;
    const found = await session.find(path);
    if (found === undefined) throw new SlipwayError("upgrade_verification_failed", `the metadata does not list ${path}`, { detail: "target_not_listed" });
    const { length, hashes } = found.target;
    if (length !== seen.size || hashes["sha256"] !== seen.sha256) {
      throw new SlipwayError("upgrade_verification_failed", `${path} is not what the metadata of ${found.role} lists`, { detail: "hash_mismatch" });
    }
    return found.target;
  };
  const bytes = (content: Uint8Array) => ({ size: content.length, sha256: createHash("sha256").update(content).digest("hex") });
  const target = await require(manifestName, bytes(files.manifest));
  const custom = listedRelease.safeParse(target.custom);
  if (!custom.success || custom.data.version !== version || custom.data.sequence !== sequence) {
    throw new SlipwayError("upgrade_verification_failed", `the metadata lists ${version} with another version or sequence`, {
      detail: "release_json_mismatch",
    });
  }
  await require(sumsName, bytes(files.sums));
  for (const kind of ["minisign", "openpgp"] as const) {
    const signature = files[kind];
    if (signature !== undefined) await require(`${sumsName}${signatureSuffixes[kind]}`, bytes(signature));
  }
  for (const { name, size, sha256 } of artifacts) await require(name, { size, sha256 });
}
