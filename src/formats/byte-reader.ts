/** Exact reads from a stream of pieces of any size: what every format reader stands on. */
import { SlipwayError } from "../model/errors.ts";

export type ByteReader = {
  /** Exactly `count` bytes (keep `count` small: they are held in memory); throws `format_invalid` where the stream ends before. */
  readonly read: (count: number, what: string) => Promise<Buffer>;
  /** `count` bytes piece by piece, never copied; throws `format_invalid` where the stream ends before. */
  readonly pieces: (count: number, what: string) => AsyncGenerator<Uint8Array>;
  /** All that is left, piece by piece. */
  readonly rest: () => AsyncGenerator<Uint8Array>;
  readonly isAtEnd: () => Promise<boolean>;
  /** Bytes taken so far. */
  readonly position: () => number;
  /** Lets the source go; call it in `finally`. */
  readonly close: () => Promise<void>;
};

/** A reader over one pass of a source; `format` names the format in messages. */
export function createByteReader(source: AsyncIterable<Uint8Array>, format: string): ByteReader {
  const iterator = source[Symbol.asyncIterator]();
  let held: Uint8Array = new Uint8Array(0);
  let position = 0;

  /** Makes `held` non-empty; false at the end of the source. */
  const refill = async (): Promise<boolean> => {
    while (held.length === 0) {
      const next = await iterator.next();
      if (next.done === true) return false;
      held = next.value;
    }
    return true;
  };

  const take = (count: number): Uint8Array => {
    const piece = held.subarray(0, count);
    held = held.subarray(piece.length);
    position += piece.length;
    return piece;
  };

  async function* pieces(count: number, what: string): AsyncGenerator<Uint8Array> {
    let left = count;
    while (left > 0) {
      if (!(await refill())) throw new SlipwayError("format_invalid", `the ${format} ends ${left} bytes before the end of ${what}`);
      const piece = take(left);
      left -= piece.length;
      yield piece;
    }
  }

  return {
    pieces,
    read: async (count, what) => {
      if (held.length >= count) return Buffer.from(take(count)); // a copy: the source may reuse its buffer
      const bytes = Buffer.alloc(count);
      let filled = 0;
      for await (const piece of pieces(count, what)) {
        bytes.set(piece, filled);
        filled += piece.length;
      }
      return bytes;
    },
    rest: async function* () {
      while (await refill()) yield take(held.length);
    },
    isAtEnd: async () => !(await refill()),
    position: () => position,
    close: async () => {
      await iterator.return?.();
    },
  };
}
