/** A folder that appears whole under its name, or not at all. */
import { randomBytes } from "node:crypto";
import { chmod, mkdir, readdir, rename, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import { syncDirectory } from "./atomic-file.ts";

export type StagedFolder = {
  /** What will stand under the name. */
  readonly files: string;
  /** For what is needed on the way only. */
  readonly work: string;
  /** Makes the files durable and puts them under the name, in place of what was there. */
  readonly commit: () => Promise<void>;
  /** Removes everything that was not committed; allowed at any time and more than once. */
  readonly discard: () => Promise<void>;
};

/**
 * Opens `<parent>/.<name>.tmp-<pid>-<random>`, which `commit` turns into `<parent>/<name>`. An older folder of that name is moved aside just before
 * and removed just after: POSIX has no exchange of two folders, so a reader may find none for the moment between two renames, never a mixture.
 * Leftovers of killed processes are removed on the way.
 */
export async function stageFolder(parent: string, name: string): Promise<StagedFolder> {
  const made = await makeParent(parent);
  await removeLeftovers(parent, name);
  const root = join(parent, `.${name}.tmp-${process.pid}-${randomBytes(4).toString("hex")}`);
  const files = join(root, "files");
  const work = join(root, "work");
  await mkdir(files, { recursive: true });
  await chmod(files, 0o755); // the umask must not decide
  await mkdir(work, { mode: 0o700 });
  return {
    files,
    work,
    commit: async () => {
      await syncDirectory(files);
      const target = join(parent, name);
      try {
        await rename(target, join(root, "old"));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      }
      await rename(files, target);
      await syncDirectory(parent);
      await rm(root, { recursive: true, force: true });
    },
    discard: async () => {
      await rm(root, { recursive: true, force: true });
      if (made !== undefined) await removeEmpty(parent);
    },
  };
}

/** Throws `path_unsafe` where a file or a link that leads nowhere is in the way. */
async function makeParent(parent: string): Promise<string | undefined> {
  try {
    return await mkdir(parent, { recursive: true });
  } catch (error) {
    const { code, path = parent } = error as NodeJS.ErrnoException;
    if (code !== "EEXIST" && code !== "ENOTDIR" && code !== "ENOENT") throw error;
    throw new SlipwayError("path_unsafe", `${path} is no folder, and cannot become one`, { hint: "move it away, or choose another folder", cause: error });
  }
}

/** A parent that was made for nothing goes again; one that holds something stays. */
async function removeEmpty(folder: string): Promise<void> {
  try {
    await rmdir(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOTEMPTY" && code !== "EEXIST" && code !== "ENOENT") throw error;
  }
}

async function removeLeftovers(parent: string, name: string): Promise<void> {
  const prefix = `.${name}.tmp-`;
  for (const entry of await readdir(parent)) {
    const pid = entry.startsWith(prefix) ? Number(/^\d+/.exec(entry.slice(prefix.length))?.[0]) : Number.NaN;
    if (Number.isInteger(pid) && !isRunning(pid)) await rm(join(parent, entry), { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"; // it lives and belongs to somebody else
  }
}
