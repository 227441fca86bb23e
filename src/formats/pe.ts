/** Sections of a PE executable (Microsoft's PE format specification, 3 and 4); they are also what is mapped into memory. */
import { assertPartCount, type ImagePart, type ProgramImage, type RandomAccess } from "./program-image.ts";

const sectionHeaderSize = 40;
const writable = 0x80000000;
const wideMagic = 0x20b;

/** Undefined for a DOS program, which has no PE header. Throws `format_invalid` for tables that do not fit the file. */
export async function readPe(file: RandomAccess): Promise<ProgramImage | undefined> {
  const start = (await file.read(60, 4)).readUInt32LE(0);
  if (start + 24 + 32 > file.size) return undefined;
  const header = await file.read(start, 24 + 32);
  if (header.toString("latin1", 0, 4) !== "PE\0\0") return undefined;
  const count = header.readUInt16LE(6);
  const optionalSize = header.readUInt16LE(20);
  const isWide = header.readUInt16LE(24) === wideMagic;
  const imageBase = isWide ? header.readBigUInt64LE(24 + 24) : BigInt(header.readUInt32LE(24 + 28));
  assertPartCount("PE", count);
  const table = await file.read(start + 24 + optionalSize, count * sectionHeaderSize);
  const sections = Array.from({ length: count }, (_, index): ImagePart => {
    const at = index * sectionHeaderSize;
    return {
      name: table.toString("latin1", at, at + 8).replace(/\0.*$/s, ""),
      // What lies in the file may be padded past what is used.
      size: Math.min(table.readUInt32LE(at + 8) || table.readUInt32LE(at + 16), table.readUInt32LE(at + 16)),
      address: imageBase + BigInt(table.readUInt32LE(at + 12)),
      offset: table.readUInt32LE(at + 20),
      isWritable: (table.readUInt32LE(at + 36) & writable) !== 0,
    };
  });
  return { format: "PE", sections, segments: sections };
}
