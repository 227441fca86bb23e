/** A commit of a repository checked out in a folder of its own, which is gone afterwards: the user's tree and index are never touched. */
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import { cleanEnvironment, type RunCommand } from "./command.ts";

export type Worktree = {
  /** The checked-out folder that corresponds to the one that was asked about. */
  readonly folder: string;
  /** An empty folder beside it, for results. */
  readonly scratch: string;
  readonly commit: string;
  readonly remove: () => Promise<void>;
};

/** A large checkout on a slow disk. */
const timeoutMs = 10 * 60_000;

/**
 * Checks out the commit that `tag` names. Throws `not_found` for a tag that is not there, `command_failed` with git's own words otherwise.
 * Call `remove` in every case; hooks do not run.
 */
export async function addWorktree(run: RunCommand, folder: string, tag: string): Promise<Worktree> {
  const git = async (...args: readonly string[]) =>
    run(["git", "-C", folder, "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false", ...args], {
      timeoutMs,
      env: { ...cleanEnvironment(), LC_ALL: "C" },
    });
  const top = await git("rev-parse", "--show-toplevel");
  if (top.exitCode !== 0) throw new SlipwayError("command_failed", `${folder} is in no git repository: ${top.stderr.trim()}`);
  const commit = await git("rev-parse", "--verify", "--quiet", "--end-of-options", `refs/tags/${tag}^{commit}`);
  if (commit.exitCode !== 0) throw new SlipwayError("not_found", `there is no tag ${tag} in ${top.stdout.trim()}`, { hint: "git fetch --tags" });
  const inside = relative(await realpath(top.stdout.trim()), await realpath(folder));
  const parent = await mkdtemp(join(tmpdir(), "slipway-rebuild-"));
  const tree = join(parent, "tree");
  const remove = async (): Promise<void> => {
    const removed = await git("worktree", "remove", "--force", tree);
    await rm(parent, { recursive: true, force: true });
    if (removed.exitCode !== 0) await git("worktree", "prune"); // it was never registered, or only in part
  };
  const added = await git("worktree", "add", "--detach", "--quiet", tree, commit.stdout.trim());
  if (added.exitCode !== 0) {
    await remove();
    throw new SlipwayError("command_failed", `git worktree add: ${added.stderr.trim()}`);
  }
  return { folder: join(tree, inside), scratch: join(parent, "out"), commit: commit.stdout.trim(), remove };
}
