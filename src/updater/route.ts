/** The route to a version: the descriptions of the releases on the way, fetched and proven, and the path over them. */
import { SlipwayError } from "../model/errors.ts";
import type { KnownRelease } from "../model/upgrade-path.ts";
import { compareVersions, isStable, tryParseVersion, type Version } from "../model/version.ts";
import { rolloutIn } from "./cohort.ts";
import type { InstalledState } from "./installed-state.ts";
import { findPath } from "./path.ts";
import { proveDescription, readTrustPolicy } from "./prove.ts";
import type { ReleaseIndex, ReleaseSource } from "./release-source.ts";
import type { Machine } from "./machine.ts";
import type { SettledInstallation } from "./settle.ts";

/** More than a product keeps published between two versions; each costs a few small requests. */
const betweenLimit = 200;

export type RouteQuestion = {
  readonly installation: SettledInstallation;
  readonly machine: Machine;
  readonly source: ReleaseSource;
  readonly index: ReleaseIndex;
  readonly state: InstalledState;
  readonly installed: Version | undefined;
  readonly to: Version;
  readonly signal: AbortSignal;
};

/** The hops to `to`. Only where versions lie between are they asked what they promise; what the index says is never believed about that. Throws what findPath throws. */
export async function routeTo(question: RouteQuestion): Promise<readonly Version[]> {
  const { index, state, installed, to } = question;
  if (installed === undefined) return [to];
  const isBetween = (version: Version): boolean => compareVersions(version, installed) > 0 && compareVersions(version, to) < 0;
  const isBlocked = (version: Version): boolean => state.blocked.some((entry) => entry.version === version);
  const versionsOf = (list: readonly { readonly version: string }[]): readonly Version[] =>
    list.flatMap(({ version }) => {
      const parsed = tryParseVersion(version);
      return parsed !== undefined && isBetween(parsed) && isStable(parsed) ? [parsed] : [];
    });
  const between = versionsOf(
    index.releases.filter((release) => release.state === "published" && rolloutIn(question.installation.channel, release)?.halted !== true),
  );
  // A mark in the index can only hold an upgrade back, which whoever serves it could do anyway.
  const left = index.retired.filter((release) => release.state === "retired");
  const waypoints = versionsOf(left.filter((release) => release.waypoint === true));
  const lost = versionsOf(left).map((version): KnownRelease => ({ version, compat: waypoints.includes(version) ? { waypoint: true } : undefined }));
  if (between.length === 0 && lost.length === 0) return [to];
  if (between.length > betweenLimit)
    throw new SlipwayError("no_upgrade_path", `${between.length} releases lie between ${installed} and ${to}; name one on the way with --version`);
  const releases: KnownRelease[] = [];
  for (const version of [to, ...between]) releases.push(await known(question, version));
  const contract = state.installed?.version === installed ? state.installed.contract : undefined;
  return findPath({
    from: { version: installed, compat: contract?.compat },
    to,
    releases: releases.filter(({ version }) => !isBlocked(version)),
    retired: [...lost, ...releases.filter(({ version }) => isBlocked(version))],
  });
}

/** Signed by a key that this installation does not know (an earlier or later one): no hop, and what it says is not heard. */
async function known({ installation, machine, source, signal }: RouteQuestion, version: Version): Promise<KnownRelease> {
  try {
    const files = await source.files(version, signal);
    const policy = await readTrustPolicy(installation);
    const { manifest } = await proveDescription({ files, installation, policy, version, now: machine.clock.now() });
    return { version, compat: manifest.compat };
  } catch (error) {
    const isForeignKey = error instanceof SlipwayError && /key_unknown|wrong_key/.test(error.detail ?? "");
    const isGone = error instanceof SlipwayError && (error.code === "gone" || error.code === "not_found");
    if (!isForeignKey && !isGone) throw error;
    machine.observe({ event: "warning", text: `${version} is left out of the route: ${error.message}` });
    return { version };
  }
}
