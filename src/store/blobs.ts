/**
 * Blobs: bytes named by their SHA-256, the interface that the disk implements now and S3 joins.
 *
 * Life of a blob: absent -> partial (an upload that can be resumed, never readable) -> live -> quarantined (not readable, can come back)
 * -> purged. Becoming live needs the digest of the whole stream to be right; there is no other way in.
 */
import type { Readable } from "node:stream";
import type { Digest } from "../model/digest.ts";
import type { UploadSessions } from "./upload-sessions.ts";

/** `offset`: how many bytes are stored; for a live blob, its size. */
export type BlobStatus = { readonly state: "absent" | "partial" | "live"; readonly offset: number };

export type BlobStat = { readonly digest: Digest; readonly size: number; readonly storedAt: Date };

/** What is really on the disk under a digest. */
export type BlobCondition =
  | { readonly state: "absent" }
  | { readonly state: "quarantined" }
  /** `actual` is the digest of the bytes; undefined where they were not read. */
  | { readonly state: "live"; readonly size: number; readonly actual: Digest | undefined }
  | { readonly state: "unreadable"; readonly reason: string };

export type BlobAppend = {
  readonly digest: Digest;
  /** Where the first byte of `body` belongs; must be the present offset. */
  readonly offset: number;
  /** Size of the whole blob in bytes. */
  readonly size: number;
  readonly body: AsyncIterable<Uint8Array>;
};

/** First and last byte, both inclusive, as in an HTTP range. */
export type BlobRange = { readonly start: number; readonly end: number };

export type BlobStore = {
  /** Uploads whose digest is told at their end. */
  readonly sessions: UploadSessions;
  status(digest: Digest): Promise<BlobStatus>;
  /**
   * Adds `body` to the upload and returns the state after it: `partial` while bytes are missing, `live` when the last one came and
   * the digest of the whole is right. A live blob answers `live` without reading the body. Throws `upload_offset` where `offset` is not
   * the present one or another request writes this blob right now, `too_large` above the store's limit, `upload_invalid` for more bytes
   * than announced or a wrong digest (the upload is then gone), `disk_full` (the upload is gone, so that the server goes on working).
   * When `body` itself fails, what came before stays for a resume and the body's error is thrown.
   */
  append(part: BlobAppend): Promise<BlobStatus>;
  /**
   * Stores bytes of our own making durably under the digest that they turn out to have. Where `content` throws, nothing is stored; a piece
   * of it is its maker's again as soon as the next one is asked for. Throws `disk_full`.
   */
  put(content: Uint8Array | AsyncIterable<Uint8Array>): Promise<BlobStat>;
  /** A live blob's size, or undefined. */
  stat(digest: Digest): Promise<BlobStat | undefined>;
  /** A stream over a live blob, or a range of it; throws `not_found`. The caller ends or destroys it. */
  open(digest: Digest, range?: BlobRange): Promise<Readable>;
  /** All bytes of a live blob; throws `not_found`, and `format_limit` above `limit` bytes. */
  read(digest: Digest, limit: number): Promise<Buffer>;
  /** Fills `into` with a live blob's bytes from `start` on; throws `not_found`, and `internal` where the blob ends before. */
  readInto(digest: Digest, start: number, into: Uint8Array): Promise<void>;
  /** The file that holds a live blob, where the store has files (X-Accel-Redirect, sendfile). */
  path(digest: Digest): string | undefined;
  /** Live -> quarantined; a no-op where it is not live. */
  quarantine(digest: Digest): Promise<void>;
  /** Quarantined -> live, when a reference appeared in between; false where there was nothing to bring back. */
  restore(digest: Digest): Promise<boolean>;
  /** Deletes blobs quarantined, and uploads last touched, before `before`; returns how many bytes that freed. */
  purge(before: Date): Promise<number>;
  /** For checks: reads a live blob whole where `isQuick` is not set. Throws `interrupted` on `signal`, never for what is wrong with the blob. */
  examine(digest: Digest, options: { readonly isQuick: boolean; readonly signal: AbortSignal }): Promise<BlobCondition>;
  /** Takes a damaged blob out of the way of a good one; nothing here looks at it or deletes it again. Returns where it is. */
  setAside(digest: Digest): Promise<string>;
  /** Every live blob, in no order: for the sweep that finds uploads nobody attached. */
  list(): AsyncIterable<BlobStat>;
};
