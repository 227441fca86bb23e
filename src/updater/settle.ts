/** Which strategy an installation is upgraded by: what the file says, or, for `auto`, what is found on the machine, with the reason in words. */
import { join } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import { lstatIfThere } from "./file-tree.ts";
import type { Installation } from "./installation.ts";
import type { Machine } from "./machine.ts";
import type { PackageManager, PackageManagerKind } from "./package-manager.ts";

export type StrategyName = Exclude<Installation["strategy"], "auto">;

export type SettledInstallation = Installation & {
  readonly strategy: StrategyName;
  /** Why this strategy, in one sentence. */
  readonly strategyReason: string;
  /** Strategy package only. */
  readonly packaged?: { readonly kind: PackageManagerKind; readonly name: string };
};

/** The usual places of a product's program. */
const programFolders = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/opt"] as const;

type Found = { readonly manager: PackageManager; readonly name: string; readonly why: string };

/**
 * Throws `installation_invalid` where strategy package finds no package manager, or auto nothing at all, and `system_unsupported` on Windows for all
 * but `manual`. Changes nothing.
 */
export async function settleStrategy(installation: Installation, machine: Machine, system: NodeJS.Platform = process.platform): Promise<SettledInstallation> {
  if (system === "win32") return settleOnWindows(installation);
  const { strategy, container } = installation;
  if (strategy === "manual") return { ...installation, strategy, strategyReason: "the installation file says so" };
  if (container !== undefined && (strategy === "container" || strategy === "auto")) {
    const { containerService } = await import("./container-service.ts");
    const { pin } = containerService(installation, machine);
    const named = `the installation file names the ${container.quadlet === undefined ? "compose service" : "quadlet of"} ${pin.name}`;
    const strategyReason = strategy === "container" ? "the installation file says so" : named;
    return { ...installation, service: installation.service ?? pin.service, strategy: "container", strategyReason };
  }
  if (strategy === "container") throw new SlipwayError("installation_invalid", "strategy container needs container: { … }", { place: installation.place });
  if (strategy === "versions" || strategy === "inplace") return { ...installation, strategy, strategyReason: "the installation file says so" };
  const found = await findPackage(installation, machine);
  if (found !== undefined && (strategy === "package" || found.why !== "")) {
    const { manager, name, why } = found;
    const strategyReason = strategy === "package" ? `the installation file says so; ${name} is a package of ${manager.kind}` : why;
    return { ...installation, strategy: "package", strategyReason, packaged: { kind: manager.kind, name } };
  }
  const refuse = (message: string): never => {
    throw new SlipwayError("installation_invalid", message, { place: installation.place });
  };
  if (strategy === "package") return refuse("strategy package: neither dpkg, rpm nor apk is on this machine");
  if (!installation.hasRoot) return refuse(`strategy auto: no package owns ${installation.product}, and no root is named`);
  return { ...installation, ...(await chooseByRoot(installation)) };
}

/** A program that runs can be neither replaced nor removed there, links are not for everybody, and nothing outside of a new version would count its starts. */
function settleOnWindows(installation: Installation): SettledInstallation {
  const { strategy, place } = installation;
  if (strategy !== "auto" && strategy !== "manual") {
    throw new SlipwayError("system_unsupported", `strategy ${strategy} replaces a running product, which Windows does not let us do and undo safely`, {
      place,
      hint: "use strategy: manual, which fetches and verifies, and prints the commands; docs/strategies.md says what works on Windows",
    });
  }
  return { ...installation, strategy: "manual", strategyReason: strategy === "manual" ? "the installation file says so" : "on Windows there is no other" };
}

/** No package: a folder with the product's program directly in it is replaced in place, everything else gets folders per version. */
async function chooseByRoot({ root, product, artifact }: Installation): Promise<{ readonly strategy: StrategyName; readonly strategyReason: string }> {
  const current = await lstatIfThere(join(root, "current"));
  if (current?.isSymbolicLink() === true) return { strategy: "versions", strategyReason: `no package owns it, and ${join(root, "current")} is a link` };
  for (const program of [artifact.install_as ?? product, join("bin", product)]) {
    const path = join(root, program);
    if ((await lstatIfThere(path))?.isFile() === true)
      return { strategy: "inplace", strategyReason: `no package owns ${path}, which lies there as a plain file` };
  }
  return { strategy: "versions", strategyReason: `no package owns it, and ${root} holds no program yet` };
}

/** The package that the product is installed by; with an empty `why` where it is not installed at all and only the manager is known. */
async function findPackage(installation: Installation, machine: Machine): Promise<Found | undefined> {
  const { packageManager, presentManagers } = await import("./package-owner.ts");
  const { manager: wanted, name = installation.product, program } = installation.package;
  const managers = wanted === undefined ? await presentManagers(machine) : [packageManager(wanted, machine)];
  const candidates =
    program === undefined
      ? [
          ...(installation.hasRoot ? [join(installation.root, installation.product), join(installation.root, "bin", installation.product)] : []),
          ...programFolders.map((folder) => join(folder, installation.product)),
        ]
      : [program];
  const paths: string[] = [];
  for (const path of candidates) if ((await lstatIfThere(path)) !== undefined) paths.push(path);
  for (const manager of managers) {
    const [owned] = paths.length === 0 ? [] : await manager.owners(paths);
    if (owned !== undefined)
      return { manager, name: installation.package.name ?? owned[1], why: `${owned[0]} belongs to the package ${owned[1]} (${manager.kind})` };
  }
  for (const manager of managers) {
    if ((await manager.installed(name)) !== undefined) return { manager, name, why: `the package ${name} is installed (${manager.kind})` };
  }
  const [first] = managers;
  return first === undefined ? undefined : { manager: first, name, why: "" };
}
