/** dpkg, and apt where it is there: Debian, Ubuntu and their kin. */
import { readDeb } from "../formats/deb-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { debVersion } from "../model/version.ts";
import type { Machine } from "./machine.ts";
import { askPackages, changePackages, lastWords, packageFailure, requirePackages } from "./package-command.ts";
import type { PackageManager } from "./package-manager.ts";

/** How long apt itself waits for another one (apt.conf(5), DPkg::Lock::Timeout; apt 1.9.11). */
const lockWaitSeconds = 10;
/** Without these, dpkg asks about a changed configuration file and dies half-configured when nobody answers (dpkg(1), measured). */
const keepConfiguration = ["--force-confdef", "--force-confold"] as const;
const aptOptions = [
  "-q",
  "-y",
  ...keepConfiguration.flatMap((option) => ["-o", `Dpkg::Options::=${option}`]),
  "-o",
  "Dpkg::Use-Pty=0",
  "-o",
  `DPkg::Lock::Timeout=${lockWaitSeconds}`,
  "--no-remove",
] as const;

/** `[epoch:]upstream[-revision]` (deb-version(7)). */
const upstreamOf = (full: string): string => full.replace(/^\d+:/, "").replace(/-[^-]*$/, "");

/** States in which every file of one version is on disk (dpkg(1), "package states"). */
const unpackedStates: ReadonlySet<string> = new Set(["unpacked", "half-configured", "triggers-awaited", "triggers-pending", "installed"]);
const doneStates: ReadonlySet<string> = new Set(["triggers-awaited", "triggers-pending", "installed"]);

/** Below what a command line can hold. */
const pathsAtOnce = 200;

export function dpkgManager(machine: Machine): PackageManager {
  const hasApt = async (): Promise<boolean> =>
    askPackages(machine, ["apt-get", "--version"]).then(
      (result) => result.exitCode === 0,
      () => false, // dpkg alone, as on small images
    );
  const configureAll = (): Promise<void> => requirePackages(machine, ["dpkg", ...keepConfiguration, "--configure", "-a"]);

  /** One command; where it says that an earlier run was cut, that one is finished and the command tried once more. */
  const withRepair = async (argv: readonly string[]): Promise<ReturnType<typeof changePackages>> => {
    const result = await changePackages(machine, argv);
    if (result.exitCode === 0 || !/dpkg was interrupted|dpkg --configure -a/.test(`${result.stderr}\n${result.stdout}`)) return result;
    machine.observe({ event: "warning", text: "dpkg was interrupted earlier: what it left is configured first" });
    await configureAll();
    return changePackages(machine, argv);
  };

  return {
    kind: "dpkg",
    artifactKind: "deb",
    spell: debVersion,

    owners: async (paths) => {
      const owners = new Map<string, string>();
      // With a merged /usr, older packages know the path without it.
      const spellings = new Map(paths.flatMap((path) => [[path, path] as const, ...(path.startsWith("/usr/") ? [[path.slice(4), path] as const] : [])]));
      const patterns = [...spellings.keys()].map((path) => path.replaceAll(/[\\*?[\]]/g, "\\$&"));
      for (let start = 0; start < patterns.length; start += pathsAtOnce) {
        const argv = ["dpkg-query", "--search", "--", ...patterns.slice(start, start + pathsAtOnce)]; // exit 1 where one of them is not found
        for (const line of (await askPackages(machine, argv)).stdout.split("\n")) {
          const [, names, found] = /^(?!diversion by )(\S+(?:, \S+)*): (\/.*)$/.exec(line) ?? [];
          const path = found === undefined ? undefined : spellings.get(found);
          if (names !== undefined && path !== undefined) owners.set(path, (names.split(", ")[0] ?? "").split(":")[0] ?? "");
        }
      }
      return owners;
    },

    installed: async (name) => {
      const format = "${db:Status-Status}\t${db:Status-Eflag}\t${Version}\n";
      const result = await askPackages(machine, ["dpkg-query", "--show", `--showformat=${format}`, "--", name]);
      if (result.exitCode !== 0) return undefined;
      const lines = result.stdout.split("\n").map((line) => line.split("\t"));
      const [status, flag, version] = lines.find(([state = ""]) => !["", "not-installed", "config-files"].includes(state)) ?? [];
      if (status === undefined || version === undefined) return undefined;
      return { version: upstreamOf(version), isWhole: doneStates.has(status) && flag === "ok", areFilesWhole: unpackedStates.has(status) };
    },

    identify: async (source) => {
      const { name, version } = await readDeb(source);
      return { name, version: upstreamOf(version) };
    },

    rehearse: async (file, { isOlder }) => {
      if (!(await hasApt())) return; // dpkg has no rehearsal; a failure of the real run is rolled back
      const argv = ["apt-get", ...aptOptions, ...(isOlder ? ["--allow-downgrades"] : []), "--simulate", "install", "--", file];
      const check = await withRepair(["apt-get", "-q", "-o", `DPkg::Lock::Timeout=${lockWaitSeconds}`, "check"]); // takes the lock for a moment
      if (check.exitCode !== 0) throw new SlipwayError("conflict", `apt-get check: ${lastWords(check)}`, { hint: "repair the package database first" });
      const result = await changePackages(machine, argv);
      if (result.exitCode !== 0) {
        throw new SlipwayError("conflict", `apt-get would not install ${file}: ${lastWords(result)}`, {
          hint: "nothing was changed; make room for the package first",
        });
      }
    },

    install: async (file, { isOlder }) => {
      const direct = ["dpkg", ...keepConfiguration, "--install", file];
      if (!(await hasApt())) {
        const result = await withRepair(direct);
        if (result.exitCode !== 0) throw packageFailure(direct, result);
        return;
      }
      const argv = ["apt-get", ...aptOptions, ...(isOlder ? ["--allow-downgrades"] : []), "install", "--", file];
      const result = await withRepair(argv);
      if (result.exitCode === 0) return;
      if (!isOlder) throw packageFailure(argv, result);
      // On the way back a package elsewhere that apt finds broken must not be in the way: the old version's needs were met before.
      machine.observe({ event: "warning", text: `apt-get: ${lastWords(result)}; dpkg puts the previous package back` });
      await requirePackages(machine, direct);
    },

    remove: (name) => requirePackages(machine, ["dpkg", "--remove", "--", name]),
  };
}
