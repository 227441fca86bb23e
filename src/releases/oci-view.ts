/**
 * What of an image repository its readers see at this moment, worked out once per change and kept.
 *
 * Customers see what the tags of published releases lead to: the manifests below them, the blobs of these, and whatever refers to one of
 * them (signatures, bills of materials), also when it was pushed later. Everything else is the vendor's.
 */
import { type OciDigest, referrersTag } from "../formats/oci-digest.ts";
import type { Version } from "../model/version.ts";
import type { GrantHolder } from "../model/grant.ts";
import { replacementFor, type RetiringRelease } from "../policy/retention.ts";
import { cacheLifeMs } from "../store/changes.ts";
import type { Store } from "../store/store.ts";
import { type OciStoredManifest, storedManifest, storedTags, taggedReleases } from "./oci-manifests.ts";
import { findRepository, type OciRepository } from "./oci-repositories.ts";
import { attachedTo, releaseOfTag, type TaggedRelease, type TagMeaning, tagMeaning } from "./oci-tags.ts";
import { createListings, type Listing, type Scope, scopeOf } from "./listing.ts";
import { remember, type Remembered } from "./remembered.ts";
import { leavingReleases } from "./retain.ts";

/** Withdrawn or retired. */
export type EndedRelease = TaggedRelease & { readonly state: "withdrawn" | "retired" };

export type RepositoryView = {
  readonly repository: OciRepository;
  /** Every manifest of the repository, whoever may see it. */
  readonly stored: ReadonlyMap<OciDigest, OciStoredManifest>;
  /** What a tag names may have changed then, and did not since. */
  readonly loadedAt: Date;
  readonly tags: TagMeaning;
  /** By digest, the newest published version that it is part of. */
  readonly manifests: ReadonlyMap<OciDigest, Version>;
  readonly blobs: ReadonlyMap<OciDigest, Version>;
  /** Releases that retention takes next. */
  readonly retiring: readonly RetiringRelease[];
  /** The release that took this tag with it when it was withdrawn or retired. */
  readonly endedRelease: (tag: string) => EndedRelease | undefined;
};

export type ImageCatalog = {
  /**
   * What the holder of a grant sees, and without one everything. Undefined for a repository that nothing was ever pushed to. `exact` asks
   * the database whether anything changed, for who pushes and reads in turn through several servers; `cached` may be a second old there.
   * Throws `name_invalid`.
   */
  view(name: string, freshness: "exact" | "cached", holder?: GrantHolder): Promise<RepositoryView | undefined>;
  /** The cached view without waiting; undefined where the database has to be asked. */
  viewNow(name: string, holder: GrantHolder): RepositoryView | undefined;
  close(): void;
};

/** A repository as it is stored, and what readers see of it, by their scope. */
type Stored = {
  readonly stamp: string;
  readonly repository: OciRepository;
  readonly loadedAt: Date;
  readonly tags: ReadonlyMap<string, OciDigest>;
  readonly releases: readonly TaggedRelease[];
  readonly graph: Graph;
  readonly retiring: readonly RetiringRelease[];
  readonly views: Map<string, RepositoryView>;
  /** The same by the scope that was asked with. */
  readonly byScope: WeakMap<Scope, RepositoryView>;
};

type Entry = { readonly checkedAt: number; readonly state: Remembered<Stored | undefined> };

const repositoryLimit = 200;
/** Views of one repository; made from what is in memory already. */
const viewLimit = 64;

