/** Targets `os/arch`, and each format's own word for an architecture. */
import { SlipwayError } from "./errors.ts";

export const operatingSystems = ["linux", "darwin", "windows"] as const;
export type OperatingSystem = (typeof operatingSystems)[number];

/** Architecture words: Go's name first (ours), then each format's. Source: dpkg's cputable, rpm's rpmrc, apk's apk_arch. */
export const architectures = {
  amd64: { gnu: "x86_64", deb: "amd64", rpm: "x86_64", apk: "x86_64" },
  arm64: { gnu: "aarch64", deb: "arm64", rpm: "aarch64", apk: "aarch64" },
  "386": { gnu: "i686", deb: "i386", rpm: "i686", apk: "x86" },
  armv7: { gnu: "armv7", deb: "armhf", rpm: "armv7hl", apk: "armv7" },
  riscv64: { gnu: "riscv64", deb: "riscv64", rpm: "riscv64", apk: "riscv64" },
  ppc64le: { gnu: "powerpc64le", deb: "ppc64el", rpm: "ppc64le", apk: "ppc64le" },
  s390x: { gnu: "s390x", deb: "s390x", rpm: "s390x", apk: "s390x" },
  loong64: { gnu: "loongarch64", deb: "loong64", rpm: "loongarch64", apk: "loongarch64" },
} as const;

export type Architecture = keyof typeof architectures;
export type ArchitectureWords = keyof (typeof architectures)["amd64"];

export type Target = { readonly os: OperatingSystem; readonly arch: Architecture };

const aliases: Readonly<Record<string, Architecture>> = {
  x86_64: "amd64",
  x64: "amd64",
  aarch64: "arm64",
  i386: "386",
  i686: "386",
  x86: "386",
  armhf: "armv7",
  armv7l: "armv7",
  ppc64el: "ppc64le",
  loongarch64: "loong64",
};

export function parseArchitecture(text: string): Architecture {
  if (Object.hasOwn(architectures, text)) return text as Architecture;
  const alias = Object.hasOwn(aliases, text) ? aliases[text] : undefined;
  if (alias === undefined) throw new SlipwayError("target_invalid", `"${text}" is not an architecture; known: ${Object.keys(architectures).join(", ")}`);
  return alias;
}

/** Reads `linux/amd64` (also `linux/x86_64`, as uname says); throws `target_invalid`. */
export function parseTarget(text: string): Target {
  const [os, arch, ...rest] = text.split("/");
  if (os === undefined || arch === undefined || rest.length > 0 || !operatingSystems.includes(os as OperatingSystem)) {
    throw new SlipwayError("target_invalid", `"${text}" is not a target; systems: ${operatingSystems.join(", ")}`);
  }
  return { os: os as OperatingSystem, arch: parseArchitecture(arch) };
}

export function formatTarget(target: Target): string {
  return `${target.os}/${target.arch}`;
}

/** The architecture in a format's own words; `go` is ours. */
export function architectureWord(arch: Architecture, words: ArchitectureWords | "go"): string {
  return words === "go" ? arch : architectures[arch][words];
}
