/** A published release's key set becomes what the product's next releases are checked against: the rotation's gate (trust facts 4.4 step 4). */
import type { Transaction } from "kysely";
import type { KeySet } from "../model/key-set.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import type { Database } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { formatMinisignPublicKey, parseMinisignPublicKey } from "../trust/minisign-key.ts";
import type { Product } from "./products.ts";

/**
 * Replaces the registered key of each kind by the set's active ones. Until the release that carries the set is published, the old key stays
 * registered, so that a release signed by the new one alone is refused; kinds for which nothing is registered stay as they are.
 */
export async function adoptKeySet(
  transaction: Transaction<Database>,
  store: Store,
  input: { readonly product: Product; readonly set: KeySet; readonly actor: AuditActor; readonly version: string },
): Promise<void> {
  const { product, set } = input;
  const registered = await transaction.selectFrom("release_keys").select(["kind", "text"]).where("product_id", "=", product.id).execute();
  const changed: string[] = [];
  for (const { kind, text } of registered) {
    const active = set.keys.filter((key) => key.kind === kind && key.role === "active").map((key) => key.publicKey);
    const [first] = active;
    if (first === undefined) continue;
    const next = kind === "minisign" ? formatMinisignPublicKey(parseMinisignPublicKey(first)) : active.join("\n");
    if (next === text) continue;
    await transaction
      .updateTable("release_keys")
      .set({ text: next, created_at: store.clock.now().getTime() })
      .where("product_id", "=", product.id)
      .where("kind", "=", kind)
      .execute();
    changed.push(kind);
  }
  if (changed.length === 0) return;
  await appendAuditEvent(transaction, store, {
    actor: input.actor,
    action: "release-keys.set",
    result: "complete",
    product: product.name,
    version: input.version,
    detail: `${changed.join(", ")}: key set of epoch ${set.epoch}`,
  });
}
