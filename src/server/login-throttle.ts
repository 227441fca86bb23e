/**
 * Slows down whoever presents wrong credentials: a token bucket per address and key id, and a wider one per address.
 *
 * Guessing a 256-bit secret is hopeless anyway; the throttle protects the audit trail and the processor from floods. It is asked only after
 * a credential proved wrong, so that nobody can lock a customer out by failing in his name from behind the same address.
 */

export type LoginThrottle = {
  /** Counts one failure; `isLimited` failures are answered 429 and leave no audit event. `retryAfterSeconds` is for Retry-After. */
  readonly fail: (attempt: { readonly address: string; readonly keyId: string; readonly now: Date }) => {
    readonly isLimited: boolean;
    readonly retryAfterSeconds: number;
  };
};

type Bucket = { tokens: number; at: number };
type Rule = { readonly burst: number; readonly perSecond: number };

const perKey: Rule = { burst: 10, perSecond: 1 / 6 };
const perAddress: Rule = { burst: 60, perSecond: 1 };
/** Buckets kept; an attacker with more addresses than that gets fresh ones, which costs him the addresses. */
const bucketLimit = 10_000;

export function createLoginThrottle(): LoginThrottle {
  const buckets = new Map<string, Bucket>();
  const take = (key: string, rule: Rule, now: number): boolean => {
    const bucket = buckets.get(key) ?? { tokens: rule.burst, at: now };
    const tokens = Math.min(rule.burst, bucket.tokens + ((now - bucket.at) / 1000) * rule.perSecond);
    const isTaken = tokens >= 1;
    buckets.delete(key);
    buckets.set(key, { tokens: isTaken ? tokens - 1 : tokens, at: now });
    if (buckets.size > bucketLimit) {
      const oldest = buckets.keys().next().value;
      if (oldest !== undefined) buckets.delete(oldest);
    }
    return isTaken;
  };
  return {
    fail: ({ address, keyId, now }) => {
      const isAddressFine = take(address, perAddress, now.getTime());
      const isKeyFine = take(`${address} ${keyId.slice(0, 64)}`, perKey, now.getTime());
      return { isLimited: !(isAddressFine && isKeyFine), retryAfterSeconds: Math.ceil(1 / perKey.perSecond) };
    },
  };
}
