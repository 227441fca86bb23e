/** Which versions of a product a reader's indexes list at this moment: his grant's limits count in feeds and on pages too. */
import { grantHolderOf, type Principal } from "../access/principal.ts";
import type { Version } from "../model/version.ts";
import { scopeOf } from "../releases/listing.ts";
import type { Call } from "./route.ts";

/** Empty for an unknown product, and for an entitlement that took everything with it. */
export async function versionsSeenBy(call: Pick<Call, "context">, principal: Principal, product: string): Promise<ReadonlySet<Version>> {
  const { listings, store } = call.context;
  const listing = await listings.present(product);
  if (listing === undefined) return new Set();
  const scope = scopeOf(listing, grantHolderOf(principal, product), store.clock.now());
  return new Set(scope.isCut ? [] : scope.versions);
}
