/** Parts of one file as if they stood one behind the other, read where they lie: in any order, and without holding any of them. */
import { closeSync, openSync, readSync } from "node:fs";
import { SlipwayError } from "../model/errors.ts";

export type Segment = { readonly offset: number; readonly size: number };

export type SegmentReader = {
  readonly size: number;
  /** Fills `into` from `offset`; waits for the disk. Throws `conflict` where the file became shorter. */
  readonly readInto: (offset: number, into: Uint8Array) => void;
  readonly close: () => void;
};

/** Opens the file until `close`; the segments may stand in any order and must lie inside of it. */
export function openSegments(path: string, segments: readonly Segment[]): SegmentReader {
  const file = openSync(path, "r");
  const parts: { readonly start: number; readonly offset: number; readonly size: number }[] = [];
  let total = 0;
  for (const { offset, size } of segments) {
    if (size > 0) parts.push({ start: total, offset, size });
    total += size;
  }
  return {
    size: total,
    readInto: (offset, into) => {
      let index = lastStartingAt(parts, offset);
      for (let done = 0; done < into.length; index += 1) {
        const part = parts[index];
        if (part === undefined) throw new SlipwayError("internal", "read outside of the segments");
        const from = offset + done - part.start;
        const count = Math.min(into.length - done, part.size - from);
        for (let read = 0; read < count; ) {
          const got = readSync(file, into, done + read, count - read, part.offset + from + read);
          if (got === 0) throw new SlipwayError("conflict", `${path} became shorter`);
          read += got;
        }
        done += count;
      }
    },
    close: () => closeSync(file),
  };
}

/** Index of the part that holds byte `at` of parts that lie one behind the other: empty ones share the start of the next, so it is the last that starts there or before. */
export function lastStartingAt(parts: readonly { readonly start: number }[], at: number): number {
  let low = 0;
  let high = parts.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((parts[middle]?.start ?? 0) <= at) low = middle;
    else high = middle - 1;
  }
  return low;
}
