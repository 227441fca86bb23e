/** Image repositories: `<product>` or `<product>/<image>`; the first part says to which product, and so to which customers, one belongs. */
import type { Transaction } from "kysely";
import { parseRepository } from "../formats/oci-reference.ts";
import { SlipwayError } from "../model/errors.ts";
import { isUniqueViolation } from "../store/database.ts";
import { newId } from "../store/id.ts";
import type { Database } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { findProduct } from "./products.ts";

export type OciRepository = { readonly id: string; readonly name: string; readonly productId: string; readonly product: string };

/** Throws `name_invalid` for what the distribution specification does not allow. */
export function productOfRepository(name: string): string {
  const [product = ""] = parseRepository(name).split("/");
  return product;
}

/** The product, or undefined where the name is no repository's. */
export function tryProductOfRepository(name: string): string | undefined {
  try {
    return productOfRepository(name);
  } catch {
    return undefined; // the caller asked whether it is one
  }
}

/** Throws `name_invalid`. */
export async function findRepository(store: Store, name: string): Promise<OciRepository | undefined> {
  const product = productOfRepository(name);
  const row = await store.db.selectFrom("oci_repositories").select(["id", "name", "product_id"]).where("name", "=", name).executeTakeFirst();
  return row === undefined ? undefined : { id: row.id, name: row.name, productId: row.product_id, product };
}

/**
 * The repository, made where it is missing: a first push makes it. Its product must be there, so that a mistyped name is no new product.
 * Throws `name_invalid`, `not_found` (detail NAME_UNKNOWN).
 */
export async function openRepository(store: Store, name: string): Promise<OciRepository> {
  const present = await findRepository(store, name);
  if (present !== undefined) return present;
  const product = await findProduct(store, productOfRepository(name));
  if (product === undefined) {
    throw new SlipwayError("not_found", `there is no product "${productOfRepository(name)}"`, {
      detail: "NAME_UNKNOWN",
      hint: "the first part of an image's name is its product, which `slipway publish` makes",
    });
  }
  const now = store.clock.now();
  try {
    await store.db
      .insertInto("oci_repositories")
      .values({ id: newId(now), product_id: product.id, name, revision: 0, created_at: now.getTime() })
      .execute();
  } catch (error) {
    if (!isUniqueViolation(error)) throw error; // another request made it in between
  }
  store.changes.emit("images", name);
  return requireRepository(store, name);
}

/** Throws `name_invalid`, `not_found` (detail NAME_UNKNOWN). */
export async function requireRepository(store: Store, name: string): Promise<OciRepository> {
  const repository = await findRepository(store, name);
  if (repository === undefined) throw new SlipwayError("not_found", `there is no repository "${name}"`, { detail: "NAME_UNKNOWN" });
  return repository;
}

/** Changes manifests or tags in one transaction that holds the repository's row: what it checks stays true until it is committed. */
export async function changeRepository<T>(store: Store, repository: OciRepository, act: (transaction: Transaction<Database>) => Promise<T>): Promise<T> {
  const done = await store.db.transaction().execute(async (transaction) => {
    await transaction
      .updateTable("oci_repositories")
      .set((expression) => ({ revision: expression("revision", "+", 1) }))
      .where("id", "=", repository.id)
      .execute();
    return act(transaction);
  });
  store.changes.emit("images", repository.name);
  return done;
}
