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
import { type Digest, digestFromHex } from "../model/digest.ts";
import { newestStable, type Version } from "../model/version.ts";
import { cacheLifeMs } from "../store/changes.ts";
import type { SnapshotTable } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { exportPublicKeys } from "../trust/openpgp.ts";
import { mediaTypeOf } from "./media-type.ts";
import type { RepositoryKey } from "./repository-key.ts";

export type BucketFile = {
  readonly key: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** In whole seconds; see backwards() for what may change. */
  readonly modifiedAt: Date;
  readonly mediaType: string;
  /** The key names the content: another snapshot has the same bytes under it, or nothing. */
  readonly isImmutable: boolean;
  /** Undefined for an index or a key. */
  readonly artifact?: { readonly version: Version; readonly name: string };
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
  /** The tree of the present head; undefined for an unknown product. Cheap while the head stands still. */
  present(product: string): Promise<BucketTree | undefined>;
  /** The tree of this snapshot, for as long as it is kept (48 hours after the next); undefined where it is not, or not this product's. */
  at(product: string, snapshotId: string): Promise<BucketTree | undefined>;
  close(): void;
};

/** Stands for "nothing published yet". */
const noSnapshot = "none";
/** Trees kept in memory: those of the last products asked for and of listings under way. */
const treeLimit = 16;
const productLimit = 1_000;

type ProductHead = { readonly id: string; readonly name: string; readonly createdAt: number; readonly snapshotId: string | undefined; readonly keysAt: number };

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
function backwards(product: ProductHead, changedAt: number): Date {
  return new Date((2 * wholeSeconds(product.createdAt) - wholeSeconds(changedAt)) * 1000);
}

function wholeSeconds(time: number): number {
  return Math.floor(time / 1000);
}

/** Close it to let go of the store's change events. */
export function createBucketCatalog(store: Store, repositoryKey: Pick<RepositoryKey, "publicText">): BucketCatalog {
  const heads = new Map<string, { readonly checkedAt: number; readonly head: Promise<ProductHead | undefined> }>();
  const trees = new Map<string, Promise<BucketTree | undefined>>();
  const onChange = (product: string): void => {
    heads.delete(product);
  };
  store.changes.on("head", onChange);

  function headOf(product: string): Promise<ProductHead | undefined> {
    const at = performance.now();
    const known = heads.get(product);
    if (known !== undefined && at - known.checkedAt < cacheLifeMs) return known.head;
    const entry = { checkedAt: at, head: readProductHead(store, product) };
    if (heads.size >= productLimit) heads.clear();
    heads.set(product, entry);
    entry.head.catch(() => {
      if (heads.get(product) === entry) heads.delete(product);
    });
    return entry.head;
  }

  function treeOf(head: ProductHead, snapshotId: string): Promise<BucketTree | undefined> {
    const name = `${head.id} ${snapshotId} ${head.keysAt}`;
    const known = trees.get(name);
    if (known !== undefined) {
      trees.delete(name);
      trees.set(name, known);
      return known;
    }
    const tree = loadTree(store, { head, snapshotId, repositoryKey });
    trees.set(name, tree);
    const oldest = trees.keys().next();
    if (trees.size > treeLimit && oldest.done !== true) trees.delete(oldest.value);
    tree.catch(() => trees.delete(name));
    return tree;
  }

  return {
    present: async (product) => {
      const head = await headOf(product);
      return head === undefined ? undefined : treeOf(head, head.snapshotId ?? noSnapshot);
    },
    at: async (product, snapshotId) => {
      const head = await headOf(product);
      return head === undefined ? undefined : treeOf(head, snapshotId);
    },
    close: () => {
      store.changes.off("head", onChange);
      heads.clear();
      trees.clear();
    },
  };
}

async function readProductHead(store: Store, product: string): Promise<ProductHead | undefined> {
  const row = await store.db
    .selectFrom("products")
    .leftJoin("heads", "heads.product_id", "products.id")
    .select(["products.id", "products.name", "products.created_at", "heads.snapshot_id"])
    .where("products.name", "=", product)
    .executeTakeFirst();
  if (row === undefined) return undefined;
  const keys = await store.db.selectFrom("release_keys").select("created_at").where("product_id", "=", row.id).execute();
  const keysAt = Math.max(row.created_at, ...keys.map((key) => key.created_at));
  return { id: row.id, name: row.name, createdAt: row.created_at, snapshotId: row.snapshot_id ?? undefined, keysAt };
}

