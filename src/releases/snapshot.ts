/**
 * Snapshots: every index file of a product as one immutable set, and the one switch from a set to the next.
 *
 *   prepare   grow the views of the present head by what comes and goes; store blocks and files as blobs     (nothing visible yet)
 *   switch    one transaction: the snapshot's rows, the change of the releases, the head by compare-and-swap (all or nothing)
 *
 * A crash before the switch leaves blobs that nobody names; the sweep takes them later. Two switches at once: one of them finds the head
 * moved, and its caller prepares again.
 */
import type { Transaction } from "kysely";
import { z } from "zod";
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { type ApkState, apkStateSchema, emptyApk, renderApk, updateApk } from "../repositories/apk.ts";
import { type AptState, aptBlocks, aptStateSchema, emptyApt, renderApt, updateApt } from "../repositories/apt.ts";
import type { NewBlock } from "../repositories/index-blocks.ts";
import { replacementFor } from "../policy/retention.ts";
import { everybody } from "../policy/visibility.ts";
import { type MachineRollout, releaseIndex } from "../repositories/release-index.ts";
import { fileOfBytes, type OpenBlock, type RepositoryFile, readFileParts } from "../repositories/repository-file.ts";
import { emptyYum, renderYum, updateYum, type YumState, yumBlocks, yumStateSchema } from "../repositories/yum.ts";
import { newId } from "../store/id.ts";
import type { Database, SnapshotFileTable, SnapshotTable } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { signApkMember } from "../trust/apk-signature.ts";
import { clearsign, exportPublicKeys, signDetachedArmored } from "../trust/openpgp.ts";
import type { Advisory } from "../repositories/advisory.ts";
import { listAdvisories } from "./advisories.ts";
import { yumUpdates } from "./advisory-updates.ts";
import type { DescribedPackage } from "./describe-package.ts";
import { type Product, readReleaseKeys } from "./products.ts";
import { listedIn, offeredVersions, type Release } from "./releases.ts";
import type { RepositoryKey } from "./repository-key.ts";

/** A signed index is good for this long; refreshSnapshots renews it well before. */
export const validUntilDays = 7;
/** A superseded snapshot is kept this long: a client that read its index finishes its downloads from it (distribution facts 4.3). */
export const keepSupersededMs = 48 * 3_600_000;
/** Blocks stay below 256 KiB of plain text; gzip never doubles that. */
export const blockLimit = 1024 * 1024;

/** apk's indexes are served for these from a channel's first apk on, also where all of its packages are of no architecture; others join with a package. */
const apkArchitectures = ["aarch64", "x86_64"] as const;

const viewsSchema = z.strictObject({
  apt: z.record(z.string(), aptStateSchema),
  yum: z.record(z.string(), yumStateSchema),
  /** Snapshots of before APK was served have none. */
  apk: z.record(z.string(), apkStateSchema).default({}),
});
/** By channel: what the next snapshot grows from. */
export type Views = {
  readonly apt: Readonly<Record<string, AptState>>;
  readonly yum: Readonly<Record<string, YumState>>;
  readonly apk: Readonly<Record<string, ApkState>>;
};

export type Head = { readonly revision: number; readonly snapshot: SnapshotTable | undefined };

/** Packages that come or go, with a channel of their release. */
export type ListedPackage = { readonly channel: string; readonly described: DescribedPackage };

export type SnapshotChange = {
  readonly add: readonly ListedPackage[];
  readonly remove: readonly ListedPackage[];
  /** Every release of the product as it will stand after the switch, in any order. */
  readonly releases: readonly Release[];
  /** What customers see may become less: every file gets a new time, since the one that somebody had may have been of another view. */
  readonly isRestamped?: boolean;
  /** Other keys sign from now on: every index is signed anew, also one that stands as before. */
  readonly isResigned?: boolean;
  /** Every advisory of the product as it will stand after the switch; without them as they stand now. */
  readonly advisories?: readonly Advisory[];
};

