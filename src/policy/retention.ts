/**
 * Retention: which published versions leave and at which stage each is, decided from facts alone; the same plan is printed and applied (C6).
 *
 *   announced   told to the customers who use it, still listed everywhere     for announceDays
 *   unlisted    in no index, its address still answers                        for unlistDays
 *   retired     its address answers 410 and names the replacement             its bytes stay for graceDays
 *
 * A stage of no days is passed over; without any policy a version is retired at once.
 */
import { createHash } from "node:crypto";
import { compareVersions, isStable, lineOf, newestStable, type Version } from "../model/version.ts";

export type RetentionPolicy = {
  readonly announceDays: number;
  readonly unlistDays: number;
  /** Days that the bytes of a retired version stay, in case that it was a mistake. */
  readonly graceDays: number;
  /** A version that a customer pulled in so many days stays; undefined: pulls keep nothing. */
  readonly keepIfPulledDays: number | undefined;
};

export const atOnce: RetentionPolicy = { announceDays: 0, unlistDays: 0, graceDays: 0, keepIfPulledDays: undefined };

/** What keeps a version that would have to leave. */
export type Blocker = {
  /** A customer is pinned to it; every upgrade passes it; an older version that stays needs it; an advisory names it; it was pulled lately. */
  readonly kind: "pin" | "waypoint" | "path" | "fix" | "pulled";
  /** Who or what: names, versions. */
  readonly text: string;
};

export type PublishedRelease = {
  readonly version: Version;
  readonly files: number;
  readonly bytes: number;
  /** What it has, as `deb`, `rpm`, `image`; without any every release has the same. */
  readonly types?: readonly string[];
  readonly stage?: { readonly name: "announced" | "unlisted"; readonly since: Date } | undefined;
  readonly blockedBy?: readonly Blocker[];
  /** In the channel stable; without it every version without a pre-release part counts. */
  readonly isOffered?: boolean;
  /** Its rollout has not reached everybody. */
  readonly isPartial?: boolean;
};

export type RetentionFacts = {
  readonly product: string;
  /** How many stable versions of each type stay, and as many previews; at least 1. */
  readonly keep: number;
  /** In any order; nothing but published ones. */
  readonly published: readonly PublishedRelease[];
  /** Retired at once where it is absent. */
  readonly policy?: RetentionPolicy;
  /** Needed with a policy. */
  readonly now?: Date;
};

export type RetiringRelease = Pick<PublishedRelease, "version" | "files" | "bytes"> & {
  /** What an answer 410 names: the newest stable of the same line that stays, else the newest stable; undefined where no stable stays. */
  readonly replacement: Version | undefined;
  readonly why: string;
};

/** What happens to a version that leaves, next: now (`dueAt` has come) or later. */
export type RetentionStep = RetiringRelease & { readonly step: "announce" | "unlist" | "retire"; readonly dueAt: Date | undefined; readonly isDue: boolean };

export type RetentionPlan = {
  readonly product: string;
  readonly keep: number;
  /** Newest first; blocked ones among them. */
  readonly keeps: readonly Version[];
  /** The next step of each version that leaves, oldest first. */
  readonly steps: readonly RetentionStep[];
  /** Of these, what is retired now. */
  readonly retires: readonly RetiringRelease[];
  /** Would leave if nothing kept them. */
  readonly blocked: readonly { readonly version: Version; readonly blockedBy: readonly Blocker[] }[];
  /** Were leaving and stay after all: listed again, their stage forgotten. */
  readonly restores: readonly Version[];
  /** SHA-256 of what would be done and why: applying a plan whose facts have changed is refused. */
  readonly basis: string;
};

const dayMs = 86_400_000;
const newestFirst = (left: PublishedRelease, right: PublishedRelease): number => compareVersions(right.version, left.version);

/**
 * Keeps the newest `keep` stable versions and the newest `keep` previews, counted apart: a burst of previews must not push out what
 * customers run. A version leaves when, for every type that it has, so many newer ones have it too. The newest stable, `latest`, always
 * stays, and the newest that everybody sees. What has not come to the channel stable counts as a preview, whatever its version.
 */
