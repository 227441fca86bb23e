/** What the server thinks of an access pair, as a table type: one row for each pair that was ever suspicious, suspended or exempt. */
export type KeySuspicionTable = {
  key_id: string;
  /** 0 to 100. */
  score: number;
  /** JSON: AbuseReason[]. */
  reasons: string;
  scored_at: number;
  /** 1: never slowed down, never suspended, nobody is told. */
  is_exempt: number;
  suspended_at: number | null;
  suspended_for: string | null;
};
