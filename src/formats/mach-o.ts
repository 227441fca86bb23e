/** Sections and segments of a little-endian Mach-O executable, alone or inside a universal file (mach-o/loader.h). */
import { SlipwayError } from "../model/errors.ts";
import { assertPartCount, type ImagePart, type ProgramImage, type RandomAccess } from "./program-image.ts";

const magic64 = 0xfeedfacf;
const magic32 = 0xfeedface;
const commandsLimit = 16 * 1024 * 1024;
const writable = 2;

/** LC_SEGMENT and LC_SEGMENT_64: where their fields and those of the sections behind them stand. */
const layouts = {
  1: { size: 56, address: 24, offset: 32, fileSize: 36, protection: 44, count: 48, section: { size: 68, address: 32, length: 36, offset: 40 }, isWide: false },
  25: { size: 72, address: 24, offset: 40, fileSize: 48, protection: 60, count: 64, section: { size: 80, address: 32, length: 40, offset: 48 }, isWide: true },
} as const;
type Layout = (typeof layouts)[keyof typeof layouts];

/** `base` is where the image begins in the file. Throws `format_invalid` for a damaged one. */
export async function readMachO(file: RandomAccess, base: number): Promise<ProgramImage> {
  const header = await file.read(base, 32);
  const magic = header.readUInt32LE(0);
  if (magic !== magic64 && magic !== magic32) throw new SlipwayError("format_invalid", `no Mach-O program begins at byte ${base}`);
  const commandsSize = header.readUInt32LE(20);
  if (commandsSize > commandsLimit) throw new SlipwayError("format_invalid", `the Mach-O program announces ${commandsSize} bytes of load commands`);
  const commands = await file.read(base + (magic === magic64 ? 32 : 28), commandsSize);
  const segments: ImagePart[] = [];
  const sections: ImagePart[] = [];
  let at = 0;
  for (let left = header.readUInt32LE(16); left > 0; left -= 1) {
    if (at + 8 > commands.length) throw damaged();
    const size = commands.readUInt32LE(at + 4);
    if (size < 8 || at + size > commands.length) throw damaged();
    const layout = layouts[commands.readUInt32LE(at) as keyof typeof layouts] as Layout | undefined;
    if (layout !== undefined) readSegment(commands.subarray(at, at + size), layout, { base, segments, sections });
    at += size;
  }
  return { format: "Mach-O", segments, sections };
}

function readSegment(command: Buffer, layout: Layout, into: { readonly base: number; readonly segments: ImagePart[]; readonly sections: ImagePart[] }): void {
  if (command.length < layout.size) throw damaged();
  const long = (at: number): bigint => (layout.isWide ? command.readBigUInt64LE(at) : BigInt(command.readUInt32LE(at)));
  const name = (at: number): string => command.toString("latin1", at, at + 16).replace(/\0.*$/s, "");
  const isWritable = (command.readUInt32LE(layout.protection) & writable) !== 0;
  const count = command.readUInt32LE(layout.count);
  assertPartCount("Mach-O", into.sections.length + count);
  into.segments.push({
    name: name(8),
    offset: into.base + Number(long(layout.offset)),
    size: Number(long(layout.fileSize)),
    address: long(layout.address),
    isWritable,
  });
  for (let index = 0; index < count; index += 1) {
    const at = layout.size + index * layout.section.size;
    if (at + layout.section.size > command.length) throw damaged();
    into.sections.push({
      name: name(at),
      offset: into.base + command.readUInt32LE(at + layout.section.offset),
      size: Number(long(at + layout.section.length)),
      address: long(at + layout.section.address),
      isWritable,
    });
  }
}

function damaged(): SlipwayError {
  return new SlipwayError("format_invalid", "the Mach-O program's load commands do not fit their announced size");
}