/** Close it to let go of the store's change events. */
export function createImageCatalog(store: Store): ImageCatalog {
  const entries = new Map<string, Entry>();
  const listings = createListings(store);
  /** Names to be asked for again at once: an entry's state is used again where nothing changed. */
  const stale = new Set<string>();
  const onImages = (name: string): void => {
    stale.add(name);
  };
  const onHead = (product: string): void => {
    for (const name of entries.keys()) if (name === product || name.startsWith(`${product}/`)) stale.add(name);
  };
  store.changes.on("images", onImages);
  store.changes.on("head", onHead);

  async function renew(name: string, old: Entry | undefined): Promise<Stored | undefined> {
    const stamp = await readStamp(store, name);
    if (stamp === undefined) return undefined;
    const known = await old?.state.coming.catch(() => undefined);
    if (known?.stamp === stamp) return known;
    const repository = await findRepository(store, name);
    return repository === undefined ? undefined : loadRepository(store, { repository, stamp });
  }

  function fresh(name: string, at: number): Remembered<Stored | undefined> | undefined {
    const known = entries.get(name);
    return known !== undefined && at - known.checkedAt < cacheLifeMs && !stale.has(name) ? known.state : undefined;
  }

  function storedOf(name: string, freshness: "exact" | "cached"): Promise<Stored | undefined> {
    const at = performance.now();
    const known = freshness === "cached" ? fresh(name, at) : undefined;
    if (known !== undefined) return known.coming;
    const old = entries.get(name);
    stale.delete(name);
    const state = remember(renew(name, old));
    if (entries.size >= repositoryLimit && old === undefined) entries.clear();
    entries.set(name, { checkedAt: at, state });
    state.coming.catch(() => entries.delete(name));
    return state.coming;
  }

  return {
    view: async (name, freshness, holder) => {
      const stored = await storedOf(name, freshness);
      if (stored === undefined) return undefined;
      if (holder === undefined) return viewOf(stored, { key: "", scope: undefined });
      const listing = await listings.present(stored.repository.product);
      return listing === undefined ? undefined : viewFor(stored, listing, scopeOf(listing, holder, store.clock.now()));
    },
    viewNow: (name, holder) => {
      const stored = fresh(name, performance.now())?.value;
      const listing = stored === undefined ? undefined : listings.presentNow(stored.repository.product);
      return stored === undefined || listing === undefined ? undefined : viewFor(stored, listing, scopeOf(listing, holder, store.clock.now()));
    },
    close: () => {
      store.changes.off("images", onImages);
      store.changes.off("head", onHead);
      listings.close();
      entries.clear();
    },
  };
}

/** Changes with the repository's manifests and tags, and with the product's releases. */
async function readStamp(store: Store, name: string): Promise<string | undefined> {
  const row = await store.db
    .selectFrom("oci_repositories")
    .leftJoin("heads", "heads.product_id", "oci_repositories.product_id")
    .select(["oci_repositories.revision", "heads.revision as head"])
    .where("oci_repositories.name", "=", name)
    .executeTakeFirst();
  return row === undefined ? undefined : `${row.revision} ${row.head ?? 0}`;
}

async function loadRepository(store: Store, { repository, stamp }: Pick<Stored, "repository" | "stamp">): Promise<Stored> {
  return {
    stamp,
    repository,
    loadedAt: store.clock.now(),
    tags: await storedTags(store.db, repository),
    releases: await taggedReleases(store.db, repository),
    graph: await loadGraph(store, repository),
    retiring: await leavingReleases(store, repository.product),
    views: new Map(),
    byScope: new WeakMap(),
  };
}

function viewFor(stored: Stored, listing: Listing, scope: Scope): RepositoryView {
  const known = stored.byScope.get(scope);
  if (known !== undefined) return known;
  const view = viewOf(stored, { key: `${listing.revision} ${[...scope.fetchable].join(" ")} ${scope.key}`, scope });
  stored.byScope.set(scope, view);
  return view;
}

function viewOf(stored: Stored, { key, scope }: { readonly key: string; readonly scope: Scope | undefined }): RepositoryView {
  const known = stored.views.get(key);
  if (known !== undefined) return known;
  const view = makeView(stored, scope);
  if (stored.views.size >= viewLimit) stored.views.clear();
  stored.views.set(key, view);
  return view;
}

