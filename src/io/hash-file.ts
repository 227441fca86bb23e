/** A file's content in pieces, and its SHA-256: read in one pass with bounded memory. */
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { type Digest, digestFromHex } from "../model/digest.ts";

/** One MiB reads: measured best for hashing (docs/benchmarks.md). */
export const readSizeBytes = 1024 * 1024;

/** The content of an open file from its start, in pieces; the handle stays open. */
export async function* readHandle(handle: FileHandle): AsyncGenerator<Uint8Array> {
  for (let position = 0; ; ) {
    const buffer = Buffer.allocUnsafe(readSizeBytes);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/**
 * The same in two buffers that take turns: a piece must be done with before the next is asked for, and the next is read meanwhile. Pieces of
 * their own pile up until the collector comes by: hashing 1 GB took 143 MB of memory with them, 80 MB without, and a sixth more CPU.
 */
export async function* readHandleInPlace(handle: FileHandle): AsyncGenerator<Uint8Array> {
  let [present, next] = [Buffer.allocUnsafe(readSizeBytes), Buffer.allocUnsafe(readSizeBytes)];
  let position = 0;
  let reading = handle.read(present, 0, present.length, position);
  try {
    for (;;) {
      const { bytesRead } = await reading;
      if (bytesRead === 0) return;
      position += bytesRead;
      reading = handle.read(next, 0, next.length, position);
      yield present.subarray(0, bytesRead);
      [present, next] = [next, present];
    }
  } finally {
    await reading.catch(() => undefined); // it failed where it was awaited, or nobody wants it; the handle must not be closed below it
  }
}

/** SHA-256 (hex) and size of an open file. */
export async function hashHandle(handle: FileHandle): Promise<{ readonly sha256: string; readonly size: number }> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const piece of readHandleInPlace(handle)) {
    hash.update(piece);
    size += piece.length;
  }
  return { sha256: hash.digest("hex"), size };
}

export async function hashFile(path: string): Promise<{ digest: Digest; size: number }> {
  const handle = await open(path);
  try {
    const { sha256, size } = await hashHandle(handle);
    return { digest: digestFromHex(sha256), size };
  } finally {
    await handle.close();
  }
}
