/**
 * Which messages the due notices become: for each customer one mail with all of its notices, one mail to the vendor, and for each notice
 * one call of every webhook that asked for its kind. Decided first, as a value; applyDeliveryPlan writes that very plan.
 */
import { z } from "zod";
import { newId } from "../store/id.ts";
import type { NoticeTable } from "../store/notice-tables.ts";
import { isNoticeKind, type NoticeKind, noticeKinds } from "../store/outbox.ts";
import type { Store } from "../store/store.ts";
import { listWebhooks, type Webhook } from "./webhooks.ts";

export type NoticeSender = {
  readonly vendor: string;
  /** Address of the server for links in mails; without it there are none. */
  readonly baseUrl: string | undefined;
  /** Mail is configured at all. */
  readonly hasMail: boolean;
  readonly vendorMail: string | undefined;
};

export const mailPayloadSchema = z.strictObject({ subject: z.string(), text: z.string(), unsubscribeUrl: z.string().optional() });
export type MailPayload = z.output<typeof mailPayloadSchema>;

export type PlannedDelivery = {
  readonly transport: "mail" | "webhook";
  /** A mail's address, or the id of a webhook. */
  readonly target: string;
  readonly customerId: string | undefined;
  /** His name; undefined for what concerns the vendor. */
  readonly customer: string | undefined;
  readonly subject: string;
  /** JSON. */
  readonly payload: string;
  readonly noticeIds: readonly string[];
};

export type DeliveryPlan = { readonly noticeIds: readonly string[]; readonly deliveries: readonly PlannedDelivery[] };

/** Notices taken in one go; what is left waits for the next round. */
const noticeLimit = 500;

type DueNotice = NoticeTable & { readonly customer: string | null };
type MailTarget = { readonly mail: string; readonly token: string; readonly unsubscribed: ReadonlySet<string> };

/** Reads only. */
export async function planDeliveries(store: Store, sender: NoticeSender): Promise<DeliveryPlan> {
  const due: readonly DueNotice[] = await store.db
    .selectFrom("notices")
    .leftJoin("customers", "customers.id", "notices.customer_id")
    .selectAll("notices")
    .select("customers.name as customer")
    .where("planned_at", "is", null)
    .where("due_at", "<=", store.clock.now().getTime())
    .orderBy("notices.due_at")
    .orderBy("notices.id")
    .limit(noticeLimit)
    .execute();
  if (due.length === 0) return { noticeIds: [], deliveries: [] };
  const webhooks = await listWebhooks(store);
  const targets = sender.hasMail ? await mailTargets(store, due) : new Map<string, MailTarget>();
  const deliveries: PlannedDelivery[] = [];
  for (const [customerId, notices] of Map.groupBy(due, (notice) => notice.customer_id ?? "")) {
    const mail = customerId === "" ? vendorMailOf(notices, sender) : customerMailOf(notices, targets.get(customerId), sender);
    if (mail !== undefined) deliveries.push(mail);
  }
  for (const notice of due) deliveries.push(...webhookCallsOf(notice, webhooks));
  return { noticeIds: due.map((notice) => notice.id), deliveries };
}

async function mailTargets(store: Store, notices: readonly DueNotice[]): Promise<ReadonlyMap<string, MailTarget>> {
  const ids = [...new Set(notices.flatMap((notice) => (notice.customer_id === null ? [] : [notice.customer_id])))];
  if (ids.length === 0) return new Map();
  const contacts = await store.db.selectFrom("customer_contacts").selectAll().where("customer_id", "in", ids).execute();
  const ended = await store.db.selectFrom("unsubscriptions").selectAll().where("customer_id", "in", ids).execute();
  return new Map(
    contacts.map((contact) => {
      const kinds = ended.filter((row) => row.customer_id === contact.customer_id).map((row) => row.kind);
      return [contact.customer_id, { mail: contact.mail, token: contact.unsubscribe_token, unsubscribed: new Set(kinds) }];
    }),
  );
}

function customerMailOf(notices: readonly DueNotice[], target: MailTarget | undefined, sender: NoticeSender): PlannedDelivery | undefined {
  const wanted = notices.filter((notice) => target?.unsubscribed.has(notice.kind) === false);
  const [first] = wanted;
  if (target === undefined || first === undefined) return undefined;
  const unsubscribeUrl = sender.baseUrl === undefined ? undefined : `${sender.baseUrl}/notices/unsubscribe/${target.token}`;
  const footer = [
    `-- `,
    `${sender.vendor} sends this to the contact of ${first.customer ?? "its customer"}.`,
    ...(sender.baseUrl === undefined ? [] : [`All about your products: ${sender.baseUrl}/portal`]),
    ...(unsubscribeUrl === undefined ? [] : [`To choose which notices you get: ${unsubscribeUrl}`]),
  ];
  return mailDelivery({ notices: wanted, to: target.mail, customerId: first.customer_id ?? undefined, footer, unsubscribeUrl });
}

