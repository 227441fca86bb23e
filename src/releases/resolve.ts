/**
 * From a URL path to a blob: what a customer's request reads at this moment.
 *
 * One head per product says which snapshot is seen, and the reader's grant which view of it (listing.ts, customer-view.ts); the file map of
 * a view is built once and kept until the head switches. Whatever belongs to a draft has no path here at all. A published artifact is found
 * through its release, and only by who sees that release; an index file through the snapshot; files named by their own checksum also
 * through older snapshots that are still kept, so that a client that read the index a moment ago finds what it lists.
 */
import { createHash } from "node:crypto";
import { type Grant, type GrantFormat, type GrantHolder, mayUse } from "../model/grant.ts";
import type { Version } from "../model/version.ts";
import { replacementFor } from "../policy/retention.ts";
import type { HiddenReason } from "../policy/visibility.ts";
import type { Store } from "../store/store.ts";
import { channelOfPath } from "./channel-path.ts";
import type { CustomerViews } from "./customer-view.ts";
import { createLeases, isOpener, type Leases } from "./lease.ts";
import { createListings, type Listing, type Scope, scopeOf } from "./listing.ts";
import { loadFiles, type Located, locateListed, locateRelease, type ResolvedFile, type ResolvedGone } from "./locate.ts";
import { remember, type Remembered } from "./remembered.ts";

export type { ResolvedFile, ResolvedGone } from "./locate.ts";

/** The first path segment of the URL; `path` is what follows the product. */
export const downloadTrees = ["releases", "apt", "yum", "apk"] as const;
export type DownloadTree = (typeof downloadTrees)[number];

const formatOfTree: Readonly<Record<DownloadTree, GrantFormat>> = { releases: "files", apt: "deb", yum: "rpm", apk: "apk" };

/** There, but not for this reader, and he may know why: what he reads was limited by the vendor. */
export type ResolvedDenied = {
  readonly kind: "denied";
  readonly reason: "entitlement" | "pin" | "range" | "format";
  readonly version?: Version;
  readonly grant: Grant;
};

export type Resolution = ResolvedFile | ResolvedGone | ResolvedDenied | { readonly kind: "absent" };

export type DownloadRequest = {
  readonly product: string;
  readonly tree: DownloadTree;
  /** Decoded, without leading slash: `latest/coequal-latest-linux-amd64`, `dists/stable/InRelease`, `pool/main/c/…`. */
  readonly path: string;
  /** One machine of one credential (key id and address): holds its lease on a snapshot (lease.ts). Without it there are no leases. */
  readonly reader?: string | undefined;
  /** Whose grant limits what is seen; without it everything that is published is. */
  readonly holder?: GrantHolder | undefined;
};

export type DownloadResolver = {
  /** Cheap: no database round trip while the head is a second old at most and the path was asked for before. */
  resolve(request: DownloadRequest): Promise<Resolution>;
  /** What `resolve` would say at this moment, where everything it needs is in memory and no older than it allows; else undefined. */
  resolveNow(request: DownloadRequest): Resolution | undefined;
  close(): void;
};

const absent: Resolution = { kind: "absent" };
/** Answers kept per head; also bounds what a client that asks for made-up names can fill. */
const answerLimit = 20_000;
const productLimit = 1_000;
/** File maps in memory: those of views asked for last. */
const viewLimit = 500;
const attemptLimit = 5;
/** Who has read an index finishes what it lists: a rollout that is halted or an entitlement that ends does not stop an upgrade half-way. */
const finishMs = 600_000;

type Files = ReadonlyMap<string, ResolvedFile>;
/** A lease ends with the grant that it was taken under: a changed grant is in force at once. */
type Held<T> = { readonly held: T; readonly grantAt: number };
type Answers = { readonly headId: string | undefined; readonly revision: number; readonly paths: Map<string, Remembered<Located>> };
/** What a reader sees of the present head. */
type View = { readonly listing: Listing; readonly scope: Scope; readonly files: Files };

