/** Customers: the organisations that may read releases. */
import { parseWord } from "../model/names.ts";
import { SlipwayError } from "../model/errors.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import { isUniqueViolation } from "../store/database.ts";
import { newId } from "../store/id.ts";
import type { Store } from "../store/store.ts";

export type Customer = { readonly id: string; readonly name: string; readonly createdAt: Date };

/** Throws `name_invalid`, and `conflict` where the name is taken. */
export async function addCustomer(store: Store, input: { readonly name: string; readonly actor: AuditActor }): Promise<Customer> {
  const name = parseWord("customer", input.name);
  const now = store.clock.now();
  const row = { id: newId(now), name, created_at: now.getTime() };
  try {
    await store.db.transaction().execute(async (transaction) => {
      await transaction.insertInto("customers").values(row).execute();
      await appendAuditEvent(transaction, store, { actor: input.actor, action: "customer.add", result: "complete", customer: name });
    });
  } catch (error) {
    if (isUniqueViolation(error)) {
      throw new SlipwayError("conflict", `there is a customer "${name}" already`, { hint: "`slipway customer list` shows all", cause: error });
    }
    throw error;
  }
  return { id: row.id, name, createdAt: now };
}

/** All customers by name. */
export async function listCustomers(store: Store): Promise<readonly Customer[]> {
  const rows = await store.db.selectFrom("customers").selectAll().orderBy("name").execute();
  return rows.map((row) => ({ id: row.id, name: row.name, createdAt: new Date(row.created_at) }));
}

/** Throws `not_found`. */
export async function requireCustomer(store: Store, name: string): Promise<Customer> {
  const row = await store.db.selectFrom("customers").selectAll().where("name", "=", name).executeTakeFirst();
  if (row === undefined) throw new SlipwayError("not_found", `there is no customer "${name.slice(0, 80)}"`, { hint: "`slipway customer list` shows all" });
  return { id: row.id, name: row.name, createdAt: new Date(row.created_at) };
}
