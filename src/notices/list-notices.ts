/** Notices and their deliveries as lists: for the vendor's log, and a customer's own for the portal. */
import type { Store } from "../store/store.ts";

export type ListedNotice = {
  readonly id: string;
  readonly kind: string;
  readonly product: string | null;
  readonly version: string | null;
  /** Null: for the vendor. */
  readonly customer: string | null;
  readonly subject: string;
  readonly text: string;
  /** RFC 3339. */
  readonly dueAt: string;
  readonly createdAt: string;
  readonly plannedAt: string | null;
};

const instant = (time: number): string => new Date(time).toISOString();

/** Newest first. */
export async function listNotices(store: Store, query: { readonly limit: number; readonly customer?: string | undefined }): Promise<readonly ListedNotice[]> {
  let rows = store.db
    .selectFrom("notices")
    .leftJoin("customers", "customers.id", "notices.customer_id")
    .selectAll("notices")
    .select("customers.name as customer")
    .orderBy("notices.id", "desc")
    .limit(query.limit);
  if (query.customer !== undefined) rows = rows.where("customers.name", "=", query.customer);
  return (await rows.execute()).map((row) => ({
    id: row.id,
    kind: row.kind,
    product: row.product,
    version: row.version,
    customer: row.customer,
    subject: row.subject,
    text: row.text,
    dueAt: instant(row.due_at),
    createdAt: instant(row.created_at),
    plannedAt: row.planned_at === null ? null : instant(row.planned_at),
  }));
}

export type ListedDelivery = {
  readonly id: string;
  readonly transport: "mail" | "webhook";
  readonly target: string;
  readonly state: "pending" | "sent" | "dead";
  readonly attempts: number;
  readonly lastError: string | null;
  readonly createdAt: string;
  readonly nextAt: string | null;
  readonly endedAt: string | null;
  /** Subjects of what it carries. */
  readonly notices: string[];
};

/** Newest first; of one mail address or webhook, or all. */
export async function listDeliveries(
  store: Store,
  query: { readonly limit: number; readonly target?: string | undefined },
): Promise<readonly ListedDelivery[]> {
  let select = store.db.selectFrom("deliveries").selectAll().orderBy("id", "desc").limit(query.limit);
  if (query.target !== undefined) select = select.where("target", "=", query.target);
  const rows = await select.execute();
  if (rows.length === 0) return [];
  const carried = await store.db
    .selectFrom("delivery_notices")
    .innerJoin("notices", "notices.id", "delivery_notices.notice_id")
    .select(["delivery_notices.delivery_id", "notices.subject"])
    .where(
      "delivery_notices.delivery_id",
      "in",
      rows.map((row) => row.id),
    )
    .orderBy("notices.id")
    .execute();
  const subjects = Map.groupBy(carried, (row) => row.delivery_id);
  return rows.map((row) => ({
    id: row.id,
    transport: row.transport,
    target: row.target,
    state: row.state,
    attempts: row.attempts,
    lastError: row.last_error,
    createdAt: instant(row.created_at),
    nextAt: row.state === "pending" ? instant(row.next_at) : null,
    endedAt: row.ended_at === null ? null : instant(row.ended_at),
    notices: (subjects.get(row.id) ?? []).map(({ subject }) => subject),
  }));
}
