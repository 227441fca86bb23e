/** Finds sections and segments of an executable: ELF, Mach-O (universal ones too) and PE, without loading the file. */
import { readElf } from "./elf.ts";
import { readMachO } from "./mach-o.ts";
import { readPe } from "./pe.ts";
import type { ProgramImage, RandomAccess } from "./program-image.ts";

const machineLimit = 20;
const elfMagic = 0x7f454c46;
const universalMagic = 0xcafebabe;
const machOMagics: ReadonlySet<number> = new Set([0xfeedface, 0xfeedfacf]);

/** One image per machine of the file, none for what is no executable. Throws `format_invalid` for a damaged one. */
export async function readProgramImages(file: RandomAccess): Promise<readonly ProgramImage[]> {
  if (file.size < 64) return [];
  const head = await file.read(0, 8);
  if (head.readUInt32BE(0) === elfMagic) return [await readElf(file)];
  if (machOMagics.has(head.readUInt32LE(0))) return [await readMachO(file, 0)];
  // A Java class has the same magic; its version stands where the count is and is never below 45.
  if (head.readUInt32BE(0) === universalMagic && head.readUInt32BE(4) <= machineLimit) return readUniversal(file, head.readUInt32BE(4));
  if (head.toString("latin1", 0, 2) === "MZ") {
    const image = await readPe(file);
    return image === undefined ? [] : [image];
  }
  return [];
}

/** fat_header and fat_arch (mach-o/fat.h), always big-endian: cputype, cpusubtype, offset, size, align. */
async function readUniversal(file: RandomAccess, count: number): Promise<readonly ProgramImage[]> {
  const entrySize = 20;
  const table = await file.read(8, count * entrySize);
  const images: ProgramImage[] = [];
  for (let index = 0; index < count; index += 1) images.push(await readMachO(file, table.readUInt32BE(index * entrySize + 8)));
  return images;
}
