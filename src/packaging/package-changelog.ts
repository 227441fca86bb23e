/** The changelog of deb and rpm: the list items of this release's notes, the commits of its tag and of those before it, or the sections of a file. */
import { join } from "node:path";
import type { ChangelogEntry } from "../formats/package.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import type { RunCommand } from "../io/command.ts";
import { readCommitSubjects, readMergedTags } from "../io/git.ts";
import { SlipwayError } from "../model/errors.ts";
import { compareVersions, isSnapshot, tryParseVersion, type Version } from "../model/version.ts";
import { insideFolder } from "./file-rules.ts";
import type { Plan } from "./plan.ts";
import type { Recipe } from "./recipe.ts";
import { readSourceText } from "./source-text.ts";
import { expandTemplate } from "./templates.ts";

export type ChangelogQuestion = {
  readonly recipe: Recipe;
  readonly plan: Plan;
  /** The recipe's, absolute. */
  readonly folder: string;
  readonly run: RunCommand;
};

/** How much a package carries along: releases, and changes of each. The rest is in the repository. */
const releaseLimit = 20;
const changeLimit = 50;
const changeLength = 300;
const notesSizeLimit = 1024 * 1024;

/** Newest first. Throws `source_unusable` where the history that git should tell is cut off (a shallow clone): it would change the packages. */
export async function readChangelog(question: ChangelogQuestion): Promise<readonly ChangelogEntry[]> {
  const { version, epochSeconds } = question.plan;
  if (question.recipe.packages?.changelog === "git") return gitChangelog(question);
  const written = await fileChangelog(question);
  if (written !== undefined) return written;
  return [{ version, epochSeconds, changes: await notedChanges(question) }];
}

