/**
 * Upgrade paths: which step from one release to another is allowed, and the fewest steps that lead somewhere (K1, K3, K4). Facts in, hops out.
 *
 * A step a -> b is allowed where b says that it can be reached from a (`compat.upgradeFrom`), reads what a writes (epochs), and no waypoint
 * lies between them. The updater plans with it, and retention asks it what must stay.
 */
import satisfies from "semver/functions/satisfies.js";
import { type Compat, previousLine, unreadableEpoch, writtenEpochs } from "./upgrade-contract.ts";
import { compareVersions, isStable, lineOf, type Version } from "./version.ts";

export type KnownRelease = { readonly version: Version; readonly compat?: Compat | undefined };

/** May `to` be installed over `from`? `others` are all versions that ever were: they say which line is the previous one, and where waypoints are. */
export function mayStep(from: KnownRelease, to: KnownRelease, others: readonly KnownRelease[]): boolean {
  if (compareVersions(to.version, from.version) <= 0) return false;
  if (unreadableEpoch(to.compat, writtenEpochs(from.compat)) !== undefined) return false;
  const isBetween = ({ version }: KnownRelease): boolean => compareVersions(version, from.version) > 0 && compareVersions(version, to.version) < 0;
  if (others.some((other) => other.compat?.waypoint === true && isBetween(other))) return false;
  const range = to.compat?.upgradeFrom;
  if (range === undefined) return true;
  if (range !== previousLine) return satisfies(from.version, range, { includePrerelease: !isStable(from.version) });
  const lines = new Set([lineOf(from.version), lineOf(to.version)]);
  return !others.some((other) => isStable(other.version) && isBetween(other) && !lines.has(lineOf(other.version)));
}

export type WayQuestion = {
  readonly from: KnownRelease;
  readonly to: KnownRelease;
  /** Releases that may be installed on the way; `to` is one of them. */
  readonly hops: readonly KnownRelease[];
  /** All that ever were, `hops` among them. */
  readonly everything: readonly KnownRelease[];
};

/** The fewest hops, the last of them `to`; of several such ways the one over waypoints, then over newer versions. Undefined where there is none. */
export function findWay({ from, to: target, hops: nodes, everything }: WayQuestion): readonly Version[] | undefined {
  // Stable releases, and the wanted one: a preview is never a hop (K1). Waypoints first, then newer ones: the first way found is the best of its length.
  const hops = nodes
    .filter(({ version }) => version === target.version || (isStable(version) && compareVersions(version, target.version) < 0))
    .toSorted(
      (left, right) => Number(right.compat?.waypoint === true) - Number(left.compat?.waypoint === true) || compareVersions(right.version, left.version),
    );
  const seen = new Set<Version>([from.version]);
  let front: { readonly at: KnownRelease; readonly way: readonly Version[] }[] = [{ at: from, way: [] }];
  while (front.length > 0) {
    const next: typeof front = [];
    for (const { at, way } of front) {
      for (const hop of hops) {
        if (seen.has(hop.version) || !mayStep(at, hop, everything)) continue;
        if (hop.version === target.version) return [...way, hop.version];
        seen.add(hop.version);
        next.push({ at: hop, way: [...way, hop.version] });
      }
    }
    front = next;
  }
  return undefined;
}
