/** A new file whose SHA-256 and size are known when it is closed: bytes are touched once. */
import { createHash } from "node:crypto";
import { writeSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { type Digest, digestFromHex } from "../model/digest.ts";

export type HashedFile = {
  readonly write: (piece: Uint8Array) => void;
  /** Makes the file durable and returns what was written. */
  readonly close: () => Promise<{ readonly digest: Digest; readonly size: number }>;
  /** Closes and removes it. */
  readonly discard: () => Promise<void>;
};

/** Opens `path`, which must not be there yet, with exactly these permission bits. */
export async function createHashedFile(path: string, mode: number): Promise<HashedFile> {
  const handle = await open(path, "wx", mode);
  await handle.chmod(mode); // the umask must not decide
  const hash = createHash("sha256");
  let size = 0;
  return {
    write: (piece) => {
      hash.update(piece);
      size += piece.length;
      writeWhole(handle.fd, piece);
    },
    close: async () => {
      await handle.sync();
      await handle.close();
      return { digest: digestFromHex(hash.digest("hex")), size };
    },
    discard: async () => {
      await handle.close();
      await rm(path, { force: true });
    },
  };
}

/**
 * Writes all of the piece at the present position. It blocks: the bytes go into the page cache, and a trip to the thread pool for each piece
 * costs more than the copy, behind the blocks that are being compressed there.
 */
export function writeWhole(file: number, piece: Uint8Array): void {
  for (let written = 0; written < piece.length; ) written += writeSync(file, piece, written);
}
