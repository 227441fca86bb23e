/**
 * A product's bucket: the tree of keys that S3 clients list, copy and sync, over the very files that APT, YUM and plain downloads serve.
 *
 *   deb/dists/<channel>/...   deb/pool/main/c/<package>/<file>   deb/<product>.gpg (binary, for signed-by)
 *   rpm/repodata/...          rpm/<arch>/<file>                  rpm/<product>.gpg (armored, for gpgkey); other channels: rpm-<channel>/...
 *   apk/<channel>/...         releases/<version>/<file>          releases/index.json
 *   SHA256SUMS and its signatures (of the newest stable release), <product>.gpg
 *
 * A tree is one snapshot: whoever lists it page by page names that snapshot in the continuation token and sees no other (s3-list.ts).
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { digestFromHex } from "../model/digest.ts";
import type { GrantFormat, GrantHolder } from "../model/grant.ts";
import { newestStable } from "../model/version.ts";
import { listingKey } from "../policy/visibility.ts";
import { cacheLifeMs } from "../store/changes.ts";
import type { SnapshotTable } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { exportPublicKeys } from "../trust/openpgp.ts";
import { channelOfPath } from "./channel-path.ts";
import type { CustomerViews } from "./customer-view.ts";
import { createListings, type Listing, type Scope, scopeOf } from "./listing.ts";
import type { RepositoryKey } from "./repository-key.ts";
import { type ServedFile, servedArtifact, servedIndex } from "./served-file.ts";

/** `modifiedAt` in whole seconds; see backwards() for what may change. Under an immutable key another snapshot has the same bytes, or nothing. */
export type BucketFile = ServedFile & {
  readonly key: string;
  /** Key files are made here; everything else is in the blob store. */
  readonly bytes?: Buffer;
};

export type BucketTree = {
  readonly product: string;
  /** Of the product. */
  readonly createdAt: Date;
  readonly snapshotId: string;
  readonly files: ReadonlyMap<string, BucketFile>;
  /** In byte order, as S3 lists (keys are ASCII). */
  readonly keys: readonly string[];
};

export type BucketCatalog = {
  /** The tree of the present head as this reader sees it; undefined for an unknown product. Cheap while the head stands still. */
  present(product: string, holder?: GrantHolder): Promise<BucketTree | undefined>;
  /**
   * The tree of this snapshot, for as long as it is kept (48 hours after the next); undefined where it is not, is not this product's, or
   * shows more than this reader sees now.
   */
  at(product: string, snapshotId: string, holder?: GrantHolder): Promise<BucketTree | undefined>;
  close(): void;
};

/** Stands for "nothing published yet". */
const noSnapshot = "none";
/** Trees kept in memory: those of the last readers and of listings under way. */
const treeLimit = 32;
const productLimit = 1_000;
const attemptLimit = 5;

/** When the keys that customers trust changed last. */
type KeysAt = { readonly checkedAt: number; readonly at: Promise<number> };

/** The bucket's place of a view's path: `apt/dists/…` is `deb/dists/…`, `yum/stable/…` is `rpm/…`. */
export function bucketKey(path: string): string {
  const [tree, channel = "", ...rest] = path.split("/");
  if (tree === "apt") return ["deb", channel, ...rest].join("/");
  return tree === "yum" ? [channel === "stable" ? "rpm" : `rpm-${channel}`, ...rest].join("/") : path;
}

/** The view's path of a bucket's key; the inverse of bucketKey. */
export function viewPath(key: string): string {
  const [root = "", ...rest] = key.split("/");
  if (root === "deb") return ["apt", ...rest].join("/");
  if (root === "rpm") return ["yum", "stable", ...rest].join("/");
  return root.startsWith("rpm-") ? ["yum", root.slice("rpm-".length), ...rest].join("/") : key;
}

/**
 * Last-Modified of a file whose bytes change under the same key: earlier with every change, mirrored at the product's creation.
 *
 * `aws s3 sync` fetches a file of unchanged size only where the local one is newer than the bucket's (its documented rule for downloads).
 * Signatures and release files keep their size from one publication to the next; with times that grow, a mirror would keep the old ones
 * beside new indexes and apt would refuse it. Instants of change differ by whole seconds (snapshot.ts), so these do too.
 */
