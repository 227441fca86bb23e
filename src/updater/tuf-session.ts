/**
 * One refresh of TUF metadata: what this machine keeps, brought up to date from a source, and looked into.
 *
 * Order (specification section 5): clock, kept set, roots one by one, timestamp, snapshot, targets, then the delegated roles that a path needs.
 * Every root is committed before the next is asked for; what else was accepted is committed at the end, also where the refresh fails half-way:
 * a newer timestamp that was seen is not forgotten. The caller keeps `floor()` in state.json, so that losing the sets loses no memory.
 */
import { SlipwayError } from "../model/errors.ts";
import {
  acceptSnapshot,
  acceptTargets,
  acceptTimestamp,
  delegatesFor,
  isSnapshotCurrent,
  nextRoot,
  raiseFloor,
  requireCurrentRoot,
  rootRotationLimit,
  snapshotMeta,
  targetsMeta,
  trustRoot,
  type TufFloor,
  type TufTrust,
} from "../trust/tuf-client.ts";
import { tufLimits, type TufTarget } from "../trust/tuf-metadata.ts";
import { commitTufSet, readTufSets, type TufFiles, tufFileName } from "./tuf-set.ts";

/** Where metadata comes from: a server, or a bundle that was carried here. */
export type TufSource = {
  /** The bytes of a metadata file, never more than `limit`; undefined where the source has none of that name. */
  readonly metadata: (name: string, limit: number) => Promise<Uint8Array | undefined>;
};

export type TufListing = { readonly role: string; readonly target: TufTarget };

export type TufSession = {
  readonly trust: () => TufTrust;
  readonly floor: () => TufFloor;
  /** Brings the four top-level roles up to date. Throws the `metadata_*` codes, `root_rotation_invalid`, and what the source throws. */
  readonly refresh: () => Promise<void>;
  /** The targets of a role named directly, for listing a channel; undefined where the top-level role does not delegate to it. */
  readonly role: (name: string) => Promise<Readonly<Record<string, TufTarget>> | undefined>;
  /** Who lists `path`, in the order of the delegations (5.6.7); undefined where nobody does. */
  readonly find: (path: string) => Promise<TufListing | undefined>;
};

export type TufSessionOptions = {
  /** Of the sets; see tuf-set.ts. Undefined: nothing is kept, for a machine that the updater has no folder on. */
  readonly folder: string | undefined;
  /** The root that came with the product. */
  readonly pinnedRoot: Uint8Array;
  readonly floor?: TufFloor | undefined;
  readonly now: Date;
  /** Undefined: only what is kept is looked into, expired or not. For going on without a network with what was refreshed before. */
  readonly source: TufSource | undefined;
  readonly onRepair: (text: string) => void;
};

const delegationLimit = 32;

