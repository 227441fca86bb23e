/**
 * What of a product one customer sees: facts in, hidden releases out. Every format and image follows this one decision.
 *
 * A release is in channels. In each of them a customer sees it unless the channel is less stable than his grant allows, his grant's range
 * leaves it out, it is newer than what he is pinned to, it came after his entitlement ended, or its rollout has not reached him. What is
 * hidden is in none of his indexes and cannot be fetched by its address either.
 */
import { createHash, createHmac } from "node:crypto";
import { type GrantHolder, isInRange } from "../model/grant.ts";
import { compareVersions, type Version } from "../model/version.ts";

export type Rollout = {
  /** Hundredths of a percent of all customers: 10,000 is everybody. */
  readonly share: number;
  readonly salt: string;
  /** For security releases: no percentage holds it back. */
  readonly isBypass: boolean;
  /** Customers who keep it although the share was lowered. */
  readonly members: ReadonlySet<string>;
};

/** One published release in one channel. */
export type ListedRelease = {
  readonly releaseId: string;
  readonly version: Version;
  readonly channel: string;
  readonly promotedAt: Date;
  readonly rollout: Rollout;
};

export type HiddenReason = "channel" | "range" | "pin" | "entitlement" | "rollout";

export type Visibility = {
  /** What is hidden, by listingKey. */
  readonly hidden: ReadonlyMap<string, HiddenReason>;
  /** Names the set of what is hidden: customers with the same key share one view. Empty: they see everything. */
  readonly key: string;
  /** The entitlement has ended and took everything with it. */
  readonly isCut: boolean;
  /** When this customer's view last changed without anything being published; undefined: never. */
  readonly changedAt: Date | undefined;
  /** Until when this stays so by itself. */
  readonly validUntil: Date | undefined;
};

export const everybody = 10_000;
export const stableChannel = "stable";
/** Ranks of channels that nobody ranked; a name of the vendor's own counts as unstable until it is ranked. */
export const defaultRanks: Readonly<Record<string, number>> = { [stableChannel]: 100, preview: 0 };

export function rankOf(channel: string, ranks: ReadonlyMap<string, number>): number {
  return ranks.get(channel) ?? defaultRanks[channel] ?? 0;
}

export function listingKey(listed: { readonly releaseId: string; readonly channel: string }): string {
  return `${listed.releaseId} ${listed.channel}`;
}

/** 0 to 9,999, the same for ever for this customer and release: whoever is in stays in while the share rises. */
export function rolloutBucket(salt: string, customerId: string): number {
  return createHmac("sha256", salt).update(customerId).digest().readUInt32BE(0) % everybody;
}

export function isRolledOut(rollout: Rollout, customerId: string): boolean {
  return rollout.isBypass || rollout.share >= everybody || rollout.members.has(customerId) || rolloutBucket(rollout.salt, customerId) < rollout.share;
}

export function decideVisibility(facts: {
  readonly listed: readonly ListedRelease[];
  readonly ranks: ReadonlyMap<string, number>;
  readonly holder: GrantHolder;
  readonly now: Date;
}): Visibility {
  const { listed, ranks, holder, now } = facts;
  const { grant } = holder;
  const hasLapsed = grant.entitledUntil !== undefined && grant.entitledUntil <= now;
  const isPinned = grant.pin !== undefined && (grant.pin.until === undefined || grant.pin.until > now);
  const least = grant.channel === undefined ? undefined : rankOf(grant.channel, ranks);
  const reasonOf = (one: ListedRelease): HiddenReason | undefined => {
    if (least !== undefined && rankOf(one.channel, ranks) < least) return "channel";
    if (grant.versions !== undefined && !isInRange(one.version, grant.versions)) return "range";
    if (isPinned && grant.pin !== undefined && compareVersions(one.version, grant.pin.version) > 0) return "pin";
    if (hasLapsed && (grant.lapse === "cut" || (grant.entitledUntil !== undefined && one.promotedAt > grant.entitledUntil))) return "entitlement";
    return isRolledOut(one.rollout, holder.customerId) ? undefined : "rollout";
  };
  const hidden = new Map<string, HiddenReason>();
  for (const one of listed) {
    const reason = reasonOf(one);
    if (reason !== undefined) hidden.set(listingKey(one), reason);
  }
  const instants = [grant.entitledUntil, grant.pin?.until].filter((instant) => instant !== undefined);
  const past = [...instants.filter((instant) => instant <= now), ...(grant.isOriginal ? [] : [grant.changedAt])].map(Number);
  const coming = instants.filter((instant) => instant > now).map(Number);
  return {
    hidden,
    key: viewKey(hidden),
    isCut: hasLapsed && grant.lapse === "cut",
    changedAt: past.length === 0 ? undefined : new Date(Math.max(...past)),
    validUntil: coming.length === 0 ? undefined : new Date(Math.min(...coming)),
  };
}

/**
 * Channels that are not the reader's at all leave no index behind, those that only have nothing for him an empty one: so what was granted
 * and what was not make two views, also where the releases are the same.
 */
function viewKey(hidden: ReadonlyMap<string, HiddenReason>): string {
  if (hidden.size === 0) return "";
  const lines = [...hidden].map(([key, reason]) => (reason === "channel" ? `${key} -` : key)).sort();
  return createHash("sha256").update(lines.join("\n")).digest("hex").slice(0, 40);
}