function backwards(productCreatedAt: number, changedAt: number): Date {
  return new Date((2 * wholeSeconds(productCreatedAt) - wholeSeconds(changedAt)) * 1000);
}

function wholeSeconds(time: number): number {
  return Math.floor(time / 1000);
}

/** `views` as in createDownloadResolver. Close it to let go of the store's change events. */
export function createBucketCatalog(store: Store, repositoryKey: Pick<RepositoryKey, "publicText" | "changedAt">, views?: CustomerViews): BucketCatalog {
  const listings = createListings(store);
  const keys = new Map<string, KeysAt>();
  const trees = new Map<string, Promise<BucketTree | undefined>>();

  function keysAtOf(listing: Listing): Promise<number> {
    const at = performance.now();
    const known = keys.get(listing.product);
    if (known !== undefined && at - known.checkedAt < cacheLifeMs) return known.at;
    const entry = { checkedAt: at, at: readKeysAt(store, listing) };
    if (keys.size >= productLimit) keys.clear();
    keys.set(listing.product, entry);
    entry.at.catch(() => {
      if (keys.get(listing.product) === entry) keys.delete(listing.product);
    });
    return entry.at;
  }

  async function treeOf(wanted: Omit<Loading, "keysAt" | "repositoryKey">): Promise<BucketTree | undefined> {
    const keysAt = Math.max(await keysAtOf(wanted.listing), repositoryKey.changedAt ?? 0);
    const { listing, snapshotId, formats, leastStable = "", changedAt } = wanted;
    const name = [listing.productId, listing.revision, snapshotId, keysAt, changedAt, formats?.join(",") ?? "all", leastStable].join(" ");
    const known = trees.get(name);
    if (known !== undefined) {
      trees.delete(name);
      trees.set(name, known);
      return known;
    }
    const tree = loadTree(store, { ...wanted, keysAt, repositoryKey });
    trees.set(name, tree);
    const oldest = trees.keys().next();
    if (trees.size > treeLimit && oldest.done !== true) trees.delete(oldest.value);
    tree.catch(() => trees.delete(name));
    return tree;
  }

  const limitsOf = (listing: Listing, holder: GrantHolder | undefined) => {
    const scope = scopeOf(listing, holder, store.clock.now());
    const changedAt = scope.changedAt === undefined || scope.changedAt.getTime() <= listing.headAt ? 0 : scope.changedAt.getTime();
    return { scope, limits: { listing, formats: holder?.grant.formats, leastStable: holder?.grant.channel, isForeign: scope.isForeign, changedAt } };
  };

  return {
    present: async (product, holder) => {
      for (let attempt = 0; attempt < attemptLimit; attempt += 1) {
        const listing = await listings.present(product);
        if (listing === undefined) return undefined;
        const { scope, limits } = limitsOf(listing, holder);
        const snapshotId = await snapshotOf(listing, scope, views);
        if (snapshotId !== undefined) return treeOf({ ...limits, snapshotId, hidden: new Set(scope.hidden.keys()) });
        listings.forget(product);
      }
      throw new Error(`the head of ${product} moved ${attemptLimit} times while a view of it was made`);
    },
    at: async (product, snapshotId, holder) => {
      const listing = await listings.present(product);
      if (listing === undefined) return undefined;
      const { scope, limits } = limitsOf(listing, holder);
      if (snapshotId === noSnapshot) return treeOf({ ...limits, snapshotId, hidden: new Set() });
      const row = await store.db.selectFrom("snapshots").select(["hidden", "created_at"]).where("id", "=", snapshotId).executeTakeFirst();
      if (row === undefined) return undefined;
      const hidden = new Set(z.array(z.string()).parse(JSON.parse(row.hidden ?? "[]")));
      // What became hidden since the listing began must not go on being listed; what came later than that is not in it.
      const isMore = listing.releases.some((one) => {
        const name = listingKey(one);
        return scope.hidden.has(name) && !hidden.has(name) && one.promotedAt.getTime() <= row.created_at;
      });
      return isMore ? undefined : treeOf({ ...limits, snapshotId, hidden });
    },
    close: () => {
      listings.close();
      keys.clear();
      trees.clear();
    },
  };
}

