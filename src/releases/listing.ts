/**
 * What of a product is published at this moment, and what of that one reader sees: the one answer for files, repositories, bucket and images.
 *
 * A listing belongs to one head; it is read again when the head moves, which every publication, promotion and rollout does.
 */
import type { GrantHolder } from "../model/grant.ts";
import type { Version } from "../model/version.ts";
import { decideVisibility, type HiddenReason, type ListedRelease, listingKey, rankOf, stableChannel, type Visibility } from "../policy/visibility.ts";
import { cacheLifeMs } from "../store/changes.ts";
import type { Store } from "../store/store.ts";
import { readListing, readRanks } from "./channels.ts";
import { remember, type Remembered } from "./remembered.ts";

export type Listing = {
  readonly productId: string;
  readonly product: string;
  readonly productCreatedAt: number;
  /** Undefined where nothing was published yet. */
  readonly headId: string | undefined;
  /** Of the snapshot, in milliseconds since 1970; 0 without one. */
  readonly headAt: number;
  readonly revision: number;
  readonly releases: readonly (ListedRelease & { readonly isUnlisted: boolean })[];
  readonly ranks: ReadonlyMap<string, number>;
  /** Scopes by reader; belongs to scopeOf. */
  readonly scopes: Map<string, Known>;
};

/** What one reader sees of a listing. */
export type Scope = {
  /** Names what is hidden; empty: nothing. Readers with the same key see the same. */
  readonly key: string;
  readonly hidden: ReadonlyMap<string, HiddenReason>;
  /** The entitlement took everything with it. */
  readonly isCut: boolean;
  /** When his view last changed without a publication; undefined: never. */
  readonly changedAt: Date | undefined;
  /**
   * Undefined where the reader may fetch the release (in this channel, where one is named); else why not. Of several channels the one that
   * he may read decides. `absent` is not published, or not in that channel.
   */
  readonly refusal: (releaseId: string, channel?: string) => HiddenReason | "absent" | undefined;
  /** Those that his indexes list, each once. */
  readonly versions: readonly Version[];
  /** Those that he may fetch; more than listed ones where retention has taken some out of the indexes. */
  readonly fetchable: ReadonlySet<Version>;
  /** What a reader of a version that left is led to: what the channel stable lists for him, else what any does. */
  readonly offered: readonly Version[];
  /** A channel that is less stable than his grant allows: it has no index for him, not even an empty one. */
  readonly isForeign: (channel: string) => boolean;
  /** The listed ones of a channel. */
  readonly versionsIn: (channel: string) => readonly Version[];
};

type Known = { readonly scope: Scope; readonly grantAt: number; readonly until: number };

export type Listings = {
  /** Undefined for an unknown product. A second old at most, and of now where this process changed something. */
  present(product: string): Promise<Listing | undefined>;
  /** The same without waiting; undefined where the database has to be asked, and for an unknown product. */
  presentNow(product: string): Listing | undefined;
  /** Asks the database again whatever is known. */
  forget(product: string): void;
  close(): void;
};

const productLimit = 1_000;
/** Readers of one head. */
const scopeLimit = 20_000;

/** Close it to let go of the store's change events. */
export function createListings(store: Store): Listings {
  const entries = new Map<string, { readonly checkedAt: number; readonly listing: Remembered<Listing | undefined> }>();
  const stale = new Set<string>();
  const fresh = (product: string, at: number): Remembered<Listing | undefined> | undefined => {
    const known = entries.get(product);
    return known !== undefined && at - known.checkedAt < cacheLifeMs && !stale.has(product) ? known.listing : undefined;
  };
  const forget = (product: string): void => {
    if (entries.has(product)) stale.add(product);
  };
  store.changes.on("head", forget);
  return {
    present: (product) => {
      const at = performance.now();
      const known = fresh(product, at);
      if (known !== undefined) return known.coming;
      stale.delete(product);
      const old = (entries.get(product)?.listing.coming ?? Promise.resolve(undefined)).catch(() => undefined);
      const listing = remember(old.then((before) => renewListing(store, product, before)));
      const entry = { checkedAt: at, listing };
      if (entries.size >= productLimit) entries.clear();
      entries.set(product, entry);
      listing.coming.catch(() => {
        if (entries.get(product) === entry) entries.delete(product);
      });
      return listing.coming;
    },
    presentNow: (product) => fresh(product, performance.now())?.value,
    forget,
    close: () => {
      store.changes.off("head", forget);
      entries.clear();
    },
  };
}

