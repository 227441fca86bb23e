/**
 * The way from the installed version to a wanted one, over releases that exist, by what each promises (K1, K3, K4). Pure: facts in, hops out.
 *
 * A step a -> b is allowed where b says that it can be reached from a (`compat.upgradeFrom`), reads what a writes (epochs), and no waypoint
 * lies between them. Every hop is a whole transaction with its own proof of health.
 */
import satisfies from "semver/functions/satisfies.js";
import { SlipwayError } from "../model/errors.ts";
import { type Compat, previousLine, unreadableEpoch, writtenEpochs } from "../model/upgrade-contract.ts";
import { compareVersions, isStable, lineOf, type Version } from "../model/version.ts";

export type KnownRelease = { readonly version: Version; readonly compat?: Compat | undefined };

export type PathQuestion = {
  /** What is installed; undefined for a first installation, which needs no path. */
  readonly from: KnownRelease | undefined;
  readonly to: Version;
  /** Published releases that may be installed. */
  readonly releases: readonly KnownRelease[];
  /** Releases that existed and cannot be had any more. */
  readonly retired: readonly KnownRelease[];
};

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

/**
 * The fewest hops from `from` to `to`, the last of them `to`; of several such ways the one over waypoints, then over newer versions. Throws
 * `waypoint_missing` where only a release that left retention would connect them, `no_upgrade_path` where nothing would.
 */
export function findPath(question: PathQuestion): readonly Version[] {
  const { from, to, releases, retired } = question;
  const target = releases.find(({ version }) => version === to);
  if (target === undefined) throw new SlipwayError("version_not_found", `${to} is not offered`);
  if (from === undefined) return [to];
  const everything = [...releases, ...retired];
  const found = search(from, target, releases, everything);
  if (found !== undefined) return found;
  const lost = search(from, target, everything, everything)?.filter((version) => !releases.some((release) => release.version === version));
  if (lost !== undefined && lost.length > 0) {
    throw new SlipwayError("waypoint_missing", `the way from ${from.version} to ${to} leads through ${lost.join(", ")}, which left retention`, {
      detail: lost[0] ?? "",
      hint: `ask the vendor, or a mirror that keeps it, for ${lost.join(", ")}; name that mirror under source: { mirrors: … }, then run \`slipway upgrade install --version ${lost[0] ?? ""}\``,
    });
  }
  const { upgradeFrom } = target.compat ?? {};
  const unread = unreadableEpoch(target.compat, writtenEpochs(from.compat));
  const why =
    unread !== undefined
      ? `${to} cannot read the format ${unread.written} of ${unread.name}, which ${from.version} writes`
      : upgradeFrom === undefined
        ? "no release connects them"
        : `${to} can be reached from ${upgradeFrom === previousLine ? "its own and the previous line" : upgradeFrom}`;
  throw new SlipwayError("no_upgrade_path", `there is no way from ${from.version} to ${to}: ${why}`);
}

function search(from: KnownRelease, target: KnownRelease, nodes: readonly KnownRelease[], everything: readonly KnownRelease[]): readonly Version[] | undefined {
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
