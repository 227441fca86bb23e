/** Makes a product's indexes anew from the records of its releases, for when an index file that the next one would grow from is lost. */
import type { Digest } from "../model/digest.ts";
import type { Store } from "../store/store.ts";
import type { Product } from "./products.ts";
import { listPackages } from "./publish.ts";
import { allReleases, listedIn } from "./releases.ts";
import type { RepositoryKey } from "./repository-key.ts";
import { readHead, switchSnapshot } from "./snapshot.ts";
import type { ListedPackage } from "./snapshot-views.ts";

/**
 * One switch to indexes that list what the present ones should. Superseded snapshots, which clients may read to their end, forget the `lost`
 * files: those are absent from then on, instead of failing. False where nothing was published yet.
 */
export async function rebuildIndexes(
  store: Store,
  input: { readonly product: Product; readonly repositoryKey: RepositoryKey; readonly lost: readonly Digest[] },
): Promise<boolean> {
  const { product, repositoryKey, lost } = input;
  return switchSnapshot(store, {
    product,
    repositoryKey,
    decide: async () => {
      if ((await readHead(store, product)).snapshot === undefined) return undefined;
      const releases = await allReleases(store, product);
      const add: ListedPackage[] = [];
      for (const release of releases) add.push(...(await listPackages(store, release, listedIn(release))));
      return {
        change: { add, remove: [], releases, isRebuilt: true },
        apply: async (transaction) => {
          if (lost.length === 0) return;
          const superseded = transaction
            .selectFrom("snapshots")
            .select("id")
            .where("product_id", "=", product.id)
            .where((expression) => expression.or([expression("superseded_at", "is not", null), expression("base_id", "is not", null)]));
          await transaction.deleteFrom("snapshot_files").where("digest", "in", lost).where("snapshot_id", "in", superseded).execute();
        },
      };
    },
  });
}
