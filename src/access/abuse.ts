/**
 * The abuse round: every pair's last 24 hours from the audit trail, scored (policy/abuse.ts), and what follows from a higher score.
 *
 *   suspicious    an audit event and a notice to the vendor, once a day
 *   throttled     besides, at most a few requests a second (pair-pace.ts)
 *   suspendable   besides, where the setting abuse-suspend is on, refused like a revoked pair until `slipway key resume`
 */
import type { Kysely } from "kysely";
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { type AbuseFacts, type AbuseLevel, type AbuseReason, abuseThresholds, levelOf, scoreAbuse } from "../policy/abuse.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import { enqueueNotice } from "../store/outbox.ts";
import type { Database } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { networkOf } from "./networks.ts";

const dayMs = 24 * 3_600_000;
/** Rows that one round reads of each kind, busiest first: a pair and address each. */
const rowLimit = 50_000;
/** What a failed login says of itself where it was a secret that a rotation ended (server/caller.ts). */
export const retiredSecretDetail = "retired secret";

type Counting = {
  readonly customer: string | undefined;
  readonly networks: Set<string>;
  addresses: number;
  bytes: number;
  versions: number;
  failedLogins: number;
  retiredSecretUses: number;
};

/** Facts by key id, of every pair that did anything within 24 hours before `now`. */
export async function readAbuseFacts(store: Store, now: Date): Promise<ReadonlyMap<string, AbuseFacts & { readonly customer: string | undefined }>> {
  const since = now.getTime() - dayMs;
  const recent = store.db.selectFrom("audit_events").where("at", ">=", since).where("key_id", "is not", null);
  const pulls = await recent
    .where("action", "=", "download")
    .select((expression) => ["key_id", "customer", "address", expression.fn.sum<number | string | null>("bytes").as("bytes")])
    .groupBy(["key_id", "customer", "address"])
    .orderBy("bytes", "desc")
    .limit(rowLimit)
    .execute();
  const versions = await recent
    .where("action", "=", "download")
    .where("version", "is not", null)
    .select(["key_id", "product", "version"])
    .distinct()
    .limit(rowLimit)
    .execute();
  const failures = await recent
    .where("action", "=", "login-failed")
    .select((expression) => ["key_id", "detail", expression.fn.countAll<number | string>().as("count")])
    .groupBy(["key_id", "detail"])
    .limit(rowLimit)
    .execute();
  const found = new Map<string, Counting>();
  const of = (keyId: string | null, customer?: string | null): Counting => {
    const known = found.get(keyId ?? "");
    if (known !== undefined) return known;
    const made = { customer: customer ?? undefined, networks: new Set<string>(), addresses: 0, bytes: 0, versions: 0, failedLogins: 0, retiredSecretUses: 0 };
    found.set(keyId ?? "", made);
    return made;
  };
  for (const row of pulls) {
    const counting = of(row.key_id, row.customer);
    counting.networks.add(networkOf(row.address ?? ""));
    counting.addresses += 1;
    counting.bytes += Number(row.bytes ?? 0);
  }
  for (const row of versions) of(row.key_id).versions += 1;
  for (const row of failures) {
    if (row.detail === retiredSecretDetail) of(row.key_id).retiredSecretUses += Number(row.count);
    else if (row.detail === null) of(row.key_id).failedLogins += Number(row.count);
  }
  const usual = await usualBytes(store, now);
  return new Map([...found].map(([id, { networks, ...rest }]) => [id, { ...rest, networks: networks.size, usualBytes: usual.get(rest.customer ?? "") }]));
}

/** A customer's mean day with pulls, of the 30 days that are counted. */
async function usualBytes(store: Store, now: Date): Promise<ReadonlyMap<string, number>> {
  const since = new Date(now.getTime() - 30 * dayMs).toISOString().slice(0, 10);
  const rows = await store.db
    .selectFrom("pull_rollups")
    .where("day", ">=", since)
    .select((expression) => [
      "customer",
      expression.fn.sum<number | string>("bytes").as("bytes"),
      expression.fn.count<number | string>("day").distinct().as("days"),
    ])
    .groupBy("customer")
    .execute();
  return new Map(rows.map(({ customer, bytes, days }) => [customer, Number(bytes) / Number(days)]));
}

export type Suspicion = {
  readonly keyId: string;
  readonly score: number;
  readonly level: AbuseLevel;
  readonly reasons: readonly AbuseReason[];
  readonly scoredAt: Date | undefined;
  readonly isExempt: boolean;
  readonly suspendedAt: Date | undefined;
  readonly suspendedFor: string | undefined;
};

