/** Small files in memory, least recently used out first: what is asked for often is never read from disk twice. */

export type ByteCache = {
  readonly get: (key: string) => Buffer | undefined;
  readonly put: (key: string, bytes: Buffer) => void;
  readonly sizeBytes: () => number;
};

/** `largestBytes`: a file above it is never kept, so that one big index cannot push out a thousand small ones. */
export function createByteCache(options: { readonly limitBytes: number; readonly largestBytes: number }): ByteCache {
  const entries = new Map<string, Buffer>(); // a Map keeps insertion order: the first key is the oldest
  let size = 0;
  return {
    get: (key) => {
      const found = entries.get(key);
      if (found !== undefined) {
        entries.delete(key);
        entries.set(key, found);
      }
      return found;
    },
    put: (key, bytes) => {
      if (bytes.length > options.largestBytes || bytes.length > options.limitBytes || entries.has(key)) return;
      entries.set(key, bytes);
      size += bytes.length;
      for (const [oldest, dropped] of entries) {
        if (size <= options.limitBytes) break;
        entries.delete(oldest);
        size -= dropped.length;
      }
    },
    sizeBytes: () => size,
  };
}
