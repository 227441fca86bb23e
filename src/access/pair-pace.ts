/** Slows down the few pairs that the abuse round named; for every other pair this is one look into an empty map. */

/** A person's apt, dnf or docker stays below this; a crawler does not. */
const perSecond = 2;
const burst = 20;

export type PairPace = {
  readonly isSlowed: (keyId: string) => boolean;
  /** Takes one request of the pair's; false where it has to wait `retryAfterSeconds`. */
  readonly take: (keyId: string, now: Date) => boolean;
  /** From now on these and no others; who was slowed down before keeps what it used up. */
  readonly slowDown: (keyIds: readonly string[], now: Date) => void;
  readonly retryAfterSeconds: number;
};

export function createPairPace(): PairPace {
  const buckets = new Map<string, { tokens: number; at: number }>();
  return {
    isSlowed: (keyId) => buckets.has(keyId),
    take: (keyId, now) => {
      const bucket = buckets.get(keyId);
      if (bucket === undefined) return true;
      const elapsed = Math.max(0, now.getTime() - bucket.at);
      bucket.tokens = Math.min(burst, bucket.tokens + (elapsed / 1000) * perSecond);
      bucket.at = now.getTime();
      if (bucket.tokens < 1) return false;
      bucket.tokens -= 1;
      return true;
    },
    slowDown: (keyIds, now) => {
      for (const known of buckets.keys()) if (!keyIds.includes(known)) buckets.delete(known);
      for (const keyId of keyIds) if (!buckets.has(keyId)) buckets.set(keyId, { tokens: burst, at: now.getTime() });
    },
    retryAfterSeconds: 10,
  };
}