async function snapshotOf(listing: Listing, scope: Scope, views: CustomerViews | undefined): Promise<string | undefined> {
  const { headId, product } = listing;
  if (headId === undefined) return noSnapshot;
  if (scope.key === "") return headId;
  if (views === undefined) throw new Error("this catalog serves only readers who see everything");
  return views.open({ product, headId, key: scope.key, hidden: scope.hidden });
}

async function readKeysAt(store: Store, listing: Listing): Promise<number> {
  const rows = await store.db.selectFrom("release_keys").select("created_at").where("product_id", "=", listing.productId).execute();
  return Math.max(listing.productCreatedAt, ...rows.map((row) => row.created_at));
}

type Loading = {
  readonly listing: Listing;
  readonly snapshotId: string;
  /** Releases in channels that the snapshot leaves out, by listingKey. */
  readonly hidden: ReadonlySet<string>;
  /** Undefined: all. */
  readonly formats: readonly GrantFormat[] | undefined;
  /** The grant's channel; undefined: any. */
  readonly leastStable: string | undefined;
  readonly isForeign: Scope["isForeign"];
  /** When this reader's view last changed, where that is later than the head; else 0. */
  readonly changedAt: number;
  readonly keysAt: number;
  readonly repositoryKey: Pick<RepositoryKey, "publicText">;
};

async function loadTree(store: Store, loading: Loading): Promise<BucketTree | undefined> {
  const { listing, snapshotId, formats } = loading;
  const files: BucketFile[] = [...(await keyFiles(store, loading))];
  if (snapshotId !== noSnapshot) {
    const snapshot = await store.db
      .selectFrom("snapshots")
      .selectAll()
      .where("id", "=", snapshotId)
      .where("product_id", "=", listing.productId)
      .executeTakeFirst();
    if (snapshot === undefined) return undefined;
    const rest = [...(await indexFiles(store, loading)), ...(await artifactFiles(store, loading, snapshot))];
    files.push(...(formats === undefined ? rest : rest.filter((file) => formats.includes(formatOfKey(file.key)) || file.key === "releases/index.json")));
  }
  const byKey = new Map(files.map((file) => [file.key, file]));
  return { product: listing.product, createdAt: new Date(listing.productCreatedAt), snapshotId, files: byKey, keys: [...byKey.keys()].sort() };
}

function formatOfKey(key: string): GrantFormat {
  const root = key.split("/", 1)[0] ?? "";
  if (root === "deb" || root === "apk") return root;
  return root === "rpm" || root.startsWith("rpm-") ? "rpm" : "files";
}

/** apt's signed-by wants a `.gpg` in binary form, rpm each key in an armored block of its own; gpg takes either. */
async function keyFiles(store: Store, { listing, keysAt, repositoryKey }: Loading): Promise<readonly BucketFile[]> {
  const { product } = listing;
  const row = await store.db
    .selectFrom("release_keys")
    .select("text")
    .where("product_id", "=", listing.productId)
    .where("kind", "=", "openpgp")
    .executeTakeFirst();
  const keyrings = [repositoryKey.publicText, ...(row === undefined ? [] : [row.text])].map((text) => Buffer.from(text));
  const [binary, armored] = await Promise.all([exportPublicKeys(keyrings, "gpg"), exportPublicKeys(keyrings, "asc-blocks")]);
  const file = (key: string, content: Uint8Array): BucketFile => ({
    key,
    digest: digestFromHex(createHash("sha256").update(content).digest("hex")),
    size: content.length,
    modifiedAt: backwards(listing.productCreatedAt, keysAt),
    mediaType: "application/pgp-keys",
    isImmutable: false,
    bytes: Buffer.from(content),
  });
  return [file(`${product}.gpg`, binary), file(`deb/${product}.gpg`, binary), file(`rpm/${product}.gpg`, armored)];
}

