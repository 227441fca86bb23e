/**
 * Strategy `package`: dpkg, rpm or apk owns the product's files, so it is the package manager that replaces them, from a package file that
 * we have verified against the signed release.
 *
 *     updates/packages/<v>/<file>   the package file of each version that is kept, bound to its hash; the one before is the way back
 *
 * What is live is what the package manager's database says. A run that was cut (power, kill) leaves it neither old nor new: the next one
 * finishes it, because installing the same file again is the repair that dpkg, rpm and apk all know.
 */
import { constants } from "node:fs";
import { open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { syncDirectory } from "../io/atomic-file.ts";
import { pourHashed } from "../formats/byte-source.ts";
import type { ByteSource } from "../formats/package.ts";
import { readHandle } from "../io/hash-file.ts";
import { writeAll } from "../io/write-all.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseVersion, tryParseVersion } from "../model/version.ts";
import { openRegular, seeFile } from "./file-tree.ts";
import { rehearsingManager } from "./package-drill.ts";
import { packageManager } from "./package-owner.ts";
import { ensurePrivate } from "./state-directory.ts";
import type { Reality, Strategy, StrategyContext } from "./strategy.ts";
import type { FileTable, Transaction } from "./transaction.ts";

/** On the way back another package manager is waited for this long: giving up would leave the bad version. */
const busyWaitMs = 10 * 60_000;
const busyPauseMs = 5_000;

export function packageStrategy({ installation, machine, directory }: StrategyContext): Strategy {
  const { packaged } = installation;
  if (packaged === undefined) throw new SlipwayError("internal", "strategy package without a package");
  const { kind, name } = packaged;
  const own = packageManager(kind, machine);
  const manager = installation.isCopy === true ? rehearsingManager(own) : own;

  const fileOf = (files: FileTable): string | undefined => Object.keys(files)[0];
  const folderOf = (version: string): string => join(directory.packages, version);
  const keptPath = (version: string, files: FileTable): string => join(folderOf(version), fileOf(files) ?? "none");
  const spell = (version: string): string => manager.spell(parseVersion(version));

  const ensureFolder = async (version: string): Promise<string> => {
    await ensurePrivate(directory.packages);
    await ensurePrivate(folderOf(version));
    return folderOf(version);
  };

  /** Is this file, whose bytes are signed, really the package that is meant? */
  const requireIdentity = async (path: string, version: string): Promise<void> => {
    const handle = await openRegular(path);
    if (handle === undefined) throw new SlipwayError("conflict", `${path} is gone`, { place: path, hint: "run the upgrade again: it is fetched again" });
    try {
      const source: ByteSource = { size: (await handle.stat()).size, open: () => readHandle(handle) };
      const found = await manager.identify(source);
      if (found.name === name && found.version === spell(version)) return;
      throw new SlipwayError("conflict", `${path} is ${found.name} ${found.version}; expected ${name} ${spell(version)}`, {
        place: path,
        hint: "name the package with package: { name: … }, or one of several artifacts with artifact: { name_contains: … }",
      });
    } finally {
      await handle.close();
    }
  };

  const install = async (file: string, isOlder: boolean): Promise<void> => {
    const present = await manager.installed(name);
    await manager.install(file, { name, isOlder, isRepair: present !== undefined && !present.isWhole });
  };

  const isKept = async (version: string, files: FileTable): Promise<boolean> => {
    const file = fileOf(files);
    return file !== undefined && (await seeFile(keptPath(version, files)))?.sha256 === files[file]?.sha256;
  };

  const reality = async ({ from, to }: Transaction): Promise<Reality> => {
    const present = await manager.installed(name);
    if (present === undefined) return from.version === undefined ? "old" : "mixed";
    if (!present.isWhole) return "mixed";
    if (present.version === spell(to.version)) return "new";
    return from.version !== undefined && present.version === spell(from.version) ? "old" : "mixed";
  };

  /** Waits out another package manager; only for the way back. */
  const patiently = async (work: () => Promise<void>): Promise<void> => {
    const deadline = machine.clock.now().getTime() + busyWaitMs;
    for (;;) {
      try {
        await work();
        return;
      } catch (error) {
        const isBusy = error instanceof SlipwayError && error.code === "lock_held";
        if (!isBusy || machine.clock.now().getTime() > deadline) throw error;
        machine.observe({ event: "retry", what: "package manager", code: error.code, message: error.message, delayMs: busyPauseMs });
        await machine.sleep(busyPauseMs);
      }
    }
  };

  return {
    canFinishBeforeStart: false,
    livePaths: () => [], // the package manager replaces its own files
    reality,
    isStartable: async () => (await manager.installed(name))?.areFilesWhole ?? true,

    look: async (known) => {
      const present = await manager.installed(name);
      if (present === undefined) return { version: undefined, files: {} };
      if (known !== undefined && present.version === spell(known.version)) return { version: known.version, files: known.files };
      // Installed by other means. dpkg and rpm write a prerelease behind ~, apk behind _.
      const version = tryParseVersion(present.version.replace(/[~_]/, "-"));
      if (version === undefined || manager.spell(version) !== present.version)
        throw new SlipwayError("conflict", `the package ${name} has version ${present.version}, which is no version of a release`, {
          hint: "nothing was changed; install a release of the vendor with the package manager first, or name the package with package: { name: … }",
        });
      return { version, files: {} };
    },

    target: (artifact) => ({ files: { [artifact.name]: { sha256: artifact.sha256, mode: 0o600, size: artifact.size, member: artifact.name } } }),

    adopt: async (from, { fetch }) => {
      if (from.version === undefined || (await isKept(from.version, from.files))) return from;
      const folder = await ensureFolder(from.version);
      const artifact = await fetch(parseVersion(from.version), folder).catch((error: unknown) => {
        if (!(error instanceof SlipwayError) || error.isRetryable) throw error;
        throw new SlipwayError(
          "backup_failed",
          `the package of ${from.version ?? ""}, which is installed, is not to be had for the way back: ${error.message}`,
          {
            detail: "previous_package_missing",
            hint: "ask the vendor to publish that version at the source, or upgrade this once with the package manager",
            cause: error,
          },
        );
      });
      await requireIdentity(join(folder, artifact.name), from.version);
      await syncDirectory(directory.packages);
      machine.observe({ event: "step", step: "backup", text: `${artifact.name} is kept for the way back` });
      return { ...from, files: { [artifact.name]: { sha256: artifact.sha256, mode: 0o600, size: artifact.size, member: artifact.name } } };
    },

    backUpCode: async ({ from }) => {
      if (from.version === undefined || (await isKept(from.version, from.files))) return;
      throw new SlipwayError("backup_failed", `the package file of ${from.version} is gone or changed`, {
        detail: "previous_package_missing",
        place: folderOf(from.version),
        hint: "run the upgrade again: it is fetched again",
      });
    },

    place: async ({ id, to }, held) => {
      const files = to.files ?? {};
      const folder = await ensureFolder(to.version);
      const path = keptPath(to.version, files);
      if (!(await isKept(to.version, files))) {
        const temporary = join(folder, `.tmp-${id}`);
        await rm(temporary, { force: true });
        const handle = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
        let sha256: string;
        try {
          const source: ByteSource = { size: held.artifact.size, open: () => readHandle(held.handle) };
          sha256 = await pourHashed(source, (piece) => writeAll(handle, piece), { name: held.artifact.name, algorithm: "sha256" });
          await handle.sync();
        } finally {
          await handle.close();
        }
        if (sha256 !== held.artifact.sha256)
          throw new SlipwayError("upgrade_verification_failed", `${path} changed while it was copied`, { detail: "hash_mismatch" });
        await rename(temporary, path);
        await syncDirectory(folder);
        await syncDirectory(directory.packages);
      }
      await requireIdentity(path, to.version);
      await manager.rehearse(path, { isOlder: false });
      machine.observe({ event: "step", step: "place", text: `${fileOf(files) ?? ""} lies ready, and ${kind} would take it` });
    },

    switchForward: async (transaction) => {
      const { to } = transaction;
      if ((await reality(transaction)) === "new") return;
      if (!(await isKept(to.version, to.files ?? {})))
        throw new SlipwayError("conflict", "the new package file is gone or changed", {
          place: folderOf(to.version),
          hint: "run the upgrade again: it is fetched again",
        });
      await install(keptPath(to.version, to.files ?? {}), false);
      if ((await reality(transaction)) !== "new") throw new SlipwayError("command_failed", `${kind} did not install ${name} ${spell(to.version)}`);
      machine.observe({ event: "step", step: "switch", text: `${name} is ${spell(to.version)}` });
    },

    switchBack: async (transaction) => {
      const { from } = transaction;
      const { version } = from;
      if (version === undefined) {
        if ((await manager.installed(name)) !== undefined) await patiently(() => manager.remove(name));
        machine.observe({ event: "step", step: "switch", text: `${name} is taken away: it was not installed before` });
        return;
      }
      if ((await reality(transaction)) === "old") return;
      if (!(await isKept(version, from.files))) {
        throw new SlipwayError("rollback_failed", `the kept package file of ${version} is gone or not what it was when it was kept`, {
          detail: "backup_changed",
          place: keptPath(version, from.files),
          hint: `put the package file of ${version} there by hand, then run \`slipway upgrade resume\``,
        });
      }
      await patiently(() => install(keptPath(version, from.files), true));
      if ((await reality(transaction)) !== "old") throw new SlipwayError("rollback_failed", `${kind} did not put ${name} ${spell(version)} back`);
      machine.observe({ event: "step", step: "switch", text: `${name} is ${spell(version)} again` });
    },

    clean: async (transaction, keep, drop) => {
      const unneeded = new Set([...drop, ...(transaction.phase === "failed" ? [transaction.to.version] : [])].filter((version) => !keep.has(version)));
      for (const version of await readdir(directory.packages).catch(() => [])) {
        if (unneeded.has(version)) await rm(folderOf(version), { recursive: true, force: true });
        else await rm(join(folderOf(version), `.tmp-${transaction.id}`), { force: true });
      }
    },
  };
}
