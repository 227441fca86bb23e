/**
 * Brings a mirror to what its source has now: read and prove the indexes, decide what the next set holds, fetch what is missing, switch.
 *
 * The pieces of a source change under us: after everything was read, each document that changes under its path is asked for again. While they
 * all are the same, there was a moment at which the source was what we read. Where it never stands still (a storm of publications), the last
 * reading is taken: each repository in it is whole by its own signature, only two formats may then be one publication apart.
 */
import { appendFile, mkdir, statfs } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import type { Clock } from "../io/clock.ts";
import { acquireLock } from "../io/lock.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { type BlobPool, type FetchOptions, openBlobPool } from "./blob-pool.ts";
import { addDocument, type Collected, type Collecting, nothingCollected, type PlannedFile, sha256Hex } from "./collect.ts";
import { collectApk } from "./collect-apk.ts";
import { collectApt } from "./collect-apt.ts";
import { collectImages } from "./collect-images.ts";
import { addLatest, collectRelease, readReleaseList, readRetired, treeList } from "./collect-releases.ts";
import { collectTuf } from "./collect-tuf.ts";
import { collectYum } from "./collect-yum.ts";
import { isSameSet, readCurrentSet, removeOldSets, type SetFile, type SetManifest, type SetProduct, setId, switchToSet, withLeavingFiles } from "./file-set.ts";
import { findGone, type GoneRelease, isWithdrawnIn, nothingGone, readGone, writeGone } from "./gone.ts";
import type { ProductTrust } from "./keys.ts";
import { type MirrorKeys, ownApk, ownApt, ownKeyFiles, ownYum } from "./own-indexes.ts";
import { hasOwnIndexes, type ProductSelection } from "./settings.ts";
import type { MirrorSource } from "./source.ts";

export type SyncEvent =
  | { readonly kind: "reading"; readonly product: string; readonly attempt: number }
  | { readonly kind: "planned"; readonly files: number; readonly missing: number; readonly missingBytes: number }
  | { readonly kind: "progress"; readonly bytes: number; readonly totalBytes: number; readonly path?: string }
  | { readonly kind: "expired"; readonly product: string; readonly text: string }
  | { readonly kind: "switched"; readonly id: string };

export type SyncRequest = {
  readonly directory: string;
  readonly source: MirrorSource;
  readonly products: ReadonlyMap<string, { readonly selection: ProductSelection; readonly trust: ProductTrust }>;
  readonly keys: MirrorKeys;
  /** `drop`: what is not selected leaves the mirror. `keep`: other products stay as they are (import). */
  readonly others: "drop" | "keep";
  readonly isOlderAllowed: boolean;
  /** TUF metadata that has expired is taken; the override is noted in `overrides.jsonl` of the directory. */
  readonly isExpiredAllowed?: boolean;
  readonly isDryRun: boolean;
  readonly keepMs: number;
  readonly parallel: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly observe: (event: SyncEvent) => void;
  readonly sleep?: FetchOptions["sleep"];
  /** How long to wait for another run in the same directory; 0 by default. */
  readonly lockWaitMs?: number;
};

export type SyncSummary = {
  readonly result: "synced" | "unchanged" | "planned";
  /** Of the set that readers see; undefined where nothing was ever synced. */
  readonly set: string | undefined;
  readonly products: Readonly<Record<string, { readonly versions: readonly string[]; readonly indexes: SetProduct["indexes"]; readonly isStill: boolean }>>;
  readonly files: number;
  readonly bytes: number;
  /** Files and bytes that were not here before; with a dry run, that would be fetched. */
  readonly fetchedFiles: number;
  readonly fetchedBytes: number;
  readonly freedBytes: number;
};

const overridesName = "overrides.jsonl";
const readAttempts = 5;
/** Of what could not be proven: pieces of two publications fit when asked for again; a wrong signature never does. */
const proofAttempts = 3;

