/** What the first bytes of a file say about it: a program for which system and machine, a script, or neither. */
import { SlipwayError } from "../model/errors.ts";
import { type Architecture, formatTarget, type OperatingSystem, type Target } from "../model/target.ts";

export type FileNature =
  | {
      readonly kind: "program";
      readonly format: "ELF" | "Mach-O" | "PE";
      readonly systems: readonly OperatingSystem[];
      readonly arch: Architecture | undefined;
    }
  | { readonly kind: "script" }
  | { readonly kind: "other" };

/** As many bytes as natureOf wants; a PE header stands where the DOS stub says, within the first kilobyte in practice. */
export const natureSizeBytes = 4096;

/** e_machine of ELF (elf(5), gABI chapter 4); 32-bit ARM is one number for all its versions. */
const elfMachines: Readonly<Record<number, Architecture>> = {
  3: "386",
  40: "armv7",
  62: "amd64",
  183: "arm64",
  22: "s390x",
  21: "ppc64le",
  243: "riscv64",
  258: "loong64",
};
/** cputype of Mach-O (mach/machine.h). */
const machMachines: Readonly<Record<number, Architecture>> = { 0x01000007: "amd64", 0x0100000c: "arm64" };
/** Machine of PE (PE format specification, 3.3.1). */
const peMachines: Readonly<Record<number, Architecture>> = { 0x14c: "386", 0x8664: "amd64", 0xaa64: "arm64" };

export function natureOf(head: Uint8Array): FileNature {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.byteLength);
  if (bytes.length >= 2 && bytes.toString("latin1", 0, 2) === "#!") return { kind: "script" };
  if (bytes.length >= 20 && bytes.readUInt32BE(0) === 0x7f454c46) {
    const isLittle = bytes[5] === 1;
    return { kind: "program", format: "ELF", systems: ["linux"], arch: elfMachines[isLittle ? bytes.readUInt16LE(18) : bytes.readUInt16BE(18)] };
  }
  if (bytes.length >= 8 && (bytes.readUInt32LE(0) === 0xfeedfacf || bytes.readUInt32LE(0) === 0xfeedface)) {
    return { kind: "program", format: "Mach-O", systems: ["darwin"], arch: machMachines[bytes.readUInt32LE(4)] };
  }
  // A universal binary carries several machines: right for any of them.
  if (bytes.length >= 8 && bytes.readUInt32BE(0) === 0xcafebabe && bytes.readUInt32BE(4) < 20) {
    return { kind: "program", format: "Mach-O", systems: ["darwin"], arch: undefined };
  }
  return peNature(bytes) ?? { kind: "other" };
}

function peNature(bytes: Buffer): FileNature | undefined {
  if (bytes.length < 64 || bytes.toString("latin1", 0, 2) !== "MZ") return undefined;
  const header = bytes.readUInt32LE(60);
  if (header + 6 > bytes.length || bytes.toString("latin1", header, header + 4) !== "PE\0\0") return undefined;
  return { kind: "program", format: "PE", systems: ["windows"], arch: peMachines[bytes.readUInt16LE(header + 4)] };
}

/** Throws `source_unusable` for a program that cannot run on the target it would be shipped for: a forgotten cross-build. */
export function assertRunsOn(nature: FileNature, target: Target, what: { readonly path: string; readonly place: string }): void {
  if (nature.kind !== "program") return;
  const isRight = nature.systems.includes(target.os) && (nature.arch === undefined || nature.arch === target.arch);
  if (isRight) return;
  throw new SlipwayError(
    "source_unusable",
    `${what.path} is a program for ${nature.systems.join("/")}/${nature.arch ?? "another machine"} (${nature.format}), not for ${formatTarget(target)}`,
    {
      place: what.place,
      hint: "make the build command build for {os} and {arch}",
    },
  );
}
