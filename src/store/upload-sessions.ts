/**
 * Uploads whose digest is told at their end, as registry clients send them (OCI distribution-spec 1.1, end-4 to end-6, end-13, end-14).
 *
 * A session has a random id and an offset; it becomes a live blob by `finish` alone, when the digest of the whole is the one that was named.
 * Sessions that nobody touches for a day are purged with the store's other unfinished uploads.
 */
import type { BlobStat } from "./blobs.ts";

export type UploadSessions = {
  /** A new session at offset 0. */
  begin(): Promise<string>;
  /** How many bytes the session has, or undefined where there is none. */
  offset(id: string): Promise<number | undefined>;
  /**
   * Adds `body` and returns the new offset. Throws `not_found`, `upload_offset` (detail: the present offset, or `busy` where another
   * request writes), `too_large` above the store's limit and `disk_full`; after the last two the session is gone. When `body` itself
   * fails, what came before stays.
   */
  extend(part: { readonly id: string; readonly offset: number; readonly body: AsyncIterable<Uint8Array> }): Promise<number>;
  /**
   * Makes the bytes a live blob and ends the session. Throws `not_found`, `upload_offset` (`busy`), and `upload_invalid` with the detail
   * `digest_mismatch` for another digest: the session and its bytes are then gone.
   */
  finish(id: string, expected: { readonly algorithm: "sha256" | "sha512"; readonly hex: string }): Promise<BlobStat>;
  /** False where there was none. */
  cancel(id: string): Promise<boolean>;
};
