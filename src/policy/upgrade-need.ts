/** What upgrades need: which releases must stay so that no supported version loses its way (C18), and whether a new release can be reached at all. */
import { findWay, type KnownRelease, mayStep } from "../model/upgrade-path.ts";
import { compareVersions, isStable, newestStable, type Version } from "../model/version.ts";
import type { Blocker } from "./retention.ts";

export type PathFacts = {
  readonly published: readonly KnownRelease[];
  /** Left by retention long ago: they cannot be installed, and still say which line is the previous one. */
  readonly retired: readonly KnownRelease[];
  /** Of the published: would leave together. */
  readonly leaving: readonly Version[];
};

/**
 * What keeps versions that would leave. A waypoint stays: no upgrade path may pass it by. Of the others one after the other may go, the oldest
 * first, as long as the newest stable can be reached from every version that stays and can reach it now. So of two ways one stays, and of one
 * way all its hops.
 */
export function neededByUpgrades({ published, retired, leaving }: PathFacts): ReadonlyMap<Version, Blocker> {
  const needed = new Map<Version, Blocker>();
  const byAge = published.toSorted((left, right) => compareVersions(left.version, right.version));
  for (const { version, compat } of byAge) {
    if (leaving.includes(version) && compat?.waypoint === true) needed.set(version, { kind: "waypoint", text: "every upgrade passes it" });
  }
  const goalVersion = newestStable(published.map(({ version }) => version).filter((version) => !leaving.includes(version)));
  const goal = byAge.find(({ version }) => version === goalVersion);
  if (goal === undefined) return needed;
  const everything = [...published, ...retired];
  const stays = ({ version }: KnownRelease): boolean => !leaving.includes(version) || needed.has(version);
  let hops: readonly KnownRelease[] = byAge;
  const isLed = (from: KnownRelease, over: readonly KnownRelease[]): boolean => findWay({ from, to: goal, hops: over, everything }) !== undefined;
  /** Only who cannot go there at once depends on others. */
  const dependsOnHops = (from: KnownRelease): boolean => compareVersions(from.version, goal.version) < 0 && !mayStep(from, goal, everything);
  const dependent = new Set(byAge.filter(dependsOnHops));
  for (const candidate of byAge) {
    if (stays(candidate)) continue;
    const left = hops.filter((hop) => hop !== candidate);
    const stranded = [...dependent].filter((from) => stays(from) && isLed(from, hops) && !isLed(from, left)).map(({ version }) => version);
    if (stranded.length === 0) hops = left;
    else needed.set(candidate.version, { kind: "path", text: `${goal.version} is reached through it from ${stranded.join(", ")}` });
  }
  return needed;
}

/**
 * True for a stable release that says from where it can be reached, and no older one that is published can get there: the release on the way is
 * missing, or the range is wrong. Where nothing older is published, there is nobody to be led.
 */
export function isOutOfReach(release: KnownRelease, others: Pick<PathFacts, "published" | "retired">): boolean {
  if (release.compat === undefined || !isStable(release.version)) return false;
  const older = others.published.filter(({ version }) => isStable(version) && compareVersions(version, release.version) < 0);
  const everything = [...others.published, ...others.retired, release];
  return older.length > 0 && !older.some((from) => mayStep(from, release, everything));
}