/**
 * Throws `metadata_rollback` where the source is older than the mirror, `upgrade_verification_failed` or `signature_invalid` for what cannot be
 * proven, `disk_full`, `lock_held`; the tree that readers see is then what it was, and what was fetched stays for the next run.
 */
export async function syncMirror(request: SyncRequest): Promise<SyncSummary> {
  await mkdir(join(request.directory, ".lock"), { recursive: true, mode: 0o755 });
  const lock = await acquireLock(join(request.directory, ".lock"), "mirror sync", { waitMs: request.lockWaitMs ?? 0 });
  try {
    return await syncLocked(request);
  } finally {
    await lock.release();
  }
}

async function syncLocked(request: SyncRequest): Promise<SyncSummary> {
  const { directory, clock, signal, observe } = request;
  const pool = await openBlobPool(directory);
  const last = await readCurrentSet(directory);
  const lastGone = last === undefined ? nothingGone : await readGone(directory, last.id);
  const known = keptDocuments(pool, last);
  const fetching: FetchOptions = { source: request.source, signal, ...(request.sleep === undefined ? {} : { sleep: request.sleep }) };
  for (let attempt = 1; ; attempt += 1) {
    const read = await readAll(request, { pool, fetching, known });
    const products = Object.fromEntries(read.map(({ name, product }) => [name, product]));
    if (!request.isOlderAllowed) for (const one of read) requireNewer(one, last?.products[one.name]);
    const planned = mergedFiles(read.map(({ collected }) => collected));
    const missing = await missingFiles(pool, planned);
    const missingBytes = missing.reduce((sum, file) => sum + file.size, 0);
    observe({ kind: "planned", files: planned.length, missing: missing.length, missingBytes });
    const summary = {
      products: Object.fromEntries(read.map(({ name, product, isStill }) => [name, { versions: product.versions, indexes: product.indexes, isStill }])),
      files: planned.length,
      bytes: planned.reduce((sum, file) => sum + file.size, 0),
      fetchedFiles: missing.length,
      fetchedBytes: missingBytes,
      freedBytes: 0,
    };
    if (request.isDryRun) return { ...summary, result: "planned", set: last?.id };
    await requireSpace(directory, missingBytes);
    await noteOverrides(request, read);
    try {
      await fetchAll({ pool, fetching, missing, missingBytes, parallel: request.parallel, observe });
    } catch (thrown) {
      // Listed a moment ago and gone now: it was withdrawn or retired meanwhile, so the lists have changed too.
      const error = asSlipwayError(thrown);
      if ((error.code === "gone" || error.code === "not_found") && attempt < readAttempts) continue;
      throw error;
    }
    const files = await provenFiles(pool, planned);
    const now = clock.now();
    const kept = request.others === "keep" ? filesOfOthers(last, products) : { files: [], products: {} };
    const allProducts = { ...kept.products, ...products };
    const present = [...files, ...kept.files];
    const retired = new Map(read.flatMap((one) => (one.retired === undefined ? [] : [[one.name, one.retired] as const])));
    const ask = (path: string): Promise<string | undefined> => request.source.goneVersion(path, signal);
    const gone = await findGone({ last, lastGone, retired, products: new Set(Object.keys(allProducts)), next: present, read: known, ask });
    const all = withLeavingFiles(present, last?.files ?? [], { now, keepMs: request.keepMs, mustGo: isWithdrawnIn(gone) });
    const next: SetManifest = {
      schema: 1,
      id: setId(now, sha256Hex(Buffer.from(JSON.stringify(all)))),
      createdAt: now.toISOString(),
      source: request.source.name,
      products: allProducts,
      files: [...all],
    };
    if (last !== undefined && isSameSet(last.files, all) && JSON.stringify(last.products) === JSON.stringify(next.products)) {
      await removeOldSets(directory);
      return { ...summary, result: "unchanged", set: last.id, freedBytes: await pool.sweep() };
    }
    await writeGone(directory, next.id, gone);
    await switchToSet(directory, pool, next);
    observe({ kind: "switched", id: next.id });
    await removeOldSets(directory);
    return { ...summary, result: "synced", set: next.id, freedBytes: await pool.sweep() };
  }
}

