/** Moving bytes between sources and sinks, counted and checked. */
import type { Hash } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";
import type { ByteSink, ByteSource } from "./package.ts";

/** Bytes in memory as a source. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.length,
    open: async function* () {
      yield bytes;
    },
  };
}

/** A sink that counts, for sizes that are known only afterwards. */
export function countingSink(sink: ByteSink): { readonly sink: ByteSink; readonly count: () => number } {
  let count = 0;
  return {
    sink: (piece) => {
      count += piece.length;
      return sink(piece);
    },
    count: () => count,
  };
}

/**
 * Copies a source into a sink, feeding the hashes on the way.
 * Throws `source_unusable` when the source gives another number of bytes than it announced: a file that changed while it was read.
 */
export async function pour(source: ByteSource, sink: ByteSink, options: { readonly name: string; readonly hashes?: readonly Hash[] }): Promise<void> {
  let left = source.size;
  for await (const piece of source.open()) {
    left -= piece.length;
    if (left < 0) throw new SlipwayError("source_unusable", `${options.name} grew past its ${source.size} bytes while it was read`);
    for (const hash of options.hashes ?? []) hash.update(piece);
    await sink(piece);
  }
  if (left > 0) throw new SlipwayError("source_unusable", `${options.name} ended ${left} bytes before its announced ${source.size}`);
}