function makeView({ repository, loadedAt, releases, graph, retiring, tags: all }: Stored, scope: Scope | undefined): RepositoryView {
  const tags = tagMeaning(all, releases, scope);
  const manifests = new Map<OciDigest, Version>();
  const blobs = new Map<OciDigest, Version>();
  const attached = attachedTags(tags.all);
  const published = new Map(tags.published);
  for (const { version, digest } of tags.roots) {
    const open = [digest];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (manifests.has(next) || !graph.manifests.has(next)) continue;
      manifests.set(next, version);
      for (const blob of graph.blobs.get(next) ?? []) if (!blobs.has(blob)) blobs.set(blob, version);
      open.push(...(graph.children.get(next) ?? []), ...(graph.referrers.get(next) ?? []));
      for (const [tag, referring] of attached.get(referrersTag(next)) ?? []) {
        published.set(tag, referring);
        open.push(referring);
      }
    }
  }
  return {
    repository,
    stored: graph.manifests,
    loadedAt,
    tags: { ...tags, published },
    manifests,
    blobs,
    retiring: retiring.map((one) => ({ ...one, replacement: shownReplacement(one, scope) })),
    endedRelease: (tag) => {
      const release = releaseOfTag(releases, tag);
      if (release === undefined || (release.state !== "withdrawn" && release.state !== "retired")) return undefined;
      return { ...release, state: release.state, replacement: shownReplacement(release, scope) };
    },
  };
}

/** Nobody is led to a version that he may not pull. */
function shownReplacement(leaving: { readonly version: Version; readonly replacement: Version | undefined }, scope: Scope | undefined): Version | undefined {
  if (scope === undefined || leaving.replacement === undefined || scope.offered.includes(leaving.replacement)) return leaving.replacement;
  return replacementFor(leaving.version, scope.offered);
}

type Graph = {
  readonly manifests: ReadonlyMap<OciDigest, OciStoredManifest>;
  readonly children: ReadonlyMap<OciDigest, readonly OciDigest[]>;
  readonly blobs: ReadonlyMap<OciDigest, readonly OciDigest[]>;
  /** By subject. */
  readonly referrers: ReadonlyMap<OciDigest, readonly OciDigest[]>;
};

/** Every digest in these tables was parsed before it was written. */
async function loadGraph(store: Store, repository: OciRepository): Promise<Graph> {
  const rows = await store.db
    .selectFrom("oci_manifests")
    .select(["digest", "subject", "blob", "size", "media_type", "created_at"])
    .where("repository_id", "=", repository.id)
    .execute();
  const edges = await store.db.selectFrom("oci_edges").select(["parent", "child", "kind"]).where("repository_id", "=", repository.id).execute();
  const grouped = (pairs: Iterable<readonly [string, string]>): Map<OciDigest, OciDigest[]> => {
    const map = new Map<OciDigest, OciDigest[]>();
    for (const [key, value] of pairs) {
      const list = map.get(key as OciDigest);
      if (list === undefined) map.set(key as OciDigest, [value as OciDigest]);
      else list.push(value as OciDigest);
    }
    return map;
  };
  return {
    manifests: new Map(rows.map((row) => [row.digest as OciDigest, storedManifest(row)])),
    children: grouped(edges.flatMap((edge) => (edge.kind === "manifest" ? [[edge.parent, edge.child] as const] : []))),
    blobs: grouped(edges.flatMap((edge) => (edge.kind === "blob" ? [[edge.parent, edge.child] as const] : []))),
    referrers: grouped(rows.flatMap((row) => (row.subject === null ? [] : [[row.subject, row.digest] as const]))),
  };
}

/** The tags that say what they are about in their name, by that part of it. */
function attachedTags(tags: ReadonlyMap<string, OciDigest>): ReadonlyMap<string, readonly (readonly [tag: string, digest: OciDigest])[]> {
  const attached = new Map<string, (readonly [string, OciDigest])[]>();
  for (const [tag, digest] of tags) {
    const base = attachedTo(tag);
    if (base !== undefined) attached.set(base, [...(attached.get(base) ?? []), [tag, digest]]);
  }
  return attached;
}
