/** Where the files of package indexes lie between two publications: blobs of the server's store, or memory. */
import { hash } from "node:crypto";
import { type Digest, digestFromHex } from "../model/digest.ts";

export type IndexFiles = {
  /** Fills `into` with the bytes from `start` on of a file that was put; throws where the file is not there or ends before. */
  readonly readInto: (file: Digest, start: number, into: Uint8Array) => Promise<void>;
  /**
   * Keeps the bytes under the digest that they turn out to have; they last when the promise resolves. Where `content` throws, nothing is
   * kept. A piece is the caller's again as soon as the next one is asked for.
   */
  readonly put: (content: AsyncIterable<Uint8Array>) => Promise<Digest>;
};

/** Files in memory, each whole, for indexes that are made once and not grown; `bytesOf` throws for a digest that was not put. */
export function memoryIndexFiles(): IndexFiles & { readonly bytesOf: (file: Digest) => Uint8Array } {
  const files = new Map<Digest, Uint8Array>();
  const bytesOf = (file: Digest): Uint8Array => {
    const bytes = files.get(file);
    if (bytes === undefined) throw new Error(`bug: no index file ${file} was put`);
    return bytes;
  };
  return {
    bytesOf,
    readInto: async (file, start, into) => {
      const piece = bytesOf(file).subarray(start, start + into.length);
      if (piece.length !== into.length) throw new Error(`bug: the index file ${file} ends before byte ${start + into.length}`);
      into.set(piece);
    },
    put: async (content) => {
      const bytes = Buffer.concat(await Array.fromAsync(content, (piece) => Uint8Array.from(piece)));
      const digest = digestFromHex(hash("sha256", bytes));
      files.set(digest, bytes);
      return digest;
    },
  };
}
