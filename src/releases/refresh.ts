/** Signs the indexes of products again before they expire, so that clients can tell a quiet vendor from a frozen mirror. */
import type { Store } from "../store/store.ts";
import { type Product, listProducts } from "./products.ts";
import { allReleases } from "./releases.ts";
import type { RepositoryKey } from "./repository-key.ts";
import { readHead, switchSnapshot } from "./snapshot.ts";

/** A snapshot older than this is signed again: six days before it expires, time enough to notice that the timer stands still. */
export const refreshAfterMs = 24 * 3_600_000;

/** Signs one product's present indexes with a new date; its packages and files named by checksum stay the same bytes. False where there is nothing yet. */
export async function refreshSnapshot(
  store: Store,
  input: { readonly product: Product; readonly repositoryKey: RepositoryKey; readonly isResigned?: boolean },
): Promise<boolean> {
  return switchSnapshot(store, {
    ...input,
    decide: async () => {
      if ((await readHead(store, input.product)).snapshot === undefined) return undefined;
      return {
        change: { add: [], remove: [], releases: await allReleases(store, input.product), isResigned: input.isResigned === true },
        apply: () => Promise.resolve(),
      };
    },
  });
}

/** Refreshes every product whose snapshot is a day old, or older than the present repository key; returns their names. Call it from a timer, every hour or so. */
export async function refreshSnapshots(store: Store, repositoryKey: RepositoryKey): Promise<readonly string[]> {
  const refreshed: string[] = [];
  await repositoryKey.reload?.();
  for (const product of await listProducts(store)) {
    const { snapshot } = await readHead(store, product);
    if (snapshot === undefined) continue;
    const isOld = store.clock.now().getTime() - snapshot.created_at >= refreshAfterMs || snapshot.created_at < (repositoryKey.changedAt ?? 0);
    if (!isOld) continue;
    if (await refreshSnapshot(store, { product, repositoryKey })) refreshed.push(product.name);
  }
  return refreshed;
}
