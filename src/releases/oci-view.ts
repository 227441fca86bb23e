/**
 * What of an image repository its readers see at this moment, worked out once per change and kept.
 *
 * Customers see what the tags of published releases lead to: the manifests below them, the blobs of these, and whatever refers to one of
 * them (signatures, bills of materials), also when it was pushed later. Everything else is the vendor's.
 */
import { type OciDigest, referrersTag } from "../formats/oci-digest.ts";
import type { Version } from "../model/version.ts";
import type { RetiringRelease } from "../policy/retention.ts";
import { cacheLifeMs } from "../store/changes.ts";
import type { Store } from "../store/store.ts";
import { storedTags, taggedReleases } from "./oci-manifests.ts";
import { findRepository, type OciRepository } from "./oci-repositories.ts";
import { attachedTo, releaseOfTag, type TaggedRelease, type TagMeaning, tagMeaning } from "./oci-tags.ts";
import { planRetention } from "./retain.ts";

export type RepositoryView = {
  readonly repository: OciRepository;
  /** What a tag names may have changed then, and did not since. */
  readonly loadedAt: Date;
  readonly tags: TagMeaning;
  /** By digest, the newest published version that it is part of. */
  readonly manifests: ReadonlyMap<OciDigest, Version>;
  readonly blobs: ReadonlyMap<OciDigest, Version>;
  /** Releases that retention takes next. */
  readonly retiring: readonly RetiringRelease[];
  /** The release that took this tag with it when it was withdrawn or retired. */
  readonly endedRelease: (tag: string) => TaggedRelease | undefined;
};

export type ImageCatalog = {
  /**
   * Undefined for a repository that nothing was ever pushed to. `exact` asks the database whether anything changed, for who pushes and reads
   * in turn through several servers; `cached` may be a second old there. Throws `name_invalid`.
   */
  view(name: string, freshness: "exact" | "cached"): Promise<RepositoryView | undefined>;
  close(): void;
};

type Entry = { readonly checkedAt: number; readonly state: Promise<{ readonly stamp: string; readonly view: RepositoryView } | undefined> };

const repositoryLimit = 200;

/** Close it to let go of the store's change events. */
export function createImageCatalog(store: Store): ImageCatalog {
  const entries = new Map<string, Entry>();
  /** Names to be asked for again at once: an entry's view is used again where nothing changed. */
  const stale = new Set<string>();
  const onImages = (name: string): void => {
    stale.add(name);
  };
  const onHead = (product: string): void => {
    for (const name of entries.keys()) if (name === product || name.startsWith(`${product}/`)) stale.add(name);
  };
  store.changes.on("images", onImages);
  store.changes.on("head", onHead);

  async function renew(name: string, old: Entry | undefined) {
    const stamp = await readStamp(store, name);
    if (stamp === undefined) return undefined;
    const known = await old?.state.catch(() => undefined);
    if (known?.stamp === stamp) return known;
    const repository = await findRepository(store, name);
    return repository === undefined ? undefined : { stamp, view: await loadView(store, repository) };
  }

  return {
    view: async (name, freshness) => {
      const at = performance.now();
      const old = entries.get(name);
      if (freshness === "cached" && old !== undefined && !stale.has(name) && at - old.checkedAt < cacheLifeMs) return (await old.state)?.view;
      stale.delete(name);
      const entry: Entry = { checkedAt: at, state: renew(name, old) };
      if (entries.size >= repositoryLimit && old === undefined) entries.clear();
      entries.set(name, entry);
      entry.state.catch(() => entries.delete(name));
      return (await entry.state)?.view;
    },
    close: () => {
      store.changes.off("images", onImages);
      store.changes.off("head", onHead);
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

async function loadView(store: Store, repository: OciRepository): Promise<RepositoryView> {
  const releases = await taggedReleases(store.db, repository);
  const tags = tagMeaning(await storedTags(store.db, repository), releases);
  const graph = await loadGraph(store, repository);
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
    loadedAt: store.clock.now(),
    tags: { ...tags, published },
    manifests,
    blobs,
    retiring: (await planRetention(store, repository.product)).retires,
    endedRelease: (tag) => {
      const release = releaseOfTag(releases, tag);
      return release?.state === "withdrawn" || release?.state === "retired" ? release : undefined;
    },
  };
}

type Graph = {
  readonly manifests: ReadonlySet<OciDigest>;
  readonly children: ReadonlyMap<OciDigest, readonly OciDigest[]>;
  readonly blobs: ReadonlyMap<OciDigest, readonly OciDigest[]>;
  /** By subject. */
  readonly referrers: ReadonlyMap<OciDigest, readonly OciDigest[]>;
};

/** Every digest in these tables was parsed before it was written. */
async function loadGraph(store: Store, repository: OciRepository): Promise<Graph> {
  const rows = await store.db.selectFrom("oci_manifests").select(["digest", "subject"]).where("repository_id", "=", repository.id).execute();
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
    manifests: new Set(rows.map((row) => row.digest as OciDigest)),
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
