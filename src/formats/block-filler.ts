/** Cuts what is written, in whatever pieces it comes, into blocks of one size. */
import type { Compressor } from "./package.ts";

export type BlockFiller = {
  readonly write: Compressor["write"];
  /** What was written since the last full block. */
  readonly rest: () => Buffer<ArrayBuffer>;
};

/** `next` takes each full block and gives the memory for the one after it, of the same size as `first`. What it throws fails the write. */
export function createBlockFiller(first: Buffer<ArrayBuffer>, next: (full: Buffer<ArrayBuffer>) => Promise<Buffer<ArrayBuffer>>): BlockFiller {
  let block = first;
  let filled = 0;
  const writeAcross = async (piece: Uint8Array): Promise<void> => {
    for (let offset = 0; offset < piece.length; ) {
      const count = Math.min(piece.length - offset, block.length - filled);
      block.set(piece.subarray(offset, offset + count), filled);
      filled += count;
      offset += count;
      if (filled < block.length) continue;
      filled = 0;
      block = await next(block);
    }
  };
  return {
    // Thousands of small pieces wait for nothing.
    write: (piece) => {
      if (piece.length >= block.length - filled) return writeAcross(piece);
      block.set(piece, filled);
      filled += piece.length;
      return undefined;
    },
    rest: () => block.subarray(0, filled),
  };
}
