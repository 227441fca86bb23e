/**
 * Strategy `inplace`: the files of one folder are replaced one by one, each by a rename over the live name, which therefore always exists.
 *
 *     root/<f>                          live
 *     root/.<name>.new-<id>             the new file beside it, complete and durable before the first rename
 *     updates/bin-backups/<v>/<f>       a copy of the old file, bound to its hash
 *
 * Copies, not hard links: a link shares its bytes with the live file, and whoever writes into that one changes the way back as well.
 * A new file takes over what the operator gave to the live one (file-attributes.ts), and so does the old one on the way back.
 * Between the first and the last rename the folder is mixed: recovery finishes it before the service may start.
 */
import { constants } from "node:fs";
import { chmod, copyFile, mkdir, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { syncDirectory } from "../io/atomic-file.ts";
import { SlipwayError } from "../model/errors.ts";
import { copyAttributes } from "./file-attributes.ts";
import { lstatIfThere, seeFile, syncTree } from "./file-tree.ts";
import type { Machine } from "./machine.ts";
import { requireReplaceable } from "./place-check.ts";
import { signedFiles } from "./signed-files.ts";
import type { Reality, Strategy, StrategyContext } from "./strategy.ts";
import { type FileTable, fileTableSchema, type Transaction } from "./transaction.ts";
import { unpackArtifact } from "./unpack.ts";

export function inplaceStrategy({ installation, machine, directory }: StrategyContext): Strategy {
  const { root } = installation;
  const besides = (path: string, id: string, word: "new" | "old"): string => join(root, dirname(path), `.${basename(path)}.${word}-${id}`);
  const keptPath = (transaction: Transaction, path: string): string => join(directory.codeBackups(transaction.from.version ?? "none"), path);
  const newFiles = (transaction: Transaction): FileTable => transaction.to.files ?? {};
  const addedPaths = (transaction: Transaction): readonly string[] =>
    Object.keys(newFiles(transaction)).filter((path) => transaction.from.files[path] === undefined);

  const syncFolders = async (paths: Iterable<string>): Promise<void> => {
    for (const folder of new Set([...paths].map((path) => dirname(join(root, path)))))
      if ((await lstatIfThere(folder)) !== undefined) await syncDirectory(folder);
  };

  /** Does every live file have the content that the table says? */
  const isLive = async (files: FileTable): Promise<boolean> => {
    for (const [path, expected] of Object.entries(files)) if ((await seeFile(join(root, path)))?.sha256 !== expected.sha256) return false;
    return true;
  };

  const removeLeftovers = async (transaction: Transaction): Promise<void> => {
    for (const path of new Set([...Object.keys(newFiles(transaction)), ...Object.keys(transaction.from.files)])) {
      await rm(besides(path, transaction.id, "new"), { force: true });
      await rm(besides(path, transaction.id, "old"), { force: true });
    }
  };

  const reality = async (transaction: Transaction): Promise<Reality> => {
    if (await isLive(newFiles(transaction))) return "new";
    if (!(await isLive(transaction.from.files))) return "mixed";
    for (const path of addedPaths(transaction)) if ((await lstatIfThere(join(root, path))) !== undefined) return "mixed";
    return "old";
  };

  return {
    canFinishBeforeStart: true,
    livePaths: (files) => Object.keys(files).map((path) => join(root, path)),
    reality,
    isStartable: async (transaction) => (await reality(transaction)) !== "mixed",

    /** The operator said which version lies there although we did not install it: its files are those at the places of the new ones. */
    adopt: async (from, { paths }) => {
      if (from.version === undefined || Object.keys(from.files).length > 0) return from;
      const files: FileTable = {};
      for (const path of paths) {
        const seen = await seeFile(join(root, path));
        if (seen !== undefined) files[path] = seen;
      }
      return { ...from, files };
    },

    look: async (known) => {
      const files: FileTable = {};
      for (const path of Object.keys(known?.files ?? {})) {
        const seen = await seeFile(join(root, path));
        if (seen !== undefined) files[path] = seen;
      }
      return { version: known?.version, files };
    },

    target: (artifact) => {
      const files = signedFiles(artifact, installation);
      fileTableSchema.parse(files);
      return { files };
    },

    backUpCode: async (transaction) => {
      await requireReplaceable([...new Set([...Object.keys(newFiles(transaction)), ...Object.keys(transaction.from.files)])].map((path) => join(root, path)));
      if (transaction.from.version === undefined) return;
      const kept = directory.codeBackups(transaction.from.version);
      await mkdir(kept, { recursive: true, mode: 0o700 });
      for (const [path, expected] of Object.entries(transaction.from.files)) {
        const to = keptPath(transaction, path);
        if ((await seeFile(to))?.sha256 === expected.sha256) continue; // kept before a crash; never replaced by whatever is live now
        const live = await seeFile(join(root, path));
        if (live?.sha256 !== expected.sha256)
          throw new SlipwayError("conflict", `${path} was changed since the upgrade began`, { place: join(root, path), hint: "run the upgrade again" });
        const temporary = `${to}.tmp`;
        await mkdir(dirname(to), { recursive: true, mode: 0o700 });
        await rm(temporary, { force: true });
        await copyFile(join(root, path), temporary, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
        await copyAttributes(machine, { from: join(root, path), to: temporary });
        await makeDurable(temporary);
        if ((await seeFile(temporary))?.sha256 !== expected.sha256)
          throw new SlipwayError("backup_failed", `${path} changed while it was copied`, { place: join(root, path) });
        await rename(temporary, to);
      }
      await syncTree(kept);
      await syncDirectory(dirname(kept));
      machine.observe({ event: "step", step: "backup", text: `code of ${transaction.from.version} is kept` });
    },

    place: async (transaction, held) => {
      const files = newFiles(transaction);
      for (const path of addedPaths(transaction)) {
        const seen = await seeFile(join(root, path));
        if (seen !== undefined && seen.sha256 !== files[path]?.sha256) {
          throw new SlipwayError("conflict", `${join(root, path)} is in the way: the installed version did not bring it`, {
            place: join(root, path),
            hint: "move the file away, or leave it out with files: in the installation file",
          });
        }
      }
      await removeLeftovers(transaction);
      await mkdir(root, { recursive: true, mode: 0o755 });
      await unpackArtifact({
        held,
        files,
        destination: (path) => besides(path, transaction.id, "new"),
        finish: async (path) => {
          const live = join(root, path);
          if ((await lstatIfThere(live)) !== undefined) await copyAttributes(machine, { from: live, to: besides(path, transaction.id, "new") });
        },
      });
      await syncFolders(Object.keys(files));
      machine.observe({ event: "step", step: "place", text: `${Object.keys(files).length} new files lie beside the live ones` });
    },

    switchForward: async (transaction) => {
      for (const [path, expected] of Object.entries(newFiles(transaction))) {
        const live = join(root, path);
        if ((await seeFile(live))?.sha256 === expected.sha256) continue;
        const beside = besides(path, transaction.id, "new");
        if ((await seeFile(beside))?.sha256 !== expected.sha256)
          throw new SlipwayError("conflict", `the new ${path} is gone or changed`, { place: beside, hint: "run the upgrade again" });
        await rename(beside, live);
        machine.observe({ event: "step", step: "switch", text: path });
      }
      await syncFolders(Object.keys(newFiles(transaction)));
    },

    switchBack: async (transaction) => {
      const changed: string[] = [];
      for (const [path, expected] of Object.entries(transaction.from.files)) {
        const live = join(root, path);
        if ((await seeFile(live))?.sha256 === expected.sha256) continue;
        const beside = besides(path, transaction.id, "old");
        await rm(beside, { force: true });
        await mkdir(dirname(live), { recursive: true, mode: 0o755 });
        await copyKept(machine, { from: keptPath(transaction, path), to: beside, mode: expected.mode, live });
        if ((await seeFile(beside))?.sha256 !== expected.sha256) {
          await rm(beside, { force: true });
          throw new SlipwayError("rollback_failed", `the kept ${path} of ${transaction.from.version ?? ""} is not what it was when it was kept`, {
            detail: "backup_changed",
            place: keptPath(transaction, path),
            hint: `put the file of ${transaction.from.version ?? "the previous version"} there by hand, then run \`slipway upgrade resume\``,
          });
        }
        await rename(beside, live);
        changed.push(path);
        machine.observe({ event: "step", step: "switch", text: `${path} is ${transaction.from.version ?? ""} again` });
      }
      for (const path of addedPaths(transaction)) {
        await rm(join(root, path), { force: true });
        changed.push(path);
      }
      await syncFolders(changed);
      await removeLeftovers(transaction);
    },

    clean: async (transaction, keep, drop) => {
      await removeLeftovers(transaction);
      if (transaction.phase === "applied") {
        // Files that only the old version had; one that the operator changed is no longer ours.
        for (const [path, expected] of Object.entries(transaction.from.files)) {
          if (newFiles(transaction)[path] === undefined && (await seeFile(join(root, path)))?.sha256 === expected.sha256) await rm(join(root, path));
        }
      }
      for (const version of drop) if (!keep.has(version)) await rm(directory.codeBackups(version), { recursive: true, force: true });
    },
  };
}

async function makeDurable(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * A copy with what the live file carries now, or, where there is none, what the kept one does. The way back does not stop at that: the old version's
 * health says whether it can do without.
 */
async function copyKept(
  machine: Pick<Machine, "runCommand" | "observe">,
  copy: { readonly from: string; readonly to: string; readonly mode: number; readonly live: string },
): Promise<void> {
  try {
    await copyFile(copy.from, copy.to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  } catch (error) {
    throw new SlipwayError("rollback_failed", `the kept file is gone: ${error instanceof Error ? error.message : String(error)}`, {
      detail: "backup_missing",
      place: copy.from,
      cause: error,
    });
  }
  await chmod(copy.to, copy.mode);
  try {
    await copyAttributes(machine, { from: (await lstatIfThere(copy.live)) === undefined ? copy.from : copy.live, to: copy.to });
  } catch (error) {
    machine.observe({ event: "warning", text: error instanceof Error ? error.message : String(error) });
  }
  await makeDurable(copy.to);
}
