/** Walks the structure of a zstd stream (RFC 8878 section 3.1) without unpacking it, to count its frames. */
import { SlipwayError } from "../model/errors.ts";

const frameMagic = 0xfd2fb528;
const skippableMagic = 0x184d2a50;

export type ZstdFrameCounter = {
  /** The next bytes, cut anywhere; throws `format_invalid` for what is no zstd. */
  readonly feed: (piece: Uint8Array) => void;
  /** Data frames that have ended; skippable frames are not counted. Throws `format_invalid` in the middle of a frame. */
  readonly count: () => number;
};

/** What the next bytes are: a field of known size that is collected, and what to do with it. */
type Step = { readonly size: number; readonly next: (field: Buffer) => void };

/** dpkg 1.21 reads the first frame and takes the rest for a truncated archive, so a deb must have exactly one. */
export function createZstdFrameCounter(): ZstdFrameCounter {
  let frames = 0;
  let hasChecksum = false;
  let skipping = 0;
  let collected = Buffer.alloc(0);

  const skip = (bytes: number, following: Step): void => {
    skipping = bytes;
    step = following;
  };
  const endFrame = (): void => {
    frames += 1;
    skip(hasChecksum ? 4 : 0, magic);
  };
  const block: Step = {
    size: 3,
    next: (field) => {
      const header = field.readUIntLE(0, 3);
      const isRunLength = ((header >>> 1) & 3) === 1;
      const isLast = (header & 1) === 1;
      const contentSize = isRunLength ? 1 : header >>> 3;
      if (!isLast) skip(contentSize, block);
      else {
        endFrame();
        skipping += contentSize;
      }
    },
  };
  const descriptor: Step = {
    size: 1,
    next: (field) => {
      const flags = field.readUInt8();
      const isSingleSegment = (flags & 0x20) !== 0;
      hasChecksum = (flags & 0x04) !== 0;
      const dictionaryIdSize = [0, 1, 2, 4][flags & 3] ?? 0;
      const contentSizeSize = [isSingleSegment ? 1 : 0, 2, 4, 8][flags >>> 6] ?? 0;
      skip((isSingleSegment ? 0 : 1) + dictionaryIdSize + contentSizeSize, block);
    },
  };
  const skippable: Step = { size: 4, next: (field) => skip(field.readUInt32LE(), magic) };
  const magic: Step = {
    size: 4,
    next: (field) => {
      const value = field.readUInt32LE();
      if ((value & 0xfffffff0) >>> 0 === skippableMagic) step = skippable;
      else if (value === frameMagic) step = descriptor;
      else throw new SlipwayError("format_invalid", `expected a zstd frame, got the magic number 0x${value.toString(16)}`);
    },
  };
  let step: Step = magic;

  return {
    feed: (piece) => {
      for (let at = 0; at < piece.length; ) {
        if (skipping > 0) {
          const count = Math.min(skipping, piece.length - at);
          skipping -= count;
          at += count;
          continue;
        }
        const field = piece.subarray(at, at + step.size - collected.length);
        collected = Buffer.concat([collected, field]);
        at += field.length;
        if (collected.length < step.size) return;
        const whole = collected;
        collected = Buffer.alloc(0);
        step.next(whole);
      }
    },
    count: () => {
      if (step !== magic || skipping > 0 || collected.length > 0) throw new SlipwayError("format_invalid", "a zstd stream ends inside a frame");
      return frames;
    },
  };
}