export function planRetention(facts: RetentionFacts): RetentionPlan {
  const keep = Math.max(1, facts.keep);
  const policy = facts.policy ?? atOnce;
  const newest = [...facts.published].sort(newestFirst);
  const isLatest = (release: PublishedRelease): boolean => isStable(release.version) && release.isOffered !== false;
  const groups = [newest.filter(isLatest), newest.filter((release) => !isLatest(release))];
  const everywhere = newest.find((release) => isLatest(release) && release.isPartial !== true);
  const surplus = groups.flatMap((group) => group.filter((release) => release !== everywhere && isSurplus(release, group, keep)));
  const isLeaving = (release: PublishedRelease): boolean => surplus.includes(release) && (release.blockedBy ?? []).length === 0;
  const staying = newest.filter((release) => !isLeaving(release));
  const keeps = staying.map(({ version }) => version);
  const offered = staying.some(isLatest) ? staying.filter(isLatest).map(({ version }) => version) : keeps;
  const steps = newest
    .filter(isLeaving)
    .toReversed()
    .map((release) => ({
      version: release.version,
      files: release.files,
      bytes: release.bytes,
      replacement: replacementFor(release.version, offered),
      why: `older than the newest ${keep} ${isLatest(release) ? "stable versions" : "previews"}`,
      ...nextStep(release, policy, facts.now),
    }));
  const retires = steps
    .filter(({ step, isDue }) => step === "retire" && isDue)
    .map(({ version, files, bytes, replacement, why }) => ({ version, files, bytes, replacement, why }));
  const blocked = surplus.filter((release) => !isLeaving(release)).map(({ version, blockedBy = [] }) => ({ version, blockedBy }));
  const restores = newest.filter((release) => release.stage !== undefined && !isLeaving(release)).map(({ version }) => version);
  const basis = basisOf(facts, [steps.map(({ version, step, isDue }) => [version, step, isDue]), blocked, restores]);
  return { product: facts.product, keep, keeps, steps, retires, blocked, restores, basis };
}

/** `group` is newest first. */
function isSurplus(release: PublishedRelease, group: readonly PublishedRelease[], keep: number): boolean {
  const newer = group.slice(0, group.indexOf(release));
  const types = release.types ?? [];
  if (types.length === 0) return newer.length >= keep;
  return types.every((type) => newer.filter((other) => other.types === undefined || other.types.includes(type)).length >= keep);
}

function nextStep(release: PublishedRelease, policy: RetentionPolicy, now: Date | undefined): Pick<RetentionStep, "step" | "dueAt" | "isDue"> {
  const after = (days: number): Date | undefined => (release.stage === undefined ? undefined : new Date(release.stage.since.getTime() + days * dayMs));
  const at = (step: RetentionStep["step"], dueAt: Date | undefined) => ({ step, dueAt, isDue: dueAt === undefined || (now !== undefined && dueAt <= now) });
  const unlist = policy.unlistDays > 0 ? "unlist" : "retire";
  if (release.stage?.name === "unlisted") return at("retire", after(policy.unlistDays));
  if (release.stage?.name === "announced") return at(unlist, after(policy.announceDays));
  return at(policy.announceDays > 0 ? "announce" : unlist, undefined);
}

/** The version to point a reader of `version` to, out of those that stay: the newest stable of its line, else the newest stable. */
export function replacementFor(version: Version, staying: readonly Version[]): Version | undefined {
  const others = staying.filter((candidate) => candidate !== version);
  return newestStable(others.filter((candidate) => lineOf(candidate) === lineOf(version))) ?? newestStable(others);
}

/** The passing of time alone changes it only where a step becomes due. */
function basisOf(facts: RetentionFacts, decided: unknown): string {
  const releases = [...facts.published].sort(newestFirst).map(({ version, files, bytes }) => [version, files, bytes]);
  return createHash("sha256")
    .update(JSON.stringify([facts.product, facts.keep, facts.policy ?? atOnce, releases, decided]))
    .digest("hex");
}
