/** Which version is being built, and the one time stamp that goes into its artifacts. */

import type { RunCommand } from "../io/command.ts";
import { type GitFacts, readGitFacts, readTagSeconds } from "../io/git.ts";
import { SlipwayError } from "../model/errors.ts";
import { compareVersions, parseVersion, tagOf, tryParseVersion, type Version, versionFromDescribe } from "../model/version.ts";

export type ReleaseVersion = { readonly version: Version; readonly epochSeconds: number; readonly commit?: string };

export type VersionQuestion = {
  readonly run: RunCommand;
  /** The recipe's folder. */
  readonly folder: string;
  /** `--version`. */
  readonly wanted?: string;
  /** SOURCE_DATE_EPOCH: wins over every commit time (reproducible-builds.org). */
  readonly sourceDateEpoch?: string;
};

/** The largest time that ustar, ar and rpm hold alike: 32 bits. */
const epochLimit = 0xffff_ffff;

/**
 * The version: `--version`, else the highest version tag at HEAD of a clean tree, else `git describe`. The time: SOURCE_DATE_EPOCH, else the
 * commit of the version's tag, else HEAD's. Throws `version_invalid` where there is no version to find, `usage` where there is no time.
 */
export async function readReleaseVersion(question: VersionQuestion): Promise<ReleaseVersion> {
  const wanted = question.wanted === undefined ? undefined : parseVersion(question.wanted);
  const given = question.sourceDateEpoch === undefined ? undefined : parseEpoch(question.sourceDateEpoch);
  const facts = await readGitFacts(question.run, question.folder);
  const version = wanted ?? versionOf(facts, question.folder);
  const tagged = wanted === undefined || facts === undefined ? undefined : await readTagSeconds(question.run, question.folder, tagOf(wanted));
  const epochSeconds = given ?? tagged ?? facts?.commitSeconds;
  if (epochSeconds === undefined) {
    throw new SlipwayError("usage", `${question.folder} has no git commit whose time the artifacts could carry`, {
      hint: "set SOURCE_DATE_EPOCH to seconds since 1970",
    });
  }
  // A changed tree is not what the commit holds: better no claim than a false one.
  const commit = facts?.isDirty === false ? facts.commit : undefined;
  return { version, epochSeconds, ...(commit === undefined ? {} : { commit }) };
}

function versionOf(facts: GitFacts | undefined, folder: string): Version {
  const hint = "give one with --version, or make a tag: git tag -a v1.0.0 -m v1.0.0";
  if (facts === undefined)
    throw new SlipwayError("version_invalid", `${folder} is in no git repository with a commit, so there is no tag to take the version from`, { hint });
  const tags = facts.tagsAtHead.flatMap((tag) => tryParseVersion(tag) ?? []);
  const newest = tags.toSorted(compareVersions).at(-1);
  if (newest !== undefined) return newest;
  if (facts.description === undefined)
    throw new SlipwayError("version_invalid", `no tag of the form v1.2.3 is reachable from ${facts.commit.slice(0, 12)}`, { hint });
  try {
    return versionFromDescribe(facts.description);
  } catch (error) {
    const tag = facts.description.replace(/-\d+-g[0-9a-f]+(?:-dirty)?$/, "");
    throw new SlipwayError("version_invalid", `the nearest tag is ${tag}, which is not MAJOR.MINOR.PATCH`, { hint, cause: error });
  }
}

function parseEpoch(text: string): number {
  const seconds = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(seconds <= epochLimit))
    throw new SlipwayError("usage", `SOURCE_DATE_EPOCH is ${JSON.stringify(text.slice(0, 40))}, not seconds since 1970`, {
      hint: "use a whole number, as git log -1 --format=%ct prints",
    });
  return seconds;
}
