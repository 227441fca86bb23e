/** Whether a product has a channel of this name: a slip of the pen must not make one, nor a grant that compares with nothing. */
import { SlipwayError } from "../model/errors.ts";
import { nearestWord } from "../model/names.ts";
import type { Store } from "./store.ts";

/** Every product has these two. */
const standing = ["stable", "preview"];

/** A channel is known by its rank, or by a release that is or was published to it. Throws `not_found` with the nearest name. */
export async function requireChannel(store: Store, product: { readonly id: string; readonly name: string }, channel: string): Promise<void> {
  const ranked = await store.db.selectFrom("channels").select("name").where("product_id", "=", product.id).execute();
  const used = await store.db
    .selectFrom("release_channels")
    .innerJoin("releases", "releases.id", "release_channels.release_id")
    .select("release_channels.channel as name")
    .distinct()
    .where("releases.product_id", "=", product.id)
    .execute();
  const known = new Set([...standing, ...ranked.map(({ name }) => name), ...used.map(({ name }) => name)]);
  if (known.has(channel)) return;
  const near = nearestWord(channel, [...known]);
  throw new SlipwayError("not_found", `${product.name} has no channel "${channel.slice(0, 80)}"${near === undefined ? "" : ` - did you mean "${near}"?`}`, {
    hint: `\`slipway channel list --product ${product.name}\` shows all; make it with: slipway channel rank ${channel.slice(0, 80)} RANK --product ${product.name}`,
  });
}
