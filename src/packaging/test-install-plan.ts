/** Which packages of a built release `slipway test-install` can try on this machine, each with its predecessor, and why it cannot try the others. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import type { Manifest, ManifestArtifact } from "../model/manifest.ts";
import { type Architecture, architectureWord, formatTarget } from "../model/target.ts";
import type { PackagePair } from "./test-install.ts";

export type BuiltFolder = { readonly folder: string; readonly manifest: Manifest };

/** `emulated` are architectures that the kernel hands to qemu-user. */
export type Machine = { readonly arch: Architecture; readonly emulated: readonly Architecture[] };

export type TestInstallPlan = {
  readonly tests: readonly (PackagePair & { readonly isForeign: boolean })[];
  readonly notRun: readonly { readonly artifact: string; readonly why: string }[];
};

const kinds = ["deb", "rpm", "apk"] as const;
export type TestedKind = (typeof kinds)[number];

/** Node's names of processors, where they are not ours. */
const processors: Readonly<Record<string, Architecture>> = {
  x64: "amd64",
  arm64: "arm64",
  ia32: "386",
  arm: "armv7",
  ppc64: "ppc64le",
  s390x: "s390x",
  riscv64: "riscv64",
  loong64: "loong64",
};
/** Processors that run another's programs by themselves. */
const alsoRuns: Readonly<Partial<Record<Architecture, readonly Architecture[]>>> = { amd64: ["386"] };

/** Reads `deb,rpm`; throws `usage`. */
export function parseTestedKinds(words: readonly string[]): readonly TestedKind[] {
  return words.map((word) => {
    const kind = kinds.find((candidate) => candidate === word);
    if (kind === undefined) throw new SlipwayError("usage", `"${word}" is not a package format; known: ${kinds.join(", ")}`);
    return kind;
  });
}

/** This machine; throws `target_invalid` on a processor that no package can be made for. */
export async function readMachine(): Promise<Machine> {
  const arch = processors[process.arch];
  if (arch === undefined) throw new SlipwayError("target_invalid", `there are no packages for this machine's processor, ${process.arch}`);
  const emulated: Architecture[] = [];
  for (const candidate of Object.values(processors)) {
    const word = candidate === "armv7" ? "arm" : architectureWord(candidate, "gnu").replace("powerpc", "ppc").replace("i686", "i386");
    const text = await readFile(`/proc/sys/fs/binfmt_misc/qemu-${word}`, "utf8").catch(() => ""); // not registered
    if (candidate !== arch && text.startsWith("enabled")) emulated.push(candidate);
  }
  return { arch, emulated: [...emulated, ...(alsoRuns[arch] ?? [])] };
}

/** Pairs each package with the same one of `previous`: same format and architecture. Throws `source_missing` where the release has no packages. */
export function planTestInstall(request: {
  readonly current: BuiltFolder;
  readonly previous?: BuiltFolder;
  readonly only?: readonly TestedKind[];
  readonly machine: Machine;
}): TestInstallPlan {
  const { current, previous, only, machine } = request;
  const packages = current.manifest.artifacts.filter(isPackage).filter(({ kind }) => only === undefined || only.includes(kind));
  if (packages.length === 0) {
    throw new SlipwayError("source_missing", `${current.manifest.product} ${current.manifest.version} has no ${(only ?? kinds).join(", ")} packages`, {
      place: current.folder,
    });
  }
  const tests: (PackagePair & { readonly isForeign: boolean })[] = [];
  const notRun: { artifact: string; why: string }[] = [];
  for (const artifact of packages) {
    const { arch, name } = artifact;
    if (arch !== undefined && arch !== machine.arch && !machine.emulated.includes(arch)) {
      notRun.push({ artifact: name, why: `${formatTarget({ os: "linux", arch })} does not run here, and no qemu-user is registered for it` });
      continue;
    }
    const before = previous?.manifest.artifacts.find((other) => other.kind === artifact.kind && other.arch === arch);
    tests.push({
      artifact,
      path: join(current.folder, name),
      ...(previous === undefined || before === undefined ? {} : { previousPath: join(previous.folder, before.name) }),
      isForeign: arch !== undefined && arch !== machine.arch,
    });
  }
  return { tests, notRun };
}

function isPackage(artifact: ManifestArtifact): artifact is PackagePair["artifact"] {
  return kinds.some((kind) => kind === artifact.kind);
}
