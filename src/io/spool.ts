/** Bytes put aside on disk until their size is known, then read as often as needed: memory stays the same for any size. */
import { createReadStream, readFileSync } from "node:fs";
import { open, rm } from "node:fs/promises";

/** Same shape as the formats' ByteSource. */
export type FileBytes = { readonly size: number; readonly open: () => AsyncIterable<Uint8Array> };

/** A small file is read at once: four trips to the thread pool cost more than the read itself (bench/package, small files). */
const wholeReadBytes = 64 * 1024;
/** Larger reads cost memory (a stream makes a fresh buffer for each) and no longer save time. */
const chunkBytes = 256 * 1024;

/** A file as bytes that can be opened more than once; `size` is what it had when somebody looked. */
export function fileBytes(path: string, size: number): FileBytes {
  if (size <= wholeReadBytes) {
    return {
      size,
      open: async function* () {
        yield readFileSync(path);
      },
    };
  }
  return { size, open: () => createReadStream(path, { highWaterMark: chunkBytes }) as AsyncIterable<Buffer> };
}

/** Makes the spool as a new file at `path` (0600), which must not be there yet; `remove` may be called at any time and more than once. */
export async function createSpool(path: string): Promise<{
  readonly write: (piece: Uint8Array) => Promise<void>;
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
    write: async (piece) => {
      await handle.writeFile(piece); // at the present position: nothing before it is rewritten
      size += piece.length;
    },
    finish: async () => {
      await close();
      return fileBytes(path, size);
    },
    remove: async () => {
      await close();
      await rm(path, { force: true });
    },
  };
}
