/**
 * Strategy `versions`: each version in its own folder, one link decides.
 *
 *     root/versions/<v>/…           never written after it got its name
 *     root/versions/.tmp-<id>/…     being unpacked
 *     root/current -> versions/<v>  the only switch point, replaced by one rename
 */
import { mkdir, readlink, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { syncDirectory } from "../io/atomic-file.ts";
import { SlipwayError } from "../model/errors.ts";
import type { ManifestArtifact } from "../model/manifest.ts";
import { differenceFrom, lstatIfThere, seeTree, syncTree } from "./file-tree.ts";
import { signedFiles } from "./signed-files.ts";
import type { Strategy, StrategyContext } from "./strategy.ts";
import type { Transaction } from "./transaction.ts";
import { unpackArtifact } from "./unpack.ts";

const refPattern = /^versions\/([0-9A-Za-z][0-9A-Za-z.+-]{0,127})$/;

export function versionsStrategy({ installation, machine }: StrategyContext): Strategy {
  const { root } = installation;
  const versions = join(root, "versions");
  const current = join(root, "current");
  const refOf = (version: string): string => `versions/${version}`;
  const folderOf = (ref: string): string => {
    if (!refPattern.test(ref) || ref.includes("..")) throw new SlipwayError("journal_corrupt", `${JSON.stringify(ref)} is no version folder`);
    return join(root, ref);
  };

  /** The version that the link names; undefined where there is no link. Anything else at its place is not ours to replace. */
  const liveRef = async (): Promise<string | undefined> => {
    const stat = await lstatIfThere(current);
    if (stat === undefined) return undefined;
    if (!stat.isSymbolicLink())
      throw new SlipwayError("state_dir_insecure", `${current} is not a link; strategy versions switches by a link`, {
        place: current,
        hint: "move it to versions/<version> and make the link, or use strategy inplace, which replaces files where they lie",
      });
    const target = await readlink(current);
    if (!refPattern.test(target))
      throw new SlipwayError("state_dir_insecure", `${current} leads to ${target}, which is no folder of versions/`, {
        place: current,
        hint: "make it a relative link as versions/1.4.2; docs/strategies.md (What is there already) shows how",
      });
    return target;
  };

  const pointAt = async (ref: string, id: string): Promise<void> => {
    const temporary = join(root, `.current-${id}`);
    await rm(temporary, { force: true });
    await symlink(ref, temporary);
    await rename(temporary, current);
    await syncDirectory(root);
    machine.observe({ event: "step", step: "switch", text: `current leads to ${ref}` });
  };

  const newRef = (transaction: Transaction): string => transaction.to.ref ?? refOf(transaction.to.version);

  return {
    canFinishBeforeStart: true,
    livePaths: () => [current],
    adopt: (from) => Promise.resolve(from), // the folder that is live says all
    isStartable: () => Promise.resolve(true), // a link is never half one version

    look: async () => {
      const ref = await liveRef();
      if (ref === undefined) return { version: undefined, files: {} };
      const folder = folderOf(ref);
      if ((await lstatIfThere(folder))?.isDirectory() !== true)
        throw new SlipwayError("state_dir_insecure", `${current} leads to ${folder}, which is no folder`, {
          place: folder,
          hint: "put the version's folder back, or point the link at one that is there",
        });
      return { version: refPattern.exec(ref)?.[1], files: await seeTree(folder), ref };
    },

    target: (artifact: ManifestArtifact, version: string) => ({ files: signedFiles(artifact, installation), ref: refOf(version) }),

    backUpCode: () => Promise.resolve(), // the old folder stays where it is

    place: async (transaction, held) => {
      const ref = newRef(transaction);
      const folder = folderOf(ref);
      const files = transaction.to.files ?? {};
      if ((await lstatIfThere(folder)) !== undefined) {
        if ((await differenceFrom(folder, files)) === undefined) return; // placed before a crash
        if (transaction.from.ref === ref)
          throw new SlipwayError("conflict", `${folder} is live and differs from the release of the same version`, {
            place: folder,
            hint: "nothing was changed; `slipway verify installed` names the files: put them back as they were, or install a newer version",
          });
        await rm(folder, { recursive: true });
      }
      const temporary = join(versions, `.tmp-${transaction.id}`);
      await mkdir(versions, { recursive: true, mode: 0o755 });
      await rm(temporary, { recursive: true, force: true });
      await mkdir(temporary, { mode: 0o755 });
      await unpackArtifact({ held, files, destination: (path) => join(temporary, path), linkRoot: temporary });
      await syncTree(temporary);
      await rename(temporary, folder);
      await syncDirectory(versions);
      await syncDirectory(root);
      machine.observe({ event: "step", step: "place", text: `${ref} is complete` });
    },

    reality: async (transaction) => ((await liveRef()) === newRef(transaction) ? "new" : "old"),

    switchForward: async (transaction) => {
      const ref = newRef(transaction);
      if ((await liveRef()) === ref) return;
      const difference = await differenceFrom(folderOf(ref), transaction.to.files ?? {});
      if (difference !== undefined)
        throw new SlipwayError("conflict", `${ref}: ${difference}`, { place: folderOf(ref), hint: "somebody changed it meanwhile: run the upgrade again" });
      await pointAt(ref, transaction.id);
    },

    switchBack: async (transaction) => {
      const { ref, files } = transaction.from;
      if (ref === undefined) {
        await rm(current, { force: true });
        await syncDirectory(root);
        machine.observe({ event: "step", step: "switch", text: "current is gone: nothing was installed before" });
        return;
      }
      const difference = await differenceFrom(folderOf(ref), files);
      if (difference !== undefined) {
        throw new SlipwayError("rollback_failed", `the previous version is not what it was: ${difference}`, {
          detail: "backup_changed",
          place: folderOf(ref),
          hint: "install the previous version's artifact by hand into this folder, then run `slipway upgrade resume`",
        });
      }
      if ((await liveRef()) !== ref) await pointAt(ref, transaction.id);
    },

    clean: async (transaction, keep, drop) => {
      await rm(join(versions, `.tmp-${transaction.id}`), { recursive: true, force: true });
      await rm(join(root, `.current-${transaction.id}`), { force: true });
      const live = await liveRef();
      for (const version of drop) {
        if (keep.has(version) || refOf(version) === live) continue;
        await rm(folderOf(refOf(version)), { recursive: true, force: true });
      }
    },
  };
}
