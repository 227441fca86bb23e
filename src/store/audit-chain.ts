/**
 * The chain over administrative audit events: each link's hash covers the event and the hash before it, so that no event can be changed,
 * taken out or put in between without every later hash changing.
 *
 *   hash(n) = SHA-256 of the JSON text [hash(n-1), n, id, at, actor_kind, …, detail], with 64 zeros before the first
 *
 * A link is written in the transaction of the change that it records; the head row serialises them. Whoever notes the head elsewhere
 * (`slipway audit verify` prints it) can tell later that nothing before it was touched, even by somebody who owns the database.
 */
import { createHash } from "node:crypto";
import type { Kysely } from "kysely";
import type { AuditEventTable } from "./audit-tables.ts";
import type { Database } from "./schema.ts";

/** What stands before the first link. */
export const chainStart = "0".repeat(64);

/** The order of an event's values in the hashed text. Fixed for ever: another order breaks every chain. */
const columns = [
  "id",
  "at",
  "actor_kind",
  "actor_id",
  "actor_name",
  "customer",
  "key_id",
  "action",
  "product",
  "version",
  "artifact",
  "path",
  "protocol",
  "address",
  "client",
  "status",
  "bytes",
  "result",
  "detail",
] as const satisfies readonly (keyof AuditEventTable)[];

/** Hex of the hash of link `seq` over `event`. */
export function chainHash(previous: string, seq: number, event: AuditEventTable): string {
  return createHash("sha256")
    .update(JSON.stringify([previous, seq, ...columns.map((column) => event[column])]))
    .digest("hex");
}

/** Adds the link of an event that this transaction writes; the head stays locked until the transaction ends. */
export async function appendToChain(transaction: Kysely<Database>, event: AuditEventTable): Promise<void> {
  const head = await transaction
    .updateTable("audit_chain_head")
    .set((row) => ({ seq: row("seq", "+", 1) }))
    .where("id", "=", 1)
    .returning(["seq", "hash"])
    .executeTakeFirstOrThrow();
  const hash = chainHash(head.hash, head.seq, event);
  await transaction.insertInto("audit_chain").values({ seq: head.seq, event_id: event.id, hash }).execute();
  await transaction.updateTable("audit_chain_head").set({ hash }).where("id", "=", 1).execute();
}
