/** Files of a version on disk: hashing what is there, comparing it with what was signed, making a whole tree durable. */
import { constants, type Stats } from "node:fs";
import { type FileHandle, lstat, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { syncDirectory } from "../io/atomic-file.ts";
import { hashHandle } from "../io/hash-file.ts";
import { SlipwayError } from "../model/errors.ts";
import type { FileTable } from "./transaction.ts";

export type SeenFile = { readonly sha256: string; readonly mode: number; readonly size: number };

/** Opens a regular file without following a link or waiting for a FIFO; undefined where nothing is there, `state_dir_insecure` for anything else. */
export async function openRegular(path: string): Promise<FileHandle | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const systemCode = (error as NodeJS.ErrnoException).code;
    if (systemCode === "ENOENT" || systemCode === "ENOTDIR") return undefined;
    if (systemCode === "ELOOP" || systemCode === "ENXIO")
      throw new SlipwayError("state_dir_insecure", `${path} is not a regular file`, { place: path, cause: error });
    throw error;
  }
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new SlipwayError("state_dir_insecure", `${path} is not a regular file`, { place: path });
}

/** What is at `path`; undefined where nothing is. */
export async function seeFile(path: string): Promise<SeenFile | undefined> {
  const handle = await openRegular(path);
  if (handle === undefined) return undefined;
  try {
    const { mode } = await handle.stat();
    return { ...(await hashHandle(handle)), mode: mode & 0o7777 };
  } finally {
    await handle.close();
  }
}

/** Every regular file below `root` with its hash; links are part of a version but nothing to hash. An absent root is empty. */
export async function seeTree(root: string): Promise<FileTable> {
  const table: FileTable = {};
  const walk = async (folder: string, prefix: string): Promise<void> => {
    for (const entry of await listFolder(folder)) {
      const relative = prefix === "" ? entry.name : `${prefix}/${entry.name}`;
      if (entry.isDirectory()) await walk(join(folder, entry.name), relative);
      else if (entry.isFile()) {
        const seen = await seeFile(join(folder, entry.name));
        if (seen !== undefined) table[relative] = seen;
      }
    }
  };
  await walk(root, "");
  return table;
}

async function listFolder(folder: string): ReturnType<typeof readFolder> {
  try {
    return await readFolder(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

const readFolder = async (folder: string): Promise<readonly import("node:fs").Dirent[]> =>
  (await readdir(folder, { withFileTypes: true })).sort((left, right) => (left.name < right.name ? -1 : 1));

/** The first difference between a tree and what was signed, in words; undefined where every signed file is there and right. */
export async function differenceFrom(root: string, files: FileTable): Promise<string | undefined> {
  for (const [path, expected] of Object.entries(files)) {
    const seen = await seeFile(join(root, path));
    if (seen === undefined) return `${path} is missing`;
    if (seen.sha256 !== expected.sha256) return `${path} has SHA-256 ${seen.sha256}; signed was ${expected.sha256}`;
  }
  return undefined;
}

/** fsync of every folder below `root` and of `root`; the files were synced when they were written. */
export async function syncTree(root: string): Promise<void> {
  for (const entry of await readdir(root, { withFileTypes: true })) if (entry.isDirectory()) await syncTree(join(root, entry.name));
  await syncDirectory(root);
}

/** lstat, or undefined where nothing is there. */
export async function lstatIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