const reasonsSchema = z.array(z.object({ signal: z.string(), points: z.number(), text: z.string() }));

function suspicionOf(row: Database["key_suspicions"]): Suspicion {
  return {
    keyId: row.key_id,
    score: row.score,
    level: levelOf(row.score),
    reasons: reasonsSchema.parse(JSON.parse(row.reasons)) as readonly AbuseReason[],
    scoredAt: new Date(row.scored_at),
    isExempt: row.is_exempt === 1,
    suspendedAt: row.suspended_at === null ? undefined : new Date(row.suspended_at),
    suspendedFor: row.suspended_for ?? undefined,
  };
}

/** Pairs from the first threshold on, suspended ones and exempt ones; the highest score first. */
export async function listSuspicions(store: Store): Promise<readonly Suspicion[]> {
  const rows = await store.db
    .selectFrom("key_suspicions")
    .selectAll()
    .where((expression) =>
      expression.or([expression("score", ">=", abuseThresholds.suspicious), expression("suspended_at", "is not", null), expression("is_exempt", "=", 1)]),
    )
    .orderBy("score", "desc")
    .orderBy("key_id")
    .limit(1_000)
    .execute();
  return rows.map(suspicionOf);
}

/** One pair, with a score of 0 where nothing was ever found. Throws `not_found`. */
export async function showSuspicion(store: Store, keyId: string): Promise<Suspicion> {
  await requireKey(store.db, keyId);
  const row = await store.db.selectFrom("key_suspicions").selectAll().where("key_id", "=", keyId).executeTakeFirst();
  if (row !== undefined) return suspicionOf(row);
  return { keyId, score: 0, level: "none", reasons: [], scoredAt: undefined, isExempt: false, suspendedAt: undefined, suspendedFor: undefined };
}

async function requireKey(db: Kysely<Database>, id: string): Promise<{ readonly customer: string }> {
  const row = await db
    .selectFrom("access_keys")
    .innerJoin("customers", "customers.id", "access_keys.customer_id")
    .select("customers.name")
    .where("access_keys.id", "=", id)
    .executeTakeFirst();
  if (row === undefined) throw new SlipwayError("not_found", `there is no access key "${id.slice(0, 40)}"`);
  return { customer: row.name };
}

const server: AuditActor = { kind: "server" };

/** Scores every pair of the last day and acts on what rose; returns the ids of throttled pairs, suspended ones not among them. */
export async function judgePairs(store: Store, options: { readonly maySuspend: boolean }): Promise<readonly string[]> {
  const now = store.clock.now();
  const facts = await readAbuseFacts(store, now);
  const rows = await store.db.selectFrom("key_suspicions").selectAll().execute();
  const known = new Map(rows.map((row) => [row.key_id, row]));
  const throttled: string[] = [];
  for (const keyId of new Set([...facts.keys(), ...known.keys()])) {
    const before = known.get(keyId);
    const fact = facts.get(keyId);
    const scored = fact === undefined ? { score: 0, reasons: [] } : scoreAbuse(fact);
    const level = levelOf(scored.score);
    const isSuspended = before?.suspended_at !== null && before?.suspended_at !== undefined;
    if (before === undefined && level === "none") continue;
    if (before?.is_exempt !== 1 && !isSuspended && (level === "throttled" || level === "suspendable")) throttled.push(keyId);
    if (before?.score === scored.score && before.reasons === JSON.stringify(scored.reasons)) continue;
    const isRisen = rank(level) > rank(levelOf(before?.score ?? 0)) && before?.is_exempt !== 1;
    const isNewlySuspended = isRisen && level === "suspendable" && options.maySuspend && !isSuspended;
    await store.db.transaction().execute(async (transaction) => {
      const key = await transaction.selectFrom("access_keys").select("id").where("id", "=", keyId).executeTakeFirst();
      if (key === undefined) return; // somebody made the id up
      const change = { score: scored.score, reasons: JSON.stringify(scored.reasons), scored_at: now.getTime() };
      await transaction
        .insertInto("key_suspicions")
        .values({ ...change, key_id: keyId, is_exempt: 0, suspended_at: null, suspended_for: null })
        .onConflict((conflict) => conflict.column("key_id").doUpdateSet(change))
        .execute();
      if (isRisen) await tell(transaction, store, { keyId, score: scored.score, reasons: scored.reasons, level, isSuspended: isNewlySuspended });
      if (isNewlySuspended) await suspend(transaction, store, { keyId, why: `score ${scored.score}`, actor: server });
    });
    if (isNewlySuspended) {
      store.changes.emit("credential", keyId);
      throttled.splice(throttled.indexOf(keyId), 1);
    }
  }
  return throttled;
}

