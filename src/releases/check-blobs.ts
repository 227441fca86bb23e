/** Holds every blob against its digest, and the database's references against the blobs: what is missing, damaged or forgotten in quarantine. */
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { BlobCondition } from "../store/blobs.ts";
import type { Store } from "../store/store.ts";
import { type BlobUsers, type NeededBlob, neededAfter, neededOf, usersOf } from "./needed-blobs.ts";

export type BlobFault = {
  readonly digest: Digest;
  readonly kind: "missing" | "quarantined" | "damaged" | "unreadable";
  readonly text: string;
  readonly users: BlobUsers;
  /** What a repair did; undefined where nothing was done. */
  readonly repair: string | undefined;
};

export type BlobCheck = {
  /** Blobs looked at, and their bytes. */
  readonly blobs: number;
  readonly bytes: number;
  /** Of them, those that nothing needs: uploads under way, what the daily round will clear. */
  readonly unneeded: number;
  readonly faults: readonly BlobFault[];
};

export type BlobCheckOptions = {
  /** Looks at sizes alone. */
  readonly isQuick: boolean;
  /** Brings back what is needed and lies in quarantine, and takes damaged blobs out of the way of good ones. */
  readonly isRepair: boolean;
  readonly signal: AbortSignal;
  /** Bytes so far, of about so many. */
  readonly onProgress: (done: number, total: number) => void;
};

const pageSize = 500;
const nobody: BlobUsers = { words: [], indexesOf: [] };

/** The needed ones first, then all others that are there. Several days' worth of bytes take their time; memory does not grow with them. */
export async function checkBlobs(store: Store, options: BlobCheckOptions): Promise<BlobCheck> {
  const counts = { blobs: 0, bytes: 0, unneeded: 0 };
  const faults: BlobFault[] = [];
  const total = await totalBytes(store);
  const look = async ({ digest, size }: NeededBlob, isNeeded: boolean): Promise<void> => {
    if (options.signal.aborted) throw new SlipwayError("interrupted", "the check was stopped");
    const condition = await store.blobs.examine(digest, options);
    const found = faultOf(digest, size, condition);
    // The server may have retired it since this page was read.
    const isFault = found !== undefined && (!isNeeded || (await neededOf(store, [digest])).has(digest));
    if (isFault) faults.push({ digest, ...(await mended(store, { digest, found, options })), users: isNeeded ? await usersOf(store, digest) : nobody });
    counts.blobs += 1;
    counts.bytes += size;
    options.onProgress(counts.bytes, total);
  };
  for (let after = ""; ; ) {
    const page = await neededAfter(store, after, pageSize);
    for (const needed of page) await look(needed, true);
    const last = page.at(-1);
    if (last === undefined) break;
    after = last.digest;
  }
  for await (const page of unneededPages(store)) {
    for (const blob of page) await look(blob, false);
    counts.unneeded += page.length;
  }
  return { ...counts, faults };
}

/** Blobs that are there although nothing needs them: a damaged one would be taken for good when its digest is published again. */
async function* unneededPages(store: Store): AsyncGenerator<readonly NeededBlob[]> {
  const unneeded = async (page: readonly NeededBlob[]): Promise<readonly NeededBlob[]> => {
    const needed = await neededOf(
      store,
      page.map(({ digest }) => digest),
    );
    return page.filter(({ digest }) => !needed.has(digest));
  };
  let page: NeededBlob[] = [];
  for await (const { digest, size } of store.blobs.list()) {
    page.push({ digest, size });
    if (page.length < pageSize) continue;
    yield await unneeded(page);
    page = [];
  }
  yield await unneeded(page);
}

async function totalBytes(store: Store): Promise<number> {
  let bytes = 0;
  for await (const { size } of store.blobs.list()) bytes += size;
  return bytes;
}

type Found = Pick<BlobFault, "kind" | "text">;

function faultOf(digest: Digest, size: number, condition: BlobCondition): Found | undefined {
  if (condition.state === "absent") return { kind: "missing", text: "is not there" };
  if (condition.state === "quarantined") return { kind: "quarantined", text: "lies in quarantine, from where it is deleted after a day" };
  if (condition.state === "unreadable") return { kind: "unreadable", text: `cannot be read: ${condition.reason}` };
  const { actual } = condition;
  if (condition.size !== size) return { kind: "damaged", text: `has ${condition.size} bytes instead of ${size}` };
  return actual === undefined || actual === digest ? undefined : { kind: "damaged", text: `has ${size} bytes with the digest ${actual}` };
}

/** The sweep may bring back or take away at the same moment: what is done here is one rename, and what it finds changed it leaves. */
async function mended(
  store: Store,
  at: { readonly digest: Digest; readonly found: Found; readonly options: BlobCheckOptions },
): Promise<Found & Pick<BlobFault, "repair">> {
  const { digest, found, options } = at;
  if (options.isRepair && found.kind === "damaged") return { ...found, repair: `moved to ${await store.blobs.setAside(digest)}` };
  if (!options.isRepair || found.kind !== "quarantined" || !(await store.blobs.restore(digest))) return { ...found, repair: undefined };
  const condition = await store.blobs.examine(digest, options);
  if (condition.state === "live" && (condition.actual === undefined || condition.actual === digest))
    return { ...found, repair: "brought back from quarantine" };
  return { kind: "damaged", text: "lay in quarantine, and is damaged", repair: `moved to ${await store.blobs.setAside(digest)}` };
}
