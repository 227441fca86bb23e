/**
 * The outbox: what somebody is to be told, written in the transaction of the change that causes it, and delivered later.
 *
 *   notice    written once for its dedupe key                          enqueueNotice
 *   delivery  one message to one address, made from due notices        src/notices/plan-deliveries.ts
 *   claim     a conditional update takes a delivery for one sender     claimDelivery
 *   end       sent, tried again later, or dead                         endDelivery, under the claim's own lease
 *
 * A sender that is killed leaves its lease; when that ends another sends the same message under the same id: at least once.
 */
import { randomBytes } from "node:crypto";
import type { Kysely, Selectable } from "kysely";
import { newId } from "./id.ts";
import type { DeliveryTable } from "./notice-tables.ts";
import type { Database } from "./schema.ts";

/** What notices are about: webhooks choose among them, customers end mails of one kind. */
export const noticeKinds = {
  release: "a release was published",
  withdrawal: "a release was withdrawn",
  retirement: "a version leaves soon, or has left",
  advisory: "a security advisory was published, changed or withdrawn",
  "key-expiry": "an access pair ends soon",
  "key-abuse": "an access pair looks passed on or stolen",
  "signing-key-expiry": "a key that signs releases or indexes ends soon",
} as const;
export type NoticeKind = keyof typeof noticeKinds;

export function isNoticeKind(text: string): text is NoticeKind {
  return Object.hasOwn(noticeKinds, text);
}

export type NewNotice = {
  readonly kind: NoticeKind;
  readonly product?: string | undefined;
  readonly version?: string | undefined;
  /** Who is told; without it the vendor. */
  readonly customerId?: string | undefined;
  /** Not before; now by default. */
  readonly dueAt?: Date | undefined;
  /** One line, below 200 characters. */
  readonly subject: string;
  /** Plain text of some lines. */
  readonly text: string;
  /** Names the fact: a second notice with it is not written. With the customer inside where one is told. */
  readonly dedupeKey: string;
};

type Clocked = { readonly clock: { readonly now: () => Date } };

/** Writes a notice, in the caller's transaction where `db` is one. False where this fact has its notice already. */
export async function enqueueNotice(db: Kysely<Database>, store: Clocked, notice: NewNotice): Promise<boolean> {
  const now = store.clock.now();
  const { numInsertedOrUpdatedRows } = await db
    .insertInto("notices")
    .values({
      id: newId(now),
      kind: notice.kind,
      product: notice.product ?? null,
      version: notice.version ?? null,
      customer_id: notice.customerId ?? null,
      due_at: (notice.dueAt ?? now).getTime(),
      subject: notice.subject,
      text: notice.text,
      dedupe_key: notice.dedupeKey,
      created_at: now.getTime(),
      planned_at: null,
    })
    .onConflict((conflict) => conflict.column("dedupe_key").doNothing())
    .executeTakeFirst();
  return (numInsertedOrUpdatedRows ?? 0n) > 0n;
}

export type Delivery = Selectable<DeliveryTable>;

/** A sender has this long to be done with one message; the longest time-out of a transport is well below. */
export const leaseMs = 2 * 60_000;

/** Takes the delivery that has waited longest; undefined where none is due, or others have them all. */
export async function claimDelivery(db: Kysely<Database>, store: Clocked): Promise<Delivery | undefined> {
  const now = store.clock.now().getTime();
  for (;;) {
    const due = await db
      .selectFrom("deliveries")
      .select("id")
      .where("state", "=", "pending")
      .where("next_at", "<=", now)
      .where((expression) => expression.or([expression("leased_until", "is", null), expression("leased_until", "<=", now)]))
      .orderBy("next_at")
      .orderBy("id")
      .limit(1)
      .executeTakeFirst();
    if (due === undefined) return undefined;
    const claimed = await db
      .updateTable("deliveries")
      .set((expression) => ({ leased_until: now + leaseMs, lease: randomBytes(16).toString("hex"), attempts: expression("attempts", "+", 1) }))
      .where("id", "=", due.id)
      .where("state", "=", "pending")
      .where((expression) => expression.or([expression("leased_until", "is", null), expression("leased_until", "<=", now)]))
      .returningAll()
      .executeTakeFirst();
    if (claimed !== undefined) return claimed; // else another sender was faster: look for the next
  }
}

export type DeliveryEnd =
  | { readonly kind: "sent" }
  | { readonly kind: "retry"; readonly at: Date; readonly error: string }
  | { readonly kind: "dead"; readonly error: string };

const errorLimit = 500;

/** False where the lease was lost in between: the delivery is another sender's now. */
export async function endDelivery(db: Kysely<Database>, store: Clocked, claimed: Delivery, end: DeliveryEnd): Promise<boolean> {
  const now = store.clock.now().getTime();
  const error = end.kind === "sent" ? null : end.error.slice(0, errorLimit);
  const change = end.kind === "retry" ? { next_at: end.at.getTime(), last_error: error } : ({ state: end.kind, ended_at: now, last_error: error } as const);
  const { numUpdatedRows } = await db
    .updateTable("deliveries")
    .set({ ...change, leased_until: null, lease: null })
    .where("id", "=", claimed.id)
    .where("lease", "=", claimed.lease)
    .executeTakeFirst();
  return numUpdatedRows === 1n;
}

/** How long the delivery log is kept: long enough to answer "were we told" at a yearly audit. */
export const deliveryKeepMs = 400 * 24 * 3_600_000;
const clearBatch = 1_000;

/** Removes deliveries that ended long ago; returns how many. Their notices stay: what was told once is not told again. */
export async function clearDeliveries(db: Kysely<Database>, store: Clocked): Promise<number> {
  const before = store.clock.now().getTime() - deliveryKeepMs;
  let cleared = 0;
  for (;;) {
    const old = await db.selectFrom("deliveries").select("id").where("ended_at", "<", before).orderBy("id").limit(clearBatch).execute();
    if (old.length === 0) return cleared;
    const ids = old.map((row) => row.id);
    await db.transaction().execute(async (transaction) => {
      await transaction.deleteFrom("delivery_notices").where("delivery_id", "in", ids).execute();
      await transaction.deleteFrom("deliveries").where("id", "in", ids).execute();
    });
    cleared += ids.length;
  }
}
