/** SHA-256 of a file, read in one pass with bounded memory. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type Digest, digestFromHex } from "../model/digest.ts";

/** One MiB reads: measured best for hashing (docs/benchmarks.md). */
export const readSizeBytes = 1024 * 1024;

export async function hashFile(path: string): Promise<{ digest: Digest; size: number }> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const piece of createReadStream(path, { highWaterMark: readSizeBytes }) as AsyncIterable<Buffer>) {
    hash.update(piece);
    size += piece.length;
  }
  return { digest: digestFromHex(hash.digest("hex")), size };
}
