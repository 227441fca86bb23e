/**
 * The TUF view of a product: what stands in each metadata file, as values that wait for their signatures.
 *
 *   root       2 of 3 keys that are kept offline; names the keys of the other roles            365 days
 *   targets    a release key; says which key speaks for which channel; lists what is of no release: Sigstore's trusted root   90 days
 *   <product>-<channel>   a release key; lists every file of the channel's releases             90 days
 *   snapshot   the server's key; the version of every targets file                             7 days, offline 30
 *   timestamp  the server's key; the snapshot that is current                                  24 hours, offline 30 days
 *
 * There are two repositories with the same root and targets keys: `online` for machines that ask the server, `offline` for what is carried
 * over an air gap, where a day would be too short. Their snapshot and timestamp keys differ, and each root says which it is, so that what
 * lasts a month cannot be shown to a machine that asks every day.
 */
import { digestHex, type Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { manifestName } from "../model/manifest.ts";
import type { TufPublicKey } from "../trust/tuf-key.ts";
import { tufTime, type TufSigned, type TufTarget } from "../trust/tuf-metadata.ts";
import { digestOf } from "../trust/checksums.ts";

export const tufRepositories = ["online", "offline"] as const;
export type TufRepository = (typeof tufRepositories)[number];

const specVersion = "1.0.31";
const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
/** How long each file is good for (trust facts 4.3). */
export const tufLifetimesMs = {
  root: 365 * dayMs,
  targets: 90 * dayMs,
  online: { snapshot: 7 * dayMs, timestamp: dayMs },
  offline: { snapshot: 30 * dayMs, timestamp: 30 * dayMs },
} as const;

type Made = { readonly version: number; readonly now: Date };

const expiry = (now: Date, lifetimeMs: number): string => tufTime(new Date(now.getTime() + lifetimeMs));

export type TufRootKeys = {
  readonly root: readonly TufPublicKey[];
  readonly rootThreshold: number;
  readonly targets: readonly TufPublicKey[];
  /** Of the server, for snapshot and timestamp. */
  readonly online: TufPublicKey;
};

/** Throws `policy_invalid` for a threshold that nobody can reach, or that one stolen key would reach where there are several. */
export function tufRoot(made: Made & { readonly product: string; readonly repository: TufRepository; readonly keys: TufRootKeys }): TufSigned<"root"> {
  const { root, rootThreshold, targets, online } = made.keys;
  const ids = (keys: readonly TufPublicKey[]): string[] => [...new Set(keys.map(({ keyId }) => keyId))].sort();
  if (ids(root).length < rootThreshold || rootThreshold < 1) {
    throw new SlipwayError("policy_invalid", `the root needs ${rootThreshold} signatures, and there are ${ids(root).length} root keys`);
  }
  if (targets.length === 0) throw new SlipwayError("policy_invalid", "the root names no key for the targets");
  const offline = ids([...root, ...targets]);
  if (offline.includes(online.keyId)) throw new SlipwayError("policy_invalid", "the server's own key cannot be a root or targets key");
  const keys = Object.fromEntries([...root, ...targets, online].map((key) => [key.keyId, key.json]));
  const byServer = { keyids: [online.keyId], threshold: 1 };
  return {
    _type: "root",
    spec_version: specVersion,
    version: made.version,
    expires: expiry(made.now, tufLifetimesMs.root),
    consistent_snapshot: true,
    keys,
    roles: {
      root: { keyids: ids(root), threshold: rootThreshold },
      targets: { keyids: ids(targets), threshold: 1 },
      snapshot: byServer,
      timestamp: byServer,
    },
    slipway: { product: made.product, repository: made.repository },
  };
}

export function channelRole(product: string, channel: string): string {
  return `${product}-${channel}`;
}

/** The targets role: one terminating delegation for each channel, so that exactly one role can speak for a path. */
export function tufTargets(
  made: Made & {
    readonly product: string;
    readonly channels: readonly string[];
    readonly keys: readonly TufPublicKey[];
    /** What it lists itself; nothing by default. */
    readonly targets?: Readonly<Record<string, TufTarget>> | undefined;
  },
): TufSigned<"targets"> {
  const keyids = [...new Set(made.keys.map(({ keyId }) => keyId))].sort();
  return {
    _type: "targets",
    spec_version: specVersion,
    version: made.version,
    expires: expiry(made.now, tufLifetimesMs.targets),
    targets: { ...made.targets },
    delegations: {
      keys: Object.fromEntries(made.keys.map((key) => [key.keyId, key.json])),
      roles: [...made.channels].sort().map((channel) => ({
        name: channelRole(made.product, channel),
        keyids,
        threshold: 1,
        terminating: true,
        // A star does not cross a slash: version and file name.
        paths: [`${made.product}/${channel}/*/*`],
      })),
    },
  };
}

export type TufReleaseFile = { readonly name: string; readonly digest: Digest; readonly size: number };

/** How a release's file is named in the metadata: `acme/stable/1.4.2/release.json`. */
export function targetPath(at: { readonly product: string; readonly channel: string; readonly version: string; readonly name: string }): string {
  return `${at.product}/${at.channel}/${at.version}/${at.name}`;
}

/** The next version of the targets role with one file more; its delegations stay. */
export function tufTargetsWith(
  before: TufSigned<"targets">,
  made: { readonly now: Date; readonly path: string; readonly bytes: Uint8Array },
): TufSigned<"targets"> {
  const target = { length: made.bytes.length, hashes: { sha256: digestHex(digestOf(made.bytes)) } };
  return {
    ...before,
    version: before.version + 1,
    expires: expiry(made.now, tufLifetimesMs.targets),
    targets: { ...before.targets, [made.path]: target },
  };
}

/** Which machines are offered a release of a channel, as the release.json's entry says it (`custom.rollout`). The salt is the signer's. */
export type SignedRollout = { readonly salt: string; readonly percent: number /** None begins, whatever its turn. */; readonly halted?: true };

/** The entries of one release in one channel; its rollout, and that it is a waypoint, stand with its release.json. */
export function releaseTargets(release: {
  readonly product: string;
  readonly channel: string;
  readonly version: string;
  readonly sequence: number;
  readonly files: readonly TufReleaseFile[];
  readonly rollout?: SignedRollout | undefined;
  readonly isWaypoint?: boolean | undefined;
}): Readonly<Record<string, TufTarget>> {
  const { version, sequence, rollout, isWaypoint = false } = release;
  const described = { ...(rollout === undefined ? {} : { rollout }), ...(isWaypoint ? { waypoint: true } : {}) };
  return Object.fromEntries(
    release.files.map(({ name, digest, size }) => {
      const custom = { version, sequence, ...(name === manifestName ? described : {}) };
      return [targetPath({ ...release, name }), { length: size, hashes: { sha256: digestHex(digest) }, custom }];
    }),
  );
}

/** A channel's role: every file of its releases. */
export function tufChannel(made: Made & { readonly targets: Readonly<Record<string, TufTarget>> }): TufSigned<"targets"> {
  const targets = Object.fromEntries(Object.entries(made.targets).sort(([left], [right]) => (left < right ? -1 : 1)));
  return { _type: "targets", spec_version: specVersion, version: made.version, expires: expiry(made.now, tufLifetimesMs.targets), targets };
}

export function tufSnapshot(
  made: Made & {
    readonly repository: TufRepository;
    readonly roles: readonly { readonly role: string; readonly version: number; readonly bytes: Uint8Array }[];
  },
): TufSigned<"snapshot"> {
  const roles = [...made.roles].sort((left, right) => (left.role < right.role ? -1 : 1));
  const meta = Object.fromEntries(roles.map(({ role, version, bytes }) => [`${role}.json`, fileMeta(version, bytes)]));
  const expires = expiry(made.now, tufLifetimesMs[made.repository].snapshot);
  return { _type: "snapshot", spec_version: specVersion, version: made.version, expires, meta };
}

export function tufTimestamp(
  made: Made & { readonly repository: TufRepository; readonly snapshot: { readonly version: number; readonly bytes: Uint8Array } },
): TufSigned<"timestamp"> {
  const meta = { "snapshot.json": fileMeta(made.snapshot.version, made.snapshot.bytes) };
  return {
    _type: "timestamp",
    spec_version: specVersion,
    version: made.version,
    expires: expiry(made.now, tufLifetimesMs[made.repository].timestamp),
    meta,
  };
}

function fileMeta(version: number, bytes: Uint8Array): { version: number; length: number; hashes: Record<string, string> } {
  return { version, length: bytes.length, hashes: { sha256: digestHex(digestOf(bytes)) } };
}
