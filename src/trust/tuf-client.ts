/**
 * The client's side of TUF (specification 1.0, section 5) without any effect: bytes in, trusted values out, only in the legal order.
 *
 *   trustRoot        the root that the machine was given, or the one that it kept
 *   nextRoot         each following version, signed by the old and by the new root keys (5.3)
 *   acceptTimestamp  by the root's timestamp keys, not older than what was seen (5.4)
 *   acceptSnapshot   the very version and bytes that the timestamp names, nothing in it older or missing (5.5)
 *   acceptTargets    the very version and bytes that the snapshot names, by the keys of its delegator (5.6)
 *
 * Every function returns the next state and leaves the old one as it was. What a caller keeps on disk is read back with `isKept`: its signatures are
 * checked again, its expiry is not, so that it still stops a rollback. `floor` remembers versions where the disk has lost the files.
 */
import { Targets } from "@tufjs/models";
import { createHash } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";
import { canonicalJson } from "./canonical-json.ts";
import { readTufFile, type TufFile, type TufFileMeta, type TufKeys, type TufKind, type TufRole } from "./tuf-metadata.ts";
import { requireThreshold } from "./tuf-signatures.ts";

export type TufTrust = {
  readonly root: TufFile<"root">;
  readonly timestamp: TufFile<"timestamp"> | undefined;
  readonly snapshot: TufFile<"snapshot"> | undefined;
  /** By role name; `targets` is the top-level one. */
  readonly targets: ReadonlyMap<string, TufFile<"targets">>;
};

/** The newest versions that were ever believed. It holds as long as the root names the same timestamp and snapshot keys (5.3.11). */
export type TufFloor = {
  readonly rootVersion: number;
  /** Digest of the timestamp and snapshot keys. */
  readonly onlineKeys: string;
  readonly timestampVersion: number;
  readonly snapshotVersion: number;
  readonly roles: Readonly<Record<string, number>>;
};

type Acceptance = { readonly now: Date; readonly floor?: TufFloor | undefined; readonly isKept?: boolean };

/** At most this many roots are followed in one refresh (trust facts 4.3). */
export const rootRotationLimit = 32;

/** Begins with a root that came another way than from the repository. Throws `metadata_invalid` or `metadata_threshold`. */
export function trustRoot(bytes: Uint8Array): TufTrust {
  const root = readTufFile("root", bytes);
  requireThreshold(root, roleOfRoot(root, "root"));
  return { root, timestamp: undefined, snapshot: undefined, targets: new Map() };
}

/** 5.3.4 to 5.3.8: throws `root_rotation_invalid` and leaves what was trusted. */
export function nextRoot(trust: TufTrust, bytes: Uint8Array): TufTrust {
  try {
    const root = readTufFile("root", bytes);
    const expected = trust.root.signed.version + 1;
    if (root.signed.version !== expected)
      throw new SlipwayError("root_rotation_invalid", `the root has version ${root.signed.version}; ${expected} must follow`);
    requireThreshold(root, roleOfRoot(trust.root, "root"));
    requireThreshold(root, roleOfRoot(root, "root"));
    requireSameRepository(trust.root, root);
    // Rotated online keys make everything that they signed worthless: that is how a fast-forwarded version is left behind (5.3.11).
    const isKept = onlineKeysOf(trust.root) === onlineKeysOf(root);
    return { root, timestamp: isKept ? trust.timestamp : undefined, snapshot: isKept ? trust.snapshot : undefined, targets: new Map() };
  } catch (error) {
    if (error instanceof SlipwayError && error.code !== "root_rotation_invalid") {
      throw new SlipwayError("root_rotation_invalid", error.message, { cause: error, detail: error.code });
    }
    throw error;
  }
}

/** One set of root keys may sign the roots of several repositories: none of them may be shown as the next version of another. */
function requireSameRepository(before: TufFile<"root">, next: TufFile<"root">): void {
  const [expected, got] = [before, next].map((root) => (root.signed["slipway"] === undefined ? undefined : canonicalJson(root.signed["slipway"])));
  if (expected !== got)
    throw new SlipwayError("root_rotation_invalid", `the root is of another repository: ${got ?? "none is named"}, not ${expected ?? "unnamed"}`);
}

/** After the last root: it must not be expired (5.3.10), and not older than one that was seen. */
export function requireCurrentRoot(trust: TufTrust, { now, floor }: Acceptance): void {
  if (floor !== undefined && trust.root.signed.version < floor.rootVersion) {
    throw new SlipwayError(
      "metadata_rollback",
      `the source's newest root has version ${trust.root.signed.version}; this machine has seen ${floor.rootVersion}`,
    );
  }
  requireUnexpired(trust.root, "root", now);
}

