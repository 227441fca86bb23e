/** What a channel's role lists next: entries that were signed before, by what the server says is published now and what the operator typed. */
import type { z } from "zod";
import { manifestName } from "../model/manifest.ts";
import { targetPath } from "../repositories/tuf.ts";
import type { releaseSummarySchema } from "../server/wire.ts";
import type { TufTarget } from "../trust/tuf-metadata.ts";
import { nextRollout, rolloutOf, type RolloutWord } from "./signed-rollouts.ts";

export type Targets = Readonly<Record<string, TufTarget>>;
export type Listed = { readonly version: string; readonly channel: string };
type Summary = z.output<typeof releaseSummarySchema>;

/**
 * Entries of releases that are published now; one that was promoted is listed with what its other channel says about it. Of a waypoint that left
 * retention its description stays: it can be had from mirrors, and nobody is to be led past it. A withdrawn one is none any more.
 */
export function nextTargets(at: {
  readonly product: string;
  readonly channel: string;
  readonly entries: ReadonlyMap<string, { readonly targets: Targets }>;
  readonly releases: readonly Pick<Summary, "version" | "state" | "channels">[];
  readonly wordOn: (at: Listed) => RolloutWord | undefined;
}): Targets {
  const { product, channel, entries, releases, wordOn } = at;
  const own = entries.get(channel)?.targets ?? {};
  const next: Record<string, TufTarget> = {};
  for (const { version } of releases.filter(({ state }) => state === "retired")) {
    const path = targetPath({ product, channel, version, name: manifestName });
    const target = own[path];
    if (target?.custom?.["waypoint"] === true) next[path] = target;
  }
  for (const release of releases.filter(({ state }) => state === "published")) {
    const { version } = release;
    const reach = release.channels.find(({ name }) => name === channel);
    if (reach === undefined) continue;
    const kept = Object.entries(own).filter(([path]) => versionOf(path) === version);
    const known =
      kept.length > 0 ? kept : [...entries.values()].flatMap(({ targets }) => Object.entries(targets).filter(([path]) => versionOf(path) === version));
    const isKept = kept.length > 0;
    for (const [path, target] of known) {
      const name = path.split("/").at(-1) ?? "";
      const isDescription = name === manifestName;
      // How far the other channel had rolled it out says nothing about this one.
      const before = isDescription && isKept ? rolloutOf(target) : undefined;
      const rollout = isDescription ? nextRollout(before, reach, wordOn({ version, channel })) : undefined;
      const { rollout: _, ...custom } = target.custom ?? {};
      next[targetPath({ product, channel, version, name })] = { ...target, custom: { ...custom, ...(rollout === undefined ? {} : { rollout }) } };
    }
  }
  return next;
}

/** `acme/stable/1.4.2/release.json`: the third part. */
function versionOf(path: string): string | undefined {
  return path.split("/")[2];
}

export function versionsOf(targets: Targets): ReadonlySet<string> {
  return new Set(Object.keys(targets).flatMap((path) => versionOf(path) ?? []));
}
