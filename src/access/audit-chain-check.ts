/** Walks the chain over administrative events from its first link and says whether anything was changed, taken out or put in. */
import { chainHash, chainStart } from "../store/audit-chain.ts";
import type { Store } from "../store/store.ts";

export type ChainCheck = {
  readonly state: "whole" | "broken";
  /** Links that were found whole. */
  readonly links: number;
  /** Hex of the newest whole link's hash, or 64 zeros; note it elsewhere to prove later that nothing before it was touched. */
  readonly head: string;
  /** Where the chain is broken: the link's number and what is wrong with it. */
  readonly fault: string | undefined;
};

const pageSize = 1_000;

/**
 * Reads every link and its event, in pages. A head that its owner noted earlier may be given as `expected`: a chain that was cut short and
 * grew again, or was written anew as a whole, does not contain it.
 */
export async function checkAuditChain(store: Store, expected?: string): Promise<ChainCheck> {
  const target = await store.db.selectFrom("audit_chain_head").select(["seq", "hash"]).where("id", "=", 1).executeTakeFirst();
  let seq = 0;
  let hash = chainStart;
  let isExpectedFound = expected === undefined || expected === chainStart;
  const broken = (fault: string): ChainCheck => ({ state: "broken", links: seq, head: hash, fault });
  if (target === undefined) return broken("the chain's head is missing");
  while (seq < target.seq) {
    const links = await store.db
      .selectFrom("audit_chain")
      .leftJoin("audit_events", "audit_events.id", "audit_chain.event_id")
      .selectAll("audit_events")
      .select(["audit_chain.seq", "audit_chain.hash", "audit_chain.event_id"])
      .where("seq", ">", seq)
      .where("seq", "<=", target.seq) // what is added while we read is the next check's
      .orderBy("seq")
      .limit(pageSize)
      .execute();
    if (links.length === 0) return broken(`link ${seq + 1} is missing`);
    for (const { seq: number, hash: claimed, event_id: eventId, ...event } of links) {
      if (number !== seq + 1) return broken(`link ${seq + 1} is missing`);
      const { id, at, actor_kind, action, result } = event;
      if (id === null || at === null || actor_kind === null || action === null || result === null) {
        return broken(`the event ${eventId} of link ${number} is missing`);
      }
      if (chainHash(hash, number, { ...event, id, at, actor_kind, action, result }) !== claimed) {
        return broken(`link ${number}: the event ${eventId} is not as it was recorded`);
      }
      seq = number;
      hash = claimed;
      isExpectedFound ||= hash === expected;
    }
  }
  if (hash !== target.hash) return broken(`the head does not name link ${seq}`);
  if (!isExpectedFound) return broken(`no link has the hash ${expected?.slice(0, 64) ?? ""}`);
  return { state: "whole", links: seq, head: hash, fault: undefined };
}