async function renewListing(store: Store, product: string, old: Listing | undefined): Promise<Listing | undefined> {
  const row = await store.db
    .selectFrom("products")
    .leftJoin("heads", "heads.product_id", "products.id")
    .leftJoin("snapshots", "snapshots.id", "heads.snapshot_id")
    .select(["products.id", "products.created_at", "heads.snapshot_id", "heads.revision", "snapshots.created_at as head_at"])
    .where("products.name", "=", product)
    .executeTakeFirst();
  if (row === undefined) return undefined;
  const revision = row.revision ?? 0;
  const headId = row.snapshot_id ?? undefined;
  if (old !== undefined && old.productId === row.id && old.headId === headId && old.revision === revision) return old;
  // Read after the head: a release that is newer than it is hidden or listed by a view that cannot be made of it, and so asked for again.
  const releases = await readListing(store, row.id);
  const ranks = await readRanks(store, row.id);
  return { productId: row.id, product, productCreatedAt: row.created_at, headId, headAt: row.head_at ?? 0, revision, releases, ranks, scopes: new Map() };
}

/** What this reader sees at this moment; without a holder, everything. */
export function scopeOf(listing: Listing, holder: GrantHolder | undefined, now: Date): Scope {
  const name = holder?.customerId ?? "";
  const grantAt = holder?.grant.changedAt.getTime() ?? 0;
  const known = listing.scopes.get(name);
  if (known !== undefined && known.grantAt === grantAt && known.until > now.getTime()) return known.scope;
  const made = makeScope(listing, holder, now);
  if (listing.scopes.size >= scopeLimit) listing.scopes.clear();
  listing.scopes.set(name, { ...made, grantAt });
  return made.scope;
}

const sees: Visibility = { hidden: new Map(), key: "", isCut: false, changedAt: undefined, validUntil: undefined };

function makeScope(listing: Listing, holder: GrantHolder | undefined, now: Date): { readonly scope: Scope; readonly until: number } {
  const { releases, ranks } = listing;
  const decide = (list: readonly ListedRelease[]): Visibility => (holder === undefined ? sees : decideVisibility({ listed: list, ranks, holder, now }));
  const listed = releases.filter((one) => !one.isUnlisted);
  const indexes = decide(listed);
  const fetching = decide(releases).hidden;
  const visible = listed.filter((one) => !indexes.hidden.has(listingKey(one)));
  const byRelease = new Map<string, ListedRelease[]>();
  for (const one of releases) byRelease.set(one.releaseId, [...(byRelease.get(one.releaseId) ?? []), one]);
  const stable = visible.filter((one) => one.channel === stableChannel).map((one) => one.version);
  const scope: Scope = {
    key: indexes.key,
    hidden: indexes.hidden,
    isCut: indexes.isCut,
    changedAt: indexes.changedAt,
    refusal: (releaseId, channel) => {
      const memberships = (byRelease.get(releaseId) ?? []).filter((one) => channel === undefined || one.channel === channel);
      if (memberships.length === 0) return "absent";
      const reasons = memberships.map((one) => fetching.get(listingKey(one)));
      return reasons.includes(undefined) ? undefined : mostTelling(reasons);
    },
    versions: [...new Set(visible.map((one) => one.version))],
    offered: stable.length > 0 ? stable : [...new Set(visible.map((one) => one.version))],
    fetchable: new Set(releases.filter((one) => !fetching.has(listingKey(one))).map((one) => one.version)),
    isForeign: (channel) => holder?.grant.channel !== undefined && rankOf(channel, ranks) < rankOf(holder.grant.channel, ranks),
    versionsIn: (channel) => visible.filter((one) => one.channel === channel).map((one) => one.version),
  };
  return { scope, until: indexes.validUntil?.getTime() ?? Number.MAX_SAFE_INTEGER };
}

/** What the customer can act on comes first. */
const telling: readonly HiddenReason[] = ["entitlement", "pin", "range", "rollout", "channel"];

function mostTelling(reasons: readonly (HiddenReason | undefined)[]): HiddenReason {
  return telling.find((reason) => reasons.includes(reason)) ?? "channel";
}
