/** Decompression with a limit on what comes out: a few kilobytes from outside must not become gigabytes. */
import { pipeline, Readable } from "node:stream";
import { ReadableStream } from "node:stream/web";
import { createGunzip, createZstdDecompress } from "node:zlib";
import xzDecompress from "xz-decompress";
import { SlipwayError } from "../model/errors.ts";
import type { PackageCompression } from "./package.ts";

const chunkSizeBytes = 128 * 1024;

export type DecompressOptions = {
  readonly codec: PackageCompression["codec"];
  /** Most bytes that may come out; one more throws `format_limit`. */
  readonly limitBytes: number;
  /** Names the stream in messages: `data.tar.zst`. */
  readonly name: string;
};

/**
 * The plain bytes of a compressed stream. Damage throws `format_invalid`, more than the limit `format_limit`.
 * Ending the iteration early lets the source go.
 */
export async function* decompress(source: AsyncIterable<Uint8Array>, options: DecompressOptions): AsyncGenerator<Uint8Array> {
  let count = 0;
  for await (const piece of plainBytes(source, options)) {
    count += piece.length;
    if (count > options.limitBytes) {
      throw new SlipwayError("format_limit", `${options.name} holds more than ${options.limitBytes} bytes when unpacked`);
    }
    yield piece;
  }
}

/** Keeps the source's own failure apart from damage: a network fault must not be reported as a bad file. */
async function* plainBytes(source: AsyncIterable<Uint8Array>, options: DecompressOptions): AsyncGenerator<Uint8Array> {
  if (options.codec === "none") {
    yield* source;
    return;
  }
  let sourceFailure: unknown;
  const watched = async function* (): AsyncGenerator<Uint8Array> {
    try {
      yield* source;
    } catch (error) {
      sourceFailure = error;
      throw error;
    }
  };
  try {
    if (options.codec === "xz") yield* xzBytes(watched());
    else yield* zlibBytes(watched(), options.codec);
  } catch (error) {
    if (sourceFailure !== undefined) throw sourceFailure;
    throw new SlipwayError("format_invalid", `${options.name} is not sound ${options.codec}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

async function* zlibBytes(source: AsyncIterable<Uint8Array>, codec: "gzip" | "zstd"): AsyncGenerator<Uint8Array> {
  const stream = codec === "gzip" ? createGunzip({ chunkSize: chunkSizeBytes }) : createZstdDecompress({ chunkSize: chunkSizeBytes });
  const input = Readable.from(source, { objectMode: false });
  // A failure on either side destroys `stream`, and so the loop below throws it: the callback has nothing left to do.
  pipeline(input, stream, () => undefined);
  try {
    for await (const piece of stream as AsyncIterable<Buffer>) yield piece;
  } finally {
    stream.destroy();
    input.destroy();
  }
}

async function* xzBytes(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const input = ReadableStream.from(source);
  const reader = new xzDecompress.XzReadableStream(input).getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    await reader.cancel().catch(() => undefined); // already failed or ended: nothing is left to free
  }
}
