/**
 * Reads the offline TUF repository of one product, where the vendor has one, for machines behind an air gap (`slipway upgrade install --file`):
 * every root, so that a client with an old one can follow, the files of now, and the mirrored releases' files under their hash.
 *
 * It is proven as a client proves it, from the root that the operator pinned; without one, from the source's first root, which proves no more
 * than that the pieces fit: the clients' own root decides.
 */
import { SlipwayError } from "../model/errors.ts";
import type { Version } from "../model/version.ts";
import {
  acceptSnapshot,
  acceptTargets,
  acceptTimestamp,
  nextRoot,
  requireCurrentRoot,
  rootRotationLimit,
  snapshotMeta,
  targetsMeta,
  trustRoot,
  type TufTrust,
} from "../trust/tuf-client.ts";
import { sigstoreRootTarget, trustedRootSizeLimit } from "../trust/sigstore-policy.ts";
import { tufLimits } from "../trust/tuf-metadata.ts";
import { addDocument, addFile, type Collected, type Collecting, movedError, readDocument, readKeptDocument, sha256Hex } from "./collect.ts";

type Reading = { readonly collecting: Collecting; readonly collected: Collected; readonly root: string };

/** Expired metadata counts as it stood when it was good. */
const whenGood = new Date(0);

/**
 * Adds what there is; a product without TUF adds nothing. Throws `metadata_expired` unless `isExpiredAllowed`, which `onExpired` is told of, and
 * the other `metadata_*` codes and `root_rotation_invalid` for what does not prove.
 */
export async function collectTuf(
  collecting: Collecting,
  collected: Collected,
  options: { readonly versions: readonly Version[]; readonly isExpiredAllowed: boolean; readonly onExpired: (text: string) => void },
): Promise<void> {
  const { product, trust: pinned, selection } = collecting;
  const root = `tuf/${product}/offline/metadata`;
  const reading: Reading = { collecting, collected, root };
  const timestamp = await readDocument(collecting, `${root}/timestamp.json`, tufLimits.timestamp);
  if (timestamp === undefined) {
    if (pinned.tufRoot === undefined) return;
    throw new SlipwayError("metadata_mix", `the source has no ${root}/timestamp.json, and a TUF root is pinned for ${product}`, { detail: "file_missing" });
  }
  collected.openers.set(`${root}/timestamp.json`, sha256Hex(timestamp));
  const begun = await readRoots(reading, pinned.tufRoot);
  const now = await whenProven(begun, timestamp, { ...options, now: collecting.now });
  let trust = acceptTimestamp(begun, timestamp, { now });
  await addDocument(collecting, collected, { path: `${root}/timestamp.json`, bytes: timestamp });
  trust = acceptSnapshot(trust, await readVersion(reading, snapshotMeta(trust).version, "snapshot", tufLimits.snapshot), { now });
  trust = acceptTargets(trust, await readVersion(reading, targetsMeta(trust, "targets").version, "targets", tufLimits.targets), {
    role: "targets",
    delegator: "root",
    now,
  });
  await addSigstoreRoot(reading, trust);
  for (const channel of selection.channels) {
    const role = `${product}-${channel}`;
    if (trust.targets.get("targets")?.signed.delegations?.roles?.some(({ name }) => name === role) !== true) continue;
    trust = acceptTargets(trust, await readVersion(reading, targetsMeta(trust, role).version, role, tufLimits.targets), { role, delegator: "targets", now });
    addTargets(reading, trust, { role, versions: options.versions });
  }
  collected.marks.set(`tuf/${product}/offline`, trust.timestamp?.signed.version ?? 0);
}

