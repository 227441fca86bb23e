/**
 * Who runs what: pulls by day, customer, product, version and protocol.
 *
 * A day that is over is counted once into pull_rollups; its pull events may then be cleared after the time that the vendor wants to keep
 * them (`audit-keep`). Administrative events are never cleared: their chain would break.
 */
import { sql } from "kysely";
import type { Store } from "../store/store.ts";

const dayMs = 24 * 3_600_000;
/** An event may reach the database a moment after its time stamp: yesterday is counted from one o'clock on (UTC). */
const settleMs = 3_600_000;
/** Days that one round counts, so that a first round over years of events does not hold the database. */
const daysPerRound = 31;
/** Events that one statement clears. */
const clearBatch = 5_000;

export type Usage = {
  readonly customer: string;
  readonly product: string;
  readonly version: string;
  readonly protocol: string;
  readonly pulls: number;
  readonly bytes: number;
  /** Most different addresses on one day: machines, where they are not behind one address. */
  readonly addresses: number;
  readonly lastAt: Date;
};

/** `2026-11-21` (UTC). */
function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

function startOf(day: string): number {
  return Date.parse(`${day}T00:00:00Z`);
}

/** Counted: complete and broken-off pulls of artifacts. Index files, which clients read all day, say nothing about what is used. */
function countPulls(store: Store, day: { readonly from: number; readonly until: number }) {
  return store.db
    .selectFrom("audit_events")
    .select((expression) => [
      "customer",
      "product",
      "version",
      "protocol",
      expression.fn.countAll<number | string>().as("pulls"),
      expression.fn.sum<number | string | null>("bytes").as("bytes"),
      expression.fn.count<number | string>("address").distinct().as("addresses"),
      expression.fn.max("at").as("last_at"),
    ])
    .where("action", "=", "download")
    .where("result", "in", ["complete", "aborted"])
    .where("version", "is not", null)
    .where("customer", "is not", null)
    .where("product", "is not", null)
    .where("at", ">=", day.from)
    .where("at", "<", day.until)
    .groupBy(["customer", "product", "version", "protocol"])
    .execute();
}

type Counted = Awaited<ReturnType<typeof countPulls>>[number];

/** PostgreSQL's sums and counts come as text. */
function usageOf(row: Counted): Usage {
  return {
    customer: row.customer ?? "",
    product: row.product ?? "",
    version: row.version ?? "",
    protocol: row.protocol ?? "",
    pulls: Number(row.pulls),
    bytes: Number(row.bytes ?? 0),
    addresses: Number(row.addresses),
    lastAt: new Date(row.last_at),
  };
}

/** Counts the days that are over and not counted yet, oldest first; returns how many. Two servers at once count each day once. */
export async function rollUpPulls(store: Store): Promise<number> {
  const first = await store.db.selectFrom("audit_events").select("at").orderBy("at").limit(1).executeTakeFirst();
  if (first === undefined) return 0;
  const last = await store.db.selectFrom("rolled_days").select("day").orderBy("day", "desc").limit(1).executeTakeFirst();
  const end = startOf(dayOf(store.clock.now().getTime() - settleMs));
  let from = Math.max(startOf(dayOf(first.at)), last === undefined ? 0 : startOf(last.day) + dayMs);
  let days = 0;
  for (; from < end && days < daysPerRound; from += dayMs, days += 1) await rollUpDay(store, dayOf(from));
  return days;
}

async function rollUpDay(store: Store, day: string): Promise<void> {
  const counted = (await countPulls(store, { from: startOf(day), until: startOf(day) + dayMs })).map(usageOf);
  await store.db.transaction().execute(async (transaction) => {
    const isOurs = await transaction
      .insertInto("rolled_days")
      .values({ day, rolled_at: store.clock.now().getTime() })
      .onConflict((conflict) => conflict.column("day").doNothing())
      .returning("day")
      .executeTakeFirst();
    if (isOurs === undefined) return; // another server has counted it
    for (const { lastAt, ...usage } of counted) {
      await transaction
        .insertInto("pull_rollups")
        .values({ day, ...usage, last_at: lastAt.getTime() })
        .execute();
    }
  });
}

/** Removes pull events older than `keepMs` whose day is counted; returns how many. */
export async function clearCountedPulls(store: Store, keepMs: number): Promise<number> {
  const limit = startOf(dayOf(store.clock.now().getTime() - keepMs));
  let cleared = 0;
  for (;;) {
    const batch = store.db
      .selectFrom("audit_events")
      .select("id")
      .where("action", "=", "download")
      .where("at", "<", limit)
      .where("at", "<", sql<number>`${await countedUntil(store)}`)
      .orderBy("at")
      .limit(clearBatch);
    const { numDeletedRows } = await store.db.deleteFrom("audit_events").where("id", "in", batch).executeTakeFirstOrThrow();
    cleared += Number(numDeletedRows);
    if (numDeletedRows < clearBatch) return cleared;
  }
}

async function countedUntil(store: Store): Promise<number> {
  const last = await store.db.selectFrom("rolled_days").select("day").orderBy("day", "desc").limit(1).executeTakeFirst();
  return last === undefined ? 0 : startOf(last.day) + dayMs;
}

export type UsageQuery = {
  readonly product?: string | undefined;
  readonly customer?: string | undefined;
  /** Whole days (UTC) back from today, today included; 90 by default. */
  readonly days?: number | undefined;
};

/** Pulls of the last days, most recently used first: counted days from their roll-up, the others from their events. */
export async function listUsage(store: Store, query: UsageQuery): Promise<readonly Usage[]> {
  const since = startOf(dayOf(store.clock.now().getTime())) - ((query.days ?? 90) - 1) * dayMs;
  const counted = await store.db.selectFrom("pull_rollups").selectAll().where("day", ">=", dayOf(since)).execute();
  const rolled = counted.map(({ day: _day, last_at: lastAt, ...row }): Usage => ({ ...row, lastAt: new Date(lastAt) }));
  const from = Math.max(since, await countedUntil(store));
  const fresh = (await countPulls(store, { from, until: Number.MAX_SAFE_INTEGER })).map(usageOf);
  const sums = new Map<string, Usage>();
  for (const usage of [...rolled, ...fresh]) {
    if (query.product !== undefined && usage.product !== query.product) continue;
    if (query.customer !== undefined && usage.customer !== query.customer) continue;
    const key = JSON.stringify([usage.customer, usage.product, usage.version, usage.protocol]);
    const known = sums.get(key);
    sums.set(key, known === undefined ? usage : added(known, usage));
  }
  return [...sums.values()].sort((left, right) => right.lastAt.getTime() - left.lastAt.getTime());
}

function added(left: Usage, right: Usage): Usage {
  return {
    ...left,
    pulls: left.pulls + right.pulls,
    bytes: left.bytes + right.bytes,
    addresses: Math.max(left.addresses, right.addresses),
    lastAt: left.lastAt > right.lastAt ? left.lastAt : right.lastAt,
  };
}
