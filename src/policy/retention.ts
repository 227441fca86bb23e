/** Retention: which published versions leave, decided from facts alone; the same plan is printed and applied (C6). */
import { createHash } from "node:crypto";
import { compareVersions, isStable, lineOf, newestStable, type Version } from "../model/version.ts";

export type PublishedRelease = { readonly version: Version; readonly files: number; readonly bytes: number };

export type RetentionFacts = {
  readonly product: string;
  /** How many stable versions stay, and as many previews; at least 1. */
  readonly keep: number;
  /** In any order; nothing but published ones. */
  readonly published: readonly PublishedRelease[];
};

export type RetiringRelease = PublishedRelease & {
  /** What an answer 410 names: the newest stable of the same line that stays, else the newest stable; undefined where no stable stays. */
  readonly replacement: Version | undefined;
  readonly why: string;
};

export type RetentionPlan = {
  readonly product: string;
  readonly keep: number;
  /** Newest first. */
  readonly keeps: readonly Version[];
  /** Oldest first. */
  readonly retires: readonly RetiringRelease[];
  /** SHA-256 of the facts: applying a plan whose facts have changed is refused. */
  readonly basis: string;
};

const newestFirst = (left: PublishedRelease, right: PublishedRelease): number => compareVersions(right.version, left.version);

/**
 * Keeps the newest `keep` stable versions and the newest `keep` previews, counted apart: a burst of previews must not push out what
 * customers run. The newest stable, `latest`, always stays.
 */
export function planRetention(facts: RetentionFacts): RetentionPlan {
  const keep = Math.max(1, facts.keep);
  const newest = [...facts.published].sort(newestFirst);
  const groups = [newest.filter(({ version }) => isStable(version)), newest.filter(({ version }) => !isStable(version))];
  const staying = groups.flatMap((group) => group.slice(0, keep)).sort(newestFirst);
  const keeps = staying.map(({ version }) => version);
  const retires = groups
    .flatMap((group) => group.slice(keep))
    .sort(newestFirst)
    .toReversed()
    .map((release) => ({ ...release, replacement: replacementFor(release.version, keeps), why: reasonFor(release.version, keep) }));
  return { product: facts.product, keep, keeps, retires, basis: basisOf(facts) };
}

/** The version to point a reader of `version` to, out of those that stay: the newest stable of its line, else the newest stable. */
export function replacementFor(version: Version, staying: readonly Version[]): Version | undefined {
  const others = staying.filter((candidate) => candidate !== version);
  return newestStable(others.filter((candidate) => lineOf(candidate) === lineOf(version))) ?? newestStable(others);
}

function reasonFor(version: Version, keep: number): string {
  return `older than the newest ${keep} ${isStable(version) ? "stable versions" : "previews"}`;
}

function basisOf(facts: RetentionFacts): string {
  const releases = [...facts.published].sort(newestFirst).map(({ version, files, bytes }) => [version, files, bytes]);
  return createHash("sha256")
    .update(JSON.stringify([facts.product, facts.keep, releases]))
    .digest("hex");
}
