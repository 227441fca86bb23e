/** The audit trail's tables as types: events, the chain over administrative ones, and what remains of pulls when their events are cleared. */

export type AuditEventTable = {
  id: string;
  at: number;
  actor_kind: string;
  actor_id: string | null;
  actor_name: string | null;
  customer: string | null;
  key_id: string | null;
  action: string;
  product: string | null;
  version: string | null;
  artifact: string | null;
  path: string | null;
  protocol: string | null;
  address: string | null;
  client: string | null;
  status: number | null;
  bytes: number | null;
  result: string;
  detail: string | null;
};

/** One link for each administrative event (audit-chain.ts). */
export type AuditChainTable = {
  /** 1, 2, 3 … without a gap. */
  seq: number;
  event_id: string;
  /** Hex of SHA-256. */
  hash: string;
};

/** One row: the newest link. It is locked by the transaction that adds the next. */
export type AuditChainHeadTable = {
  id: number;
  seq: number;
  hash: string;
};

/** Pulls of one day (UTC) by who, what and how. */
export type PullRollupTable = {
  /** `2026-11-21`. */
  day: string;
  customer: string;
  product: string;
  version: string;
  protocol: string;
  pulls: number;
  bytes: number;
  /** Different addresses of that day. */
  addresses: number;
  last_at: number;
};

/** Days whose pulls are in pull_rollups: their events may be cleared. */
export type RolledDayTable = {
  day: string;
  rolled_at: number;
};