/** `views` makes what readers with limits see; without it only readers who see everything are served. Close it to let go of the store's change events. */
export function createDownloadResolver(store: Store, views?: CustomerViews): DownloadResolver {
  const listings = createListings(store);
  const fileMaps = new Map<string, Remembered<Files | undefined>>();
  const answers = new Map<string, Answers>();
  const leases = createLeases<Held<Files>>();
  const finishing = createLeases<Held<Scope>>(undefined, finishMs);

  function filesOf(listing: Listing, scope: Scope): Promise<Files | undefined> {
    const name = viewName(listing, scope);
    const known = fileMaps.get(name);
    if (known !== undefined) {
      fileMaps.delete(name);
      fileMaps.set(name, known);
      return known.coming;
    }
    const files = remember(openFiles(store, { listing, scope, views }));
    fileMaps.set(name, files);
    const oldest = fileMaps.keys().next();
    if (fileMaps.size > viewLimit && oldest.done !== true) fileMaps.delete(oldest.value);
    const forget = (): void => {
      if (fileMaps.get(name) === files) fileMaps.delete(name);
    };
    files.coming.then((map) => {
      if (map === undefined) forget();
    }, forget);
    return files.coming;
  }

  function answersOf(listing: Listing): Answers {
    const known = answers.get(listing.product);
    if (known !== undefined && known.headId === listing.headId && known.revision === listing.revision) return known;
    const fresh = newAnswers(listing);
    if (answers.size >= productLimit) answers.clear();
    answers.set(listing.product, fresh);
    return fresh;
  }

  function locate(listing: Listing, tree: DownloadTree, path: string): Promise<Located> {
    const { paths } = answersOf(listing);
    const key = `${tree}/${path}`;
    const answered = paths.get(key);
    if (answered !== undefined) return answered.coming;
    const answer = remember(tree === "releases" ? locateRelease(store, listing.productId, path) : locateListed(store, listing.productId, key));
    if (paths.size >= answerLimit) paths.clear();
    paths.set(key, answer);
    answer.coming.catch(() => paths.delete(key));
    return answer.coming;
  }

  /** The reader's view of the present head; asked again where the head moved while a view was made. Undefined for an unknown product. */
  async function readView(request: DownloadRequest): Promise<View | undefined> {
    for (let attempt = 0; attempt < attemptLimit; attempt += 1) {
      const listing = await listings.present(request.product);
      if (listing === undefined) return undefined;
      const scope = scopeOf(listing, request.holder, store.clock.now());
      const files = scope.isCut ? noFiles : await filesOf(listing, scope);
      if (files !== undefined) return { listing, scope, files };
      listings.forget(request.product);
    }
    throw new Error(`the head of ${request.product} moved ${attemptLimit} times while a view of it was made`);
  }

  function viewNow(request: DownloadRequest): View | undefined {
    const listing = listings.presentNow(request.product);
    if (listing === undefined) return undefined;
    const scope = scopeOf(listing, request.holder, store.clock.now());
    const files = scope.isCut ? noFiles : fileMaps.get(viewName(listing, scope))?.value;
    return files === undefined ? undefined : { listing, scope, files };
  }

  /** What the view alone decides; undefined where the path must be looked up. */
  function inView(request: DownloadRequest, { listing, scope, files }: View): Resolution | undefined {
    const { tree, path, holder } = request;
    if (holder !== undefined && scope.isCut) return { kind: "denied", reason: "entitlement", grant: holder.grant };
    const isIndex = tree === "releases" && path === "index.json"; // says which versions there are, in whatever format
    if (holder !== undefined && !isIndex && !mayUse(holder.grant, formatOfTree[tree])) return { kind: "denied", reason: "format", grant: holder.grant };
    const channel = channelOfPath(`${tree}/${path}`);
    if (channel !== undefined && scope.isForeign(channel)) return absent;
    const file = leasedFile({ leases, finishing }, request, { files, scope }) ?? files.get(`${tree}/${path}`);
    return file === undefined ? undefined : timed(file, listing, scope);
  }

  function judge(request: DownloadRequest, { scope }: View, located: Located): Resolution {
    const { found } = located;
    const { holder } = request;
    if (holder === undefined || found.kind === "absent") return found;
    if (found.kind === "gone") return goneFor(found, scope);
    const { releaseId, channel } = located as { readonly releaseId?: string; readonly channel?: string };
    const refusal = releaseId === undefined ? undefined : scope.refusal(releaseId, channel);
    if (releaseId === undefined || refusal === undefined || mayFinish(finishing, request, { releaseId, channel })) return found;
    return refused(refusal, { version: found.artifact?.version, grant: holder.grant });
  }

  return {
    resolve: async (request) => {
      const view = await readView(request);
      if (view === undefined) return absent;
      return inView(request, view) ?? judge(request, view, await locate(view.listing, request.tree, request.path));
    },
    resolveNow: (request) => {
      const view = viewNow(request);
      if (view === undefined) return undefined;
      const decided = inView(request, view);
      if (decided !== undefined) return decided;
      const located = answersOf(view.listing).paths.get(`${request.tree}/${request.path}`)?.value;
      return located === undefined ? undefined : judge(request, view, located);
    },
    close: () => {
      listings.close();
      fileMaps.clear();
      answers.clear();
      leases.clear();
      finishing.clear();
    },
  };
}

const noFiles: Files = new Map();