/** 5.4. The same version again changes nothing and is no error. */
export function acceptTimestamp(trust: TufTrust, bytes: Uint8Array, { now, floor, isKept = false }: Acceptance): TufTrust {
  const timestamp = readTufFile("timestamp", bytes);
  requireThreshold(timestamp, roleOfRoot(trust.root, "timestamp"));
  const before = trust.timestamp;
  const seen = floorFor(trust, floor);
  const names = timestamp.signed.meta["snapshot.json"].version;
  requireProgress("timestamp", timestamp.signed.version, before?.signed.version, seen?.timestampVersion);
  requireProgress("snapshot", names, before?.signed.meta["snapshot.json"].version, seen?.snapshotVersion);
  if (before?.signed.version === timestamp.signed.version) {
    requireUnexpired(before, "timestamp", now);
    return trust;
  }
  if (!isKept) requireUnexpired(timestamp, "timestamp", now);
  return { ...trust, timestamp };
}

/** 5.5. A kept one may be older than what the timestamp names; the next one is measured by it. */
export function acceptSnapshot(trust: TufTrust, bytes: Uint8Array, { now, floor, isKept = false }: Acceptance): TufTrust {
  const meta = snapshotMeta(trust);
  if (!isKept) requireBytes("snapshot", bytes, meta);
  const snapshot = readTufFile("snapshot", bytes);
  requireThreshold(snapshot, roleOfRoot(trust.root, "snapshot"));
  if (isKept && snapshot.signed.version > meta.version) throw mixed("snapshot", snapshot.signed.version, meta.version);
  if (!isKept) {
    if (snapshot.signed.version !== meta.version) throw mixed("snapshot", snapshot.signed.version, meta.version);
    const seen = floorFor(trust, floor);
    const before = { ...seen?.roles };
    for (const [name, file] of Object.entries(trust.snapshot?.signed.meta ?? {})) before[name] = Math.max(file.version, ownOf(before, name) ?? 0);
    for (const [name, version] of Object.entries(before)) {
      const listed = ownOf(snapshot.signed.meta, name);
      if (listed === undefined) throw new SlipwayError("metadata_rollback", `the snapshot lists ${name} no longer`);
      requireProgress(name, listed.version, version);
    }
    requireUnexpired(snapshot, "snapshot", now);
  }
  return { ...trust, snapshot, targets: new Map() };
}

/** True where the snapshot that is trusted is the one that the timestamp names, and may be used. */
export function isSnapshotCurrent(trust: TufTrust, now: Date): boolean {
  return trust.snapshot !== undefined && trust.snapshot.signed.version === snapshotMeta(trust).version && new Date(trust.snapshot.signed.expires) > now;
}

/** 5.6: `role` as its delegator wants it. Throws `metadata_mix`, `metadata_threshold`, `metadata_expired` or `metadata_invalid`. */
export function acceptTargets(
  trust: TufTrust,
  bytes: Uint8Array,
  { role, delegator, now }: { readonly role: string; readonly delegator: string; readonly now: Date },
): TufTrust {
  const meta = targetsMeta(trust, role);
  requireBytes(role, bytes, meta);
  const file = readTufFile("targets", bytes);
  requireThreshold(file, delegationOf(trust, role, delegator));
  if (file.signed.version !== meta.version) throw mixed(role, file.signed.version, meta.version);
  requireUnexpired(file, role, now);
  return { ...trust, targets: new Map([...trust.targets, [role, file]]) };
}

/** What the timestamp says about the snapshot. */
export function snapshotMeta(trust: TufTrust): TufFileMeta {
  if (trust.timestamp === undefined) throw new SlipwayError("internal", "a snapshot before its timestamp");
  return trust.timestamp.signed.meta["snapshot.json"];
}

/** What the snapshot says about a targets role; throws `metadata_mix` where it does not list it. */
export function targetsMeta(trust: TufTrust, role: string): TufFileMeta {
  const meta = ownOf(trust.snapshot?.signed.meta ?? {}, `${role}.json`);
  if (meta === undefined) throw new SlipwayError("metadata_mix", `the snapshot does not list ${role}.json`, { detail: "role_missing" });
  return meta;
}

/** The roles to ask for `path` after `delegator`, in order; nobody is asked after a terminating one. */
export function delegatesFor(trust: TufTrust, delegator: string, path: string): readonly { readonly role: string; readonly isTerminating: boolean }[] {
  const delegations = trust.targets.get(delegator)?.signed.delegations;
  if (delegations === undefined) return [];
  const { succinct_roles: succinct, roles = [] } = delegations;
  // One role at a time: the models keep roles in an object, which would reorder names that look like numbers.
  const models = succinct === undefined ? roles.map((role) => ({ keys: {}, roles: [{ ...role }] })) : [{ keys: {}, succinct_roles: { ...succinct } }];
  return models.flatMap((model) => [...(modelOf(model)?.rolesForTarget(path) ?? [])].map(({ role, terminating }) => ({ role, isTerminating: terminating })));
}