/** Notes that are not there are no mistake here: where a release must have them, they are an artifact, which then fails. */
async function notedChanges({ recipe, plan, folder }: ChangelogQuestion): Promise<readonly string[]> {
  if (recipe.notes === undefined) return [];
  const { version, tag } = plan;
  const path = insideFolder(recipe, expandTemplate(recipe.notes.file, { name: recipe.name, version, tag }), ["notes", "file"]);
  try {
    return listItems((await readFileBounded(join(folder, path), notesSizeLimit)).toString("utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** `## [1.4.2] - 2026-01-31`, also `# v1.4.2 (2026-01-31)`; keepachangelog.com's form and its relatives. */
const versionHeading = /^#{1,3}\s+\[?(v?\d+\.\d+\.\d+[^\s\])]*)\]?(?:\([^)]*\))?(?:[\s:()–—-]+(\d{4}-\d{2}-\d{2}))?/;

/**
 * The sections of this version and of those before it; undefined where the recipe names no file. A section without a date has that of the newer one, so that times never grow downwards.
 * Throws `source_missing`, and `source_unusable` where the file has no section of a release; what lies between two tags may have none yet.
 */
export async function fileChangelog({ recipe, plan, folder }: Omit<ChangelogQuestion, "run">): Promise<readonly ChangelogEntry[] | undefined> {
  const source = recipe.packages?.changelog;
  if (typeof source !== "object") return undefined;
  const at = ["packages", "changelog", "file"];
  const place = recipe.placeOf(at);
  const { version, tag, epochSeconds } = plan;
  const path = insideFolder(recipe, expandTemplate(source.file, { name: recipe.name, version, tag }), at);
  const sections = versionSections(await readSourceText(path, { folder, place, limitBytes: notesSizeLimit, subject: "packages.changelog" }));
  const own = sections.find((section) => compareVersions(section.version, version) === 0);
  if (own === undefined && !isSnapshot(version)) {
    throw new SlipwayError("source_unusable", `packages.changelog: ${path} has no section of ${version}`, { place, hint: `write one: ## [${version}]` });
  }
  const entries: ChangelogEntry[] = [{ version, epochSeconds, changes: listItems(own?.text ?? "") }];
  const older = sections.filter((section) => compareVersions(section.version, version) < 0);
  for (const section of older.toSorted((left, right) => compareVersions(right.version, left.version)).slice(0, releaseLimit - 1)) {
    const before = entries.at(-1)?.epochSeconds ?? epochSeconds;
    entries.push({ version: section.version, epochSeconds: Math.min(before, section.epochSeconds ?? before), changes: listItems(section.text) });
  }
  return entries;
}

type Section = { readonly version: Version; readonly epochSeconds: number | undefined; readonly text: string };

/** What stands under another heading of the first two levels, as `## [Unreleased]`, belongs to no version. */
function versionSections(markdown: string): readonly Section[] {
  const sections: (Omit<Section, "text"> & { readonly lines: string[] })[] = [];
  let lines: string[] = [];
  for (const line of markdown.split(/\r?\n/)) {
    const [, found = "", date] = versionHeading.exec(line) ?? [];
    const version = tryParseVersion(found);
    if (version !== undefined || /^#{1,2}\s/.test(line)) lines = [];
    if (version === undefined) {
      lines.push(line);
      continue;
    }
    const seconds = date === undefined ? Number.NaN : Date.parse(`${date}T00:00:00Z`) / 1000;
    sections.push({ version, epochSeconds: Number.isFinite(seconds) ? seconds : undefined, lines });
  }
  return sections.map(({ version, epochSeconds, lines: own }) => ({ version, epochSeconds, text: own.join("\n") }));
}

/** The items of Markdown lists, each on one line; what is inside fences of code is none. */
function listItems(markdown: string): readonly string[] {
  const items: string[] = [];
  let isFenced = false;
  let isOpen = false;
  for (const line of markdown.split(/\r?\n/)) {
    if (/^\s*(?:```|~~~)/.test(line)) isFenced = !isFenced;
    const item = isFenced ? undefined : /^\s*(?:[-*+]|\d{1,3}[.)])\s+(\S.*)$/.exec(line)?.[1];
    if (item !== undefined) items.push(item);
    else if (isOpen && !isFenced && /^\s+\S/.test(line)) items.push(`${items.pop() ?? ""} ${line}`);
    isOpen = item !== undefined || (isOpen && line.trim() !== "");
  }
  return sentences(items);
}

async function gitChangelog({ recipe, plan, folder, run }: ChangelogQuestion): Promise<readonly ChangelogEntry[]> {
  const place = recipe.placeOf(["packages", "changelog"]);
  const history = await readMergedTags(run, folder);
  if (history === undefined) throw new SlipwayError("source_unusable", "packages.changelog: there is no git history here", { place });
  if (history.isShallow) {
    throw new SlipwayError("source_unusable", "packages.changelog: this clone is shallow, so its changelog would miss releases", {
      place,
      hint: "fetch the rest: git fetch --unshallow --tags (actions/checkout: fetch-depth: 0)",
    });
  }
  const older = history.tags
    .flatMap(({ tag, seconds }) => {
      const version = tryParseVersion(tag);
      return version === undefined || compareVersions(version, plan.version) >= 0 ? [] : [{ version, tag, epochSeconds: seconds }];
    })
    .toSorted((left, right) => compareVersions(right.version, left.version));
  const releases = [{ version: plan.version, tag: "HEAD", epochSeconds: plan.epochSeconds }, ...older].slice(0, releaseLimit);
  const entries: ChangelogEntry[] = [];
  for (const [index, { version, tag, epochSeconds }] of releases.entries()) {
    const since = older[index]?.tag;
    const subjects = await readCommitSubjects(run, folder, { to: tag, limit: changeLimit, ...(since === undefined ? {} : { since }) });
    entries.push({ version, epochSeconds, changes: sentences(subjects) });
  }
  return entries;
}

function sentences(texts: readonly string[]): readonly string[] {
  const clean = texts.map((text) => text.replace(/[\p{Cc}\s]+/gu, " ").trim()).filter((text) => text !== "");
  return clean.slice(0, changeLimit).map((text) => (text.length > changeLength ? `${text.slice(0, changeLength).toWellFormed()}…` : text));
}
