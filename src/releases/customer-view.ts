/**
 * Customer views: a head's indexes without some of its releases, for customers who do not see all of it.
 *
 * A view is named by what is hidden (policy/visibility.ts) and shared by all customers from whom the same is hidden. It is made from the
 * head's own blocks on first use, signed, and kept as a snapshot beside its head: files, blocks, by-hash and leases work as for any other,
 * the sweep removes it with its head. There are at most as many as customers with limits, and a head lasts a day (refresh.ts).
 *
 * It has the head's date: apt keeps what it has when a release file is older than the one before (`pkgAcqMetaBase::VerifyVendor`), and a
 * customer may come from any view of this head to any other.
 */
import { SlipwayError } from "../model/errors.ts";
import { type HiddenReason, listingKey } from "../policy/visibility.ts";
import type { OpenBlock, RepositoryFile } from "../repositories/repository-file.ts";
import { readFileParts } from "../repositories/repository-file.ts";
import { isUniqueViolation } from "../store/database.ts";
import { newId } from "../store/id.ts";
import type { SnapshotFileTable, SnapshotTable } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { findProduct, type Product } from "./products.ts";
import { listPackages } from "./publish.ts";
import { allReleases, listedIn, type Release } from "./releases.ts";
import type { RepositoryKey } from "./repository-key.ts";
import { blockLimit, blocksOf, growViews, type ListedPackage, parseViews, renderIndexes, type Views } from "./snapshot.ts";

export type ViewRequest = {
  readonly product: string;
  readonly headId: string;
  /** Of the visibility. */
  readonly key: string;
  readonly hidden: ReadonlyMap<string, HiddenReason>;
};

export type CustomerViews = {
  /** The id of the snapshot with this view; undefined where the head has moved on and the view was not made before. */
  open(request: ViewRequest): Promise<string | undefined>;
};

/** Renderings at the same time, whatever the number of customers: each holds one block and the small files in memory. */
const renderLimit = 2;
const attemptLimit = 5;

export function createCustomerViews(store: Store, repositoryKey: RepositoryKey): CustomerViews {
  const running = new Map<string, Promise<string | undefined>>();
  const waiting: (() => void)[] = [];
  let rendering = 0;

  async function inTurn<T>(act: () => Promise<T>): Promise<T> {
    if (rendering >= renderLimit) await new Promise<void>((resolve) => waiting.push(resolve));
    else rendering += 1;
    try {
      return await act();
    } finally {
      const next = waiting.shift();
      if (next === undefined) rendering -= 1;
      else next();
    }
  }

  return {
    open: (request) => {
      const name = `${request.headId} ${request.key}`;
      const known = running.get(name);
      if (known !== undefined) return known;
      const opened = openView(store, request, () => inTurn(() => makeView(store, request, repositoryKey))).finally(() => running.delete(name));
      running.set(name, opened);
      return opened;
    },
  };
}

async function findView(store: Store, request: ViewRequest): Promise<string | undefined> {
  const row = await store.db.selectFrom("snapshots").select("id").where("base_id", "=", request.headId).where("view", "=", request.key).executeTakeFirst();
  return row?.id;
}

async function openView(store: Store, request: ViewRequest, make: () => Promise<string | undefined>): Promise<string | undefined> {
  for (let attempt = 0; attempt < attemptLimit; attempt += 1) {
    const found = await findView(store, request);
    if (found !== undefined) return found;
    try {
      return await make();
    } catch (error) {
      if (!isUniqueViolation(error)) throw error; // another server made the same one in between
    }
  }
  throw new SlipwayError("internal", `the view ${request.key} of ${request.product} could not be made`);
}

async function makeView(store: Store, request: ViewRequest, repositoryKey: RepositoryKey): Promise<string | undefined> {
  await repositoryKey.reload?.(); // another server may have rotated it
  const product = await findProduct(store, request.product);
  const head = await store.db.selectFrom("snapshots").selectAll().where("id", "=", request.headId).executeTakeFirst();
  if (product === undefined || head === undefined) return undefined;
  const openBlock: OpenBlock = (digest) => store.blobs.read(digest, blockLimit);
  const before = parseViews(head);
  const releases = await allReleases(store, product);
  // Releases change together with the head: as long as it stands, they are its own.
  const present = await store.db.selectFrom("heads").select("snapshot_id").where("product_id", "=", product.id).executeTakeFirst();
  if (present?.snapshot_id !== head.id) return undefined;
  const shown = releases.map((release) => showing(release, request.hidden));
  const { views, blocks } = await growViews(before, { add: [], remove: await hiddenPackages(store, { releases, shown }), releases: shown }, openBlock);
  for (const block of blocks) await store.blobs.put(block.bytes);
  const kept = withoutForeign(views, request, releases);
  const changed = changedOnly(before, kept);
  const now = new Date(head.created_at);
  const rendering = {
    product,
    head: { revision: 0, snapshot: undefined },
    change: { add: [], remove: [], releases: shown },
    repositoryKey,
    before,
    views: changed,
    now,
  };
  const files = await renderIndexes(store, rendering);
  const id = newId(store.clock.now());
  const base = await store.db.selectFrom("snapshot_files").selectAll().where("snapshot_id", "=", head.id).execute();
  const rows = await storeRows(store, { id, product, head, files, openBlock });
  const made = new Set(rows.map((row) => row.path));
  for (const row of base) if (!made.has(row.path) && isSame(row.path, { before, kept, changed })) rows.push({ ...row, snapshot_id: id });
  await insertView(store, { request, head, id, rows, blocks: blocksOf(kept) });
  return id;
}

