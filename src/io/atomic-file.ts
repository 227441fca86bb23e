/** Files that matter: temporary name, fsync, rename, fsync of the directory; a reader sees the old file or the new one, never a part. */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isPosix } from "./posix.ts";

export type WriteOptions = {
  /** Permission bits; 0600 by default. */
  readonly mode?: number;
};

/**
 * Writes `content` to `path` durably: when the promise resolves, a power cut cannot take it back.
 * On failure the old file is untouched and the temporary one removed.
 */
export async function writeFileAtomic(path: string, content: string | Uint8Array, options: WriteOptions = {}): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
  const mode = options.mode ?? 0o600;
  const handle = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, mode);
  try {
    try {
      await handle.writeFile(content);
      await handle.chmod(mode); // the umask must not decide
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Makes a rename or unlink inside `path` durable. Windows has no such call for folders: NTFS keeps its own journal of names. */
export async function syncDirectory(path: string): Promise<void> {
  if (!isPosix) return;
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