/** The models' matching of paths; they export it only as a part of targets metadata. */
function modelOf(delegations: object): Targets["delegations"] {
  const shell = { _type: "targets", spec_version: "1.0.0", version: 1, expires: "2000-01-01T00:00:00Z", targets: {}, delegations };
  return Targets.fromJSON(shell as Parameters<typeof Targets.fromJSON>[0]).delegations; // what stands in it has passed our own schema
}

/** What a machine remembers of this state, joined with what it remembered before. */
export function raiseFloor(trust: TufTrust, before: TufFloor | undefined): TufFloor {
  const seen = floorFor(trust, before);
  const roles: Record<string, number> = { ...seen?.roles };
  for (const [name, file] of Object.entries(trust.snapshot?.signed.meta ?? {})) roles[name] = Math.max(file.version, ownOf(roles, name) ?? 0);
  return {
    rootVersion: Math.max(trust.root.signed.version, before?.rootVersion ?? 0),
    onlineKeys: onlineKeysOf(trust.root),
    timestampVersion: Math.max(trust.timestamp?.signed.version ?? 0, seen?.timestampVersion ?? 0),
    snapshotVersion: Math.max(trust.timestamp?.signed.meta["snapshot.json"].version ?? 0, seen?.snapshotVersion ?? 0),
    roles,
  };
}

/** Keys, threshold and name of a top-level role. */
export function roleOfRoot(root: TufFile<"root">, name: TufKind): { readonly name: string; readonly role: TufRole; readonly keys: TufKeys } {
  return { name, role: root.signed.roles[name], keys: root.signed.keys };
}

function delegationOf(trust: TufTrust, role: string, delegator: string): { readonly name: string; readonly role: TufRole; readonly keys: TufKeys } {
  if (role === "targets") return roleOfRoot(trust.root, "targets");
  const delegations = trust.targets.get(delegator)?.signed.delegations;
  const succinct = delegations?.succinct_roles;
  const found =
    succinct === undefined
      ? delegations?.roles?.find(({ name }) => name === role)
      : modelOf({ keys: {}, succinct_roles: { ...succinct } })?.succinctRoles?.isDelegatedRole(role) === true
        ? succinct
        : undefined;
  if (delegations === undefined || found === undefined) throw new SlipwayError("metadata_threshold", `${delegator} does not delegate to ${role}`);
  return { name: role, role: found, keys: delegations.keys };
}

/** Which timestamp and snapshot keys a root names, with their thresholds. */
export function onlineKeysOf(root: TufFile<"root">): string {
  const { keys, roles } = root.signed;
  const of = (role: TufRole) => ({ threshold: role.threshold, keys: [...role.keyids].sort().map((keyId) => [keyId, ownOf(keys, keyId)?.keyval ?? null]) });
  return createHash("sha256")
    .update(canonicalJson([of(roles.timestamp), of(roles.snapshot)]))
    .digest("hex");
}

function floorFor(trust: TufTrust, floor: TufFloor | undefined): TufFloor | undefined {
  return floor === undefined || floor.onlineKeys !== onlineKeysOf(trust.root) ? undefined : floor;
}

function ownOf<T>(record: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined;
}

function requireProgress(name: string, version: number, ...seen: readonly (number | undefined)[]): void {
  const newest = Math.max(0, ...seen.map((one) => one ?? 0));
  if (version < newest) throw new SlipwayError("metadata_rollback", `${name} has version ${version}; this machine has seen ${newest}`);
}

/** A file that stays expired for a day is no accident any more: `detail` tells alarms. */
const freezeAlarmMs = 24 * 3_600_000;

function requireUnexpired(file: TufFile<TufKind>, name: string, now: Date): void {
  const expires = new Date(file.signed.expires);
  if (expires > now) return; // an unreadable date compares as false, and is expired
  const detail = now.getTime() - expires.getTime() > freezeAlarmMs ? "frozen" : "expired";
  throw new SlipwayError("metadata_expired", `${name} metadata version ${file.signed.version} expired at ${file.signed.expires}; now is ${now.toISOString()}`, {
    detail,
  });
}

/** Length and hashes where the file that names it gives them; a hash of an unknown kind is no proof and refused. */
function requireBytes(name: string, bytes: Uint8Array, meta: TufFileMeta): void {
  if (meta.length !== undefined && bytes.length !== meta.length) throw differs(name, `${bytes.length} bytes`, `${meta.length}`);
  for (const [algorithm, expected] of Object.entries(meta.hashes ?? {})) {
    if (algorithm !== "sha256" && algorithm !== "sha512") throw new SlipwayError("metadata_invalid", `${name} is named by a ${algorithm} hash`);
    const got = createHash(algorithm).update(bytes).digest("hex");
    if (got !== expected) throw differs(name, `${algorithm} ${got}`, expected);
  }
}

function differs(name: string, got: string, expected: string): SlipwayError {
  return new SlipwayError("metadata_mix", `${name} metadata has ${got}; ${expected} was announced`);
}

function mixed(name: string, version: number, expected: number): SlipwayError {
  return new SlipwayError("metadata_mix", `${name} metadata has version ${version}; ${expected} was announced`);
}
