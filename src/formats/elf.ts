/** Sections and segments of an ELF executable of either width and byte order (elf(5)). */
import { SlipwayError } from "../model/errors.ts";
import { assertPartCount, type ImagePart, type ProgramImage, type RandomAccess } from "./program-image.ts";

const loadable = 1;
const writableSegment = 2;
const noBits = 8;
const writableSection = 1n;
const nameTableLimit = 16 * 1024 * 1024;
const headerSize = 64;

type Words = { readonly half: (at: number) => number; readonly word: (at: number) => number; readonly long: (at: number) => bigint };

function wordsOf(bytes: Buffer, isLittle: boolean, is64: boolean): Words {
  return {
    half: (at) => (isLittle ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at)),
    word: (at) => (isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at)),
    long: (at) => {
      if (!is64) return BigInt(isLittle ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
      return isLittle ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at);
    },
  };
}

/** Throws `format_invalid` for tables that do not fit the file. */
export async function readElf(file: RandomAccess): Promise<ProgramImage> {
  const bytes = await file.read(0, headerSize);
  const is64 = bytes[4] === 2;
  const isLittle = bytes[5] === 1;
  const header = wordsOf(bytes, isLittle, is64);
  const tables = is64
    ? { programs: header.long(32), sections: header.long(40), counts: 54 }
    : { programs: header.long(28), sections: header.long(32), counts: 42 };
  const segments = await readTable(file, { offset: tables.programs, entrySize: header.half(tables.counts), count: header.half(tables.counts + 2) }, (entry) =>
    segmentOf(wordsOf(entry, isLittle, is64), is64),
  );
  const raw = await readTable(file, { offset: tables.sections, entrySize: header.half(tables.counts + 4), count: header.half(tables.counts + 6) }, (entry) =>
    sectionOf(wordsOf(entry, isLittle, is64), is64),
  );
  const names = raw[header.half(tables.counts + 8)];
  return { format: "ELF", segments: segments.filter((segment) => segment !== undefined), sections: names === undefined ? [] : await named(file, raw, names) };
}

type Table = { readonly offset: bigint; readonly entrySize: number; readonly count: number };

async function readTable<Entry>(file: RandomAccess, table: Table, read: (entry: Buffer) => Entry): Promise<readonly Entry[]> {
  if (table.count === 0 || table.offset === 0n) return [];
  assertPartCount("ELF", table.count);
  if (table.entrySize < 32) throw new SlipwayError("format_invalid", `the ELF program announces table entries of ${table.entrySize} bytes`);
  const bytes = await file.read(Number(table.offset), table.entrySize * table.count);
  return Array.from({ length: table.count }, (_, index) => read(bytes.subarray(index * table.entrySize, (index + 1) * table.entrySize)));
}

function segmentOf(entry: Words, is64: boolean): ImagePart | undefined {
  if (entry.word(0) !== loadable) return undefined;
  const [flags, offset, address, size] = is64 ? [4, 8, 16, 32] : [24, 4, 8, 16];
  return {
    name: "LOAD",
    offset: Number(entry.long(offset)),
    address: entry.long(address),
    size: Number(entry.long(size)),
    isWritable: (entry.word(flags) & writableSegment) !== 0,
  };
}

type RawSection = Omit<ImagePart, "name"> & { readonly nameOffset: number; readonly hasBytes: boolean };

function sectionOf(entry: Words, is64: boolean): RawSection {
  const [flags, address, offset, size] = is64 ? [8, 16, 24, 32] : [8, 12, 16, 20];
  return {
    nameOffset: entry.word(0),
    hasBytes: entry.word(4) !== noBits,
    offset: Number(entry.long(offset)),
    address: entry.long(address),
    size: Number(entry.long(size)),
    isWritable: (entry.long(flags) & writableSection) !== 0n,
  };
}

async function named(file: RandomAccess, raw: readonly RawSection[], names: RawSection): Promise<readonly ImagePart[]> {
  if (names.size > nameTableLimit) throw new SlipwayError("format_invalid", `the ELF program announces ${names.size} bytes of section names`);
  const table = await file.read(names.offset, names.size);
  return raw
    .filter((section) => section.hasBytes)
    .map(({ nameOffset, offset, size, address, isWritable }) => {
      const end = table.indexOf(0, nameOffset);
      return { name: table.toString("latin1", nameOffset, end < 0 ? nameOffset : end), offset, size, address, isWritable };
    });
}