/** One file map belongs to it. */
function viewName(listing: Listing, scope: Scope): string {
  return `${listing.productId} ${listing.headId ?? ""} ${listing.revision} ${scope.key}`;
}

function newAnswers(listing: Listing): Answers {
  return { headId: listing.headId, revision: listing.revision, paths: new Map() };
}

async function openFiles(
  store: Store,
  { listing, scope, views }: { readonly listing: Listing; readonly scope: Scope; readonly views: CustomerViews | undefined },
): Promise<Files | undefined> {
  const { headId, product } = listing;
  if (headId === undefined) return new Map();
  if (scope.key === "") return loadFiles(store, { listing, scope, snapshotId: headId });
  if (views === undefined) throw new Error("this resolver serves only readers who see everything");
  const snapshotId = await views.open({ product, headId, key: scope.key, hidden: scope.hidden });
  return snapshotId === undefined ? undefined : loadFiles(store, { listing, scope, snapshotId });
}

const grantAtOf = (request: DownloadRequest): number => request.holder?.grant.changedAt.getTime() ?? 0;

type ReaderLeases = { readonly leases: Leases<Held<Files>>; readonly finishing: Leases<Held<Scope>> };

/** A file of a package repository out of the snapshot that this reader started with; undefined where it holds no lease, or starts now. */
function leasedFile(at: ReaderLeases, request: DownloadRequest, now: { readonly files: Files; readonly scope: Scope }): ResolvedFile | undefined {
  const { product, tree, path, reader } = request;
  if (reader === undefined || tree === "releases") return undefined;
  const grantAt = grantAtOf(request);
  // `dists/stable` of apt, `stable/repodata` of yum: one repository.
  const place = `${product} ${tree} ${path.split("/", 2).join("/")}`;
  if (!isOpener(path)) {
    const lease = at.leases.find(reader, place);
    return lease?.grantAt === grantAt ? lease.held.get(`${tree}/${path}`) : undefined;
  }
  at.leases.take(reader, place, { held: now.files, grantAt });
  if (request.holder !== undefined) at.finishing.take(reader, product, { held: now.scope, grantAt });
  return undefined;
}

/** True where this reader's last index listed the release, a few minutes ago and under the same grant. */
function mayFinish(
  finishing: Leases<Held<Scope>>,
  request: DownloadRequest,
  wanted: { readonly releaseId: string; readonly channel: string | undefined },
): boolean {
  const lease = request.reader === undefined ? undefined : finishing.find(request.reader, request.product);
  return lease?.grantAt === grantAtOf(request) && lease.held.refusal(wanted.releaseId, wanted.channel) === undefined;
}

/** Up to half a day: of 43,200 dates two views hardly ever choose the same. */
const dateSpread = 43_200;

/**
 * A machine may come from any view of a head to any other, when a grant changes or another pair is set up: a date of its own for each view
 * and change, else a 304 would hide it. Dates have whole seconds, and a grant may change twice in one, so the date is not a later one but
 * one that names the view; it is compared exactly (download-routes.ts).
 */
function timed(file: ResolvedFile, listing: Listing, scope: Scope): ResolvedFile {
  const changedAt = scope.changedAt?.getTime() ?? 0;
  const isChanged = changedAt > listing.headAt;
  if (file.isImmutable || (scope.key === "" && !isChanged)) return file;
  const known = timedFiles.get(scope)?.get(file);
  if (known !== undefined) return known;
  const name = createHash("sha256")
    .update(`${scope.key} ${isChanged ? changedAt : ""}`)
    .digest();
  const made = { ...file, modifiedAt: new Date(file.modifiedAt.getTime() - 1_000 * (1 + (name.readUInt32BE(0) % dateSpread))) };
  const ofScope = timedFiles.get(scope) ?? new WeakMap<ResolvedFile, ResolvedFile>();
  timedFiles.set(scope, ofScope.set(file, made));
  return made;
}

/** A scope belongs to one listing. */
const timedFiles = new WeakMap<Scope, WeakMap<ResolvedFile, ResolvedFile>>();

/** Nobody is led to a version that he may not fetch. */
function goneFor(gone: ResolvedGone, scope: Scope): ResolvedGone {
  const isThere = gone.replacement !== undefined && scope.offered.includes(gone.replacement);
  return isThere ? gone : { ...gone, replacement: replacementFor(gone.version, scope.offered) };
}

/** A rollout that has not come yet and a channel that is not his are none of the reader's business. */
function refused(reason: HiddenReason | "absent", at: { readonly version: Version | undefined; readonly grant: Grant }): Resolution {
  if (reason === "absent" || reason === "rollout" || reason === "channel") return absent;
  return { kind: "denied", reason, grant: at.grant, ...(at.version === undefined ? {} : { version: at.version }) };
}
