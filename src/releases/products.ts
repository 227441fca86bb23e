/** Products and the vendor's public release keys, which say whose releases a product takes. */
import { SlipwayError } from "../model/errors.ts";
import { parseProductName } from "../model/names.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import { isUniqueViolation } from "../store/database.ts";
import { newId } from "../store/id.ts";
import type { ProductTable } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { readApkPublicKey } from "../trust/apk-signature.ts";
import { formatMinisignPublicKey, parseMinisignPublicKey } from "../trust/minisign-key.ts";
import type { ReleaseKeyKind } from "../trust/keyring.ts";
import { exportPublicKeys, openpgpKeySizeLimit, readPublicKeys } from "../trust/openpgp.ts";

export type Product = { readonly id: string; readonly name: string; readonly keep: number; readonly createdAt: Date };

/** Public keys as text: OpenPGP armored (one or several keys), minisign's two-line form, the PEM of the key that signs apks. */
export type ReleaseKeys = Readonly<Partial<Record<ReleaseKeyKind, string | undefined>>>;

/** How many stable versions stay unless the recipe says otherwise (C6). */
export const defaultKeep = 10;

function productOf(row: ProductTable): Product {
  return { id: row.id, name: row.name, keep: row.keep, createdAt: new Date(row.created_at) };
}

/** Idempotent: a product that is there is returned as it stands. Throws `name_invalid`. */
export async function createProduct(store: Store, input: { readonly name: string; readonly actor: AuditActor }): Promise<Product> {
  const name = parseProductName(input.name);
  const present = await findProduct(store, name);
  if (present !== undefined) return present;
  const now = store.clock.now();
  const row: ProductTable = { id: newId(now), name, keep: defaultKeep, created_at: now.getTime() };
  try {
    await store.db.transaction().execute(async (transaction) => {
      await transaction.insertInto("products").values(row).execute();
      await appendAuditEvent(transaction, store, { actor: input.actor, action: "product.create", result: "complete", product: name });
    });
  } catch (error) {
    if (isUniqueViolation(error)) return requireProduct(store, name); // another request made it in between
    throw error;
  }
  store.changes.emit("head", name);
  return productOf(row);
}

/** All products by name. */
export async function listProducts(store: Store): Promise<readonly Product[]> {
  const rows = await store.db.selectFrom("products").selectAll().orderBy("name").execute();
  return rows.map(productOf);
}

export async function findProduct(store: Store, name: string): Promise<Product | undefined> {
  const row = await store.db.selectFrom("products").selectAll().where("name", "=", name).executeTakeFirst();
  return row === undefined ? undefined : productOf(row);
}

/** Throws `not_found`. */
export async function requireProduct(store: Store, name: string): Promise<Product> {
  const product = await findProduct(store, name);
  if (product === undefined) {
    throw new SlipwayError("not_found", `there is no product "${name.slice(0, 80)}"`, { hint: "`slipway publish` makes the product of its recipe" });
  }
  return product;
}

/**
 * Replaces the kinds of key that are given; a kind that is not given stays. From then on a release without a valid signature by each
 * registered kind is refused, and with an apk key, one with an apk that it did not sign. Secret halves are dropped, not stored. Throws `key_invalid`, `key_missing` and `not_found`.
 */
export async function setReleaseKeys(store: Store, input: ReleaseKeys & { readonly product: string; readonly actor: AuditActor }): Promise<void> {
  const product = await requireProduct(store, input.product);
  const now = store.clock.now().getTime();
  const rows: { readonly kind: ReleaseKeyKind; readonly text: string }[] = [];
  if (input.openpgp !== undefined) {
    if (input.openpgp.length > openpgpKeySizeLimit) throw new SlipwayError("key_invalid", `the OpenPGP key has more than ${openpgpKeySizeLimit} bytes`);
    const bytes = Buffer.from(input.openpgp);
    await readPublicKeys(bytes);
    // Written again by us: what is served under /keys holds public keys and nothing else.
    rows.push({ kind: "openpgp", text: Buffer.from(await exportPublicKeys([bytes], "asc")).toString("utf8") });
  }
  if (input.minisign !== undefined) rows.push({ kind: "minisign", text: formatMinisignPublicKey(parseMinisignPublicKey(input.minisign)) });
  if (input.apk !== undefined) rows.push({ kind: "apk", text: readApkPublicKey(input.apk).publicText });
  if (rows.length === 0) throw new SlipwayError("key_missing", "no OpenPGP, minisign or apk public key was given");
  await store.db.transaction().execute(async (transaction) => {
    for (const { kind, text } of rows) {
      await transaction
        .insertInto("release_keys")
        .values({ product_id: product.id, kind, text, created_at: now })
        .onConflict((conflict) => conflict.columns(["product_id", "kind"]).doUpdateSet({ text, created_at: now }))
        .execute();
    }
    await appendAuditEvent(transaction, store, {
      actor: input.actor,
      action: "release-keys.set",
      result: "complete",
      product: product.name,
      detail: rows.map((row) => row.kind).join(", "),
    });
  });
}

/** The registered public keys. Throws `not_found` for an unknown product. */
export async function readReleaseKeys(store: Store, productName: string): Promise<ReleaseKeys> {
  const product = await requireProduct(store, productName);
  const rows = await store.db.selectFrom("release_keys").selectAll().where("product_id", "=", product.id).execute();
  return {
    openpgp: rows.find((row) => row.kind === "openpgp")?.text,
    minisign: rows.find((row) => row.kind === "minisign")?.text,
    apk: rows.find((row) => row.kind === "apk")?.text,
  };
}

/** The registered apk keys of all products, as PEM. */
export async function listApkReleaseKeys(store: Store): Promise<readonly string[]> {
  const rows = await store.db.selectFrom("release_keys").select("text").where("kind", "=", "apk").execute();
  return rows.map((row) => row.text);
}
