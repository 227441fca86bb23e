/** Grants in the store: set, listed, removed; a change is in force within a second on every server and protocol (C9). */
import type { Transaction } from "kysely";
import { SlipwayError } from "../model/errors.ts";
import { type Grant, type GrantFormat, grantFormats, type LapseMode, parseVersionRange } from "../model/grant.ts";
import { parseWord } from "../model/names.ts";
import { parseVersion } from "../model/version.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import type { CustomerGrantTable } from "../store/grant-tables.ts";
import { requireChannel } from "../store/known-channel.ts";
import type { Database } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { type Customer, requireCustomer } from "./customers.ts";
import { requirePinnable } from "./pinnable-version.ts";

export type CustomerGrant = Grant & { readonly customer: string; readonly product: string; readonly createdAt: Date };

/** What is given changes, `null` lifts a limit, what is not given stays. */
export type GrantChange = {
  readonly channel?: string | null | undefined;
  readonly formats?: readonly GrantFormat[] | null | undefined;
  readonly versions?: string | null | undefined;
  readonly entitledUntil?: Date | null | undefined;
  readonly lapse?: LapseMode | undefined;
  /** `isFutureAllowed`: the version need not be published yet. */
  readonly pin?: { readonly version: string; readonly until?: Date | undefined; readonly isFutureAllowed?: boolean | undefined } | null | undefined;
};

const dateOf = (time: number | null): Date | undefined => (time === null ? undefined : new Date(time));

function grantOf(row: CustomerGrantTable): Grant {
  const formats = row.formats?.split(",");
  return {
    channel: row.channel ?? undefined,
    formats: formats === undefined ? undefined : grantFormats.filter((format) => formats.includes(format)),
    versions: row.versions ?? undefined,
    entitledUntil: dateOf(row.entitled_until),
    lapse: row.lapse,
    pin: row.pin === null ? undefined : { version: row.pin, until: dateOf(row.pin_until) },
    changedAt: new Date(row.changed_at),
    isOriginal: row.changed_at === row.created_at,
  };
}

const unlimited = { channel: null, formats: null, versions: null, entitled_until: null, lapse: "keep", pin: null, pin_until: null } as const;

/** A grant without limits where the customer has none of this product yet. */
export async function ensureGrant(
  transaction: Transaction<Database>,
  input: { readonly customerId: string; readonly productId: string; readonly now: Date },
): Promise<void> {
  const at = input.now.getTime();
  await transaction
    .insertInto("customer_grants")
    .values({ customer_id: input.customerId, product_id: input.productId, ...unlimited, created_at: at, changed_at: at })
    .onConflict((conflict) => conflict.columns(["customer_id", "product_id"]).doNothing())
    .execute();
}

/** By product name: what the key opens, with the right to it. */
export async function grantsOfKey(store: Store, keyId: string): Promise<ReadonlyMap<string, Grant>> {
  const rows = await store.db
    .selectFrom("access_key_products")
    .innerJoin("access_keys", "access_keys.id", "access_key_products.access_key_id")
    .innerJoin("products", "products.id", "access_key_products.product_id")
    .innerJoin("customer_grants", (join) =>
      join.onRef("customer_grants.customer_id", "=", "access_keys.customer_id").onRef("customer_grants.product_id", "=", "access_key_products.product_id"),
    )
    .selectAll("customer_grants")
    .select("products.name")
    .where("access_key_products.access_key_id", "=", keyId)
    .execute();
  return new Map(rows.map((row) => [row.name, grantOf(row)]));
}

function changedRow(change: GrantChange): Partial<CustomerGrantTable> {
  const row: Partial<CustomerGrantTable> = {};
  if (change.channel !== undefined) row.channel = change.channel === null ? null : parseWord("channel", change.channel);
  if (change.formats !== undefined) row.formats = change.formats === null ? null : [...new Set(change.formats)].sort().join(",");
  if (change.versions !== undefined) row.versions = change.versions === null ? null : parseVersionRange(change.versions);
  if (change.entitledUntil !== undefined) row.entitled_until = change.entitledUntil?.getTime() ?? null;
  if (change.lapse !== undefined) row.lapse = change.lapse;
  if (change.pin !== undefined) {
    row.pin = change.pin === null ? null : parseVersion(change.pin.version);
    row.pin_until = change.pin?.until?.getTime() ?? null;
  }
  return row;
}

type Place = { readonly customer: Customer; readonly product: { readonly id: string; readonly name: string } };