/** The release with those of its channels that this view shows. */
function showing(release: Release, hidden: ReadonlyMap<string, HiddenReason>): Release {
  return { ...release, channels: release.channels.filter(({ channel }) => !hidden.has(listingKey({ releaseId: release.id, channel }))) };
}

/** The packages that the head lists and this view does not. */
async function hiddenPackages(
  store: Store,
  { releases, shown }: { readonly releases: readonly Release[]; readonly shown: readonly Release[] },
): Promise<readonly ListedPackage[]> {
  const packages: ListedPackage[] = [];
  for (const [index, release] of releases.entries()) {
    const staying = new Set(listedIn(shown[index] ?? release));
    const leaving = listedIn(release).filter((channel) => !staying.has(channel));
    if (leaving.length > 0) packages.push(...(await listPackages(store, release, leaving)));
  }
  return packages;
}

/** Without the channels that are not this view's at all: hidden by rank alone, not because there is nothing for it yet. */
function withoutForeign(views: Views, { hidden }: ViewRequest, releases: readonly Release[]): Views {
  const listed = releases.flatMap((release) => listedIn(release).map((channel) => ({ releaseId: release.id, channel })));
  const isForeign = (channel: string): boolean => {
    const inChannel = listed.filter((one) => one.channel === channel);
    return inChannel.length > 0 && inChannel.every((one) => hidden.get(listingKey(one)) === "channel");
  };
  const own = <State>(states: Readonly<Record<string, State>>): Readonly<Record<string, State>> =>
    Object.fromEntries(Object.entries(states).filter(([channel]) => !isForeign(channel)));
  return { apt: own(views.apt), yum: own(views.yum), apk: own(views.apk) };
}

function changedOnly(before: Views, after: Views): Views {
  const changed = <State>(old: Readonly<Record<string, State>>, states: Readonly<Record<string, State>>): Readonly<Record<string, State>> =>
    Object.fromEntries(Object.entries(states).filter(([channel, state]) => old[channel] !== state));
  return { apt: changed(before.apt, after.apt), yum: changed(before.yum, after.yum), apk: changed(before.apk, after.apk) };
}

/** True for a file of the head that this view has as it is: of a channel that nothing is hidden in, or of no channel. */
function isSame(path: string, at: { readonly before: Views; readonly kept: Views; readonly changed: Views }): boolean {
  const [tree, first = "", second = ""] = path.split("/");
  if (tree !== "apt" && tree !== "yum" && tree !== "apk") return path !== "releases/index.json";
  const channel = tree === "apt" ? second : first;
  return channel in at.kept[tree] && !(channel in at.changed[tree]);
}

type Storing = {
  readonly id: string;
  readonly product: Product;
  readonly head: SnapshotTable;
  readonly files: readonly RepositoryFile[];
  readonly openBlock: OpenBlock;
};

async function storeRows(store: Store, { id, product, head, files, openBlock }: Storing): Promise<SnapshotFileTable[]> {
  // Later than anything of an earlier head: see changed_at in snapshot.ts.
  const changedAt = head.changed_at === null ? head.created_at : head.changed_at * 1000;
  const rows: SnapshotFileTable[] = [];
  const held = new Set<string>();
  for (const file of files) {
    if (!held.has(file.digest)) {
      const stored = await store.blobs.put(readFileParts(file, openBlock));
      if (stored.digest !== file.digest) throw new SlipwayError("internal", `${file.path} was rendered as ${file.digest} and stored as ${stored.digest}`);
      held.add(file.digest);
    }
    rows.push({
      snapshot_id: id,
      product_id: product.id,
      path: file.path,
      digest: file.digest,
      size: file.size,
      media_type: file.contentType,
      is_immutable: file.isImmutable ? 1 : 0,
      modified_at: changedAt,
    });
  }
  return rows;
}

type Inserting = {
  readonly request: ViewRequest;
  readonly head: SnapshotTable;
  readonly id: string;
  readonly rows: readonly SnapshotFileTable[];
  readonly blocks: readonly SnapshotFileTable["digest"][];
};

/** Throws a unique violation where another server was faster. */
async function insertView(store: Store, { request, head, id, rows, blocks }: Inserting): Promise<void> {
  await store.db.transaction().execute(async (transaction) => {
    await transaction
      .insertInto("snapshots")
      .values({
        id,
        product_id: head.product_id,
        created_at: head.created_at,
        superseded_at: null,
        valid_until: head.valid_until,
        views: "{}",
        changed_at: head.changed_at,
        base_id: head.id,
        view: request.key,
        hidden: JSON.stringify([...request.hidden.keys()]),
      })
      .execute();
    for (const row of rows) await transaction.insertInto("snapshot_files").values(row).execute();
    for (const digest of blocks) await transaction.insertInto("snapshot_blocks").values({ snapshot_id: id, digest }).execute();
  });
  // What the sweep quarantined between storing and this comes back: its rows are in place now (sweep.ts).
  for (const digest of new Set([...blocks, ...rows.map((row) => row.digest)])) {
    if ((await store.blobs.stat(digest)) === undefined) await store.blobs.restore(digest);
  }
}
