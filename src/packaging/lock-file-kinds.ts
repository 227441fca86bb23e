/** The table of lock files that are read, and the reading of those that a product has. */
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
import { readPackageLock } from "./lock-file-npm.ts";
import { readPnpmLock } from "./lock-file-pnpm.ts";
import { readPipfileLock, readPoetryLock, readRequirements, readUvLock } from "./lock-file-python.ts";
import { readGemfileLock } from "./lock-file-ruby.ts";
import type { LockFile, LockReading } from "./lock-file-text.ts";
import { readYarnLock } from "./lock-file-yarn.ts";

type LockFileKind = { readonly name: string; readonly ecosystem: Ecosystem; readonly read: (file: LockFile) => LockReading };

/** In the order of reading. A requirements.txt beside one of the others of Python is its export, and is passed over unless it is named. */
export const lockFileKinds: readonly LockFileKind[] = [
  { name: "package-lock.json", ecosystem: "npm", read: readPackageLock },
  { name: "npm-shrinkwrap.json", ecosystem: "npm", read: readPackageLock },
  { name: "yarn.lock", ecosystem: "npm", read: readYarnLock },
  { name: "pnpm-lock.yaml", ecosystem: "npm", read: readPnpmLock },
  { name: "Cargo.lock", ecosystem: "cargo", read: readCargoLock },
  { name: "go.mod", ecosystem: "golang", read: readGoMod },
  { name: "uv.lock", ecosystem: "pypi", read: readUvLock },
  { name: "poetry.lock", ecosystem: "pypi", read: readPoetryLock },
  { name: "Pipfile.lock", ecosystem: "pypi", read: readPipfileLock },
  { name: "requirements.txt", ecosystem: "pypi", read: readRequirements },
  { name: "Gemfile.lock", ecosystem: "gem", read: readGemfileLock },
  { name: "composer.lock", ecosystem: "composer", read: readComposerLock },
];

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
 * tests and examples, which do not go in. Throws `source_missing` for a named one that is not there, `usage` for a name that the table does not
 * have, and `source_unusable` with `file:line:column` for one that cannot be read.
 */
export async function readLockFiles(folder: string, named?: readonly string[]): Promise<readonly ReadLockFile[]> {
  const read: ReadLockFile[] = [];
  for (const name of named ?? lockFileKinds.map((kind) => kind.name)) {
    const kind = lockFileKinds.find((candidate) => candidate.name === basename(name));
    if (kind === undefined) {
      throw new SlipwayError("usage", `${name} is no lock file that is known here`, { hint: `known: ${lockFileKinds.map((known) => known.name).join(", ")}` });
    }
    const isExport = named === undefined && kind.read === readRequirements && read.some((other) => other.ecosystem === kind.ecosystem);
    const file = isExport ? undefined : await readIfThere(folder, name);
    if (file !== undefined) read.push({ name, ecosystem: kind.ecosystem, sha256: file.sha256, ...kind.read({ name, text: file.text }) });
    else if (named !== undefined) throw new SlipwayError("source_missing", `there is no ${name}`, { place: name });
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
