/**
 * Leases for buckets: `aws s3 sync` lists once and then fetches for minutes, `cp` asks for the size first; a publication in between must
 * not mix two snapshots.
 *
 * What can mix is only what changes under its key: release files, their signatures, sums. A reader that lists everything, or opens a
 * signed file, is promised those of that snapshot, each for one whole delivery or an hour.
 */
import type { BucketFile, BucketTree } from "./bucket-tree.ts";
import { createLeases, isOpener } from "./lease.ts";

/** A sync of a large bucket over a slow line; the snapshot itself is kept for 48 hours. */
const bucketLeaseMs = 3_600_000;

export type BucketLeases = {
  /** This reader lists the whole tree. `reader` is one machine of one pair. */
  list(reader: string, tree: BucketTree): void;
  /** What the key means to this reader: `isLook` for HEAD, which begins a new copy and sees the present of what others hang on. */
  find(request: { readonly reader: string; readonly tree: BucketTree; readonly key: string; readonly isLook: boolean }): BucketFile | undefined;
  /** The reader has all of it: next time it is given what is there then. */
  delivered(reader: string, product: string, file: BucketFile): void;
};

/** `monotonicMs` for tests. */
export function createBucketLeases(monotonicMs: () => number = () => performance.now()): BucketLeases {
  const leases = createLeases<Map<string, BucketFile>>(monotonicMs, bucketLeaseMs);
  const promise = (reader: string, product: string, files: readonly BucketFile[]): void => {
    const held = new Map(leases.find(reader, product));
    for (const file of files) held.set(file.key, file);
    leases.take(reader, product, held);
  };
  return {
    list: (reader, tree) => leases.take(reader, tree.product, new Map([...tree.files].filter(([, file]) => !file.isImmutable))),
    find: ({ reader, tree, key, isLook }) => {
      const opens = opensFamily(tree, key);
      const promised = isLook && opens ? undefined : leases.find(reader, tree.product)?.get(key);
      if (promised !== undefined) return promised;
      const file = tree.files.get(key);
      if (file === undefined || file.isImmutable) return file;
      promise(reader, tree.product, opens ? familyOf(tree, key) : [file]);
      return file;
    },
    delivered: (reader, product, file) => {
      const held = leases.find(reader, product);
      if (held?.get(file.key) === file) held.delete(file.key);
    },
  };
}

/** Files at the root belong to the one that they continue (`SHA256SUMS.sig`), others to the release file of their folder. */
function opensFamily(tree: BucketTree, key: string): boolean {
  return isOpener(key) || (!key.includes("/") && tree.files.has(`${key}.sig`));
}

function familyOf(tree: BucketTree, key: string): readonly BucketFile[] {
  const family = key.includes("/") ? key.slice(0, key.lastIndexOf("/") + 1) : key;
  return [...tree.files.values()].filter((file) => !file.isImmutable && file.key.startsWith(family) && (file.key === key || !isOpener(file.key)));
}
