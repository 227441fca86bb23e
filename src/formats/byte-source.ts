/** Moving bytes between sources and sinks, counted and checked. */
import { createHash, hash } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";
import type { ByteSink, ByteSource, LentBytes } from "./package.ts";

export type HashAlgorithm = "md5" | "sha1" | "sha256";

const gatheredSizeBytes = 128 * 1024;

/** Bytes in memory as a source. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.length,
    open: async function* () {
      yield bytes;
    },
    lend: () => ({ bytes, giveBack: () => undefined }),
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
 * Gathers small pieces (headers, small files, padding) before a sink that costs something for each piece, as hashing does. `end` hands on
 * what is left.
 */
export function gatheringSink(sink: ByteSink): { readonly sink: ByteSink; readonly end: () => Promise<void> } {
  const block = Buffer.allocUnsafeSlow(gatheredSizeBytes);
  let filled = 0;
  const end = async (): Promise<void> => {
    const full = block.subarray(0, filled);
    filled = 0;
    if (full.length > 0) await sink(full);
  };
  const handOn = async (piece: Uint8Array): Promise<void> => {
    await end();
    if (piece.length >= gatheredSizeBytes) await sink(piece);
    else {
      block.set(piece);
      filled = piece.length;
    }
  };
  return {
    sink: (piece) => {
      if (piece.length > gatheredSizeBytes - filled) return handOn(piece);
      block.set(piece, filled);
      filled += piece.length;
      return undefined;
    },
    end,
  };
}

/**
 * Copies a source into a sink.
 * Throws `source_unusable` when the source gives another number of bytes than it announced: a file that changed while it was read.
 */
export async function pour(source: ByteSource, sink: ByteSink, { name }: { readonly name: string }): Promise<void> {
  const lent = lendChecked(source, name);
  if (lent !== undefined) {
    try {
      await sink(lent.bytes);
    } finally {
      lent.giveBack();
    }
    return;
  }
  let left = source.size;
  for await (const piece of source.open()) {
    left -= piece.length;
    if (left < 0) throw grown(source, name);
    await sink(piece);
  }
  if (left > 0) throw cutShort(source, name, left);
}

/** The same, and returns the hash of what was copied, in hex. */
export async function pourHashed(
  source: ByteSource,
  sink: ByteSink,
  { name, algorithm }: { readonly name: string; readonly algorithm: HashAlgorithm },
): Promise<string> {
  if (source.lend === undefined) {
    const running = createHash(algorithm);
    const hashed: ByteSink = (piece) => {
      running.update(piece);
      return sink(piece);
    };
    await pour(source, hashed, { name });
    return running.digest("hex");
  }
  let digest = "";
  const hashed: ByteSink = (piece) => {
    digest = hash(algorithm, piece); // one call: an object for each of thousands of files costs more than hashing them
    return sink(piece);
  };
  await pour(source, hashed, { name });
  return digest;
}

/** What the source lends, if it does. Throws `source_unusable` as `pour` does. */
export function lendChecked(source: ByteSource, name: string): LentBytes | undefined {
  const lent = source.lend?.();
  if (lent === undefined || lent.bytes.length === source.size) return lent;
  lent.giveBack();
  throw lent.bytes.length > source.size ? grown(source, name) : cutShort(source, name, source.size - lent.bytes.length);
}

const changingHint = "let nothing write there while it is packed, and build again";

function grown({ size }: ByteSource, name: string): SlipwayError {
  return new SlipwayError("source_unusable", `${name} grew past its ${size} bytes while it was read`, { hint: changingHint });
}

function cutShort({ size }: ByteSource, name: string, left: number): SlipwayError {
  return new SlipwayError("source_unusable", `${name} ended ${left} bytes before its announced ${size}`, { hint: changingHint });
}