type ReadProduct = {
  readonly name: string;
  readonly product: SetProduct;
  readonly collected: Collected;
  /** Versions that the list says were withdrawn or retired; undefined where it was not read. */
  readonly retired: readonly GoneRelease[] | undefined;
  /** What was taken although it had expired. */
  readonly expired: readonly string[];
  /** See the top of this file. */
  readonly isStill: boolean;
};
type Reading = Pick<Collecting, "pool" | "fetching" | "known">;

/** Damage on this disk makes a document unknown: then it is asked for again. */
function keptDocuments(pool: BlobPool, last: SetManifest | undefined): Collecting["known"] {
  const files = new Map(last?.files.flatMap((file) => (file.immutable ? [[file.path, file] as const] : [])));
  return async (path) => {
    const file = files.get(path);
    if (file === undefined || (await pool.find({ size: file.size, proof: { kind: "sha256", hex: file.sha256 } })) === undefined) return undefined;
    const bytes = await readFileBounded(pool.pathOf(file.sha256), file.size);
    return sha256Hex(bytes) === file.sha256 ? bytes : undefined;
  };
}

async function readAll(request: SyncRequest, reading: Reading): Promise<readonly ReadProduct[]> {
  const read: ReadProduct[] = [];
  for (const [name, { selection, trust }] of request.products) {
    const collecting: Collecting = { product: name, selection, trust, ...reading, now: request.clock.now() };
    read.push(await readStill(request, collecting));
  }
  return read;
}

/** Reads until the source stood still, at most five times; see the top of this file. */
async function readStill(request: SyncRequest, collecting: Collecting): Promise<ReadProduct> {
  for (let attempt = 1; ; attempt += 1) {
    request.observe({ kind: "reading", product: collecting.product, attempt });
    try {
      const read = await readProduct(request, collecting);
      const isStill = await standsStill(collecting, read.collected.openers);
      if (isStill || attempt >= readAttempts) return { ...read, isStill };
    } catch (thrown) {
      // Two requests cannot be one moment: a signature that does not fit may be of the next publication. It must fit when asked again.
      const error = asSlipwayError(thrown);
      const isUnproven = error.code === "upgrade_verification_failed" || error.code === "signature_invalid";
      const mayHaveMoved = error.detail === "upstream_moved" || error.code === "gone" || isUnproven;
      if (!mayHaveMoved || attempt >= (isUnproven ? proofAttempts : readAttempts) || !request.source.isLive) throw error;
    }
  }
}

async function standsStill(collecting: Collecting, openers: ReadonlyMap<string, string>): Promise<boolean> {
  const { source, signal } = collecting.fetching;
  for (const [path, hex] of openers) {
    const bytes = await source.read(path, { limit: 64 * 1024 * 1024, signal });
    if (bytes === undefined || sha256Hex(bytes) !== hex) return false;
  }
  return true;
}

