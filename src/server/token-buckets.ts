/** Token buckets by key, at most so many: who asks above his pace is told how long to wait. */

export type Rule = { readonly burst: number; readonly perSecond: number };

export type TokenBuckets = {
  /** 0 where a token was there and was taken; otherwise the whole seconds until the next one. */
  readonly take: (key: string, rule: Rule, now: Date) => number;
};

/** Buckets kept; an attacker with more keys than that gets fresh ones, which costs him the keys. */
const bucketLimit = 10_000;

export function createTokenBuckets(): TokenBuckets {
  const buckets = new Map<string, { readonly tokens: number; readonly at: number }>();
  return {
    take: (key, { burst, perSecond }, now) => {
      const at = now.getTime();
      const bucket = buckets.get(key) ?? { tokens: burst, at };
      const tokens = Math.min(burst, bucket.tokens + (Math.max(0, at - bucket.at) / 1000) * perSecond);
      const isTaken = tokens >= 1;
      buckets.delete(key);
      buckets.set(key, { tokens: isTaken ? tokens - 1 : tokens, at });
      if (buckets.size > bucketLimit) {
        const oldest = buckets.keys().next().value;
        if (oldest !== undefined) buckets.delete(oldest);
      }
      return isTaken ? 0 : Math.ceil((1 - tokens) / perSecond);
    },
  };
}
