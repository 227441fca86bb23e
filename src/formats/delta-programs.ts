/** Finds the programs in a file or in an archive's content and tells where their parts lie (delta-layout.ts). Known: 64-bit ELF of x86-64 and arm64. */
import { SlipwayError } from "../model/errors.ts";
import { addressLimit, programLimit, type Region, type RegionKind, regionLimit } from "./delta-layout.ts";
import type { SteadyBytes } from "./delta-pages.ts";
import { readElf } from "./elf.ts";
import type { ImagePart } from "./program-image.ts";

/** 64 bits, little-endian, version 1 (elf(5)). */
const elfStart = Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
const machineOffset = 18;
const machines: Readonly<Record<number, "x86-64" | "arm64">> = { 62: "x86-64", 183: "arm64" };
const searchBytes = 1024 * 1024;
/** Smaller ones are not worth the search for their addresses. */
const smallestSection = 64;

/** In the order of their offsets, without overlap. Damaged programs are left out: their bytes are compared as any others. */
export async function findRegions(file: SteadyBytes): Promise<readonly Region[]> {
  const regions: Region[] = [];
  const block = Buffer.alloc(Math.min(file.size, searchBytes + elfStart.length - 1));
  let program = 0;
  let end = 0; // of the last program
  for (let start = 0; start + 64 <= file.size && program < programLimit; start += searchBytes) {
    const bytes = block.subarray(0, Math.min(block.length, file.size - start));
    file.readInto(start, bytes);
    for (let at = bytes.indexOf(elfStart); at >= 0 && program < programLimit; at = bytes.indexOf(elfStart, at + 1)) {
      if (start + at < end) continue; // a program inside of another one
      const found = await regionsOf(file, start + at, program);
      if (found.length === 0 || regions.length + found.length > regionLimit) continue;
      regions.push(...found);
      end = found.reduce((latest, { offset, size }) => Math.max(latest, offset + size), 0);
      program += 1;
    }
  }
  return regions;
}

async function regionsOf(file: SteadyBytes, start: number, program: number): Promise<readonly Region[]> {
  const size = file.size - start;
  const read = (offset: number, length: number): Promise<Buffer> => {
    if (!(offset >= 0 && offset + length <= size)) throw new SlipwayError("format_invalid", "a table past the end of the file");
    const bytes = Buffer.alloc(length);
    file.readInto(start + offset, bytes);
    return Promise.resolve(bytes);
  };
  try {
    const machine = machines[(await read(0, 64)).readUInt16LE(machineOffset)];
    if (machine === undefined) return [];
    const { sections } = await readElf({ size, read });
    return placed(sections.filter((section) => section.offset + section.size <= size).map((section) => ({ section, kind: kindOf(section, machine) }))).map(
      (region) => ({ ...region, offset: start + region.offset, program }),
    );
  } catch (error) {
    if (error instanceof SlipwayError && error.code === "format_invalid") return [];
    throw error;
  }
}

/** By the names that the System V ABI and the LSB give them. */
function kindOf({ name, isWritable, address }: ImagePart, machine: "x86-64" | "arm64"): RegionKind | undefined {
  if (name === ".symtab") return "symbols";
  if (name === ".strtab") return "plain";
  if (address === 0n) return undefined;
  if (name === ".text" || name.startsWith(".text.")) return machine;
  if (name === ".rela.dyn" || name === ".rela.plt") return "relocations";
  if (name === ".dynsym") return "symbols";
  if (name === ".eh_frame_hdr") return "offsets";
  if (name === ".eh_frame") return "frames";
  return isWritable ? "words" : "plain";
}

type Kinded = { readonly section: ImagePart; readonly kind: RegionKind | undefined };

/** Names of symbols are never loaded: they get the addresses behind all others. */
function placed(parts: readonly Kinded[]): readonly Omit<Region, "program">[] {
  const known = parts.flatMap(({ section, kind }) => (kind === undefined || section.size < smallestSection ? [] : [{ section, kind }]));
  let free = known.reduce((highest, { section }) => Math.max(highest, Number(section.address) + section.size), 0);
  const regions: { readonly name: string; readonly region: Omit<Region, "program" | "base"> }[] = [];
  for (const { section, kind } of known.sort((left, right) => left.section.offset - right.section.offset)) {
    const { name, offset, size } = section;
    const address = section.address === 0n ? free : Number(section.address);
    if (section.address === 0n) free += size;
    const before = regions.at(-1)?.region;
    if (offset < (before === undefined ? 0 : before.offset + before.size) || address + size >= addressLimit) continue;
    regions.push({ name, region: { offset, size, address, kind } });
  }
  const addressOf = (wanted: string): number => regions.find(({ name }) => name === wanted)?.region.address ?? 0;
  const baseOf = (name: string, address: number): number => {
    if (name === ".symtab") return addressOf(".strtab");
    return name === ".dynsym" ? addressOf(".dynstr") : address;
  };
  return regions.map(({ name, region }) => ({ ...region, base: baseOf(name, region.address) }));
}
