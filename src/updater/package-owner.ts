/** Which package managers this machine has, and which package owns a path. */
import { SlipwayError } from "../model/errors.ts";
import { apkManager } from "./apk-manager.ts";
import { dpkgManager } from "./dpkg-manager.ts";
import { lstatIfThere } from "./file-tree.ts";
import type { Machine } from "./machine.ts";
import { type PackageManager, type PackageManagerKind, packageManagerKinds } from "./package-manager.ts";
import { rpmManager } from "./rpm-manager.ts";

const managers = { dpkg: dpkgManager, rpm: rpmManager, apk: apkManager } as const;

export function packageManager(kind: PackageManagerKind, machine: Machine): PackageManager {
  return managers[kind](machine);
}

/** The managers whose programs are on this machine, in the order in which a file's owner is looked for. */
export async function presentManagers(machine: Machine): Promise<readonly PackageManager[]> {
  const probes = { dpkg: ["dpkg-query", "--version"], rpm: ["rpm", "--version"], apk: ["apk", "--version"] } as const;
  const found: PackageManager[] = [];
  for (const kind of packageManagerKinds) {
    const isThere = await machine.runCommand(probes[kind], { timeoutMs: 10_000 }).then(
      (result) => result.exitCode === 0,
      () => false, // the program is not there: that was the question
    );
    if (isThere) found.push(packageManager(kind, machine));
  }
  return found;
}

/** Every path of `paths` that is there and that a package owns, with the package's name. */
async function ownersOf(machine: Machine, paths: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const owners = new Map<string, string>();
  const present: string[] = [];
  for (const path of paths) if ((await lstatIfThere(path)) !== undefined) present.push(path);
  if (present.length === 0) return owners;
  for (const manager of await presentManagers(machine)) for (const [path, name] of await manager.owners(present)) owners.set(path, name);
  return owners;
}

/** Throws `package_owned` where a path that would be replaced belongs to a package: its database would then be wrong, and its next upgrade would undo ours. */
export async function requireUnpackaged(machine: Machine, paths: readonly string[]): Promise<void> {
  const [owned] = await ownersOf(machine, paths);
  if (owned === undefined) return;
  throw new SlipwayError("package_owned", `${owned[0]} belongs to the package ${owned[1]}`, { place: owned[0] });
}
