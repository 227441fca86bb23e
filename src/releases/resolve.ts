/**
 * From a URL path to a blob: what a customer's request reads at this moment.
 *
 * One head per product says which snapshot is seen; the file map of that snapshot is built once and kept until the head switches. Whatever
 * belongs to a draft has no path here at all. A published artifact is found through its release, an index file through the snapshot;
 * files named by their own checksum also through older snapshots that are still kept, so that a client that read the index a moment ago
 * finds what it lists.
 */
import type { Digest } from "../model/digest.ts";
import { newestStable, type Version } from "../model/version.ts";
import { apkStoredPaths } from "../repositories/apk.ts";
import { cacheLifeMs } from "../store/changes.ts";
import type { Store } from "../store/store.ts";
import { createLeases, isOpener, type Leases } from "./lease.ts";
import { mediaTypeOf } from "./media-type.ts";

/** The first path segment of the URL; `path` is what follows the product. */
export const downloadTrees = ["releases", "apt", "yum", "apk"] as const;
export type DownloadTree = (typeof downloadTrees)[number];

export type ResolvedFile = {
  readonly kind: "file";
  readonly digest: Digest;
  readonly size: number;
  /** Stays the same for the same bytes at the same path: If-Modified-Since depends on it. */
  readonly modifiedAt: Date;
  readonly mediaType: string;
  /** The path names the content: it may be cached for ever. */
  readonly isImmutable: boolean;
  /** Undefined for an index file. */
  readonly artifact?: { readonly version: Version; readonly name: string };
};

export type ResolvedGone = {
  readonly kind: "gone";
  readonly version: Version;
  readonly state: "withdrawn" | "retired";
  readonly replacement: Version | undefined;
};

export type Resolution = ResolvedFile | ResolvedGone | { readonly kind: "absent" };

export type DownloadRequest = {
  readonly product: string;
  readonly tree: DownloadTree;
  /** Decoded, without leading slash: `latest/coequal-latest-linux-amd64`, `dists/stable/InRelease`, `pool/main/c/…`. */
  readonly path: string;
  /** One machine of one credential (key id and address): holds its lease on a snapshot (lease.ts). Without it there are no leases. */
  readonly reader?: string | undefined;
};

export type DownloadResolver = {
  /** Cheap: no database round trip while the head is a second old at most and the path was asked for before. */
  resolve(request: DownloadRequest): Promise<Resolution>;
  close(): void;
};

const absent: Resolution = { kind: "absent" };
/** Answers kept per snapshot; also bounds what a client that asks for made-up names can fill. */
const answerLimit = 20_000;
const productLimit = 1_000;

type Head = { readonly productId: string; readonly snapshotId: string | undefined };
type View = { readonly head: Head; readonly files: ReadonlyMap<string, ResolvedFile>; readonly answers: Map<string, Promise<Resolution>> };

/** Close it to let go of the store's change events. */
export function createDownloadResolver(store: Store): DownloadResolver {
  const views = new Map<string, { readonly checkedAt: number; readonly view: Promise<View | undefined> }>();
  const leases = createLeases<View>();
  const onChange = (product: string): void => {
    views.delete(product);
  };
  store.changes.on("head", onChange);

  function viewOf(product: string): Promise<View | undefined> {
    const at = performance.now();
    const known = views.get(product);
    if (known !== undefined && at - known.checkedAt < cacheLifeMs) return known.view;
    const view = (known?.view ?? Promise.resolve(undefined)).then((old) => renewView(store, product, old));
    const entry = { checkedAt: at, view };
    if (views.size >= productLimit) views.clear();
    views.set(product, entry);
    view.catch(() => {
      if (views.get(product) === entry) views.delete(product);
    });
    return view;
  }

  return {
    resolve: async ({ product, tree, path, reader }) => {
      const view = await viewOf(product);
      if (view === undefined) return absent;
      const key = `${tree}/${path}`;
      const file = leasedFile(leases, view, { product, tree, path, reader }) ?? view.files.get(key);
      if (file !== undefined) return file;
      const known = view.answers.get(key);
      if (known !== undefined) return known;
      const answer = tree === "releases" ? resolveRelease(store, view.head, path) : resolveListed(store, view.head, key);
      if (view.answers.size >= answerLimit) view.answers.clear();
      view.answers.set(key, answer);
      answer.catch(() => view.answers.delete(key));
      return answer;
    },
    close: () => {
      store.changes.off("head", onChange);
      views.clear();
      leases.clear();
    },
  };
}

/** A file of a package repository out of the snapshot that this reader started with; undefined where it holds no lease, or starts now. */
function leasedFile(leases: Leases<View>, view: View, request: DownloadRequest): ResolvedFile | undefined {
  const { product, tree, path, reader } = request;
  if (reader === undefined || tree === "releases") return undefined;
  // `dists/stable` of apt, `stable/repodata` of yum: one repository.
  const place = `${product} ${tree} ${path.split("/", 2).join("/")}`;
  if (!isOpener(path)) return leases.find(reader, place)?.files.get(`${tree}/${path}`);
  leases.take(reader, place, view);
  return undefined;
}

/** The view of the present head: the old one where the head did not move. Undefined for an unknown product. */
async function renewView(store: Store, product: string, old: View | undefined): Promise<View | undefined> {
  const row = await store.db
    .selectFrom("products")
    .leftJoin("heads", "heads.product_id", "products.id")
    .select(["products.id", "heads.snapshot_id"])
    .where("products.name", "=", product)
    .executeTakeFirst();
  if (row === undefined) return undefined;
  const head: Head = { productId: row.id, snapshotId: row.snapshot_id ?? undefined };
  if (old !== undefined && old.head.productId === head.productId && old.head.snapshotId === head.snapshotId) return old;
  return { head, files: await loadFiles(store, head), answers: new Map() };
}

