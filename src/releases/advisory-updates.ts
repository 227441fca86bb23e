/** Which rpms bring the fixes of a product's advisories, by channel: what updateinfo.xml says. */
import type { Advisory } from "../repositories/advisory.ts";
import { updatePackage, type YumUpdate } from "../repositories/updateinfo.ts";
import type { Store } from "../store/store.ts";
import { parseDescribedPackage } from "./describe-package.ts";
import { listedIn, type Release } from "./releases.ts";

/**
 * `releases` as they stand after the switch that this is rendered for: the fix of an advisory that no channel lists has no package to name,
 * and the advisory is left out. Oldest advisory first, so that a new one changes the end of the file.
 */
export async function yumUpdates(
  store: Store,
  input: { readonly advisories: readonly Advisory[]; readonly releases: readonly Release[] },
): Promise<ReadonlyMap<string, readonly YumUpdate[]>> {
  const byChannel = new Map<string, YumUpdate[]>();
  const standing = input.advisories
    .filter(({ state }) => state === "published")
    .sort((left, right) => left.publishedAt.getTime() - right.publishedAt.getTime() || (left.id < right.id ? -1 : 1));
  for (const advisory of standing) {
    const fix = input.releases.find((release) => release.version === advisory.fixedIn);
    const channels = fix === undefined ? [] : listedIn(fix);
    if (fix === undefined || channels.length === 0) continue;
    const rows = await store.db
      .selectFrom("artifacts")
      .select(["name", "package"])
      .where("release_id", "=", fix.id)
      .where("kind", "=", "rpm")
      .orderBy("name")
      .execute();
    const packages = rows.flatMap((row) => {
      const described = row.package === null ? undefined : parseDescribedPackage(row.package);
      return described?.kind === "rpm" ? [updatePackage(described.fragments)] : [];
    });
    if (packages.length === 0) continue;
    for (const channel of listedIn(fix)) byChannel.set(channel, [...(byChannel.get(channel) ?? []), { advisory, packages }]);
  }
  return byChannel;
}
