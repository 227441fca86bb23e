/**
 * Slows down whoever presents wrong credentials: a token bucket per address and key id, and a wider one per address.
 *
 * Guessing a 256-bit secret is hopeless anyway; the throttle protects the audit trail and the processor from floods. It is asked only after
 * a credential proved wrong, so that nobody can lock a customer out by failing in his name from behind the same address.
 */
import { createTokenBuckets, type Rule } from "./token-buckets.ts";

export type LoginThrottle = {
  /** Counts one failure; `isLimited` failures are answered 429 and leave no audit event. `retryAfterSeconds` is for Retry-After. */
  readonly fail: (attempt: { readonly address: string; readonly keyId: string; readonly now: Date }) => {
    readonly isLimited: boolean;
    readonly retryAfterSeconds: number;
  };
};

const perKey: Rule = { burst: 10, perSecond: 1 / 6 };
const perAddress: Rule = { burst: 60, perSecond: 1 };

export function createLoginThrottle(): LoginThrottle {
  const buckets = createTokenBuckets();
  return {
    fail: ({ address, keyId, now }) => {
      const waits = [buckets.take(address, perAddress, now), buckets.take(`${address} ${keyId.slice(0, 64)}`, perKey, now)];
      const retryAfterSeconds = Math.max(...waits);
      return { isLimited: retryAfterSeconds > 0, retryAfterSeconds };
    },
  };
}
