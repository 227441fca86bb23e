/**
 * How far a pair's day looks like the day of a pair that was passed on or stolen: facts in, a score from 0 to 100 and its reasons out.
 *
 * Each signal gives nothing up to `free`, all its points from `full` on, and a share of them in between. Many addresses alone can never make a
 * pair suspicious: a fleet of build machines behind a cloud's gateways looks like that. Many networks, or an old secret still in use, can.
 */

/** Of one pair within 24 hours. */
export type AbuseFacts = {
  /** Different /24 (IPv4) and /48 (IPv6) networks that it pulled from. */
  readonly networks: number;
  readonly addresses: number;
  readonly bytes: number;
  /** Its customer's mean day of the last 30; undefined where there is no past to compare with. */
  readonly usualBytes: number | undefined;
  /** Different versions, of all products. */
  readonly versions: number;
  /** Wrong credentials that named this pair. */
  readonly failedLogins: number;
  /** Tries with a secret that a rotation ended. */
  readonly retiredSecretUses: number;
};

export type AbuseReason = { readonly signal: AbuseSignal; readonly points: number; readonly text: string };
export type AbuseScore = { readonly score: number; readonly reasons: readonly AbuseReason[] };

type SignalRow = { readonly free: number; readonly full: number; readonly points: number; readonly text: (facts: AbuseFacts) => string };

/** A day below this is not compared with the past: the first download of an image is many times a usual day. */
const comparedBytes = 5 * 1024 ** 3;

export const abuseSignals = {
  networks: { free: 8, full: 40, points: 45, text: ({ networks }) => `pulls from ${networks} networks` },
  addresses: { free: 30, full: 300, points: 15, text: ({ addresses }) => `pulls from ${addresses} addresses` },
  volume: { free: 5, full: 25, points: 25, text: (facts) => `${Math.round(volumeOf(facts))} times as many bytes as on a usual day` },
  versions: { free: 15, full: 60, points: 20, text: ({ versions }) => `pulls ${versions} different versions` },
  failedLogins: { free: 10, full: 200, points: 20, text: ({ failedLogins }) => `${failedLogins} wrong credentials with its id` },
  retiredSecret: { free: 0, full: 20, points: 45, text: ({ retiredSecretUses }) => `${retiredSecretUses} tries with a secret that was rotated away` },
} as const satisfies Readonly<Record<string, SignalRow>>;
export type AbuseSignal = keyof typeof abuseSignals;

/** From here on the vendor is told; the pair is slowed down; the server may suspend it (setting abuse-suspend). */
export const abuseThresholds = { suspicious: 40, throttled: 65, suspendable: 85 } as const;
export type AbuseLevel = "none" | keyof typeof abuseThresholds;

function volumeOf({ bytes, usualBytes }: AbuseFacts): number {
  return usualBytes === undefined || usualBytes === 0 || bytes < comparedBytes ? 0 : bytes / usualBytes;
}

function amounts(facts: AbuseFacts): Readonly<Record<AbuseSignal, number>> {
  const { networks, addresses, versions, failedLogins, retiredSecretUses: retiredSecret } = facts;
  return { networks, addresses, volume: volumeOf(facts), versions, failedLogins, retiredSecret };
}

export function scoreAbuse(facts: AbuseFacts): AbuseScore {
  const amount = amounts(facts);
  const reasons = (Object.keys(abuseSignals) as readonly AbuseSignal[]).flatMap((signal): readonly AbuseReason[] => {
    const row: SignalRow = abuseSignals[signal];
    const share = Math.min(1, Math.max(0, (amount[signal] - row.free) / (row.full - row.free)));
    const points = Math.round(share * row.points);
    return points === 0 ? [] : [{ signal, points, text: row.text(facts) }];
  });
  const sum = reasons.reduce((total, { points }) => total + points, 0);
  return { score: Math.min(100, sum), reasons: reasons.sort((left, right) => right.points - left.points) };
}

export function levelOf(score: number): AbuseLevel {
  if (score >= abuseThresholds.suspendable) return "suspendable";
  if (score >= abuseThresholds.throttled) return "throttled";
  return score >= abuseThresholds.suspicious ? "suspicious" : "none";
}