async function readProduct(request: SyncRequest, collecting: Collecting): Promise<Omit<ReadProduct, "isStill">> {
  const { product, selection } = collecting;
  const { formats } = selection;
  const collected = nothingCollected();
  const wantsReleases = formats.includes("files") || formats.includes("images") || hasOwnIndexes(selection);
  const releases = wantsReleases ? await readReleaseList(collecting, collected) : undefined;
  const proven = [];
  for (const { version } of releases?.wanted ?? []) proven.push(await collectRelease(collecting, version, { collected, isListed: formats.includes("files") }));
  const versions = proven.map(({ version }) => version);
  if (releases !== undefined && formats.includes("files")) {
    addLatest(collected, product, versions);
    await addDocument(collecting, collected, { path: `releases/${product}/index.json`, bytes: treeList(releases, product) });
  }
  const expired: string[] = [];
  if (formats.includes("files"))
    await collectTuf(collecting, collected, { versions, isExpiredAllowed: request.isExpiredAllowed === true, onExpired: (text) => expired.push(text) });
  if (formats.includes("images"))
    await collectImages(
      collecting,
      { releases: proven, known: releases?.list.releases.map(({ version }) => version as (typeof versions)[number]) ?? [] },
      collected,
    );
  const digests = new Set(proven.flatMap(({ manifest }) => manifest.artifacts.map(({ sha256 }) => sha256)));
  const wanted = { digests, versions };
  for (const channel of selection.channels) {
    if (!hasOwnIndexes(selection)) {
      if (formats.includes("apt")) await collectApt(collecting, channel, collected);
      if (formats.includes("yum")) await collectYum(collecting, channel, collected);
      if (formats.includes("apk")) await collectApk(collecting, channel, collected);
      continue;
    }
    const upstream = nothingCollected();
    const indexing = { collecting, channel, wanted, keys: request.keys };
    if (formats.includes("apt")) {
      await collectApt(collecting, channel, upstream);
      await ownApt(indexing, upstream, collected);
    }
    if (formats.includes("yum")) await ownYum(indexing, await collectYum(collecting, channel, upstream), upstream, collected);
    if (formats.includes("apk")) {
      await collectApk(collecting, channel, upstream);
      await ownApk(indexing, upstream, collected);
    }
    for (const [path, hex] of upstream.openers) collected.openers.set(path, hex);
  }
  const isOwn = hasOwnIndexes(selection);
  for (const file of collecting.trust.files) if (!collected.files.has(file.path)) await addDocument(collecting, collected, file);
  if (isOwn) {
    for (const ending of ["asc", "gpg"]) if (request.keys.openpgp !== undefined) collected.files.delete(`keys/${product}.${ending}`);
    await ownKeyFiles(collecting, collected, request.keys);
  }
  if ([...collected.marks.keys()].every((place) => place.startsWith("tuf/"))) {
    throw new SlipwayError("not_found", `${request.source.name} has nothing of ${product} in ${selection.channels.join(", ")}`, {
      hint: "check the product's name, the channels, and that the pair may read them",
    });
  }
  const images = [...collected.files.keys()].flatMap((path) => /^images\/(.+)\/oci-layout$/.exec(path)?.[1] ?? []);
  return {
    name: product,
    collected,
    retired: wantsReleases ? releases?.list.retired : await readRetired(collecting),
    expired,
    product: {
      selection,
      indexes: isOwn ? "own" : "upstream",
      versions,
      images,
      marks: Object.fromEntries([...collected.marks].sort(([left], [right]) => (left < right ? -1 : 1))),
    },
  };
}

/** Whoever looks at the mirror later finds that somebody wanted it so. */
async function noteOverrides({ directory, clock, source, observe }: SyncRequest, read: readonly ReadProduct[]): Promise<void> {
  for (const { name: product, expired } of read) {
    for (const text of expired) {
      const line = { at: clock.now().toISOString(), by: userInfo().username, override: "expired-metadata", product, source: source.name, text };
      await appendFile(join(directory, overridesName), `${JSON.stringify(line)}\n`, { mode: 0o644, flush: true });
      observe({ kind: "expired", product, text });
    }
  }
}

/** A mirror never goes back by itself: somebody who holds an old copy of the source before us would take back fixes. */
function requireNewer({ product, retired }: ReadProduct, before: SetProduct | undefined): void {
  for (const [place, mark] of Object.entries(before?.marks ?? {})) {
    const present = product.marks[place];
    if (present === undefined || present >= mark) continue;
    // The list itself says that the newest one was taken back; the signed package indexes are judged by their own dates.
    if (place.startsWith("releases/") && retired?.some(({ version }) => before?.versions.includes(version)) === true) continue;
    throw new SlipwayError("metadata_rollback", `${place} is older at the source (${showMark(present)}) than in the mirror (${showMark(mark)})`, {
      place,
      hint: "the mirror stays as it is; where the older state is meant, run again with --allow-older",
    });
  }
}

