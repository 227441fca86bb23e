/** Tables of channels: which release is in which of them, how far it is rolled out, and where retention stands with it. */

/** A channel that somebody ranked; others have the rank of policy/visibility.ts. */
export type ChannelTable = {
  product_id: string;
  name: string;
  /** Higher is more stable. */
  rank: number;
};

/** One release in one channel; a row stays when the release is withdrawn or retired. */
export type ReleaseChannelTable = {
  release_id: string;
  channel: string;
  promoted_at: number;
  /** Who sees it, in hundredths of a percent of all customers: 10,000 is everybody. */
  rollout: number;
  /** Random: which customers come first differs from release to release. */
  salt: string;
  /** 1: the percentage does not hold it back. */
  is_bypass: number;
  /** How many of a customer's machines their updaters offer it to, in hundredths of a percent. */
  machines: number;
};

/** Customers who have a release whose rollout was lowered: it is not taken from them. */
export type RolloutMemberTable = {
  release_id: string;
  channel: string;
  customer_id: string;
};

/** Stages before the end: `announced`, then `unlisted`; the release's own state says the rest. */
export type RetentionStageTable = {
  release_id: string;
  stage: "announced" | "unlisted";
  announced_at: number;
  unlisted_at: number | null;
};

/** How a product's versions leave; a product without a row has the defaults of policy/retention.ts. */
export type RetentionPolicyTable = {
  product_id: string;
  /** Days from the announcement to leaving the indexes, and from there to the answer 410. */
  announce_days: number;
  unlist_days: number;
  /** Days that the bytes stay after that. */
  grace_days: number;
  /** A version that a customer pulled in so many days stays. */
  keep_if_pulled_days: number | null;
  /** 1: the server applies what is due by itself. */
  is_automatic: number;
};
