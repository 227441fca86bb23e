/**
 * Reads a gzip file member by member (RFC 1952 2.2). apk gives each member a meaning of its own and signs the bytes between their borders,
 * while every common gunzip reads across them.
 */
import { crc32, createInflateRaw, type InflateRaw } from "node:zlib";
import { SlipwayError } from "../model/errors.ts";

export type GzipMembers = {
  readonly isAtEnd: () => Promise<boolean>;
  /** The plain bytes of the next member. Take them all before asking for another: a member that was left early is not skipped. */
  readonly next: (options: GzipMemberOptions) => AsyncGenerator<Uint8Array>;
  /** Bytes taken so far, as they are in the file. */
  readonly position: () => number;
  /** Lets the source go; call it in `finally`. */
  readonly close: () => Promise<void>;
};

export type GzipMemberOptions = {
  /** Names the member in messages. */
  readonly name: string;
  /** Most plain bytes; one more throws `format_limit`. */
  readonly limitBytes: number;
  /** Sees the member as it is in the file: header, deflate stream, trailer. */
  readonly onPacked?: (piece: Uint8Array) => void;
};

/** A block of deflate grows at most 1032-fold, so this much input is at most 33 MB that nobody has asked for yet. */
const sliceSizeBytes = 32 * 1024;
/** Name, comment and extra field of a header; ours has none of them. */
const headerTextLimit = 64 * 1024;
const flag = { headerChecksum: 2, extra: 4, name: 8, comment: 16 } as const;

/** `next` throws `format_invalid` for damage (magic, deflate, CRC-32, length, truncation). */
export function createGzipMembers(source: AsyncIterable<Uint8Array>): GzipMembers {
  const iterator = source[Symbol.asyncIterator]();
  let held: Uint8Array = new Uint8Array(0);
  let position = 0;

  const refill = async (): Promise<boolean> => {
    while (held.length === 0) {
      const piece = await iterator.next();
      if (piece.done === true) return false;
      held = piece.value;
    }
    return true;
  };
  const take = (count: number, options: GzipMemberOptions): Uint8Array => {
    const piece = held.subarray(0, count);
    held = held.subarray(piece.length);
    position += piece.length;
    options.onPacked?.(piece);
    return piece;
  };
  const byte = async (options: GzipMemberOptions): Promise<number> => {
    if (!(await refill())) throw damaged(options, "ends inside a gzip member");
    return take(1, options)[0] ?? 0;
  };

  async function skipHeader(options: GzipMemberOptions): Promise<void> {
    const fixed: number[] = [];
    while (fixed.length < 10) fixed.push(await byte(options));
    const [first, second, method, flags = 0] = fixed;
    if (first !== 0x1f || second !== 0x8b || method !== 8 || (flags & 0xe0) !== 0) throw damaged(options, "does not begin like gzip");
    if ((flags & flag.extra) !== 0) {
      const length = (await byte(options)) + 256 * (await byte(options));
      for (let count = 0; count < length; count += 1) await byte(options);
    }
    for (const text of [flag.name, flag.comment]) {
      if ((flags & text) === 0) continue;
      let length = 0;
      while ((await byte(options)) !== 0) {
        length += 1;
        if (length > headerTextLimit) throw damaged(options, "has a gzip header without an end");
      }
    }
    if ((flags & flag.headerChecksum) !== 0) for (let count = 0; count < 2; count += 1) await byte(options);
  }

  async function* next(options: GzipMemberOptions): AsyncGenerator<Uint8Array> {
    await skipHeader(options);
    const inflate = createInflateRaw({ chunkSize: 128 * 1024 });
    const plain: Uint8Array[] = [];
    inflate.on("data", (piece: Buffer) => plain.push(piece));
    let checksum = 0;
    let count = 0;
    try {
      for (let hasEnded = false; !hasEnded; ) {
        if (!(await refill())) throw damaged(options, "ends inside a gzip member");
        const slice = held.subarray(0, sliceSizeBytes);
        const before = inflate.bytesWritten;
        hasEnded = await feed(inflate, slice, options);
        take(inflate.bytesWritten - before, options);
        for (let piece = plain.shift(); piece !== undefined; piece = plain.shift()) {
          checksum = crc32(piece, checksum);
          count += piece.length;
          if (count > options.limitBytes) throw new SlipwayError("format_limit", `${options.name} holds more than ${options.limitBytes} bytes when unpacked`);
          yield piece;
        }
      }
    } finally {
      inflate.destroy();
    }
    const trailer = Buffer.alloc(8);
    for (let at = 0; at < trailer.length; at += 1) trailer[at] = await byte(options);
    if (trailer.readUInt32LE(0) !== checksum || trailer.readUInt32LE(4) !== count % 2 ** 32) throw damaged(options, "has a wrong checksum or length");
  }

  return {
    isAtEnd: async () => !(await refill()),
    next,
    position: () => position,
    close: async () => {
      await iterator.return?.();
    },
  };
}

/**
 * Hands a slice over. True where the deflate stream has ended: then `bytesWritten` says how much of the slice was its. A stream that ends
 * with its slice shows only when the next one comes, of which it takes nothing.
 */
function feed(inflate: InflateRaw, slice: Uint8Array, options: GzipMemberOptions): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const settle = (action: () => void): void => {
      inflate.off("end", onEnd);
      inflate.off("error", onError);
      action();
    };
    const onEnd = (): void => settle(() => resolve(true));
    const onError = (error: Error): void => settle(() => reject(damaged(options, `is not sound gzip: ${error.message}`, error)));
    inflate.once("end", onEnd);
    inflate.once("error", onError);
    inflate.write(slice, (error) => {
      if (error === null || error === undefined) settle(() => resolve(false));
    });
  });
}

function damaged(options: GzipMemberOptions, what: string, cause?: unknown): SlipwayError {
  return new SlipwayError("format_invalid", `${options.name} ${what}`, cause === undefined ? {} : { cause });
}
