/**
 * Puts a backup back by replacing, never by merging: what the failed version created must not stay.
 *
 *     .<name>.new-<id>   unpacked beside the target, complete and durable before the first rename
 *     .<name>.old-<id>   what was there; kept until the product is proven healthy
 *
 * The first `.old-`, or the journal of a restore by hand, says that every `.new-` is complete: from then on a crash is finished forward,
 * before that it starts over.
 */
import { constants } from "node:fs";
import { chmod, chown, lchown, mkdir, open, rename, rm, statfs, symlink, utimes } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { syncDirectory } from "../io/atomic-file.ts";
import { SlipwayError } from "../model/errors.ts";
import type { StateSection } from "../model/upgrade-contract.ts";
import { countOf } from "./backup.ts";
import { type BackupFile, type BackupManifest, placeOf, verifyBackup } from "./backup-archive.ts";
import { lstatIfThere, syncTree } from "./file-tree.ts";
import type { Machine } from "./machine.ts";
import { withDump } from "./sections.ts";
import { runHook } from "./service.ts";

/** One section on its way back. */
export type RestoreTarget = {
  readonly name: string;
  readonly kind: "dir" | "file" | "cmd";
  /** Where it belongs; for `cmd` a file that nobody else uses. */
  readonly target: string;
  readonly isPresent: boolean;
  readonly count?: number | undefined;
};

const beside = (path: string, word: string, id: string): string => join(dirname(path), `.${basename(path)}.${word}-${id}`);
const freshOf = ({ kind, target }: RestoreTarget, id: string): string => (kind === "cmd" ? target : beside(target, "new", id));
const formerOf = ({ target }: RestoreTarget, id: string): string => beside(target, "old", id);
const isThere = async (path: string): Promise<boolean> => (await lstatIfThere(path)) !== undefined;

/**
 * The targets of a backup's sections; `dumps` is a private folder. A backup of this transaction is believed about its paths; of one that came from
 * elsewhere only the names are taken, and this installation says where they are. Throws `backup_failed` for a section that is not known here.
 */
export function targetsOf(
  manifest: BackupManifest,
  options: { readonly sections: readonly StateSection[]; readonly dumps: string; readonly isOwn: boolean },
): readonly RestoreTarget[] {
  return manifest.sections.map((saved) => {
    const { name, kind, isPresent, count } = saved;
    const known = options.sections.find((section) => section.name === name);
    const refuse = (why: string): never => {
      throw new SlipwayError("backup_failed", `the backup's section ${name} ${why}`, {
        detail: "section_unknown",
        hint: "name it under backup: { sections: … } in the installation file, with the place where it belongs",
      });
    };
    if (kind === "cmd") {
      if (known?.restore === undefined) refuse("is a dump, and this installation has no command to restore it");
      return { name, kind, target: join(options.dumps, name), isPresent, count };
    }
    const path = options.isOwn ? (saved.path ?? known?.path) : known?.path;
    return { name, kind, target: path ?? refuse("is not known to this installation"), isPresent };
  });
}

