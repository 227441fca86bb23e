/** Files as bytes that are read as often as needed, and bytes put aside on disk until their size is known: memory stays the same for any size. */
import { closeSync, constants, createReadStream, openSync, readSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { writeWhole } from "./hashed-file.ts";

/** Same shape as the formats' ByteSource. */
export type FileBytes = {
  readonly size: number;
  readonly open: () => AsyncIterable<Uint8Array>;
  readonly lend?: () => { readonly bytes: Uint8Array; readonly giveBack: () => void };
};

/** Larger reads cost memory (a stream makes a fresh buffer for each) and no longer save time. */
const chunkBytes = 256 * 1024;

/** A file as bytes that can be opened more than once; `size` is what it had when somebody looked. Each piece is the reader's to keep. */
export function fileBytes(path: string, size: number): FileBytes {
  return { size, open: () => createReadStream(path, { highWaterMark: chunkBytes }) as AsyncIterable<Buffer> };
}

/** Without waiting: what was a file when somebody looked may be a FIFO by now, and no writer ever comes. */
const readFlags = constants.O_RDONLY | constants.O_NONBLOCK;

/** Memory that no reading file uses at present. */
const spareBuffers: Buffer[] = [];

/**
 * The same for those who are done with a piece when they ask for the next one or end the reading: its memory is used again. Reads block,
 * because what is packed was just built: it lies in the page cache, and a trip to the thread pool for each piece costs more than the copy.
 */
export function lentFileBytes(path: string, size: number): FileBytes {
  return {
    size,
    // Below the size of the buffer, so that a file that has grown is seen to have.
    ...(size < chunkBytes ? { lend: () => lendFile(path, size) } : {}),
    open: async function* () {
      const file = openSync(path, readFlags);
      const buffer = spareBuffers.pop() ?? Buffer.allocUnsafeSlow(chunkBytes);
      try {
        // Until there is nothing more, not until `size`: the reader is to see that a file has grown.
        for (let left = size, count = 0; left >= 0; ) {
          count = readSync(file, buffer);
          if (count > 0) yield buffer.subarray(0, count);
          left -= count;
          if (count === 0 || (left === 0 && count < buffer.length)) return;
        }
      } finally {
        closeSync(file);
        spareBuffers.push(buffer);
      }
    },
  };
}

/** A small file in a lent buffer; more than `size` where it has grown, less where it was cut short. */
function lendFile(path: string, size: number): { readonly bytes: Uint8Array; readonly giveBack: () => void } {
  const file = openSync(path, readFlags);
  const buffer = spareBuffers.pop() ?? Buffer.allocUnsafeSlow(chunkBytes);
  const giveBack = (): void => void spareBuffers.push(buffer);
  try {
    let filled = readSync(file, buffer);
    for (let count = filled; filled < size && count > 0; filled += count) count = readSync(file, buffer, { offset: filled });
    return { bytes: buffer.subarray(0, filled), giveBack };
  } catch (error) {
    giveBack();
    throw error;
  } finally {
    closeSync(file);
  }
}

/** Makes the spool as a new file at `path` (0600), which must not be there yet; `remove` may be called at any time and more than once. */
export async function createSpool(path: string): Promise<{
  readonly write: (piece: Uint8Array) => void;
  readonly finish: () => Promise<FileBytes>;
  readonly remove: () => Promise<void>;
}> {
  const handle = await open(path, "wx", 0o600);
  let size = 0;
  let isOpen = true;
  const close = async (): Promise<void> => {
    if (isOpen) {
      isOpen = false;
      await handle.close();
    }
  };
  return {
    write: (piece) => {
      writeWhole(handle.fd, piece);
      size += piece.length;
    },
    finish: async () => {
      await close();
      return lentFileBytes(path, size);
    },
    remove: async () => {
      await close();
      await rm(path, { force: true });
    },
  };
}
