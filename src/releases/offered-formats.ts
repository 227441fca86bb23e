/** In which formats a customer is to have a product at all: what the set-up text is about. */
import { type Grant, type GrantFormat, grantFormats } from "../model/grant.ts";
import type { Store } from "../store/store.ts";

/** Those of the product that the grant does not leave out. */
export async function offeredFormats(store: Store, productId: string, grant: Grant | undefined): Promise<ReadonlySet<GrantFormat>> {
  const ofProduct = await productFormats(store, productId);
  return new Set([...ofProduct].filter((format) => grant?.formats?.includes(format) !== false));
}

/** What its published releases and its images bring, besides plain files and the bucket; every format where nothing was published yet. */
async function productFormats(store: Store, productId: string): Promise<ReadonlySet<GrantFormat>> {
  const kinds = await store.db
    .selectFrom("artifacts")
    .innerJoin("releases", "releases.id", "artifacts.release_id")
    .select("artifacts.kind")
    .distinct()
    .where("releases.product_id", "=", productId)
    .where("releases.state", "=", "published")
    .execute();
  const images = await store.db.selectFrom("oci_repositories").select("id").where("product_id", "=", productId).limit(1).executeTakeFirst();
  if (kinds.length === 0 && images === undefined) return new Set(grantFormats);
  const packages = kinds.flatMap(({ kind }) => (kind === "file" ? [] : [kind]));
  return new Set<GrantFormat>([...packages, ...(images === undefined ? [] : ["oci" as const]), "files", "s3"]);
}
