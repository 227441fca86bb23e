/** Which releases an upgrade of an older one that stays would miss: retention must not cut the only way (C18). */
import semver from "semver";
import { type Compat, previousLine } from "../model/upgrade-contract.ts";
import { compareVersions, lineOf, newestStable, type Version } from "../model/version.ts";
import type { Blocker } from "./retention.ts";

export type PathFacts = {
  /** By version, of every published release: what its manifest says. */
  readonly compat: ReadonlyMap<Version, Compat | undefined>;
  /** Versions that stay whatever becomes of `candidate`. */
  readonly staying: readonly Version[];
};

/**
 * A waypoint stays: no upgrade path may pass it by. And where the newest stable cannot be reached at once from an older version that
 * stays, what lies between them stays too: rather one too many than a customer who cannot go on.
 */
export function neededByUpgrades(candidate: Version, { compat, staying }: PathFacts): readonly Blocker[] {
  const newest = newestStable(staying);
  const blockers: Blocker[] = [];
  if (compat.get(candidate)?.waypoint === true) blockers.push({ kind: "waypoint", text: "every upgrade passes it" });
  const range = newest === undefined ? undefined : compat.get(newest)?.upgradeFrom;
  if (newest === undefined || range === undefined) return blockers;
  const stranded = staying.filter((version) => compareVersions(version, candidate) < 0 && !reaches(version, newest, range));
  if (stranded.length > 0) blockers.push({ kind: "path", text: `${newest} is reached through it from ${stranded.join(", ")}` });
  return blockers;
}

/** At once, by what the newest says; `previous-line` is certain within the line alone. */
function reaches(from: Version, to: Version, range: string): boolean {
  return range === previousLine ? lineOf(from) === lineOf(to) : semver.satisfies(from, range, { includePrerelease: true });
}