export type PreparedSnapshot = {
  readonly head: Head;
  readonly row: SnapshotTable;
  readonly files: readonly SnapshotFileTable[];
  readonly blocks: readonly Digest[];
};

/** The product's present head; revision 0 where nothing was published yet. */
export async function readHead(store: Store, product: Product): Promise<Head> {
  const head = await store.db.selectFrom("heads").selectAll().where("product_id", "=", product.id).executeTakeFirst();
  if (head === undefined) return { revision: 0, snapshot: undefined };
  const snapshot = await store.db.selectFrom("snapshots").selectAll().where("id", "=", head.snapshot_id).executeTakeFirstOrThrow();
  return { revision: head.revision, snapshot };
}

/** Renders everything aside. Leaves blobs only; throws `internal` where a stored view is damaged, `disk_full`. */
export async function prepareSnapshot(
  store: Store,
  input: { readonly product: Product; readonly head: Head; readonly change: SnapshotChange; readonly repositoryKey: RepositoryKey },
): Promise<PreparedSnapshot> {
  const { product, head, change } = input;
  await input.repositoryKey.reload?.(); // another server may have rotated it
  const now = store.clock.now();
  const openBlock: OpenBlock = (digest) => store.blobs.read(digest, blockLimit);
  const before = parseViews(head.snapshot);
  const { views, blocks } = await growViews(before, change, openBlock);
  for (const block of blocks) await store.blobs.put(block.bytes);
  const isResigned = change.isResigned === true || (head.snapshot?.created_at ?? 0) <= (input.repositoryKey.changedAt ?? 0);
  const standing = isResigned ? { ...before, apk: {} } : before;
  const files = await renderViews(store, { ...input, before: standing, views, now });
  const id = newId(now);
  const old = await filesOfSnapshot(store, head.snapshot);
  const held = new Set(old.map((row) => row.digest));
  const oldByPath = new Map(old.map((row) => [row.path, row]));
  const rows: SnapshotFileTable[] = [];
  const changedAt = Math.max(Math.floor(now.getTime() / 1000), (head.snapshot?.changed_at ?? 0) + 1);
  for (const file of files) {
    // Written again even where an old blob of the same bytes lies around: the sweep may be about to take that one.
    if (!held.has(file.digest)) {
      const stored = await store.blobs.put(readFileParts(file, openBlock));
      if (stored.digest !== file.digest) throw new SlipwayError("internal", `${file.path} was rendered as ${file.digest} and stored as ${stored.digest}`);
    }
    rows.push({
      snapshot_id: id,
      product_id: product.id,
      path: file.path,
      digest: file.digest,
      size: file.size,
      media_type: file.contentType,
      is_immutable: file.isImmutable ? 1 : 0,
      modified_at: modifiedAt(file, oldByPath.get(file.path), { now, isRestamped: change.isRestamped === true }),
    });
    held.add(file.digest);
  }
  const carriedAt = change.isRestamped === true ? { modified_at: changedAt * 1000 } : {};
  for (const row of old) if (isCarriedOver(row.path, standing, views)) rows.push({ ...row, ...carriedAt, snapshot_id: id });
  return {
    head,
    row: {
      id,
      product_id: product.id,
      created_at: now.getTime(),
      superseded_at: null,
      valid_until: now.getTime() + validUntilDays * 86_400_000,
      views: JSON.stringify(views),
      changed_at: changedAt,
      base_id: null,
      view: "",
      hidden: null,
    },
    files: rows,
    blocks: blocksOf(views),
  };
}

