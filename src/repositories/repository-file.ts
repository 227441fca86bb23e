/** One file of a view as a value: where it lies, what it weighs, and the parts that make its bytes. */
import { createHash } from "node:crypto";
import { type Digest, digestFromHex } from "../model/digest.ts";

/** A part is either bytes at hand, or an index block that the caller keeps as a blob under its digest (index-blocks.ts). */
export type FilePart = { readonly kind: "bytes"; readonly bytes: Uint8Array } | { readonly kind: "block"; readonly digest: Digest; readonly size: number };

/** Returns the bytes of a block, from a cache or the blob store, or throws. */
export type OpenBlock = (digest: Digest) => Promise<Uint8Array>;

export type RepositoryFile = {
  /** Relative to the view's root, `/` between segments, no leading slash: `dists/stable/InRelease`. */
  readonly path: string;
  /** In order; their concatenation is the file. */
  readonly parts: readonly FilePart[];
  /** Bytes of the whole file. */
  readonly size: number;
  /** Of the whole file. */
  readonly digest: Digest;
  /** The path names the content (by-hash, checksum-named): it may be cached for ever, and must be answered for as long as an older snapshot is. */
  readonly isImmutable: boolean;
  readonly contentType: string;
};

/** A file whose path does not change and whose bytes are at hand. */
export function fileOfBytes(path: string, bytes: Uint8Array, contentType: string): RepositoryFile {
  return {
    path,
    parts: [{ kind: "bytes", bytes }],
    size: bytes.length,
    digest: digestFromHex(createHash("sha256").update(bytes).digest("hex")),
    isImmutable: false,
    contentType,
  };
}

/** Streams a file's bytes, one part in memory at a time: to write it out once, or to serve it. */
export async function* readFileParts(file: RepositoryFile, openBlock: OpenBlock): AsyncGenerator<Uint8Array> {
  for (const part of file.parts) yield part.kind === "bytes" ? part.bytes : await openBlock(part.digest);
}