export async function openTufSession(options: TufSessionOptions): Promise<TufSession> {
  const { folder, now, source, floor } = options;
  const kept = await openKept(options);
  let trust = kept.trust;
  let committed = kept.isRepaired ? undefined : kept.trust;
  const acceptance = { now, floor };

  const commit = async (): Promise<void> => {
    if (folder === undefined || trust === committed) return;
    await commitTufSet(folder, filesOf(trust, kept.files));
    committed = trust;
  };
  const fetchFrom = async (name: string, limit: number): Promise<Uint8Array | undefined> => source?.metadata(name, limit);
  const fetchFile = async (name: string, limit: number): Promise<Uint8Array> => {
    const bytes = await fetchFrom(name, limit);
    if (bytes === undefined) throw new SlipwayError("metadata_mix", `the source has no ${name}`, { detail: "file_missing" });
    return bytes;
  };
  const versioned = (version: number, name: string): string => (trust.root.signed.consistent_snapshot ? `${version}.${name}` : name);

  const loadTargets = async (role: string, delegator: string): Promise<void> => {
    const isOffline = source === undefined;
    const when = isOffline ? new Date(0) : now;
    const known = trust.targets.get(role)?.bytes ?? kept.files.get(tufFileName(role));
    if (known !== undefined) {
      try {
        trust = acceptTargets(trust, known, { role, delegator, now: when });
        return;
      } catch (error) {
        if (isOffline) throw error; // otherwise the source is asked: what is kept may only be old
      }
    }
    const meta = targetsMeta(trust, role);
    const bytes = await fetchFile(versioned(meta.version, `${encodeURIComponent(role)}.json`), Math.min(meta.length ?? tufLimits.targets, tufLimits.targets));
    trust = acceptTargets(trust, bytes, { role, delegator, now: when });
  };

  const refresh = async (): Promise<void> => {
    try {
      for (let count = 0; count < rootRotationLimit; count += 1) {
        const bytes = await fetchFrom(`${trust.root.signed.version + 1}.root.json`, tufLimits.root);
        if (bytes === undefined) break;
        trust = nextRoot(trust, bytes);
        await commit();
      }
      requireCurrentRoot(trust, acceptance);
      trust = acceptTimestamp(trust, await fetchFile("timestamp.json", tufLimits.timestamp), acceptance);
      if (!isSnapshotCurrent(trust, now)) {
        const meta = snapshotMeta(trust);
        const limit = Math.min(meta.length ?? tufLimits.snapshot, tufLimits.snapshot);
        trust = acceptSnapshot(trust, await fetchFile(versioned(meta.version, "snapshot.json"), limit), acceptance);
      }
      await loadTargets("targets", "root");
    } finally {
      await commit();
    }
  };

  const role = async (name: string): Promise<Readonly<Record<string, TufTarget>> | undefined> => {
    if (!trust.targets.has("targets")) await loadTargets("targets", "root");
    const isDelegated = trust.targets.get("targets")?.signed.delegations?.roles?.some((one) => one.name === name) === true;
    if (!isDelegated) return undefined;
    try {
      await loadTargets(name, "targets");
    } finally {
      await commit();
    }
    return trust.targets.get(name)?.signed.targets;
  };

  const find = async (path: string): Promise<TufListing | undefined> => {
    const visited = new Set<string>();
    let waiting: { readonly role: string; readonly delegator: string }[] = [{ role: "targets", delegator: "root" }];
    try {
      for (let next = waiting.shift(); next !== undefined && visited.size <= delegationLimit; next = waiting.shift()) {
        const { role: name, delegator } = next;
        if (visited.has(name)) continue;
        await loadTargets(name, delegator);
        visited.add(name);
        const targets = trust.targets.get(name)?.signed.targets ?? {};
        const target = Object.hasOwn(targets, path) ? targets[path] : undefined;
        if (target !== undefined) return { role: name, target };
        const delegates = delegatesFor(trust, name, path);
        const last = delegates.findIndex((one) => one.isTerminating);
        const asked = last < 0 ? delegates : delegates.slice(0, last + 1);
        waiting = [...asked.map((one) => ({ role: one.role, delegator: name })), ...(last < 0 ? waiting : [])];
      }
      return undefined;
    } finally {
      await commit();
    }
  };

  return { trust: () => trust, floor: () => raiseFloor(trust, floor), refresh, role, find };
}

type Kept = { readonly trust: TufTrust; readonly files: TufFiles; readonly isRepaired: boolean };

/** The newest kept set that proves, else the pinned root. A pinned root newer than the kept one counts: the operator brought it. */
async function openKept(options: TufSessionOptions): Promise<Kept> {
  const pinned = trustRoot(options.pinnedRoot);
  const { sets, isDamaged } = options.folder === undefined ? { sets: [], isDamaged: false } : await readTufSets(options.folder);
  let isRepaired = isDamaged;
  for (const files of sets) {
    try {
      const trust = openSet(files, options.now);
      if (isRepaired) options.onRepair("trust_cache_repaired: the kept metadata was damaged; the set before it is used");
      if (trust.root.signed.version < pinned.root.signed.version) return { trust: pinned, files, isRepaired: true };
      return { trust, files, isRepaired };
    } catch (error) {
      if (!(error instanceof SlipwayError)) throw error;
      isRepaired = true; // the next set, or the pinned root, and state.json still knows the versions that were seen
    }
  }
  if (isRepaired)
    options.onRepair("trust_cache_repaired: the kept metadata was damaged; it is fetched again, starting with the root that came with the product");
  return { trust: pinned, files: new Map(), isRepaired };
}

function openSet(files: TufFiles, now: Date): TufTrust {
  const root = files.get("root.json");
  if (root === undefined) throw new SlipwayError("metadata_invalid", "the kept set has no root.json");
  let trust = trustRoot(root);
  const isKept = true;
  const timestamp = files.get("timestamp.json");
  if (timestamp !== undefined) trust = acceptTimestamp(trust, timestamp, { now, isKept });
  const snapshot = files.get("snapshot.json");
  if (snapshot !== undefined) trust = acceptSnapshot(trust, snapshot, { now, isKept });
  return trust;
}

function filesOf(trust: TufTrust, kept: TufFiles): TufFiles {
  const files = new Map<string, Uint8Array>([["root.json", trust.root.bytes]]);
  if (trust.timestamp !== undefined) files.set("timestamp.json", trust.timestamp.bytes);
  if (trust.timestamp !== undefined && trust.snapshot !== undefined) files.set("snapshot.json", trust.snapshot.bytes);
  for (const name of Object.keys(trust.snapshot?.signed.meta ?? {})) {
    const role = name.replace(/\.json$/, "");
    const bytes = trust.targets.get(role)?.bytes ?? kept.get(tufFileName(role));
    if (bytes !== undefined) files.set(tufFileName(role), bytes);
  }
  return files;
}
