/**
 * Customer views: a head's indexes without some of its releases, for customers who do not see all of it.
 *
 * A view is named by what is hidden (policy/visibility.ts) and shared by all customers from whom the same is hidden. It is made from the
 * head's own indexes on first use, signed, and kept as a snapshot beside its head: files, blocks, by-hash and leases work as for any other,
 * the sweep removes it with its head. There are at most as many as customers with limits, and a head lasts a day (refresh.ts).
 *
 * It has the head's date: apt keeps what it has when a release file is older than the one before (`pkgAcqMetaBase::VerifyVendor`), and a
 * customer may come from any view of this head to any other.
 */
import { type Digest, digestHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { type HiddenReason, listingKey } from "../policy/visibility.ts";
import { isUniqueViolation } from "../store/database.ts";
import { newId } from "../store/id.ts";
import type { SnapshotFileTable, SnapshotTable } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { channelOfPath } from "./channel-path.ts";
import { parseDescribedPackage } from "./describe-package.ts";
import { findProduct } from "./products.ts";
import { allReleases, listedIn, type Release } from "./releases.ts";
import type { RepositoryKey } from "./repository-key.ts";
import { bringBack, filesOfSnapshot, insertFiles, storeFiles } from "./snapshot-file.ts";
import { renderIndexes } from "./snapshot-render.ts";
import { growViews, type ListedPackage, type PackageChange, parseViews, type Views } from "./snapshot-views.ts";

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

/** Renderings at the same time, whatever the number of customers: each holds a few blocks and the small files in memory. */
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
  const before = parseViews(head);
  const releases = await allReleases(store, product);
  // Releases change together with the head: as long as it stands, they are its own.
  const present = await store.db.selectFrom("heads").select("snapshot_id").where("product_id", "=", product.id).executeTakeFirst();
  if (present?.snapshot_id !== head.id) return undefined;
  const shown = releases.map((release) => showing(release, request.hidden));
  const foreign = foreignChannels(request, releases);
  const kept = await growViews(withoutForeign(before, foreign), await hiddenPackages(store, { releases, shown, foreign }), store.blobs);
  const changed = changedOnly(before, kept);
  const files = await renderIndexes(store, { product, releases: shown, repositoryKey, before, views: changed, now: new Date(head.created_at) });
  const id = newId(store.clock.now());
  const base = await filesOfSnapshot(store, head.id);
  // Later than anything of an earlier head: see changed_at in snapshot.ts.
  const changedAt = head.changed_at === null ? head.created_at : head.changed_at * 1000;
  const held = new Set<Digest>(); // what the head names too may go with it while this is made
  const rows = await storeFiles(store, { snapshotId: id, productId: product.id, files, held, modifiedAt: () => changedAt });
  const made = new Set(rows.map((row) => row.path));
  for (const row of base) if (!made.has(row.path) && isSame(row.path, { before, kept, changed })) rows.push({ ...row, snapshot_id: id });
  await insertView(store, { request, head, id, rows });
  return id;
}

/** The release with those of its channels that this view shows. */
function showing(release: Release, hidden: ReadonlyMap<string, HiddenReason>): Release {
  return { ...release, channels: release.channels.filter(({ channel }) => !hidden.has(listingKey({ releaseId: release.id, channel }))) };
}

const releasesPerQuery = 500;

/**
 * The packages that the head lists in this view's channels and the view does not: debs and rpms by their digests, and with their texts what another format or
 * another artifact of the same bytes makes ambiguous. The texts of half a repository would be hundreds of megabytes.
 */
