/**
 * Trusted TUF metadata on disk: whole sets, one of them current.
 *
 *     <folder>/sets/<n>/{root,timestamp,snapshot,targets,<role>}.json
 *     <folder>/current -> sets/<n>
 *
 * A set is written beside the current one, made durable, and becomes current by the rename of a link: after a crash the old set or the new one
 * is current, never a mixture. The set before the current one stays, for when the disk damages that. Nothing that is read back is believed
 * for being there; tuf-session.ts checks its signatures again.
 */
import { lstat, mkdir, readdir, readlink, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { syncDirectory, writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { tufLimits } from "../trust/tuf-metadata.ts";
import { ensurePrivate } from "./state-directory.ts";

/** File name to bytes. */
export type TufFiles = ReadonlyMap<string, Uint8Array>;

export type TufSets = {
  /** The current set first, then older ones, newest first; empty where nothing was kept yet. */
  readonly sets: readonly TufFiles[];
  /** True where `current` leads nowhere although there are sets. */
  readonly isDamaged: boolean;
};

/** A role's name is signed by the vendor, yet it does not choose a path: everything but plain characters is escaped. */
export function tufFileName(role: string): string {
  return `${encodeURIComponent(role).replaceAll(/[.!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)}.json`;
}

/** Reads what there is. A file that cannot be read is left out; its set then does not prove. */
export async function readTufSets(folder: string): Promise<TufSets> {
  const current = await currentNumber(folder);
  const numbers = await setNumbers(folder);
  const usable = current === undefined ? numbers : numbers.filter((number) => number <= current);
  const sets: TufFiles[] = [];
  for (const number of usable.slice(0, 2)) sets.push(await readSet(join(folder, "sets", String(number))));
  return { sets, isDamaged: numbers.length > 0 && (current === undefined || !numbers.includes(current)) };
}

/** Writes a new set and makes it current, durably. */
export async function commitTufSet(folder: string, files: TufFiles): Promise<void> {
  await ensurePrivate(folder);
  await ensurePrivate(join(folder, "sets"));
  const current = await currentNumber(folder);
  const numbers = await setNumbers(folder);
  const next = (current ?? numbers[0] ?? 0) + 1;
  const path = join(folder, "sets", String(next));
  await rm(path, { recursive: true, force: true }); // of a commit that was cut off
  await mkdir(path, { mode: 0o700 });
  for (const [name, bytes] of files) await writeFileAtomic(join(path, name), bytes);
  await syncDirectory(path);
  await syncDirectory(join(folder, "sets"));
  const link = join(folder, ".current.tmp");
  await rm(link, { force: true });
  await symlink(`sets/${next}`, link);
  await rename(link, join(folder, "current"));
  await syncDirectory(folder);
  for (const number of numbers) if (number !== next && number !== current) await rm(join(folder, "sets", String(number)), { recursive: true, force: true });
}

async function currentNumber(folder: string): Promise<number | undefined> {
  try {
    const number = /^sets\/([1-9]\d{0,14})$/.exec(await readlink(join(folder, "current")))?.[1];
    return number === undefined ? undefined : Number(number);
  } catch {
    return undefined; // no link, or no link any more: the sets themselves are looked through
  }
}

/** Newest first. */
async function setNumbers(folder: string): Promise<readonly number[]> {
  let names: readonly string[];
  try {
    names = await readdir(join(folder, "sets"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return names
    .filter((name) => /^[1-9]\d{0,14}$/.test(name))
    .map(Number)
    .sort((left, right) => right - left);
}

async function readSet(path: string): Promise<TufFiles> {
  const files = new Map<string, Uint8Array>();
  if (!(await lstat(path)).isDirectory()) return files;
  for (const name of (await readdir(path)).sort()) {
    if (!name.endsWith(".json") || name.startsWith(".")) continue;
    try {
      files.set(name, await readFileBounded(join(path, name), tufLimits.targets, { isLinkAllowed: false }));
    } catch {
      files.set(name, new Uint8Array()); // there, and unreadable: the set counts as damaged
    }
  }
  return files;
}
