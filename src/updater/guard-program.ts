/**
 * The guard's own copy of slipway, for the one product whose upgrade replaces the program that the guard would call: Slipway itself.
 *
 * It lies in the updater's private folder, where no package and no release puts anything. It is always the program that wrote the journal: each
 * upgrade puts its own executable there before it switches, so that the version on trial never judges itself.
 */
import { constants } from "node:fs";
import { copyFile, open, realpath, rename, rm } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import { syncDirectory } from "../io/atomic-file.ts";
import { builtInVersion } from "../io/built-in.ts";
import { lstatIfThere, seeFile } from "./file-tree.ts";
import type { Installation } from "./installation.ts";
import type { Machine } from "./machine.ts";
import { packageManager } from "./package-owner.ts";
import { requireRunnable } from "./place-check.ts";
import { settleStrategy } from "./settle.ts";
import type { StateDirectory } from "./state-directory.ts";

export const guardProgramPath = (directory: Pick<StateDirectory, "guard">): string => join(directory.guard, "slipway");

/** Would an upgrade of this installation replace `program`? */
export async function replacesProgram(installation: Installation, machine: Machine, program: string): Promise<boolean> {
  const path = await realpath(program);
  const { strategy, packaged, root } = await settleStrategy(installation, machine);
  if (packaged !== undefined) return (await packageManager(packaged.kind, machine).owners([path])).get(path) === packaged.name;
  return (strategy === "versions" || strategy === "inplace") && path.startsWith(`${await realpath(root)}${sep}`);
}

/** Durable, and never half written. Throws `permission_denied` (noexec) where the folder's file system lets no program run. */
export async function keepGuardProgram(directory: Pick<StateDirectory, "guard">, program: string): Promise<void> {
  const path = guardProgramPath(directory);
  if ((await seeFile(path))?.sha256 === (await seeFile(program))?.sha256) return;
  const temporary = join(dirname(path), `.slipway.${process.pid}.tmp`);
  await rm(temporary, { force: true });
  try {
    await copyFile(program, temporary, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    const handle = await open(temporary, constants.O_RDWR | constants.O_NOFOLLOW);
    try {
      await handle.chmod(0o755);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await requireRunnable(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Before the switch: the copy, where the guard has one, becomes the program that runs now. Its file may be replaced already, its bytes are still there. */
export async function renewGuardProgram(directory: Pick<StateDirectory, "guard">): Promise<void> {
  if (builtInVersion === undefined || (await lstatIfThere(guardProgramPath(directory))) === undefined) return;
  await keepGuardProgram(directory, process.execPath);
}