function vendorMailOf(notices: readonly DueNotice[], sender: NoticeSender): PlannedDelivery | undefined {
  if (!sender.hasMail || sender.vendorMail === undefined || notices.length === 0) return undefined;
  return mailDelivery({ notices, to: sender.vendorMail, customerId: undefined, footer: ["-- ", "Sent by Slipway to its vendor."], unsubscribeUrl: undefined });
}

function mailDelivery(mail: {
  readonly notices: readonly DueNotice[];
  readonly to: string;
  readonly customerId: string | undefined;
  readonly footer: readonly string[];
  readonly unsubscribeUrl: string | undefined;
}): PlannedDelivery {
  const [first, ...others] = mail.notices;
  const subject = others.length === 0 ? (first?.subject ?? "") : `${first?.subject ?? ""} (and ${others.length} more)`;
  const parts = mail.notices.map((notice) =>
    others.length === 0 ? notice.text : `${notice.subject}\n${"=".repeat(Math.min(72, notice.subject.length))}\n\n${notice.text}`,
  );
  const payload: MailPayload = {
    subject,
    text: `${parts.join("\n\n\n")}\n\n${mail.footer.join("\n")}\n`,
    ...(mail.unsubscribeUrl === undefined ? {} : { unsubscribeUrl: mail.unsubscribeUrl }),
  };
  return {
    transport: "mail",
    target: mail.to,
    customerId: mail.customerId,
    customer: mail.customerId === undefined ? undefined : (first?.customer ?? undefined),
    subject,
    payload: JSON.stringify(payload),
    noticeIds: mail.notices.map((notice) => notice.id),
  };
}

function webhookCallsOf(notice: DueNotice, webhooks: readonly Webhook[]): readonly PlannedDelivery[] {
  const kind = isNoticeKind(notice.kind) ? notice.kind : undefined;
  const wanting = webhooks.filter((webhook) => webhook.kinds.length === 0 || (kind !== undefined && webhook.kinds.includes(kind)));
  const body = {
    type: notice.kind,
    timestamp: new Date(notice.created_at).toISOString(),
    data: {
      notice: notice.id,
      product: notice.product,
      version: notice.version,
      customer: notice.customer,
      subject: notice.subject,
      text: notice.text,
    },
  };
  return wanting.map((webhook) => ({
    transport: "webhook",
    target: webhook.id,
    customerId: notice.customer_id ?? undefined,
    customer: notice.customer ?? undefined,
    subject: notice.subject,
    payload: JSON.stringify(body),
    noticeIds: [notice.id],
  }));
}

/** Writes the plan in one transaction. Of several servers with the same notices in their plans one writes, the others find them taken: false. */
export async function applyDeliveryPlan(store: Store, plan: DeliveryPlan): Promise<boolean> {
  if (plan.noticeIds.length === 0) return false;
  const now = store.clock.now();
  return store.db.transaction().execute(async (transaction) => {
    const taken = await transaction
      .updateTable("notices")
      .set({ planned_at: now.getTime() })
      .where("id", "in", plan.noticeIds)
      .where("planned_at", "is", null)
      .returning("id")
      .execute();
    // A mail may carry several notices: it goes out as planned or not at all, and what this plan took stays for the next one.
    if (taken.length !== plan.noticeIds.length) {
      if (taken.length > 0) {
        await transaction
          .updateTable("notices")
          .set({ planned_at: null })
          .where(
            "id",
            "in",
            taken.map((row) => row.id),
          )
          .execute();
      }
      return false;
    }
    for (const delivery of plan.deliveries) {
      const id = newId(now);
      await transaction
        .insertInto("deliveries")
        .values({
          id,
          transport: delivery.transport,
          target: delivery.target,
          customer_id: delivery.customerId ?? null,
          payload: delivery.payload,
          state: "pending",
          attempts: 0,
          next_at: now.getTime(),
          leased_until: null,
          lease: null,
          last_error: null,
          created_at: now.getTime(),
          ended_at: null,
        })
        .execute();
      await transaction
        .insertInto("delivery_notices")
        .values(delivery.noticeIds.map((noticeId) => ({ delivery_id: id, notice_id: noticeId })))
        .execute();
    }
    return true;
  });
}

/** The kinds in the order of their table, with their text, as pages and help show them. */
export const noticeKindRows: readonly { readonly kind: NoticeKind; readonly text: string }[] = Object.entries(noticeKinds).map(([kind, text]) => ({
  kind: kind as NoticeKind,
  text,
}));
