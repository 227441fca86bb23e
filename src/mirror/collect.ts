/** What reading one product at a source yields: the files of the tree, how new each part is, and what must not have changed meanwhile. */
import { createHash } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";
import type { BlobPool, FetchOptions, FileProof } from "./blob-pool.ts";
import type { ProductTrust } from "./keys.ts";
import type { ProductSelection } from "./settings.ts";

export type PlannedFile = {
  /** In the tree. */
  readonly path: string;
  /** At the source. */
  readonly source: string;
  readonly size: number;
  readonly proof: FileProof;
  readonly immutable: boolean;
};

export type Collecting = {
  readonly product: string;
  readonly selection: ProductSelection;
  readonly trust: ProductTrust;
  /** Documents are put here as they are read. */
  readonly pool: BlobPool;
  readonly fetching: FetchOptions;
  /** A document that an earlier run brought here and that never changes under its path; it is proven again like one from the source. */
  readonly known: (path: string) => Promise<Buffer | undefined>;
  readonly now: Date;
};

export type Collected = {
  /** By path; the same path twice with other bytes is refused. */
  readonly files: Map<string, PlannedFile>;
  /** See SetProduct.marks in file-set.ts. */
  readonly marks: Map<string, number>;
  /** Documents that change under their path, with the SHA-256 that was read: while they stand, everything else stands. */
  readonly openers: Map<string, string>;
};

export function nothingCollected(): Collected {
  return { files: new Map(), marks: new Map(), openers: new Map() };
}

export const sha256Hex = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Something was published while it was read: whoever reads begins again. */
export function movedError(what: string): SlipwayError {
  return new SlipwayError("conflict", `${what} changed while it was read`, {
    detail: "upstream_moved",
    hint: "the source publishes right now; run the same command again",
  });
}

/** Throws `upgrade_verification_failed`: the source says two things about one file. */
export function addFile(collected: Collected, file: PlannedFile): void {
  const known = collected.files.get(file.path);
  if (known !== undefined && JSON.stringify(known.proof) !== JSON.stringify(file.proof))
    throw new SlipwayError("upgrade_verification_failed", `${file.path} is listed with two contents`, { detail: "duplicate_path" });
  collected.files.set(file.path, file);
}

/** A document at hand: kept in the pool, and a file of the tree. */
export async function addDocument(
  collecting: Collecting,
  collected: Collected,
  file: { readonly path: string; readonly bytes: Uint8Array; readonly immutable?: boolean },
): Promise<void> {
  const hex = await collecting.pool.put(file.bytes);
  addFile(collected, { path: file.path, source: file.path, size: file.bytes.length, proof: { kind: "sha256", hex }, immutable: file.immutable ?? false });
}

/** A small file of the source; undefined where there is none. */
export function readDocument(collecting: Collecting, path: string, limit: number): Promise<Buffer | undefined> {
  const { source, signal } = collecting.fetching;
  return source.read(path, { limit, signal });
}

/** The same for what never changes once it is there: asked for once in a mirror's life. */
export async function readKeptDocument(collecting: Collecting, path: string, limit: number): Promise<Buffer | undefined> {
  return (await collecting.known(path)) ?? readDocument(collecting, path, limit);
}

/** One path segment or several, of characters that no index needs more than: nothing that a shell, a URL or a file system reads otherwise. */
export function requirePlainPath(path: string, place: string): string {
  const isPlain =
    path.length <= 512 &&
    /^[A-Za-z0-9_+~^:%@=,-][A-Za-z0-9._+~^:%@=,-]*(?:\/[A-Za-z0-9_+~^:%@=,-][A-Za-z0-9._+~^:%@=,-]*)*$/.test(path) &&
    !path.includes("..");
  if (!isPlain)
    throw new SlipwayError("path_unsafe", `${place} lists the path ${JSON.stringify(path.slice(0, 200))}`, {
      hint: "the source is damaged or hostile; the mirror stays as it was",
    });
  return path;
}
