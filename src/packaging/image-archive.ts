/** A built image opened from its tar: the layout's files are read where they lie, nothing is unpacked. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { basename } from "node:path";
import { findOciArchiveFiles } from "../formats/oci-archive.ts";
import type { OciLayoutSource } from "../formats/oci-layout.ts";
import { readSizeBytes } from "../io/hash-file.ts";
import { SlipwayError } from "../model/errors.ts";

export type ImageArchive = { readonly source: OciLayoutSource; readonly close: () => Promise<void> };

/** Reads the tar once, for the places of its files. Throws `format_invalid`, `path_unsafe`, and `source_missing` where there is no file. */
export async function openImageArchive(path: string): Promise<ImageArchive> {
  const handle = await openFile(path);
  try {
    const files = await findOciArchiveFiles(pieces(handle, 0), basename(path));
    const source: OciLayoutSource = {
      open: (name) => {
        const file = files.get(name);
        if (file === undefined)
          throw new SlipwayError("format_invalid", `${basename(path)} is no whole image layout: there is no ${name} in it`, { place: path });
        return pieces(handle, file.offset, file.size);
      },
    };
    return { source, close: () => handle.close() };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new SlipwayError("source_missing", `there is no ${basename(path)}`, { place: path, hint: "run `slipway build` first", cause: error });
  }
}

/** Reads at explicit positions, so that several blobs may be read at once. */
async function* pieces(handle: FileHandle, start: number, size?: number): AsyncGenerator<Uint8Array> {
  if (size === 0) return;
  yield* handle.createReadStream({
    start,
    ...(size === undefined ? {} : { end: start + size - 1 }),
    highWaterMark: readSizeBytes,
    autoClose: false,
  }) as AsyncIterable<Buffer>;
}