/** Marks are seconds, of dates and of sequences alike. */
function showMark(mark: number): string {
  return mark > 1_000_000_000 ? new Date(mark * 1000).toISOString() : String(mark);
}

function mergedFiles(all: readonly Collected[]): readonly PlannedFile[] {
  const files = new Map<string, PlannedFile>();
  for (const { files: some } of all) for (const [path, file] of some) files.set(path, file);
  return [...files.values()].sort((left, right) => (left.path < right.path ? -1 : 1));
}

/** Each content once. */
async function missingFiles(pool: BlobPool, planned: readonly PlannedFile[]): Promise<readonly PlannedFile[]> {
  const missing = new Map<string, PlannedFile>();
  for (const file of planned) {
    const key = JSON.stringify(file.proof);
    if (!missing.has(key) && (await pool.find(file)) === undefined) missing.set(key, file);
  }
  return [...missing.values()];
}

/** With a tenth to spare, before a byte is fetched. */
async function requireSpace(directory: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  const needed = Math.ceil(bytes * 1.1);
  if (bavail * bsize < needed)
    throw new SlipwayError("disk_full", `${directory} has ${bavail * bsize} bytes free; the sync needs ${needed}`, { place: directory });
}

type Fetching = Pick<Reading, "pool" | "fetching"> & {
  readonly missing: readonly PlannedFile[];
  readonly missingBytes: number;
  readonly parallel: number;
  readonly observe: SyncRequest["observe"];
};

/** At most `parallel` at a time; the first failure lets the others end and is thrown. */
async function fetchAll({ pool, fetching, missing, missingBytes, parallel, observe }: Fetching): Promise<void> {
  const queue = missing.values();
  let bytes = 0;
  let failure: unknown;
  const work = async (): Promise<void> => {
    for (const file of queue) {
      if (failure !== undefined || fetching.signal.aborted) return;
      try {
        const onBytes = (grown: number): void => {
          bytes += grown;
          observe({ kind: "progress", bytes, totalBytes: missingBytes });
        };
        await pool.fetch({ path: file.source, size: file.size, proof: file.proof }, { ...fetching, onBytes });
        observe({ kind: "progress", bytes, totalBytes: missingBytes, path: file.path });
      } catch (error) {
        failure ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallel, Math.max(1, missing.length)) }, work));
  if (failure !== undefined) throw failure;
  if (fetching.signal.aborted) throw new SlipwayError("interrupted", "the sync was interrupted; the same command goes on where it was");
}

/** Every file with the digest under which its bytes lie in the pool. */
async function provenFiles(pool: BlobPool, planned: readonly PlannedFile[]): Promise<readonly SetFile[]> {
  const files: SetFile[] = [];
  for (const { path, size, proof, immutable } of planned) {
    const sha256 = await pool.find({ size, proof });
    if (sha256 === undefined) throw new Error(`bug: ${path} was fetched and is not here`);
    files.push({ path, size, sha256, immutable });
  }
  return files;
}

/** Products that this run does not touch, with their files. */
function filesOfOthers(last: SetManifest | undefined, products: Readonly<Record<string, SetProduct>>): Pick<SetManifest, "files" | "products"> {
  const others = Object.fromEntries(Object.entries(last?.products ?? {}).filter(([name]) => products[name] === undefined));
  const isOfOthers = ({ path }: SetFile): boolean =>
    path.startsWith("keys/apk/") || Object.entries(others).some(([name, product]) => isFileOf(path, name, product));
  return { products: others, files: Object.keys(others).length === 0 ? [] : (last?.files ?? []).filter(isOfOthers) };
}

function isFileOf(path: string, name: string, { images }: SetProduct): boolean {
  const [tree = "", second = ""] = path.split("/");
  if (tree === "keys") return [`${name}.asc`, `${name}.gpg`, `${name}.minisign.pub`].includes(second);
  return tree === "images" ? images.some((repository) => path.startsWith(`images/${repository}/`)) : second === name;
}
