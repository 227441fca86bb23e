/** What git knows about a folder: tags at HEAD, the description, commit times. Reads only. */
import { SlipwayError } from "../model/errors.ts";
import { cleanEnvironment, type RunCommand } from "./command.ts";

export type GitFacts = {
  readonly commit: string;
  /** Seconds since 1970, committer's time. */
  readonly commitSeconds: number;
  /** Version-like tags at HEAD, in git's order; empty where a tracked file was changed since. */
  readonly tagsAtHead: readonly string[];
  /** `v1.2.0-5-gabc1234`, with `-dirty`; undefined where no tag is reachable. */
  readonly description: string | undefined;
  readonly isDirty: boolean;
};

const timeoutMs = 30_000;
/** Tags that may be versions: v1.2.3 or 1.2.3. */
const tagPatterns = ["v[0-9]*", "[0-9]*"];

/** The facts of the repository around `folder`; undefined where there is none, no commit in it, or no git on this machine. */
export async function readGitFacts(run: RunCommand, folder: string): Promise<GitFacts | undefined> {
  const git = gitIn(run, folder);
  let head: string | undefined;
  try {
    head = await git(["log", "-1", "--format=%H %ct"]);
  } catch (error) {
    if (error instanceof SlipwayError && error.code === "command_failed") return undefined; // git itself is missing
    throw error;
  }
  if (head === undefined) return undefined;
  const [commit = "", seconds = ""] = head.split(" ");
  const description = await git(["describe", "--tags", "--long", "--dirty", "--abbrev=7", ...tagPatterns.flatMap((pattern) => ["--match", pattern])]);
  const isDirty = (await git(["status", "--porcelain", "--untracked-files=no"])) !== "";
  const tags = (await git(["tag", "--points-at", "HEAD", "--list", ...tagPatterns])) ?? "";
  return { commit, commitSeconds: Number(seconds), tagsAtHead: isDirty ? [] : tags.split("\n").filter((tag) => tag !== ""), description, isDirty };
}

/** The committer's time of the commit that a tag names, in seconds since 1970; undefined where there is no such tag. */
export async function readTagSeconds(run: RunCommand, folder: string, tag: string): Promise<number | undefined> {
  const seconds = await gitIn(run, folder)(["log", "-1", "--format=%ct", `refs/tags/${tag}`, "--"]);
  return seconds === undefined || seconds === "" ? undefined : Number(seconds);
}

/** Where a commit comes from. */
export type GitOrigin = {
  /** As git has it: a URL, perhaps with credentials in it, or a folder. */
  readonly remote?: string;
  /** The folder inside the repository with a slash at its end; empty at its top. */
  readonly prefix: string;
  /** The repository here has the tag, and it names that commit. */
  readonly isTagged: boolean;
};

export async function readGitOrigin(run: RunCommand, folder: string, at: { readonly commit: string; readonly tag: string }): Promise<GitOrigin> {
  const git = gitIn(run, folder);
  const remote = await git(["remote", "get-url", "origin"]);
  const tagged = await git(["rev-parse", "--verify", "--quiet", `refs/tags/${at.tag}^{commit}`]);
  const prefix = (await git(["rev-parse", "--show-prefix"])) ?? "";
  return { ...(remote === undefined ? {} : { remote }), prefix, isTagged: tagged === at.commit };
}

/** The tags that may be versions and whose commits HEAD has behind it, with the committers' times; undefined where there is no git history. */
export async function readMergedTags(
  run: RunCommand,
  folder: string,
): Promise<{ readonly isShallow: boolean; readonly tags: readonly { readonly tag: string; readonly seconds: number }[] } | undefined> {
  const git = gitIn(run, folder);
  const isShallow = await git(["rev-parse", "--is-shallow-repository"]);
  // An annotated tag's commit stands behind the star.
  const format = "--format=%(refname:strip=2) %(committerdate:unix) %(*committerdate:unix)";
  const listed =
    isShallow === undefined ? undefined : await git(["for-each-ref", "--merged=HEAD", format, ...tagPatterns.map((pattern) => `refs/tags/${pattern}`)]);
  if (listed === undefined) return undefined;
  const tags = listed.split("\n").flatMap((line) => {
    const [tag = "", ...times] = line.split(" ").filter((word) => word !== "");
    return tag === "" ? [] : [{ tag, seconds: Number(times[0] ?? 0) }];
  });
  return { isShallow: isShallow === "true", tags };
}

/** First lines of the commits that lead to `to` and not to `since`, newest first, without merges. Both are tags, or HEAD. */
export async function readCommitSubjects(
  run: RunCommand,
  folder: string,
  range: { readonly to: string; readonly since?: string; readonly limit: number },
): Promise<readonly string[]> {
  const name = (tag: string): string => (tag === "HEAD" ? tag : `refs/tags/${tag}`);
  const revisions = range.since === undefined ? name(range.to) : `${name(range.since)}..${name(range.to)}`;
  const subjects = await gitIn(run, folder)(["log", "--no-merges", `--max-count=${range.limit}`, "--encoding=UTF-8", "--format=%s", revisions, "--"]);
  return (subjects ?? "").split("\n").filter((subject) => subject !== "");
}

/** One git command in the folder: its output without the last line break, undefined where git refuses. */
function gitIn(run: RunCommand, folder: string) {
  return async (args: readonly string[]): Promise<string | undefined> => {
    const result = await run(["git", "-C", folder, ...args], { timeoutMs, env: { ...cleanEnvironment(), LC_ALL: "C" } });
    return result.exitCode === 0 ? result.stdout.trimEnd() : undefined;
  };
}
