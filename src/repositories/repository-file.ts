/** One file of a view as a value: where it lies, what it weighs, and its bytes. */
import { hash } from "node:crypto";
import { type Digest, digestFromHex } from "../model/digest.ts";

export type RepositoryFile = {
  /** Relative to the view's root, `/` between segments, no leading slash: `dists/stable/InRelease`. */
  readonly path: string;
  /** Undefined for a package index: that one was put into its IndexFiles, under this digest, when its state was made (index-blocks.ts). */
  readonly bytes?: Uint8Array;
  readonly size: number;
  readonly digest: Digest;
  /** The path names the content (by-hash, checksum-named): it may be cached for ever, and must be answered for as long as an older snapshot is. */
  readonly isImmutable: boolean;
  readonly contentType: string;
};

export type FileOfBytes = RepositoryFile & { readonly bytes: Uint8Array };

/** A file whose path does not change and whose bytes are at hand. */
export function fileOfBytes(path: string, bytes: Uint8Array, contentType: string): FileOfBytes {
  return { path, bytes, size: bytes.length, digest: digestFromHex(hash("sha256", bytes)), isImmutable: false, contentType };
}