const levels: readonly AbuseLevel[] = ["none", "suspicious", "throttled", "suspendable"];
const rank = (level: AbuseLevel): number => levels.indexOf(level);

type Telling = {
  readonly keyId: string;
  readonly score: number;
  readonly reasons: readonly AbuseReason[];
  readonly level: AbuseLevel;
  readonly isSuspended: boolean;
};

async function tell(transaction: Kysely<Database>, store: Store, { keyId, score, reasons, level, isSuspended }: Telling): Promise<void> {
  const { customer } = await requireKey(transaction, keyId);
  const why = reasons.map(({ text, points }) => `${text} (${points})`).join("; ");
  await appendAuditEvent(transaction, store, { actor: server, action: "key.suspect", result: "complete", customer, keyId, detail: `score ${score}: ${why}` });
  const state = isSuspended ? "It is suspended." : level === "suspicious" ? "It works as before." : "It is slowed down.";
  await enqueueNotice(transaction, store, {
    kind: "key-abuse",
    subject: `The pair ${keyId} of ${customer} looks abused (score ${score})`,
    text: [
      `Within a day: ${why}.`,
      `${state} Ask ${customer}; if it was passed on or stolen: slipway key rotate ${keyId} --overlap 0.`,
      `If this is how they work: slipway key exempt ${keyId}.`,
    ].join("\n"),
    dedupeKey: `key-abuse ${keyId} ${level} ${store.clock.now().toISOString().slice(0, 10)}`,
  });
}

async function suspend(
  transaction: Kysely<Database>,
  store: Store,
  { keyId, why, actor }: { readonly keyId: string; readonly why: string; readonly actor: AuditActor },
): Promise<void> {
  const { customer } = await requireKey(transaction, keyId);
  await transaction.updateTable("key_suspicions").set({ suspended_at: store.clock.now().getTime(), suspended_for: why }).where("key_id", "=", keyId).execute();
  await appendAuditEvent(transaction, store, { actor, action: "key.suspend", result: "complete", customer, keyId, detail: why });
}

/** Ends a suspension; the pair works again within a second. Throws `not_found`, and `conflict` where it is not suspended. */
export async function resumeAccessKey(store: Store, input: { readonly keyId: string; readonly actor: AuditActor }): Promise<void> {
  await store.db.transaction().execute(async (transaction) => {
    const { customer } = await requireKey(transaction, input.keyId);
    const { numUpdatedRows } = await transaction
      .updateTable("key_suspicions")
      .set({ suspended_at: null, suspended_for: null })
      .where("key_id", "=", input.keyId)
      .where("suspended_at", "is not", null)
      .executeTakeFirst();
    if (numUpdatedRows === 0n)
      throw new SlipwayError("conflict", `the access key ${input.keyId} is not suspended`, { hint: "`slipway key suspicious` lists those that are" });
    await appendAuditEvent(transaction, store, { actor: input.actor, action: "key.resume", result: "complete", customer, keyId: input.keyId });
  });
  store.changes.emit("credential", input.keyId);
}

/** Says that this pair's way of working is fine (or no longer is): exempt pairs are scored, and nothing follows. Throws `not_found`. */
export async function exemptAccessKey(store: Store, input: { readonly keyId: string; readonly isExempt: boolean; readonly actor: AuditActor }): Promise<void> {
  const { keyId, isExempt } = input;
  await store.db.transaction().execute(async (transaction) => {
    const { customer } = await requireKey(transaction, keyId);
    const change = { is_exempt: isExempt ? 1 : 0 };
    await transaction
      .insertInto("key_suspicions")
      .values({ ...change, key_id: keyId, score: 0, reasons: "[]", scored_at: store.clock.now().getTime(), suspended_at: null, suspended_for: null })
      .onConflict((conflict) => conflict.column("key_id").doUpdateSet(change))
      .execute();
    const detail = isExempt ? "exempt" : "not exempt";
    await appendAuditEvent(transaction, store, { actor: input.actor, action: "key.exempt", result: "complete", customer, keyId, detail });
  });
}
