/**
 * Puts a backup back by replacing, never by merging: what the failed version created must not stay.
 *
 *     .<name>.new-<id>   unpacked beside the target, complete and durable before the first rename
 *     .<name>.old-<id>   what was there; kept until the old version is proven healthy
 *
 * The first `.old-` says that every `.new-` is complete: from then on a crash is finished forward, before that it starts over.
 */
import { constants } from "node:fs";
import { chmod, chown, lchown, mkdir, open, rename, rm, symlink, utimes } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { syncDirectory } from "../io/atomic-file.ts";
import { SlipwayError } from "../model/errors.ts";
import { type BackupEntry, type BackupManifest, verifyBackup } from "./backup.ts";
import { lstatIfThere, syncTree } from "./file-tree.ts";

export type Restore = {
  readonly path: string;
  readonly id: string;
  readonly sha256: string;
  readonly product: string;
  readonly onStep: (text: string) => void;
};

type Section = { readonly index: number; readonly target: string; readonly fresh: string; readonly former: string; readonly isPresent: boolean };

function sectionsOf(manifest: BackupManifest, id: string): readonly Section[] {
  return manifest.sections.map(({ path, isPresent }, index) => {
    const beside = (word: string): string => join(dirname(path), `.${basename(path)}.${word}-${id}`);
    return { index, target: path, fresh: beside("new"), former: beside("old"), isPresent };
  });
}

const isThere = async (path: string): Promise<boolean> => (await lstatIfThere(path)) !== undefined;

/** Restores, or finishes a restore that was cut. Throws `rollback_failed` where the backup is not the one that was made; the state is then untouched. */
export async function restoreBackup(restore: Restore): Promise<void> {
  const { manifest, sha256 } = await verifyBackup(restore.path).catch((error: unknown) => {
    throw new SlipwayError("rollback_failed", error instanceof Error ? error.message : String(error), {
      detail: "backup_damaged",
      place: restore.path,
      cause: error,
    });
  });
  if (sha256 !== restore.sha256 || manifest.product !== restore.product) {
    throw new SlipwayError("rollback_failed", `the backup ${restore.path} is not the one that was made`, { detail: "backup_damaged", place: restore.path });
  }
  const sections = sectionsOf(manifest, restore.id);
  let isBegun = false;
  for (const section of sections) if (await isThere(section.former)) isBegun = true;
  if (!isBegun) await unpack(restore, sections);
  for (const section of sections) {
    await replace(section);
    restore.onStep(`${section.target} is as it was`);
  }
}

async function replace({ target, fresh, former, isPresent }: Section): Promise<void> {
  if ((await isThere(target)) && !(await isThere(former)) && (!isPresent || (await isThere(fresh)))) {
    await rename(target, former);
    await syncDirectory(dirname(target));
  }
  if (isPresent && (await isThere(fresh))) {
    if (await isThere(target)) {
      throw new SlipwayError("rollback_failed", `${target} came back while it was being restored: something still writes there`, { place: target });
    }
    await rename(fresh, target);
    await syncDirectory(dirname(target));
  }
}

async function unpack(restore: Restore, sections: readonly Section[]): Promise<void> {
  for (const section of sections) {
    await rm(section.fresh, { recursive: true, force: true });
    await mkdir(dirname(section.target), { recursive: true });
  }
  const later: BackupEntry[] = [];
  const pathOf = (entry: BackupEntry): string => join(sections[entry.section]?.fresh ?? "", entry.path);
  await verifyBackup(restore.path, async (entry, content) => {
    const path = pathOf(entry);
    if (entry.kind !== "file") {
      if (entry.kind === "directory") await mkdir(path, { mode: 0o700 });
      later.push(entry);
      return;
    }
    const handle = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
    try {
      for await (const piece of content) await handle.appendFile(piece);
      if (process.geteuid?.() === 0) await handle.chown(entry.uid, entry.gid);
      await handle.chmod(entry.mode);
      await handle.utimes(entry.mtimeMs / 1000, entry.mtimeMs / 1000);
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
  // Links after all files, then folders from the inside out: a read-only folder must get its mode last.
  for (const entry of later.filter(({ kind }) => kind === "symlink")) {
    await symlink(entry.target ?? "", pathOf(entry));
    if (process.geteuid?.() === 0) await lchown(pathOf(entry), entry.uid, entry.gid);
  }
  for (const section of sections) if ((await lstatIfThere(section.fresh))?.isDirectory() === true) await syncTree(section.fresh);
  for (const entry of later.filter(({ kind }) => kind === "directory").toReversed()) {
    if (process.geteuid?.() === 0) await chown(pathOf(entry), entry.uid, entry.gid);
    await chmod(pathOf(entry), entry.mode);
    await utimes(pathOf(entry), entry.mtimeMs / 1000, entry.mtimeMs / 1000);
  }
  for (const section of sections) await syncDirectory(dirname(section.target));
  restore.onStep("the backup is unpacked beside the state");
}

/** Removes what the restore put aside; only after the old version is proven healthy. */
export async function cleanRestore(paths: readonly string[], id: string): Promise<void> {
  for (const path of paths) {
    for (const word of ["old", "new"]) await rm(join(dirname(path), `.${basename(path)}.${word}-${id}`), { recursive: true, force: true });
  }
}