export function parseViews(snapshot: SnapshotTable | undefined): Views {
  if (snapshot === undefined) return { apt: {}, yum: {}, apk: {} };
  const parsed = viewsSchema.safeParse(JSON.parse(snapshot.views));
  if (!parsed.success) throw new SlipwayError("internal", `the views of snapshot ${snapshot.id} are damaged: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

export function blocksOf(views: Views): readonly Digest[] {
  return [...new Set([...Object.values(views.apt).flatMap(aptBlocks), ...Object.values(views.yum).flatMap(yumBlocks)])];
}

export async function growViews(
  before: Views,
  change: SnapshotChange,
  openBlock: OpenBlock,
): Promise<{ readonly views: Views; readonly blocks: readonly NewBlock[] }> {
  const apt: Record<string, AptState> = { ...before.apt };
  const yum: Record<string, YumState> = { ...before.yum };
  const apk: Record<string, ApkState> = { ...before.apk };
  const blocks: NewBlock[] = [];
  const channels = new Set([...change.add, ...change.remove].map((listed) => listed.channel));
  for (const channel of [...channels].sort()) {
    const inChannel = (listed: readonly ListedPackage[]) => listed.filter((one) => one.channel === channel).map((one) => one.described);
    const [come, go] = [inChannel(change.add), inChannel(change.remove)];
    const debs = (list: readonly DescribedPackage[]) => list.flatMap((one) => (one.kind === "deb" ? [one.entry] : []));
    const rpms = (list: readonly DescribedPackage[]) => list.flatMap((one) => (one.kind === "rpm" ? [one.fragments] : []));
    const apks = (list: readonly DescribedPackage[]) => list.flatMap((one) => (one.kind === "apk" ? [one.entry] : []));
    if (debs(come).length + debs(go).length > 0) {
      const update = await updateApt(apt[channel] ?? (await emptyApt()), { add: debs(come), remove: debs(go) }, openBlock);
      apt[channel] = update.state;
      blocks.push(...update.blocks);
    }
    if (rpms(come).length + rpms(go).length > 0) {
      const update = await updateYum(yum[channel] ?? (await emptyYum()), { add: rpms(come), remove: rpms(go) }, openBlock);
      yum[channel] = update.state;
      blocks.push(...update.blocks);
    }
    if (apks(come).length + apks(go).length > 0) apk[channel] = updateApk(apk[channel] ?? emptyApk(apkArchitectures), { add: apks(come), remove: apks(go) });
  }
  return { views: { apt, yum, apk }, blocks };
}

/** True for the apk index of a channel that stands as before. It has no date of expiry: nothing is gained by packing and signing it again. */
function isCarriedOver(path: string, before: Views, after: Views): boolean {
  const [, channel] = /^apk\/([^/]+)\//.exec(path) ?? [];
  return channel !== undefined && after.apk[channel] === before.apk[channel];
}

export type Rendering = {
  readonly product: Product;
  readonly head: Head;
  readonly change: SnapshotChange;
  readonly repositoryKey: RepositoryKey;
  readonly before: Views;
  readonly views: Views;
  readonly now: Date;
};

/** Every file of the head that is made anew, with its path from the tree's name on: `apt/dists/stable/InRelease`. */
async function renderViews(store: Store, input: Rendering): Promise<readonly RepositoryFile[]> {
  return renderIndexes(store, input);
}

/** Of these, what is made for the view of some customers too (customer-view.ts): the indexes of the given channels, and the release index. */
export async function renderIndexes(store: Store, input: Rendering): Promise<readonly RepositoryFile[]> {
  const { product, views, now } = input;
  const { signingKey, publicText, apkKey, overlap } = input.repositoryKey;
  const signingKeys = overlap === undefined ? [signingKey] : [signingKey, overlap.signingKey];
  const apkKeys = overlap === undefined ? [apkKey] : [apkKey, overlap.apkKey];
  const seconds = Math.floor(now.getTime() / 1000);
  const sign = {
    clearsign: (text: string) => clearsign(text, signingKeys, seconds),
    detach: (bytes: Uint8Array) => signDetachedArmored(bytes, signingKeys, seconds),
  };
  const signedBy = signingKeys.map(({ fingerprint }) => fingerprint);
  const previousDate = input.head.snapshot === undefined ? {} : { previousDate: new Date(input.head.snapshot.created_at) };
  const { openpgp } = await readReleaseKeys(store, product.name);
  // rpm reads only the first key of an armored block: one block for each key.
  const keyrings = [publicText, ...(openpgp === undefined ? [] : [openpgp])].map((text) => Buffer.from(text));
  const publicKey = Buffer.from(await exportPublicKeys(keyrings, "asc-blocks")).toString("utf8");
  const files: RepositoryFile[] = [];
  for (const [channel, state] of Object.entries(views.apt)) {
    const view = { state, product: product.name, channel, now, ...previousDate, validUntilDays, sign, signedBy };
    for (const file of await renderApt(view)) files.push({ ...file, path: `apt/${file.path}` });
  }
  const advisories = input.change.advisories ?? (await listAdvisories(store, product.id));
  const updates = await yumUpdates(store, { advisories, releases: input.change.releases });
  for (const [channel, state] of Object.entries(views.yum)) {
    const fixes = { product: product.name, channel, list: updates.get(channel) ?? [] };
    for (const file of await renderYum({ state, now, ...previousDate, sign, publicKey, updates: fixes }))
      files.push({ ...file, path: `yum/${channel}/${file.path}` });
  }
  const signIndex = async (index: Uint8Array) => apkKeys.flatMap((key) => signApkMember(index, key));
  for (const [channel, state] of Object.entries(views.apk)) {
    if (state === input.before.apk[channel]) continue;
    const rendered = await renderApk({ state, product: product.name, channel, now, sign: signIndex });
    for (const file of rendered) files.push({ ...file, path: `apk/${channel}/${file.path}` });
  }
  files.push(indexFile(product, input.change.releases));
  return files;
}

function indexFile(product: Product, releases: readonly Release[]): RepositoryFile {
  const visible = releases.flatMap((release) => {
    const { version, sequence, publishedAt } = release;
    const channels = listedIn(release);
    return publishedAt === undefined || channels.length === 0
      ? []
      : [{ version, channels, sequence: sequence ?? 0, publishedAt, retiresAt: release.retiresAt, rollouts: machineRollouts(release) }];
  });
  const staying = offeredVersions(releases);
  const gone = releases.flatMap(({ version, replacement, reason, state, stage, compat }) => {
    if (state !== "withdrawn" && state !== "retired" && stage !== "unlisted") return [];
    // What it was replaced by may have left since, or be hidden from this view's readers.
    const instead = replacement !== undefined && staying.includes(replacement) ? replacement : replacementFor(version, staying);
    const isWithdrawn = state === "withdrawn";
    return [{ version, state: isWithdrawn ? state : ("retired" as const), replacement: instead, reason, isWaypoint: compat?.waypoint }];
  });
  const text = `${JSON.stringify(releaseIndex(product.name, visible, gone), undefined, 2)}\n`;
  return fileOfBytes("releases/index.json", Buffer.from(text), "application/json");
}

/** Who sees it at all is decided by the view; what is left for the updater is which machines wait, and a halt for who keeps seeing it. */
function machineRollouts(release: Release): Readonly<Record<string, MachineRollout>> {
  const listed = new Set(listedIn(release));
  const staged = release.channels.filter(({ channel, share, machines, isBypass }) => listed.has(channel) && !isBypass && (share === 0 || machines < everybody));
  return Object.fromEntries(
    staged.map(({ channel, share, salt, machines }) => [channel, { salt, percent: machines / 100, ...(share === 0 ? { halted: true as const } : {}) }]),
  );
}

/**
 * apt asks with If-Modified-Since alone, in whole seconds (RFC 9110 5.6.7). So what stands unchanged keeps its time, and what changed gets a
 * later second than before, also when two publications fall into one second or the clock was set back: else a 304 would hide the change.
 */
function modifiedAt(
  file: RepositoryFile,
  old: { readonly digest: Digest; readonly modified_at: number } | undefined,
  { now, isRestamped }: { readonly now: Date; readonly isRestamped: boolean },
): number {
  if (old === undefined) return now.getTime();
  if (old.digest === file.digest && (!isRestamped || file.isImmutable)) return old.modified_at;
  return Math.max(now.getTime(), (Math.floor(old.modified_at / 1000) + 1) * 1000);
}

async function filesOfSnapshot(store: Store, snapshot: SnapshotTable | undefined): Promise<readonly SnapshotFileTable[]> {
  if (snapshot === undefined) return [];
  return store.db.selectFrom("snapshot_files").selectAll().where("snapshot_id", "=", snapshot.id).execute();
}

/** How many rows one statement takes: SQLite allows 32,766 parameters, PostgreSQL 65,535. */
const rowsPerInsert = 1_000;

/**
 * The switch, inside the caller's transaction, together with the caller's change of the releases.
 * False where the head moved since prepareSnapshot: the caller must roll back and prepare again.
 */
export async function switchHead(transaction: Transaction<Database>, product: Product, prepared: PreparedSnapshot): Promise<boolean> {
  await transaction.insertInto("snapshots").values(prepared.row).execute();
  for (let start = 0; start < prepared.files.length; start += rowsPerInsert) {
    await transaction
      .insertInto("snapshot_files")
      .values(prepared.files.slice(start, start + rowsPerInsert))
      .execute();
  }
  const blocks = prepared.blocks.map((digest) => ({ snapshot_id: prepared.row.id, digest }));
  for (let start = 0; start < blocks.length; start += rowsPerInsert) {
    await transaction
      .insertInto("snapshot_blocks")
      .values(blocks.slice(start, start + rowsPerInsert))
      .execute();
  }
  const { revision, snapshot } = prepared.head;
  if (snapshot === undefined) {
    const inserted = await transaction
      .insertInto("heads")
      .values({ product_id: product.id, snapshot_id: prepared.row.id, revision: 1 })
      .onConflict((conflict) => conflict.column("product_id").doNothing())
      .executeTakeFirst();
    return inserted.numInsertedOrUpdatedRows === 1n;
  }
  const updated = await transaction
    .updateTable("heads")
    .set({ snapshot_id: prepared.row.id, revision: revision + 1 })
    .where("product_id", "=", product.id)
    .where("revision", "=", revision)
    .executeTakeFirst();
  if (updated.numUpdatedRows !== 1n) return false;
  await transaction.updateTable("snapshots").set({ superseded_at: prepared.row.created_at }).where("id", "=", snapshot.id).execute();
  return true;
}

/** What the sweep quarantined between the preparation and the switch comes back: its rows are in place now (see sweep.ts). */
async function bringBack(store: Store, prepared: PreparedSnapshot): Promise<void> {
  for (const digest of new Set([...prepared.blocks, ...prepared.files.map((file) => file.digest)])) {
    if ((await store.blobs.stat(digest)) === undefined) await store.blobs.restore(digest);
  }
}

/** Thrown inside a transaction to roll it back when the head moved; never leaves switchTo. */
class HeadMoved extends Error {}

const attemptLimit = 10;

/**
 * Prepares and switches until the head stood still in between. `decide` reads the present state and says what changes (undefined: nothing
 * to do); `apply` makes the same change to the releases inside the switch's transaction. Throws `conflict` after ten lost races.
 */
export async function switchSnapshot(
  store: Store,
  input: {
    readonly product: Product;
    readonly repositoryKey: RepositoryKey;
    readonly decide: () => Promise<{ readonly change: SnapshotChange; readonly apply: (transaction: Transaction<Database>) => Promise<void> } | undefined>;
  },
): Promise<boolean> {
  for (let attempt = 0; attempt < attemptLimit; attempt += 1) {
    const head = await readHead(store, input.product);
    const decision = await input.decide();
    if (decision === undefined) return false;
    const prepared = await prepareSnapshot(store, { product: input.product, head, change: decision.change, repositoryKey: input.repositoryKey });
    try {
      await store.db.transaction().execute(async (transaction) => {
        if (!(await switchHead(transaction, input.product, prepared))) throw new HeadMoved();
        await decision.apply(transaction);
      });
    } catch (error) {
      if (error instanceof HeadMoved) continue;
      throw error;
    }
    await bringBack(store, prepared);
    store.changes.emit("head", input.product.name);
    return true;
  }
  throw new SlipwayError("conflict", `${input.product.name} is being published by others; ten attempts found its head moved`);
}
