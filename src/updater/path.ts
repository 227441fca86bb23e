/**
 * The way from the installed version to a wanted one, over releases that exist, by what each promises (model/upgrade-path.ts), or why there is
 * none. Every hop is a whole transaction with its own proof of health.
 */
import { SlipwayError } from "../model/errors.ts";
import { previousLine, unreadableEpoch, writtenEpochs } from "../model/upgrade-contract.ts";
import { findWay, type KnownRelease } from "../model/upgrade-path.ts";
import type { Version } from "../model/version.ts";

export type PathQuestion = {
  /** What is installed; undefined for a first installation, which needs no path. */
  readonly from: KnownRelease | undefined;
  readonly to: Version;
  /** Published releases that may be installed. */
  readonly releases: readonly KnownRelease[];
  /** Releases that existed and cannot be had any more. */
  readonly retired: readonly KnownRelease[];
};

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
  const found = findWay({ from, to: target, hops: releases, everything });
  if (found !== undefined) return found;
  const lost = findWay({ from, to: target, hops: everything, everything })?.filter((version) => !releases.some((release) => release.version === version));
  if (lost !== undefined && lost.length > 0) {
    throw new SlipwayError("waypoint_missing", `the way from ${from.version} to ${to} leads through ${lost.join(", ")}, which left retention`, {
      detail: lost[0] ?? "",
      hint: `ask the vendor, or a mirror that keeps it, for ${lost.join(", ")}; name that mirror under source: { mirrors: … }, then run \`slipway upgrade install --version ${lost[0] ?? ""}\``,
    });
  }
  throw new SlipwayError("no_upgrade_path", `there is no way from ${from.version} to ${to}: ${whyNoStep(from, target) ?? "no release connects them"}`);
}

/** What keeps `to` from being installed over `from`, in words; undefined where its own promises do not. */
export function whyNoStep(from: KnownRelease, to: KnownRelease): string | undefined {
  const unread = unreadableEpoch(to.compat, writtenEpochs(from.compat));
  if (unread !== undefined) return `${to.version} cannot read the format ${unread.written} of ${unread.name}, which ${from.version} writes`;
  const { upgradeFrom } = to.compat ?? {};
  return upgradeFrom === undefined
    ? undefined
    : `${to.version} can be reached from ${upgradeFrom === previousLine ? "its own and the previous line" : upgradeFrom}`;
}
