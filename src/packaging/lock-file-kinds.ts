/** Reads the lock files that a product has, each with the reader of its kind. */
import { createHash } from "node:crypto";
import { basename } from "node:path";
import type { Component } from "../formats/bill-of-materials.ts";
import type { Ecosystem } from "../formats/package-url.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { safeJoin } from "../io/safe-path.ts";
import { SlipwayError } from "../model/errors.ts";
import { readCargoLock } from "./lock-file-cargo.ts";
import { readComposerLock } from "./lock-file-composer.ts";
import { readGoMod } from "./lock-file-go.ts";
import { isLockFileName, type LockFileName, lockFileEcosystems } from "./lock-file-names.ts";
import { readPackageLock } from "./lock-file-npm.ts";
import { readPnpmLock } from "./lock-file-pnpm.ts";
import { readPipfileLock, readPoetryLock, readRequirements, readUvLock } from "./lock-file-python.ts";
import { readGemfileLock } from "./lock-file-ruby.ts";
import type { LockFile, LockReading } from "./lock-file-text.ts";
import { readYarnLock } from "./lock-file-yarn.ts";

type ReadLock = (file: LockFile) => LockReading;

const readers: Readonly<Record<LockFileName, ReadLock>> = {
  "package-lock.json": readPackageLock,
  "npm-shrinkwrap.json": readPackageLock,
  "yarn.lock": readYarnLock,
  "pnpm-lock.yaml": readPnpmLock,
  "Cargo.lock": readCargoLock,
  "go.mod": readGoMod,
  "uv.lock": readUvLock,
  "poetry.lock": readPoetryLock,
  "Pipfile.lock": readPipfileLock,
  "requirements.txt": readRequirements,
  "Gemfile.lock": readGemfileLock,
  "composer.lock": readComposerLock,
};

/** The largest package-lock.json of public monorepos is about 5 MB. */
const lockFileLimit = 32 * 1024 * 1024;

/** One lock file as it was read. */
export type ReadLockFile = {
  readonly name: string;
  readonly ecosystem: Ecosystem;
  /** 64 hex digits, for the provenance. */
  readonly sha256: string;
  readonly components: readonly Component[];
  readonly warnings: readonly string[];
};

/**
 * Reads the named lock files (paths relative to `folder`), or, where none are named, those that lie in the folder itself: folders below may hold
 * tests and examples, which do not go in; and a requirements.txt beside another lock file of Python is its export and is passed over.
 * Throws `source_missing` for a named one that is not there, at `placeOf` it, `usage` for a name that nobody knows here, and `source_unusable`
 * with `file:line:column` for one that cannot be read.
 */
export async function readLockFiles(
  folder: string,
  named?: readonly string[],
  placeOf: (name: string) => string = (name) => name,
): Promise<readonly ReadLockFile[]> {
  const read: ReadLockFile[] = [];
  for (const name of named ?? Object.keys(lockFileEcosystems)) {
    const kind = basename(name);
    if (!isLockFileName(kind)) {
      throw new SlipwayError("usage", `${name} is no lock file that is known here`, { hint: `known: ${Object.keys(lockFileEcosystems).join(", ")}` });
    }
    const ecosystem = lockFileEcosystems[kind];
    const isExport = named === undefined && kind === "requirements.txt" && read.some((other) => other.ecosystem === ecosystem);
    const file = isExport ? undefined : await readIfThere(folder, name);
    if (file !== undefined) read.push({ name, ecosystem, sha256: file.sha256, ...readers[kind]({ name, text: file.text }) });
    else if (named !== undefined) throw new SlipwayError("source_missing", `there is no ${name}`, { place: placeOf(name) });
  }
  return read;
}

async function readIfThere(folder: string, name: string): Promise<{ readonly text: string; readonly sha256: string } | undefined> {
  try {
    const bytes = await readFileBounded(safeJoin(folder, name), lockFileLimit);
    return { text: bytes.toString("utf8"), sha256: createHash("sha256").update(bytes).digest("hex") };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
