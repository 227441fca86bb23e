/** Brings a bundle into a mirror: a sync whose source is the archive, so that the same checks decide, and products that it does not carry stay. */
import { SlipwayError } from "../model/errors.ts";
import { openBlobPool } from "./blob-pool.ts";
import type { Bundle } from "./bundle-read.ts";
import type { ProductTrust } from "./keys.ts";
import { type ProductSelection, productSelectionSchema } from "./settings.ts";
import { type SyncRequest, type SyncSummary, syncMirror } from "./sync.ts";

export type ImportRequest = Omit<SyncRequest, "source" | "products" | "keys" | "others"> & {
  readonly bundle: Bundle;
  /** Reads the pinned keys of a product; undefined where none are pinned. */
  readonly trustOf: (product: string, selection: ProductSelection) => Promise<ProductTrust | undefined>;
};

/** Throws `policy_invalid` for a product without pinned keys, and what syncMirror throws. */
export async function importBundle(request: ImportRequest): Promise<SyncSummary> {
  const { bundle, trustOf, ...rest } = request;
  const products = new Map<string, { selection: ProductSelection; trust: ProductTrust }>();
  for (const [name, product] of Object.entries(bundle.manifest.set.products)) {
    // The bundle holds the part that was selected, with indexes that fit it: here it is a whole.
    const { last: _part, own_indexes: _own, ...whole } = product.selection;
    const selection = productSelectionSchema.parse(whole);
    const trust = await trustOf(name, selection);
    if (trust === undefined) {
      throw new SlipwayError("policy_invalid", `the bundle carries ${name}, for which no key is pinned`, {
        hint: `write products: { ${name}: { keys: … } } with the vendor's keys into mirror.yaml`,
      });
    }
    products.set(name, { selection, trust });
  }
  const pool = await openBlobPool(request.directory);
  return syncMirror({ ...rest, source: bundle.source(pool), products, keys: {}, others: "keep" });
}
