/** Hash states of unfinished uploads, kept between their requests so that every byte is hashed once; what was forgotten is read again. */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readSizeBytes } from "../io/hash-file.ts";

export type RunningHashes = {
  /** The SHA-256 over the file's first `offset` bytes: remembered from the request before, or read again (after a restart, or a broken write). */
  take(upload: { readonly key: string; readonly path: string; readonly offset: number }): Promise<Hash>;
  remember(key: string, state: { readonly hash: Hash; readonly offset: number }): void;
  forget(key: string): void;
};

/** States kept in memory, of 200 bytes each. */
const stateLimit = 256;

export function createRunningHashes(): RunningHashes {
  const states = new Map<string, { readonly hash: Hash; readonly offset: number }>();
  return {
    take: async ({ key, path, offset }) => {
      const known = states.get(key);
      states.delete(key);
      if (known?.offset === offset) return known.hash;
      const hash = createHash("sha256");
      if (offset > 0) {
        for await (const piece of createReadStream(path, { end: offset - 1, highWaterMark: readSizeBytes }) as AsyncIterable<Buffer>) hash.update(piece);
      }
      return hash;
    },
    remember: (key, state) => {
      const oldest = states.keys().next();
      if (states.size >= stateLimit && oldest.done !== true) states.delete(oldest.value);
      states.set(key, state);
    },
    forget: (key) => {
      states.delete(key);
    },
  };
}