/** The snapshot's index files, and the names under `latest/`. */
async function loadFiles(store: Store, head: Head): Promise<ReadonlyMap<string, ResolvedFile>> {
  const files = new Map<string, ResolvedFile>();
  if (head.snapshotId === undefined) return files;
  const rows = await store.db.selectFrom("snapshot_files").selectAll().where("snapshot_id", "=", head.snapshotId).execute();
  for (const row of rows) {
    files.set(row.path, {
      kind: "file",
      digest: row.digest,
      size: row.size,
      modifiedAt: new Date(row.modified_at),
      mediaType: row.media_type,
      isImmutable: row.is_immutable === 1,
    });
  }
  const releases = await store.db
    .selectFrom("releases")
    .select(["id", "version", "state", "published_at", "ended_at"])
    .where("product_id", "=", head.productId)
    .where("state", "!=", "draft")
    .execute();
  const published = releases.filter((candidate) => candidate.state === "published");
  const latest = newestStable(published.map((candidate) => candidate.version));
  const release = published.find((candidate) => candidate.version === latest);
  if (release === undefined) return files;
  const artifacts = await store.db.selectFrom("artifacts").select(["name", "digest", "size"]).where("release_id", "=", release.id).execute();
  // When the newest was withdrawn, the one before comes back with a new time: else If-Modified-Since would keep the withdrawn bytes.
  const since = new Date(Math.max(release.published_at ?? 0, ...releases.map((one) => one.ended_at ?? 0)));
  for (const artifact of artifacts) {
    const file: ResolvedFile = {
      kind: "file",
      digest: artifact.digest,
      size: artifact.size,
      modifiedAt: since,
      mediaType: mediaTypeOf(artifact.name),
      isImmutable: false, // the next release takes the name over
      artifact: { version: release.version, name: artifact.name },
    };
    files.set(`releases/latest/${artifact.name}`, file);
    const alias = `releases/latest/${artifact.name.replace(release.version, "latest")}`;
    if (!files.has(alias)) files.set(alias, file);
  }
  return files;
}

/** `<version>/<file>` under /releases. */
async function resolveRelease(store: Store, head: Head, path: string): Promise<Resolution> {
  const [version, name, ...rest] = path.split("/");
  if (version === undefined || name === undefined || rest.length > 0) return absent;
  const release = await store.db
    .selectFrom("releases")
    .select(["id", "version", "state", "replacement", "published_at"])
    .where("product_id", "=", head.productId)
    .where("version", "=", version as Version)
    .executeTakeFirst();
  if (release === undefined || release.state === "draft") return absent;
  if (release.state !== "published") return { kind: "gone", version: release.version, state: release.state, replacement: release.replacement ?? undefined };
  const artifact = await store.db
    .selectFrom("artifacts")
    .select(["name", "digest", "size"])
    .where("release_id", "=", release.id)
    .where("name", "=", name)
    .executeTakeFirst();
  if (artifact === undefined) return absent;
  return {
    kind: "file",
    digest: artifact.digest,
    size: artifact.size,
    modifiedAt: new Date(release.published_at ?? 0),
    mediaType: mediaTypeOf(artifact.name),
    isImmutable: true,
    artifact: { version: release.version, name: artifact.name },
  };
}

/** Of the views, only apk's asks for one package at several places. */
function storedPaths(path: string): readonly string[] {
  const [, root, rest] = /^(apk\/[^/]+\/)(.*)$/.exec(path) ?? [];
  return root === undefined || rest === undefined ? [path] : apkStoredPaths(rest).map((stored) => root + stored);
}

/** A package in a pool, or an index file of an older snapshot that its own checksum names. */
async function resolveListed(store: Store, head: Head, path: string): Promise<Resolution> {
  const listed = await store.db
    .selectFrom("artifact_paths")
    .innerJoin("artifacts", "artifacts.id", "artifact_paths.artifact_id")
    .innerJoin("releases", "releases.id", "artifacts.release_id")
    .select(["artifacts.name", "artifacts.digest", "artifacts.size", "releases.version", "releases.state", "releases.replacement", "releases.published_at"])
    .where("artifact_paths.product_id", "=", head.productId)
    .where("artifact_paths.path", "in", storedPaths(path))
    .executeTakeFirst();
  if (listed !== undefined) {
    if (listed.state === "draft") return absent;
    if (listed.state !== "published") return { kind: "gone", version: listed.version, state: listed.state, replacement: listed.replacement ?? undefined };
    return {
      kind: "file",
      digest: listed.digest,
      size: listed.size,
      modifiedAt: new Date(listed.published_at ?? 0),
      mediaType: mediaTypeOf(listed.name),
      isImmutable: true,
      artifact: { version: listed.version, name: listed.name },
    };
  }
  const older = await store.db
    .selectFrom("snapshot_files")
    .selectAll()
    .where("product_id", "=", head.productId)
    .where("path", "=", path)
    .where("is_immutable", "=", 1)
    .limit(1)
    .executeTakeFirst();
  if (older === undefined) return absent;
  return { kind: "file", digest: older.digest, size: older.size, modifiedAt: new Date(older.modified_at), mediaType: older.media_type, isImmutable: true };
}
