/** Reads of outside data with a limit: nothing here trusts a length that somebody else announced. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { SlipwayError } from "../model/errors.ts";

/**
 * A regular file's bytes, at most `limit`; throws `format_limit` above it and `source_unusable` for a FIFO, device or folder
 * (opened with O_NONBLOCK, so that a planted FIFO cannot hang us). `isLinkAllowed: false` refuses a symbolic link as well.
 */
export async function readFileBounded(path: string, limit: number, options: { readonly isLinkAllowed?: boolean } = {}): Promise<Buffer> {
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | (options.isLinkAllowed === false ? constants.O_NOFOLLOW : 0);
  const handle = await open(path, flags);
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new SlipwayError("source_unusable", `${path} is not a regular file`);
    if (stat.size > limit) throw new SlipwayError("format_limit", `${path} has ${stat.size} bytes; the limit is ${limit}`);
    const buffer = Buffer.alloc(Math.min(limit, stat.size + 64 * 1024) + 1);
    let filled = 0;
    while (filled < buffer.length) {
      const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    if (filled > limit) throw new SlipwayError("format_limit", `${path} grew past the limit of ${limit} bytes`);
    return buffer.subarray(0, filled);
  } finally {
    await handle.close();
  }
}

/** The same for a file that somebody named, in a command or a settings file: throws `source_missing` where there is none. */
export async function readNamedFile(path: string, limit: number): Promise<Buffer> {
  try {
    return await readFileBounded(path, limit);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new SlipwayError("source_missing", `there is no ${path}`, { place: path, hint: "correct the path, or put the file there", cause: error });
  }
}

/** The bytes of a stream, at most `limit`; throws `too_large` above it. */
export async function readStreamBounded(stream: AsyncIterable<Uint8Array>, limit: number, what: string): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of stream) {
    size += piece.length;
    if (size > limit) throw new SlipwayError("too_large", `${what} is larger than ${limit} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces, size);
}
