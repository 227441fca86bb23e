/**
 * The audit trail: every event durable before its `record` resolves, written in groups.
 *
 * While one group is written the next one collects, so that the cost of the disk's flush is shared by all requests that wait for it
 * (group commit); one event alone does not wait for company.
 */
import { type AuditAction, type AuditActor, type AuditEvent, auditRow, type AuditResult } from "../store/audit-events.ts";
import type { AuditEventTable } from "../store/audit-tables.ts";
import type { Store } from "../store/store.ts";

export type RecordedEvent = AuditEvent & {
  readonly id: string;
  readonly at: Date;
  /** The event's link in the chain; undefined for what customers did (pulls, failed logins). */
  readonly link?: { readonly seq: number; readonly hash: string };
};

export type AuditQuery = {
  readonly product?: string | undefined;
  readonly customer?: string | undefined;
  readonly action?: AuditAction | undefined;
  /** From this instant on. */
  readonly since?: Date | undefined;
  /** Before this instant. */
  readonly until?: Date | undefined;
  /** Newest first by default. */
  readonly order?: "newest" | "oldest" | undefined;
  /** 1 to 1000; 100 by default. */
  readonly limit?: number | undefined;
  /** Cursor: the id of the last event of the page before. */
  readonly after?: string | undefined;
};

export type AuditPage = { readonly events: readonly RecordedEvent[] /** Undefined on the last page. */; readonly next: string | undefined };

export type AuditTrail = {
  /** Resolves when the event is on the disk; rejects when it could not be written, and then the request must fail too. */
  record(event: AuditEvent): Promise<void>;
  /** How many events wait for the disk now. */
  readonly pending: () => number;
  list(query: AuditQuery): Promise<AuditPage>;
  /** Waits for everything that was given to `record`; the trail takes nothing afterwards. */
  close(): Promise<void>;
};

/** Rows of one group: bounds its JSON to about 1 MB. */
const groupLimit = 1_000;
const pageLimit = 1_000;
const defaultPage = 100;

type Waiting = { readonly row: AuditEventTable; readonly resolve: () => void; readonly reject: (error: unknown) => void };

export function openAuditTrail(store: Store): AuditTrail {
  let waiting: Waiting[] = [];
  let pending = 0;
  let isClosed = false;
  let draining: Promise<void> | undefined;

  async function drain(): Promise<void> {
    // Lets the other requests of this turn of the event loop join the group.
    await new Promise((resolve) => setImmediate(resolve));
    while (waiting.length > 0) {
      const group = waiting.slice(0, groupLimit);
      waiting = waiting.slice(groupLimit);
      try {
        await store.auditWriter.append(group.map((entry) => entry.row));
        for (const entry of group) entry.resolve();
      } catch (error) {
        for (const entry of group) entry.reject(error);
      }
      pending -= group.length;
    }
    draining = undefined;
  }

  function record(event: AuditEvent): Promise<void> {
    if (isClosed) return Promise.reject(new Error("the audit trail is closed"));
    pending += 1;
    return new Promise((resolve, reject) => {
      waiting.push({ row: auditRow(event, store.clock.now()), resolve, reject });
      draining ??= drain();
    });
  }

  async function list(query: AuditQuery): Promise<AuditPage> {
    const limit = Math.min(Math.max(1, query.limit ?? defaultPage), pageLimit);
    const isOldestFirst = query.order === "oldest";
    let select = store.db
      .selectFrom("audit_events")
      .leftJoin("audit_chain", "audit_chain.event_id", "audit_events.id")
      .selectAll("audit_events")
      .select(["audit_chain.seq", "audit_chain.hash"])
      .orderBy("audit_events.id", isOldestFirst ? "asc" : "desc")
      .limit(limit + 1);
    if (query.product !== undefined) select = select.where("product", "=", query.product);
    if (query.customer !== undefined) select = select.where("customer", "=", query.customer);
    if (query.action !== undefined) select = select.where("action", "=", query.action);
    if (query.since !== undefined) select = select.where("at", ">=", query.since.getTime());
    if (query.until !== undefined) select = select.where("at", "<", query.until.getTime());
    if (query.after !== undefined) select = select.where("audit_events.id", isOldestFirst ? ">" : "<", query.after);
    const rows = await select.execute();
    const events = rows.slice(0, limit).map(eventOf);
    return { events, next: rows.length > limit ? events.at(-1)?.id : undefined };
  }

  return {
    record,
    pending: () => pending,
    list,
    close: async () => {
      isClosed = true;
      await draining;
    },
  };
}

function eventOf(row: AuditEventTable & { readonly seq: number | null; readonly hash: string | null }): RecordedEvent {
  return {
    id: row.id,
    at: new Date(row.at),
    ...(row.seq === null || row.hash === null ? {} : { link: { seq: row.seq, hash: row.hash } }),
    actor: {
      kind: row.actor_kind as AuditActor["kind"],
      ...(row.actor_id === null ? {} : { id: row.actor_id }),
      ...(row.actor_name === null ? {} : { name: row.actor_name }),
    },
    action: row.action as AuditAction,
    result: row.result as AuditResult,
    customer: row.customer ?? undefined,
    keyId: row.key_id ?? undefined,
    product: row.product ?? undefined,
    version: row.version ?? undefined,
    artifact: row.artifact ?? undefined,
    path: row.path ?? undefined,
    protocol: row.protocol ?? undefined,
    address: row.address ?? undefined,
    client: row.client ?? undefined,
    status: row.status ?? undefined,
    bytes: row.bytes ?? undefined,
    detail: row.detail ?? undefined,
  };
}