async function hiddenPackages(
  store: Store,
  { releases, shown, foreign }: { readonly releases: readonly Release[]; readonly shown: readonly Release[]; readonly foreign: ReadonlySet<string> },
): Promise<PackageChange> {
  const leaving = new Map<string, readonly string[]>();
  for (const [index, release] of releases.entries()) {
    const staying = new Set(listedIn(shown[index] ?? release));
    const channels = listedIn(release).filter((channel) => !staying.has(channel) && !foreign.has(channel));
    if (channels.length > 0) leaving.set(release.id, channels);
  }
  const without = new Map<string, { readonly deb: Set<string>; readonly rpm: Set<string> }>();
  const remove: ListedPackage[] = [];
  const ids = [...leaving.keys()];
  for (let start = 0; start < ids.length; start += releasesPerQuery) {
    for (const row of await packagesOf(store, ids.slice(start, start + releasesPerQuery))) {
      for (const channel of leaving.get(row.release_id) ?? []) {
        if (row.text !== null) remove.push({ channel, described: parseDescribedPackage(row.text) });
        else if (row.kind === "deb" || row.kind === "rpm") {
          const packages = without.get(channel) ?? { deb: new Set(), rpm: new Set() };
          packages[row.kind].add(digestHex(row.digest));
          without.set(channel, packages);
        }
      }
    }
  }
  return { add: [], remove, without };
}

/** `text`: the description of what cannot be told by its digest alone; else null. */
async function packagesOf(store: Store, releaseIds: readonly string[]) {
  return store.db
    .selectFrom("artifacts")
    .select(["release_id", "kind", "digest"])
    .select((artifact) => {
      const other = artifact
        .selectFrom("artifacts as other")
        .select("other.id")
        .whereRef("other.digest", "=", "artifacts.digest")
        .whereRef("other.id", "!=", "artifacts.id");
      const isAmbiguous = artifact.or([artifact("kind", "=", "apk"), artifact.exists(other)]);
      return artifact.case().when(isAmbiguous).then(artifact.ref("package")).else(null).end().as("text");
    })
    .where("release_id", "in", releaseIds)
    .where("package", "is not", null)
    .execute();
}

/** The channels that are not this view's at all: hidden by rank alone, not because there is nothing for it yet. */
function foreignChannels({ hidden }: ViewRequest, releases: readonly Release[]): ReadonlySet<string> {
  const listed = releases.flatMap((release) => listedIn(release).map((channel) => ({ releaseId: release.id, channel })));
  const own = new Set(listed.filter((one) => hidden.get(listingKey(one)) !== "channel").map(({ channel }) => channel));
  return new Set(listed.map(({ channel }) => channel).filter((channel) => !own.has(channel)));
}

function withoutForeign(views: Views, foreign: ReadonlySet<string>): Views {
  const own = <State>(states: Readonly<Record<string, State>>): Readonly<Record<string, State>> =>
    Object.fromEntries(Object.entries(states).filter(([channel]) => !foreign.has(channel)));
  return { apt: own(views.apt), yum: own(views.yum), apk: own(views.apk) };
}

function changedOnly(before: Views, after: Views): Views {
  const changed = <State>(old: Readonly<Record<string, State>>, states: Readonly<Record<string, State>>): Readonly<Record<string, State>> =>
    Object.fromEntries(Object.entries(states).filter(([channel, state]) => old[channel] !== state));
  return { apt: changed(before.apt, after.apt), yum: changed(before.yum, after.yum), apk: changed(before.apk, after.apk) };
}

/** True for a file of the head that this view has as it is: of a channel that nothing is hidden in, or of no channel. */
function isSame(path: string, at: { readonly before: Views; readonly kept: Views; readonly changed: Views }): boolean {
  const [tree] = path.split("/", 1);
  const channel = channelOfPath(path);
  if (channel === undefined || (tree !== "apt" && tree !== "yum" && tree !== "apk")) return path !== "releases/index.json";
  return channel in at.kept[tree] && !(channel in at.changed[tree]);
}

type Inserting = { readonly request: ViewRequest; readonly head: SnapshotTable; readonly id: string; readonly rows: readonly SnapshotFileTable[] };

/** Throws a unique violation where another server was faster. */
async function insertView(store: Store, { request, head, id, rows }: Inserting): Promise<void> {
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
    await insertFiles(transaction, rows);
  });
  await bringBack(store, rows);
}
