/** Writes a piece of bytes completely: one write may take less than it was given, on a disk that is nearly full or where a signal came in between. */

/** A FileHandle, as far as it matters here. */
type Writable = {
  readonly write: (piece: Uint8Array, offset: number, length: number, position?: number) => Promise<{ readonly bytesWritten: number }>;
};

/** At `position` of the file, or behind what was written last. Throws what the write throws: ENOSPC comes with the write after the short one. */
export async function writeAll(handle: Writable, piece: Uint8Array, position?: number): Promise<void> {
  for (let done = 0; done < piece.length; ) {
    const at = position === undefined ? undefined : position + done;
    done += (await handle.write(piece, done, piece.length - done, at)).bytesWritten;
  }
}
