/** rpm, and dnf where it is there: Fedora, Red Hat, SUSE and their kin. */
import { readRpm } from "../formats/rpm-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { rpmVersion } from "../model/version.ts";
import type { Machine } from "./machine.ts";
import { askPackages, changePackages, lastWords, packageFailure, requirePackages } from "./package-command.ts";
import type { InstallOptions, PackageManager } from "./package-manager.ts";

/** dnf 4 waits for another one without end unless told otherwise (dnf.conf(5), exit_on_lock). */
const dnfOptions = ["-y", "-q", "--setopt=exit_on_lock=True"] as const;
/** The operator may change configuration and times; nothing else of a package's files (rpm(8), verify options). */
const verifyOptions = ["--nodeps", "--noscripts", "--noconfig", "--noghost", "--nomtime", "--nocaps"] as const;

/** Below what a command line can hold. */
const pathsAtOnce = 200;

export function rpmManager(machine: Machine): PackageManager {
  const hasDnf = async (): Promise<boolean> =>
    askPackages(machine, ["dnf", "--version"]).then(
      (result) => result.exitCode === 0,
      () => false, // rpm alone
    );

  /** Without its check of signatures: we have compared the file's bytes with what was signed. */
  const dnf = (file: string, { isOlder }: Pick<InstallOptions, "isOlder">, more: readonly string[] = []): readonly string[] => [
    "dnf",
    ...dnfOptions,
    "--nogpgcheck",
    ...more,
    isOlder ? "downgrade" : "install",
    file,
  ];

  return {
    kind: "rpm",
    artifactKind: "rpm",
    spell: rpmVersion,

    owners: async (paths) => {
      const owners = new Map<string, string>();
      for (let start = 0; start < paths.length; start += pathsAtOnce) {
        const some = paths.slice(start, start + pathsAtOnce);
        const all = await askPackages(machine, ["rpm", "-qf", "--queryformat", "%{NAME}\n", "--", ...some]);
        if (all.stdout.split("\n").every((line) => line === "" || line.endsWith(" is not owned by any package"))) continue;
        // Somebody owns something here; a path with several owners has several lines, so each is asked for alone.
        for (const path of some) {
          const result = await askPackages(machine, ["rpm", "-qf", "--queryformat", "%{NAME}\n", "--", path]);
          const [name] = result.stdout.split("\n");
          if (result.exitCode === 0 && name !== undefined && name !== "") owners.set(path, name);
        }
      }
      return owners;
    },

    installed: async (name) => {
      const result = await askPackages(machine, ["rpm", "-q", "--queryformat", "%{VERSION}\n", "--", name]);
      if (result.exitCode !== 0) return undefined;
      const versions = result.stdout.split("\n").filter((line) => line !== "");
      const [version] = versions;
      if (version === undefined) return undefined;
      // A transaction that was cut leaves two versions in the database, or files that are not those of the one recorded.
      const verified = await askPackages(machine, ["rpm", "-V", ...verifyOptions, "--", name]);
      const isWhole = versions.length === 1 && verified.exitCode === 0;
      return { version, isWhole, areFilesWhole: isWhole };
    },

    identify: async (source) => {
      const { name, version } = await readRpm(source);
      return { name, version };
    },

    rehearse: async (file, { isOlder }) => {
      const direct = ["rpm", "-U", "--test", "--nosignature", ...(isOlder ? ["--oldpackage"] : []), "--replacepkgs", "--", file];
      const result = await changePackages(machine, direct);
      if (result.exitCode === 0) return;
      // What is missing may come from dnf's repositories; anything else would stop dnf in the same way, after the service.
      const isOnlyMissing = /^error: Failed dependencies:/m.test(result.stderr) && (await hasDnf());
      const asked = isOnlyMissing ? await changePackages(machine, dnf(file, { isOlder }, ["--setopt=tsflags=test"])) : undefined;
      if (asked?.exitCode === 0) return;
      throw new SlipwayError("conflict", `${asked === undefined ? "rpm" : "dnf"} would not install ${file}: ${lastWords(asked ?? result)}`, {
        hint: "nothing was changed; make room for the package first",
      });
    },

    install: async (file, { isOlder, isRepair }) => {
      const direct = ["rpm", "-U", "--nosignature", ...(isOlder || isRepair ? ["--oldpackage"] : []), "--replacepkgs", "--", file];
      // Where a run was cut, the database may hold both versions, and dnf would find nothing to do; rpm writes the files again and takes the other out.
      if (isRepair || !(await hasDnf())) return requirePackages(machine, direct);
      const result = await changePackages(machine, dnf(file, { isOlder }));
      if (result.exitCode === 0) return;
      // Without a network dnf cannot read its repositories, which a package whose needs are met does not want.
      machine.observe({ event: "warning", text: `dnf: ${lastWords(result)}; rpm tries it alone` });
      const second = await changePackages(machine, direct);
      if (second.exitCode !== 0) throw packageFailure(direct, second);
    },

    remove: (name) => requirePackages(machine, ["rpm", "-e", "--", name]),
  };
}
