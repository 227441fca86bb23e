/**
 * Writes one gzip member (RFC 1952) on several threads at once; how many there are does not change a byte.
 *
 * The input is cut into blocks of one size, whatever pieces it comes in. Each is deflated by itself, with the 32 KiB before it as dictionary,
 * and closed by a sync flush: an empty stored block that ends on a whole byte (RFC 1951 3.2.4, zlib's Z_SYNC_FLUSH). So the parts, one behind
 * the other, are one deflate stream that any reader takes for an ordinary one. MTIME is 0 and OS is 255 "unknown".
 */
import { promisify } from "node:util";
import { constants, crc32, deflateRaw, type InputType, type ZlibOptions } from "node:zlib";
import { createBlockFiller } from "./block-filler.ts";
import type { ByteSink, Compressor } from "./package.ts";

/** Part of the format: another size gives other bytes. Smaller blocks cost more for their dictionaries, larger ones more memory. */
const blockSizeBytes = 512 * 1024;
/** As far as deflate looks back. */
const dictionarySizeBytes = 32 * 1024;
/** Blocks under way for one member: as many as libuv has threads. */
const blocksAtWork = 4;
/** zlib's largest tables: a tenth to a sixth less time than with its default of 8, for the same size within half a percent (docs/benchmarks.md). */
const memLevel = 9;
/** Room for what a block becomes that does not compress, so that zlib is called once for each. */
const chunkSize = blockSizeBytes + 4 * 1024;

const deflateBlock = promisify<InputType, ZlibOptions, Buffer>(deflateRaw);

/** A compressor at a level from 1 to 9. A failing sink fails the `write` or `end` that hands it the bytes. */
export function createGzipWriter(level: number, sink: ByteSink): Compressor {
  const underWay: { readonly input: Buffer<ArrayBuffer>; readonly output: Promise<Buffer> }[] = [];
  const spare: Buffer<ArrayBuffer>[] = [];
  let previous: Buffer<ArrayBuffer> = Buffer.allocUnsafeSlow(0);
  let checksum = 0;
  let sizeBytes = 0;
  let isBegun = false;

  /** The block before it still has its bytes: blocks are used again in the order in which they were filled, several later. */
  const start = (content: Buffer<ArrayBuffer>, finishFlush: number): void => {
    const dictionary = previous.subarray(-dictionarySizeBytes);
    const output = deflateBlock(content, { level, memLevel, chunkSize, finishFlush, ...(dictionary.length === 0 ? {} : { dictionary }) });
    output.catch(() => undefined); // heard where it is awaited; until then nobody may be listening
    underWay.push({ input: content, output });
    checksum = crc32(content, checksum);
    sizeBytes += content.length;
    previous = content;
  };

  const finishFirst = async (): Promise<void> => {
    const first = underWay.shift();
    if (first === undefined) return;
    if (!isBegun) await sink(gzipHeader(level));
    isBegun = true;
    const output = await first.output;
    await sink(output);
    free(output);
    spare.push(first.input);
  };

  const filler = createBlockFiller(Buffer.allocUnsafeSlow(blockSizeBytes), async (full) => {
    start(full, constants.Z_SYNC_FLUSH);
    if (underWay.length >= blocksAtWork) await finishFirst();
    return spare.pop() ?? Buffer.allocUnsafeSlow(blockSizeBytes);
  });

  return {
    write: filler.write,
    end: async () => {
      start(filler.rest(), constants.Z_FINISH);
      while (underWay.length > 0) await finishFirst();
      await sink(gzipTrailer(checksum, sizeBytes));
    },
  };
}

/**
 * Gives the memory of a piece back at once: the engine sees a small object and would let many of them lie until it collects. Small pieces
 * may share their memory with others and are left.
 */
function free(piece: Buffer): void {
  if (piece.buffer instanceof ArrayBuffer && piece.buffer.byteLength >= chunkSize) piece.buffer.transfer(0);
}

/** The ninth byte says how hard was tried, as zlib itself has it. */
function gzipHeader(level: number): Uint8Array {
  const effort = level === 9 ? 2 : level === 1 ? 4 : 0;
  return Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, effort, 0xff);
}

/** CRC-32 and size of the plain bytes, the size modulo 2^32. */
function gzipTrailer(checksum: number, sizeBytes: number): Uint8Array {
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(checksum, 0);
  trailer.writeUInt32LE(sizeBytes % 2 ** 32, 4);
  return trailer;
}