/** All roots from the first one on are copied; trust begins with the pinned one. */
async function readRoots(reading: Reading, pinned: Uint8Array | undefined): Promise<TufTrust> {
  const { collecting, collected, root } = reading;
  let trust = pinned === undefined ? undefined : trustRoot(pinned);
  const last = (trust?.root.signed.version ?? 0) + rootRotationLimit;
  for (let version = 1; version <= last; version += 1) {
    const path = `${root}/${version}.root.json`;
    const bytes = await readKeptDocument(collecting, path, tufLimits.root);
    if (bytes === undefined) break;
    if (trust === undefined) trust = trustRoot(bytes);
    else if (version > trust.root.signed.version) trust = nextRoot(trust, bytes);
    await addDocument(collecting, collected, { path, bytes, immutable: true });
  }
  if (trust === undefined) throw movedError(`${root}/1.root.json`);
  const binding = JSON.stringify(trust.root.signed["slipway"] ?? null);
  if (binding !== JSON.stringify({ product: collecting.product, repository: "offline" }))
    throw new SlipwayError("metadata_mix", `the root of ${root} is made for ${binding.slice(0, 200)}`, { detail: "other_repository" });
  return trust;
}

/** The instant to judge expiry by: now, or where something has expired and that is allowed, a time at which nothing had. */
async function whenProven(
  trust: TufTrust,
  timestamp: Uint8Array,
  { now, isExpiredAllowed, onExpired }: { readonly now: Date; readonly isExpiredAllowed: boolean; readonly onExpired: (text: string) => void },
): Promise<Date> {
  try {
    requireCurrentRoot(trust, { now });
    acceptTimestamp(trust, timestamp, { now });
    return now;
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code !== "metadata_expired") throw error;
    if (!isExpiredAllowed) {
      throw new SlipwayError("metadata_expired", error.message, {
        ...(error.detail === undefined ? {} : { detail: error.detail }),
        hint: "carry a newer bundle; where this one is meant all the same, import it with --allow-expired-metadata",
        cause: error,
      });
    }
    onExpired(error.message);
    return whenGood;
  }
}

async function readVersion({ collecting, collected, root }: Reading, version: number, role: string, limit: number): Promise<Buffer> {
  const path = `${root}/${version}.${encodeURIComponent(role)}.json`;
  const bytes = await readKeptDocument(collecting, path, limit);
  if (bytes === undefined) throw movedError(path);
  await addDocument(collecting, collected, { path, bytes, immutable: true });
  return bytes;
}

/** What the targets role itself lists: installations behind the air gap follow it, too. */
async function addSigstoreRoot({ collecting, collected }: Reading, trust: TufTrust): Promise<void> {
  const listed = trust.targets.get("targets")?.signed.targets[sigstoreRootTarget];
  if (listed === undefined) return;
  const hex = listed.hashes["sha256"] ?? "";
  const path = `tuf/${collecting.product}/offline/targets/${sigstoreRootTarget.replace(/[^/]+$/, (name) => `${hex}.${name}`)}`;
  const bytes = await readKeptDocument(collecting, path, Math.min(listed.length, trustedRootSizeLimit));
  if (bytes === undefined) throw movedError(path);
  if (bytes.length !== listed.length || sha256Hex(bytes) !== hex)
    throw new SlipwayError("metadata_mix", `${path} is not what the metadata of targets lists`, { detail: "hash_mismatch" });
  await addDocument(collecting, collected, { path, bytes, immutable: true });
}

/** The same bytes as below `releases/`, for the versions and architectures that are mirrored. Throws `metadata_mix` where the two disagree. */
function addTargets({ collecting, collected }: Reading, trust: TufTrust, at: { readonly role: string; readonly versions: readonly Version[] }): void {
  const { product } = collecting;
  for (const [path, target] of Object.entries(trust.targets.get(at.role)?.signed.targets ?? {})) {
    const [, channel = "", version = "", name = ""] = path.split("/");
    if (!at.versions.some((one) => one === version)) continue;
    const file = collected.files.get(`releases/${product}/${version}/${name}`);
    if (file === undefined) continue;
    const hex = target.hashes["sha256"];
    if (hex === undefined || target.length !== file.size || file.proof.kind !== "sha256" || file.proof.hex !== hex)
      throw new SlipwayError("metadata_mix", `${path} is not what the metadata of ${at.role} lists`, { detail: "hash_mismatch" });
    addFile(collected, { ...file, path: `tuf/${product}/offline/targets/${product}/${channel}/${version}/${hex}.${name}`, immutable: true });
  }
}