/** Removes what an earlier, cut unpacking left, then unpacks and makes durable. Nothing live is touched. Throws `backup_failed`, `disk_full`. */
export async function unpackBackup(options: { readonly path: string; readonly id: string; readonly targets: readonly RestoreTarget[] }): Promise<void> {
  const { path, id, targets } = options;
  const byName = new Map(targets.map((target) => [target.name, target]));
  for (const target of targets) {
    await rm(freshOf(target, id), { recursive: true, force: true });
    await mkdir(dirname(target.target), { recursive: true, mode: target.kind === "cmd" ? 0o700 : 0o755 });
  }
  const later: BackupFile[] = [];
  const pathOf = (file: BackupFile): string => {
    const { section, below } = placeOf(file);
    const target = byName.get(section);
    if (target === undefined) throw new SlipwayError("internal", `${section} has no target`);
    return join(freshOf(target, id), below);
  };
  const isRoot = process.geteuid?.() === 0;
  await verifyBackup(path, {
    onManifest: (manifest) => requireSpace(manifest, targets),
    onFile: async (file, content) => {
      const place = pathOf(file);
      if (file.type !== "file") {
        if (file.type === "dir") await mkdir(place, { mode: 0o700 });
        for await (const _ of content);
        later.push(file);
        return;
      }
      const handle = await open(place, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
      try {
        for await (const piece of content) await handle.appendFile(piece);
        if (isRoot) await handle.chown(file.uid, file.gid);
        await handle.chmod(file.mode);
        await handle.utimes(secondsOf(file.mtime), secondsOf(file.mtime));
        await handle.sync();
      } finally {
        await handle.close();
      }
    },
  });
  // Links after all files, then folders from the inside out: a read-only folder must get its mode last.
  for (const file of later.filter(({ type }) => type === "symlink")) {
    await symlink(file.target ?? "", pathOf(file));
    if (isRoot) await lchown(pathOf(file), file.uid, file.gid);
  }
  for (const target of targets) if ((await lstatIfThere(freshOf(target, id)))?.isDirectory() === true) await syncTree(freshOf(target, id));
  for (const file of later.filter(({ type }) => type === "dir").toReversed()) {
    if (isRoot) await chown(pathOf(file), file.uid, file.gid);
    await chmod(pathOf(file), file.mode);
    await utimes(pathOf(file), secondsOf(file.mtime), secondsOf(file.mtime));
  }
  for (const target of targets) await syncDirectory(dirname(target.target));
}

/** Throws `disk_full` before anything is written; sections on one file system are added up. */
async function requireSpace(manifest: BackupManifest, targets: readonly RestoreTarget[]): Promise<void> {
  const perDevice = new Map<string, { place: string; needed: number; free: number }>();
  for (const { name, target } of targets) {
    let place = dirname(target);
    while (!(await isThere(place)) && dirname(place) !== place) place = dirname(place);
    const stat = await lstatIfThere(place);
    const { bavail, bsize } = await statfs(place);
    const bytes = manifest.files.reduce((sum, file) => sum + (placeOf(file).section === name ? file.size + bsize : 0), 0);
    const device = String(stat?.dev ?? place);
    const sofar = perDevice.get(device);
    perDevice.set(device, { place, needed: (sofar?.needed ?? 0) + bytes, free: bavail * bsize });
  }
  for (const { place, needed, free } of perDevice.values()) {
    if (free < needed) throw new SlipwayError("disk_full", `${place} has ${free} bytes free; the restore needs ${needed}`, { place });
  }
}

/** The renames. Every one may be the last before a crash; doing all again finishes. Throws `rollback_failed` where something writes there meanwhile. */
export async function replaceSections(targets: readonly RestoreTarget[], id: string, onStep: (text: string) => void): Promise<void> {
  for (const one of targets) {
    if (one.kind === "cmd") continue;
    const { target, isPresent } = one;
    const [fresh, former] = [freshOf(one, id), formerOf(one, id)];
    if ((await isThere(target)) && !(await isThere(former)) && (!isPresent || (await isThere(fresh)))) {
      await rename(target, former);
      await syncDirectory(dirname(target));
      onStep(`${target} is set aside`);
    }
    if (isPresent && (await isThere(fresh))) {
      if (await isThere(target))
        throw new SlipwayError("rollback_failed", `${target} came back while it was being restored: something still writes there`, { place: target });
      await rename(fresh, target);
      await syncDirectory(dirname(target));
    }
    onStep(`${target} is as it was`);
  }
}

/** The dumps, by this installation's own commands, which are safe to run twice; what they count must be what was counted. Throws `hook_failed`, `backup_failed`. */
export async function restoreDumps(
  machine: Machine,
  targets: readonly RestoreTarget[],
  options: { readonly sections: readonly StateSection[]; readonly onStep: (text: string) => void },
): Promise<void> {
  for (const { name, kind, target, count } of targets) {
    const section = options.sections.find((one) => one.name === name);
    if (kind !== "cmd" || section?.restore === undefined) continue;
    await runHook(machine, withDump(section.restore, target), { what: `restore of ${name}`, timeoutSeconds: section.timeout_seconds });
    const now = await countOf(machine, section);
    if (count !== undefined && now !== undefined && now !== count)
      throw new SlipwayError("backup_failed", `${name} counts ${now} after the restore; the backup counted ${count}`, { detail: "count" });
    options.onStep(`${name} is as it was`);
  }
}

export type Restore = {
  readonly machine: Machine;
  readonly path: string;
  readonly id: string;
  readonly sha256: string;
  readonly product: string;
  readonly sections: readonly StateSection[];
  /** A private folder for dumps. */
  readonly dumps: string;
  readonly onStep: (text: string) => void;
};

/** A transaction's own backup, or the rest of a restore that was cut. Throws `rollback_failed` where it is not the one that was made; the state is then untouched. */
export async function restoreBackup(restore: Restore): Promise<void> {
  const asFailure = (error: unknown): never => {
    throw new SlipwayError("rollback_failed", error instanceof Error ? error.message : String(error), {
      detail: "backup_damaged",
      place: restore.path,
      cause: error,
    });
  };
  const { manifest, sha256 } = await verifyBackup(restore.path).catch(asFailure);
  if (sha256 !== restore.sha256 || manifest.product !== restore.product)
    throw new SlipwayError("rollback_failed", `the backup ${restore.path} is not the one that was made`, { detail: "backup_damaged", place: restore.path });
  const targets = targetsOf(manifest, { sections: restore.sections, dumps: restore.dumps, isOwn: true });
  let isBegun = false;
  for (const target of targets) if (target.kind !== "cmd" && (await isThere(formerOf(target, restore.id)))) isBegun = true;
  // A dump is unpacked again in any case: its folder says nothing about where the renames stand.
  if (!isBegun) {
    await unpackBackup({ path: restore.path, id: restore.id, targets });
    restore.onStep("the backup is unpacked beside the state");
  } else await unpackDumps(restore, targets);
  await replaceSections(targets, restore.id, restore.onStep);
  await restoreDumps(restore.machine, targets, restore);
}

/** Only the dumps of a backup, for a restore that was cut among its renames. */
async function unpackDumps(restore: Restore, targets: readonly RestoreTarget[]): Promise<void> {
  const dumps = new Map(targets.flatMap((target) => (target.kind === "cmd" ? [[target.name, target.target] as const] : [])));
  if (dumps.size === 0) return;
  await mkdir(restore.dumps, { recursive: true, mode: 0o700 });
  await verifyBackup(restore.path, {
    onFile: async (file, content) => {
      const place = dumps.get(placeOf(file).section);
      if (place === undefined) {
        for await (const _ of content);
        return;
      }
      await rm(place, { force: true });
      const handle = await open(place, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
      try {
        for await (const piece of content) await handle.appendFile(piece);
      } finally {
        await handle.close();
      }
    },
  });
}

/** Removes what the restore put aside; only after the product is proven healthy. */
export async function cleanRestore(paths: readonly string[], id: string): Promise<void> {
  for (const path of paths) for (const word of ["old", "new"]) await rm(beside(path, word, id), { recursive: true, force: true });
}

/** As utimes takes it. Node cuts to whole microseconds, and a millisecond in binary may lie just below its own: half a microsecond keeps it. */
function secondsOf(ms: number): number {
  return (ms + 0.000_5) / 1000;
}