type Loading = { readonly head: ProductHead; readonly snapshotId: string; readonly repositoryKey: Pick<RepositoryKey, "publicText"> };

async function loadTree(store: Store, loading: Loading): Promise<BucketTree | undefined> {
  const { head, snapshotId } = loading;
  const files: BucketFile[] = [...(await keyFiles(store, loading))];
  if (snapshotId !== noSnapshot) {
    const snapshot = await store.db.selectFrom("snapshots").selectAll().where("id", "=", snapshotId).where("product_id", "=", head.id).executeTakeFirst();
    if (snapshot === undefined) return undefined;
    files.push(...(await indexFiles(store, head, snapshotId)), ...(await artifactFiles(store, loading, snapshot)));
  }
  const byKey = new Map(files.map((file) => [file.key, file]));
  return { product: head.name, createdAt: new Date(head.createdAt), snapshotId, files: byKey, keys: [...byKey.keys()].sort() };
}

/** apt's signed-by wants a `.gpg` in binary form, rpm each key in an armored block of its own; gpg takes either. */
async function keyFiles(store: Store, { head, repositoryKey }: Loading): Promise<readonly BucketFile[]> {
  const row = await store.db.selectFrom("release_keys").select("text").where("product_id", "=", head.id).where("kind", "=", "openpgp").executeTakeFirst();
  const keyrings = [repositoryKey.publicText, ...(row === undefined ? [] : [row.text])].map((text) => Buffer.from(text));
  const [binary, armored] = await Promise.all([exportPublicKeys(keyrings, "gpg"), exportPublicKeys(keyrings, "asc-blocks")]);
  const file = (key: string, content: Uint8Array): BucketFile => ({
    key,
    digest: digestFromHex(createHash("sha256").update(content).digest("hex")),
    size: content.length,
    modifiedAt: backwards(head, head.keysAt),
    mediaType: "application/pgp-keys",
    isImmutable: false,
    bytes: Buffer.from(content),
  });
  return [file(`${head.name}.gpg`, binary), file(`deb/${head.name}.gpg`, binary), file(`rpm/${head.name}.gpg`, armored)];
}

async function indexFiles(store: Store, head: ProductHead, snapshotId: string): Promise<readonly BucketFile[]> {
  const rows = await store.db.selectFrom("snapshot_files").selectAll().where("snapshot_id", "=", snapshotId).execute();
  return rows.map((row) => ({
    key: bucketKey(row.path),
    digest: row.digest,
    size: row.size,
    modifiedAt: row.is_immutable === 1 ? new Date(wholeSeconds(row.modified_at) * 1000) : backwards(head, row.modified_at),
    mediaType: row.media_type,
    isImmutable: row.is_immutable === 1,
  }));
}

/** Packages in their pools, every file of every release, and the newest stable release's sums at the root. */
async function artifactFiles(store: Store, { head }: Loading, snapshot: SnapshotTable): Promise<readonly BucketFile[]> {
  const rows = await store.db
    .selectFrom("artifacts")
    .innerJoin("releases", "releases.id", "artifacts.release_id")
    .leftJoin("artifact_paths", "artifact_paths.artifact_id", "artifacts.id")
    .select([
      "artifacts.name",
      "artifacts.digest",
      "artifacts.size",
      "artifact_paths.path",
      "releases.version",
      "releases.published_at",
      "releases.sums_digest",
    ])
    .where("releases.product_id", "=", head.id)
    .where("releases.state", "=", "published")
    .execute();
  // An older snapshot knows nothing of what came after it; what was withdrawn since is listed nowhere.
  const known = rows.filter((row) => head.snapshotId === snapshot.id || (row.published_at ?? 0) <= snapshot.created_at);
  const latest = newestStable(known.map((row) => row.version));
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
    const file: BucketFile = {
      key: `releases/${version}/${name}`,
      digest: row.digest,
      size: row.size,
      modifiedAt: new Date(wholeSeconds(row.published_at ?? 0) * 1000),
      mediaType: mediaTypeOf(name),
      isImmutable: true,
      artifact: { version, name },
    };
    files.push(file);
    if (row.path !== null) files.push({ ...file, key: bucketKey(row.path) });
    if (version === latest && sumsName !== undefined && (name === sumsName || name.startsWith(`${sumsName}.`))) {
      files.push({ ...file, key: name, isImmutable: false, modifiedAt: backwards(head, changed?.modified_at ?? snapshot.created_at) });
    }
  }
  return files;
}
