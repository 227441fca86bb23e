/** Where the parts of an executable lie in its file, whatever its format. */
import { SlipwayError } from "../model/errors.ts";

/** Exact reads anywhere in a file; throws `format_invalid` past its end. Offsets and lengths in bytes. */
export type RandomAccess = { readonly size: number; readonly read: (offset: number, length: number) => Promise<Buffer> };

/** A piece of the file and the address it is loaded at. */
export type ImagePart = { readonly name: string; readonly offset: number; readonly size: number; readonly address: bigint; readonly isWritable: boolean };

export type ProgramImage = {
  readonly format: "ELF" | "Mach-O" | "PE";
  readonly sections: readonly ImagePart[];
  /** What is mapped into memory; PE maps its sections. */
  readonly segments: readonly ImagePart[];
};

/** Real executables have below 100 sections, with per-function sections some thousands. */
const partLimit = 100_000;

/** The bytes behind an address; throws `format_invalid` where no segment has them. */
export function offsetOfAddress(image: ProgramImage, address: bigint): number {
  const segment = image.segments.find((part) => address >= part.address && address < part.address + BigInt(part.size));
  if (segment === undefined)
    throw new SlipwayError("format_invalid", `the ${image.format} program points to 0x${address.toString(16)}, which no segment holds`);
  return segment.offset + Number(address - segment.address);
}

/** Throws `format_invalid` for a table that is larger than any real one. */
export function assertPartCount(format: ProgramImage["format"], count: number): void {
  if (count > partLimit) throw new SlipwayError("format_invalid", `the ${format} program announces ${count} parts; ${partLimit} are believed`);
}
