/** How often installations may check in: each one has its own pace, and all of an access pair together another. Each check-in is an event in the audit trail. */
import { createTokenBuckets, type Rule } from "./token-buckets.ts";

export type CheckInPace = {
  /** 0 where this one is taken; otherwise the seconds for Retry-After. `caller` is an access pair's key id, or an administrator. */
  readonly take: (checkIn: { readonly caller: string; readonly machine: string; readonly now: Date }) => number;
};

/** An agent checks in with every look for news (six hours apart unless told otherwise, a minute at the shortest) and at the end of each operation. */
const perInstallation: Rule = { burst: 10, perSecond: 1 / 60 };
/** A pair may be that of a whole fleet, all of which starts at once after a power cut. */
const perPair: Rule = { burst: 1000, perSecond: 10 };

export function createCheckInPace(): CheckInPace {
  const [installations, pairs] = [createTokenBuckets(), createTokenBuckets()];
  return {
    take: ({ caller, machine, now }) => installations.take(`${caller} ${machine}`, perInstallation, now) || pairs.take(caller, perPair, now),
  };
}
