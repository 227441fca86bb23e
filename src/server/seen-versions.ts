/** Which versions of a product a reader's indexes list at this moment, and in which channels: his grant's limits count in feeds and on pages too. */
import { grantHolderOf, type Principal } from "../access/principal.ts";
import type { Version } from "../model/version.ts";
import { rankOf } from "../policy/visibility.ts";
import { scopeOf } from "../releases/listing.ts";
import type { Call } from "./route.ts";

/** Empty for an unknown product, and for an entitlement that took everything with it. */
export async function versionsSeenBy(call: Pick<Call, "context">, principal: Principal, product: string): Promise<ReadonlySet<Version>> {
  return new Set([...(await channelsSeenBy(call, principal, product)).values()].flat());
}

/** By channel, the most stable first; channels in which he sees nothing are left out. */
export async function channelsSeenBy(call: Pick<Call, "context">, principal: Principal, product: string): Promise<ReadonlyMap<string, readonly Version[]>> {
  const { listings, store } = call.context;
  const listing = await listings.present(product);
  if (listing === undefined) return new Map();
  const scope = scopeOf(listing, grantHolderOf(principal, product), store.clock.now());
  if (scope.isCut) return new Map();
  const names = [...new Set(listing.releases.map(({ channel }) => channel))];
  return new Map(
    names
      .toSorted((left, right) => rankOf(right, listing.ranks) - rankOf(left, listing.ranks) || (left < right ? -1 : 1))
      .map((name) => [name, scope.versionsIn(name)] as const)
      .filter(([, versions]) => versions.length > 0),
  );
}