async function indexFiles(store: Store, loading: Loading): Promise<readonly BucketFile[]> {
  const rows = await store.db.selectFrom("snapshot_files").selectAll().where("snapshot_id", "=", loading.snapshotId).execute();
  const own = rows.filter(({ path }) => {
    const channel = channelOfPath(path);
    return channel === undefined || !loading.isForeign(channel);
  });
  return own.map((row) => {
    const file = servedIndex(row);
    const modifiedAt = file.isImmutable ? new Date(wholeSeconds(row.modified_at) * 1000) : changing(loading, row.modified_at);
    return { ...file, key: bucketKey(row.path), modifiedAt };
  });
}

/** The date of a file that changes under its key, also where this reader's view changed without a publication. */
function changing({ listing, changedAt }: Loading, modifiedAt: number): Date {
  return backwards(listing.productCreatedAt, changedAt === 0 ? modifiedAt : Math.max(modifiedAt, changedAt + 1_000) + 1_000);
}

/** Packages in their pools, every file of every release, and the newest stable release's sums at the root. */
async function artifactFiles(store: Store, loading: Loading, snapshot: SnapshotTable): Promise<readonly BucketFile[]> {
  const { listing, hidden } = loading;
  const isPresent = listing.headId === (snapshot.base_id ?? snapshot.id);
  // An older snapshot knows nothing of what came after it; what was withdrawn or hidden since is listed nowhere.
  const listed = listing.releases.filter(
    (one) => !one.isUnlisted && !hidden.has(listingKey(one)) && (isPresent || one.promotedAt.getTime() <= snapshot.created_at),
  );
  const channelsOf = new Map<string, Set<string>>();
  for (const one of listed) channelsOf.set(one.releaseId, (channelsOf.get(one.releaseId) ?? new Set()).add(one.channel));
  const rows = await store.db
    .selectFrom("artifacts")
    .innerJoin("releases", "releases.id", "artifacts.release_id")
    .leftJoin("artifact_paths", "artifact_paths.artifact_id", "artifacts.id")
    .select(["artifacts.name", "artifacts.digest", "artifacts.size", "artifact_paths.path"])
    .select(["releases.id", "releases.version", "releases.published_at", "releases.sums_digest"])
    .where("releases.product_id", "=", listing.productId)
    .where("releases.state", "=", "published")
    .execute();
  const known = rows.filter((row) => channelsOf.has(row.id));
  const latest = newestStable(listed.filter((one) => one.channel === "stable").map((one) => one.version));
  const sumsName = known.find((row) => row.version === latest && row.digest === row.sums_digest)?.name;
  // The release index changes in the same moments, and its times differ by whole seconds.
  const changed = await store.db
    .selectFrom("snapshot_files")
    .select("modified_at")
    .where("snapshot_id", "=", snapshot.id)
    .where("path", "=", "releases/index.json")
    .executeTakeFirst();
  const files: BucketFile[] = [];
  for (const row of known) {
    const { name, version } = row;
    const published = servedArtifact(version, row, new Date(wholeSeconds(row.published_at ?? 0) * 1000));
    const file: BucketFile = { ...published, key: `releases/${version}/${name}` };
    files.push(file);
    if (row.path !== null && isInChannel(row.path, channelsOf.get(row.id))) files.push({ ...file, key: bucketKey(row.path) });
    if (version === latest && sumsName !== undefined && (name === sumsName || name.startsWith(`${sumsName}.`))) {
      files.push({ ...file, key: name, isImmutable: false, modifiedAt: changing(loading, changed?.modified_at ?? snapshot.created_at) });
    }
  }
  return files;
}

/** APT's pool is shared by all channels; the other repositories have a folder for each. */
function isInChannel(path: string, channels: ReadonlySet<string> | undefined): boolean {
  const channel = channelOfPath(path);
  return channel === undefined || channels?.has(channel) === true;
}
