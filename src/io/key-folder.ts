/**
 * The key folder of a vendor's machine: `<name>.openpgp.key`, `<name>.minisign.key`, `<name>.apk.key` and `<name>.tuf.key` hold secret halves, `.pub` and
 * `.rev` beside them what may be shown. The folder is 0700 and its files 0600; a folder that others may enter is refused.
 */
import { mkdir, readdir, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import { parseWord } from "../model/names.ts";
import { writeFileAtomic } from "./atomic-file.ts";
import { readFileBounded } from "./bounded-read.ts";
import { isPosix } from "./posix.ts";

export const keyTypes = ["openpgp", "minisign", "apk", "tuf"] as const;
export type KeyType = (typeof keyTypes)[number];
/** `key` the secret half, `pub` the public one, `rev` OpenPGP's revocation certificate. */
export type KeyPart = "key" | "pub" | "rev";

export type KeyEntry = { readonly name: string; readonly type: KeyType };

const keyFilePattern = new RegExp(`^([a-z0-9][a-z0-9-]*)\\.(${keyTypes.join("|")})\\.key$`);

/** Largest key that is read; trust/openpgp.ts has the same limit for keyrings. */
const sizeLimit = 1024 * 1024;

/** `$SLIPWAY_KEYS_DIR`, else `~/.config/slipway/keys`. */
export function keyFolderPath(env: Readonly<Record<string, string | undefined>>): string {
  const configured = env["SLIPWAY_KEYS_DIR"];
  return configured !== undefined && configured !== "" ? configured : join(env["HOME"] ?? homedir(), ".config", "slipway", "keys");
}

/** What is there, sorted by name; an absent folder is empty. Throws `permission_denied` for a folder that others may enter. */
export async function listKeys(folder: string): Promise<readonly KeyEntry[]> {
  if (!(await isFolderPrivate(folder))) return [];
  const entries: KeyEntry[] = [];
  for (const file of (await readdir(folder)).sort()) {
    const [, name, type] = keyFilePattern.exec(file) ?? [];
    if (name !== undefined && type !== undefined) entries.push({ name, type: type as KeyType });
  }
  return entries;
}

/** The bytes of one part; throws `key_missing` with the names that are there. */
export async function readKey(folder: string, entry: KeyEntry, part: KeyPart): Promise<Buffer> {
  const path = keyPath(folder, entry, part);
  if (await isFolderPrivate(folder)) {
    try {
      return await readFileBounded(path, sizeLimit, { isLinkAllowed: false });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  const names = (await listKeys(folder)).filter((candidate) => candidate.type === entry.type).map((candidate) => candidate.name);
  throw new SlipwayError(
    "key_missing",
    `no ${entry.type} key "${entry.name}" in ${folder}; there ${names.length === 0 ? "is none" : `are: ${names.join(", ")}`}`,
  );
}

/** Throws `key_exists` where the name is taken; makes the folder where needed. Look before the costly making of a key. */
export async function requireFreeName(folder: string, entry: KeyEntry): Promise<void> {
  parseWord("key", entry.name);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await isFolderPrivate(folder);
  const isTaken = (await listKeys(folder)).some((candidate) => candidate.name === entry.name && candidate.type === entry.type);
  if (isTaken) throw new SlipwayError("key_exists", `there is already a key of type ${entry.type} named "${entry.name}" in ${folder}`);
}

/** Writes the parts, the secret half last: a key is there when all of it is. Throws `key_exists`. */
export async function storeKey(folder: string, entry: KeyEntry, parts: { readonly key: string; readonly pub: string; readonly rev?: string }): Promise<void> {
  await requireFreeName(folder, entry);
  if (parts.rev !== undefined) await writeFileAtomic(keyPath(folder, entry, "rev"), parts.rev);
  await writeFileAtomic(keyPath(folder, entry, "pub"), parts.pub);
  await writeFileAtomic(keyPath(folder, entry, "key"), parts.key);
}

function keyPath(folder: string, entry: KeyEntry, part: KeyPart): string {
  return join(folder, `${parseWord("key", entry.name)}.${entry.type}.${part}`);
}

/** False where there is no folder; throws `permission_denied` where group or others have any right in it. */
async function isFolderPrivate(folder: string): Promise<boolean> {
  try {
    const { mode } = await stat(folder);
    if (!isPosix || (mode & 0o077) === 0) return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
  throw new SlipwayError("permission_denied", `others may enter the key folder ${folder}`, {
    hint: `look at who could have read the keys in it, then chmod 700 ${folder}`,
  });
}