async function requirePlace(store: Store, input: { readonly customer: string; readonly product: string }): Promise<Place> {
  const customer = await requireCustomer(store, input.customer);
  const product = await store.db.selectFrom("products").select(["id", "name"]).where("name", "=", input.product).executeTakeFirst();
  if (product === undefined)
    throw new SlipwayError("not_found", `there is no product "${input.product.slice(0, 80)}"`, { hint: "`slipway product list` shows all" });
  return { customer, product };
}

/** Makes or changes a grant. Throws `not_found` and `gone` (also for the version of a pin), `name_invalid`, `version_invalid`. */
export async function setGrant(
  store: Store,
  input: { readonly customer: string; readonly product: string; readonly change: GrantChange; readonly actor: AuditActor },
): Promise<CustomerGrant> {
  const { customer, product } = await requirePlace(store, input);
  const row = changedRow(input.change);
  if (row.channel !== undefined && row.channel !== null) await requireChannel(store, product, row.channel);
  await store.db.transaction().execute(async (transaction) => {
    const now = store.clock.now();
    if (row.pin !== undefined && row.pin !== null)
      await requirePinnable(transaction, product, { version: row.pin, isFutureAllowed: input.change.pin?.isFutureAllowed === true });
    const before = await transaction
      .selectFrom("customer_grants")
      .select("changed_at")
      .where("customer_id", "=", customer.id)
      .where("product_id", "=", product.id)
      .executeTakeFirst();
    await ensureGrant(transaction, { customerId: customer.id, productId: product.id, now });
    // Dates of files hang on it and have whole seconds: each change falls into a later one.
    const changed_at = before === undefined ? now.getTime() : Math.max(now.getTime(), (Math.floor(before.changed_at / 1000) + 1) * 1000);
    await transaction
      .updateTable("customer_grants")
      .set({ ...row, changed_at })
      .where("customer_id", "=", customer.id)
      .where("product_id", "=", product.id)
      .execute();
    await appendAuditEvent(transaction, store, {
      actor: input.actor,
      action: "grant.set",
      result: "complete",
      customer: customer.name,
      product: product.name,
      detail: JSON.stringify(row),
    });
  });
  await announceChange(store, customer);
  return requireGrant(store, input);
}

/** The customer's keys read nothing of the product from then on. Throws `not_found`. */
export async function removeGrant(store: Store, input: { readonly customer: string; readonly product: string; readonly actor: AuditActor }): Promise<void> {
  const { customer, product } = await requirePlace(store, input);
  await store.db.transaction().execute(async (transaction) => {
    const { numDeletedRows } = await transaction
      .deleteFrom("customer_grants")
      .where("customer_id", "=", customer.id)
      .where("product_id", "=", product.id)
      .executeTakeFirst();
    if (numDeletedRows === 0n) throw absentGrant(input);
    await appendAuditEvent(transaction, store, {
      actor: input.actor,
      action: "grant.remove",
      result: "complete",
      customer: customer.name,
      product: product.name,
    });
  });
  await announceChange(store, customer);
}

/** Every key of the customer carries his grants. */
async function announceChange(store: Store, customer: Customer): Promise<void> {
  const keys = await store.db.selectFrom("access_keys").select("id").where("customer_id", "=", customer.id).execute();
  for (const { id } of keys) store.changes.emit("credential", id);
}

function absentGrant(input: { readonly customer: string; readonly product: string }): SlipwayError {
  return new SlipwayError("not_found", `${input.customer} has no grant of ${input.product}`, {
    hint: `give one with: slipway grant set ${input.customer} --product ${input.product}`,
  });
}

/** By customer and product. `customer` and `product` choose. Throws `not_found` for an unknown customer. */
export async function listGrants(
  store: Store,
  wanted: { readonly customer?: string | undefined; readonly product?: string | undefined } = {},
): Promise<readonly CustomerGrant[]> {
  let query = store.db
    .selectFrom("customer_grants")
    .innerJoin("customers", "customers.id", "customer_grants.customer_id")
    .innerJoin("products", "products.id", "customer_grants.product_id")
    .selectAll("customer_grants")
    .select(["customers.name as customer", "products.name as product"])
    .orderBy("customers.name")
    .orderBy("products.name");
  if (wanted.customer !== undefined) query = query.where("customer_grants.customer_id", "=", (await requireCustomer(store, wanted.customer)).id);
  if (wanted.product !== undefined) query = query.where("products.name", "=", wanted.product);
  const rows = await query.execute();
  return rows.map((row) => ({ ...grantOf(row), customer: row.customer, product: row.product, createdAt: new Date(row.created_at) }));
}

/** Throws `not_found`. */
export async function requireGrant(store: Store, wanted: { readonly customer: string; readonly product: string }): Promise<CustomerGrant> {
  const [grant] = await listGrants(store, wanted);
  if (grant === undefined) throw absentGrant(wanted);
  return grant;
}
