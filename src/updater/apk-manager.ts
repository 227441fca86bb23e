/** apk: Alpine and its kin. */
import { readApk } from "../formats/apk-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { apkVersion } from "../model/version.ts";
import type { Machine } from "./machine.ts";
import { askPackages, changePackages, lastWords, requirePackages } from "./package-command.ts";
import type { PackageManager } from "./package-manager.ts";

/** apk waits for the lock this long, in seconds (apk(8), --wait). */
const waitOptions = ["--wait", "10"] as const;

/** `name-1.5.0_rc1-r0`; a name may hold dashes, a version begins with a digit after one. */
const installedPattern = /^(.+)-(\d[^-]*)-r\d+$/;

export function apkManager(machine: Machine): PackageManager {
  // We have compared the file's bytes with what was signed; the vendor's apk key need not be on this machine.
  const add = (...words: readonly string[]): readonly string[] => ["apk", "add", ...waitOptions, "--no-progress", "--allow-untrusted", ...words];
  const remove = (name: string): Promise<void> => requirePackages(machine, ["apk", "del", ...waitOptions, "--no-progress", name]);
  return {
    kind: "apk",
    artifactKind: "apk",
    spell: apkVersion,

    owners: async (paths) => {
      const owners = new Map<string, string>();
      for (const path of paths) {
        const result = await askPackages(machine, ["apk", "info", "--who-owns", path]);
        const [, full = ""] = / is owned by (\S+)/.exec(result.stdout) ?? [];
        const name = installedPattern.exec(full)?.[1];
        if (name !== undefined) owners.set(path, name);
      }
      return owners;
    },

    installed: async (name) => {
      const result = await askPackages(machine, ["apk", "info", "-e", "-v", name]);
      const [, found, version] = installedPattern.exec(result.stdout.trim()) ?? [];
      if (result.exitCode !== 0 || found !== name || version === undefined) return undefined;
      // apk writes its database last: a run that was cut leaves files that differ from it (apk-audit(8)).
      const audit = await askPackages(machine, ["apk", "audit", "--system", "--packages"]);
      const isWhole = audit.exitCode === 0 && !audit.stdout.split("\n").some((line) => installedPattern.exec(line)?.[1] === name);
      return { version, isWhole, areFilesWhole: isWhole };
    },

    identify: async (source) => {
      const { info } = await readApk(source);
      return { name: info.name, version: info.version.replace(/-r\d+$/, "") };
    },

    rehearse: async (file) => {
      const result = await changePackages(machine, add("--simulate", file));
      if (result.exitCode !== 0) {
        throw new SlipwayError("conflict", `apk would not install ${file}: ${lastWords(result)}`, {
          hint: "nothing was changed; make room for the package first",
        });
      }
    },

    remove,

    install: async (file, { name, isRepair }) => {
      // apk finds nothing to do for a version that its database has, whatever the files are; changed configuration survives the removal.
      if (isRepair) await remove(name);
      await requirePackages(machine, add(file));
    },
  };
}
