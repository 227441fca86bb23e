/**
 * Deterministic compression: the same bytes and level give the same output on any machine and however the input is cut.
 *
 * gzip: one member in blocks (gzip-write.ts). zstd (RFC 8878): exactly one frame, because dpkg 1.21 stops after the first one. Node's zstd
 * stream appends an empty second frame when `end` comes while a write is still queued (nodejs/node#66078), so each write is awaited before
 * the next and before `end`; its `nbWorkers` is broken and unused.
 */
import { constants, createZstdCompress, gzipSync, type ZstdCompress } from "node:zlib";
import { SlipwayError } from "../model/errors.ts";
import { createBlockFiller } from "./block-filler.ts";
import { createGzipWriter } from "./gzip-write.ts";
import type { ByteSink, Compressor, MakeXzCompressor, PackageCompression } from "./package.ts";

/** Input is handed to the compressor in blocks of this size: few thread hops, and two of them are all the memory that is held. */
const blockSizeBytes = 256 * 1024;
const levelRange = { gzip: [1, 9], zstd: [1, 19], xz: [0, 9] } as const;

/** The byte of the gzip header that says on which system it was made. */
const gzipSystemOffset = 9;
const gzipSystemUnknown = 0xff;

/**
 * A compressor that writes to `sink`. Throws `recipe_invalid` for a level that the codec does not have and for xz without a maker.
 * A failing sink fails the next `write` or `end`.
 */
export function createCompressor(compression: PackageCompression, sink: ByteSink, makeXzCompressor?: MakeXzCompressor): Compressor {
  const { codec, level } = compression;
  if (codec === "none") return { write: sink, end: async () => undefined };
  const [low, high] = levelRange[codec];
  if (!Number.isInteger(level) || level < low || level > high) {
    throw new SlipwayError("recipe_invalid", `${codec} has the levels ${low} to ${high}, not ${level}`);
  }
  if (codec === "gzip") return createGzipWriter(level, sink);
  if (codec === "zstd") {
    return createZstdCompressor({ [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1 }, sink);
  }
  if (makeXzCompressor === undefined) throw new SlipwayError("recipe_invalid", "xz needs the xz program", { hint: "install xz-utils, or use gzip or zstd" });
  return makeXzCompressor(level, sink);
}

/** One zstd frame with the library's own parameters (`constants.ZSTD_c_*` to their values). */
export function createZstdCompressor(params: Readonly<Record<number, number>>, sink: ByteSink): Compressor {
  return pumped(createZstdCompress({ params, chunkSize: blockSizeBytes }), sink);
}

/** A small file in memory (a changelog, an index) as one gzip member that names no time and no system. */
export function gzipBytes(bytes: Uint8Array, level = 9): Uint8Array {
  const packed = gzipSync(bytes, { level });
  packed[gzipSystemOffset] = gzipSystemUnknown;
  return packed;
}

/** Cuts the input into blocks; while one is compressed on zlib's thread and sent on, the next is filled by the caller. */
function pumped(stream: ZstdCompress, sink: ByteSink): Compressor {
  const output: Uint8Array[] = [];
  let failure: unknown;
  stream.on("data", (piece: Buffer) => output.push(piece));
  stream.on("error", (error) => {
    failure ??= error;
  });

  const drain = async (): Promise<void> => {
    for (let piece = output.shift(); piece !== undefined; piece = output.shift()) await sink(piece);
  };

  // Never rejects: nobody may be listening yet, and an unheard rejection would end the process. The next await throws it.
  let pending: Promise<void> = Promise.resolve();
  const settled = async (): Promise<void> => {
    await pending;
    if (failure !== undefined) {
      stream.destroy();
      throw failure;
    }
  };
  const start = (work: (done: (error?: Error | null) => void) => void): void => {
    pending = new Promise<void>((resolve, reject) => {
      stream.once("error", reject);
      work((error) => {
        stream.removeListener("error", reject);
        if (error === undefined || error === null) resolve();
        else reject(error);
      });
    })
      .then(drain)
      .catch((error: unknown) => {
        failure ??= error;
      });
  };

  const flush = async (block: Buffer): Promise<void> => {
    await settled();
    start((done) => stream.write(block, done));
  };
  let spare = Buffer.alloc(blockSizeBytes);
  const filler = createBlockFiller(Buffer.alloc(blockSizeBytes), async (full) => {
    await flush(full);
    const next = spare;
    spare = full;
    return next;
  });

  return {
    write: filler.write,
    end: async () => {
      const rest = filler.rest();
      if (rest.length > 0) await flush(rest);
      await settled();
      start((done) => {
        stream.once("end", done);
        stream.end();
      });
      await settled();
    },
  };
}
