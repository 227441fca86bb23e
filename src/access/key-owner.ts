/** An access key by its id, with the customer that it belongs to. */
import { SlipwayError } from "../model/errors.ts";
import type { Store } from "../store/store.ts";
import { type AccessKey, listAccessKeys } from "./access-keys.ts";

/** Throws `not_found`. */
export async function requireAccessKey(store: Store, id: string): Promise<AccessKey> {
  const row = await store.db
    .selectFrom("access_keys")
    .innerJoin("customers", "customers.id", "access_keys.customer_id")
    .select("customers.name")
    .where("access_keys.id", "=", id)
    .executeTakeFirst();
  const key = row === undefined ? undefined : (await listAccessKeys(store, row.name)).find((one) => one.id === id);
  if (key === undefined)
    throw new SlipwayError("not_found", `there is no access key "${id.slice(0, 40)}"`, { hint: "`slipway key list CUSTOMER` shows a customer's" });
  return key;
}
