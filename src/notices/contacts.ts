/** Where a customer is told things by mail, and which kinds of notices it does not want. */
import { randomBytes } from "node:crypto";
import { type Customer, requireCustomer } from "../access/customers.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseMailAddress } from "../model/mail-address.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import { isNoticeKind, type NoticeKind } from "../store/outbox.ts";
import type { Store } from "../store/store.ts";

export type Contact = { readonly customer: string; readonly mail: string | undefined; readonly unsubscribed: readonly NoticeKind[] };

/** Throws `not_found`. */
export async function readContact(store: Store, customerName: string): Promise<Contact> {
  const customer = await requireCustomer(store, customerName);
  const row = await store.db.selectFrom("customer_contacts").select("mail").where("customer_id", "=", customer.id).executeTakeFirst();
  return { customer: customer.name, mail: row?.mail, unsubscribed: await unsubscribedKinds(store, customer.id) };
}

/** Null ends all mail. A new address starts with every kind of notice. Throws `not_found`, `name_invalid`. */
export async function setContact(
  store: Store,
  input: { readonly customer: string; readonly mail: string | null; readonly actor: AuditActor },
): Promise<Contact> {
  const customer = await requireCustomer(store, input.customer);
  const mail = input.mail === null ? undefined : parseMailAddress(input.mail);
  const now = store.clock.now().getTime();
  await store.db.transaction().execute(async (transaction) => {
    await transaction.deleteFrom("customer_contacts").where("customer_id", "=", customer.id).execute();
    await transaction.deleteFrom("unsubscriptions").where("customer_id", "=", customer.id).execute();
    if (mail !== undefined) {
      const token = randomBytes(32).toString("base64url");
      await transaction.insertInto("customer_contacts").values({ customer_id: customer.id, mail, unsubscribe_token: token, created_at: now }).execute();
    }
    await appendAuditEvent(transaction, store, {
      actor: input.actor,
      action: "customer.contact",
      result: "complete",
      customer: customer.name,
      detail: mail ?? "no mail",
    });
  });
  return { customer: customer.name, mail, unsubscribed: [] };
}

export async function unsubscribedKinds(store: Store, customerId: string): Promise<readonly NoticeKind[]> {
  const rows = await store.db.selectFrom("unsubscriptions").select("kind").where("customer_id", "=", customerId).orderBy("kind").execute();
  return rows.map((row) => row.kind).filter(isNoticeKind);
}

/** Whose link this is. Throws `not_found`. */
export async function customerOfToken(store: Store, token: string): Promise<Customer & { readonly unsubscribed: readonly NoticeKind[] }> {
  const row = await store.db
    .selectFrom("customer_contacts")
    .innerJoin("customers", "customers.id", "customer_contacts.customer_id")
    .select("customers.name")
    .where("unsubscribe_token", "=", token) // 256 random bits: how long the comparison takes tells nothing
    .executeTakeFirst();
  if (row === undefined) throw new SlipwayError("not_found", "this link is not valid any more");
  const customer = await requireCustomer(store, row.name);
  return { ...customer, unsubscribed: await unsubscribedKinds(store, customer.id) };
}

/** Ends or resumes mails of these kinds. Idempotent. */
export async function setSubscription(
  store: Store,
  input: { readonly customer: Pick<Customer, "id" | "name">; readonly kinds: readonly NoticeKind[]; readonly isWanted: boolean; readonly actor: AuditActor },
): Promise<void> {
  const { customer, kinds, isWanted } = input;
  await store.db.transaction().execute(async (transaction) => {
    for (const kind of kinds) {
      if (isWanted) await transaction.deleteFrom("unsubscriptions").where("customer_id", "=", customer.id).where("kind", "=", kind).execute();
      else {
        await transaction
          .insertInto("unsubscriptions")
          .values({ customer_id: customer.id, kind, created_at: store.clock.now().getTime() })
          .onConflict((conflict) => conflict.columns(["customer_id", "kind"]).doNothing())
          .execute();
      }
    }
    await appendAuditEvent(transaction, store, {
      actor: input.actor,
      action: "notice.unsubscribe",
      result: "complete",
      customer: customer.name,
      detail: `${isWanted ? "wants" : "ends"} ${kinds.join(", ")}`,
    });
  });
}
