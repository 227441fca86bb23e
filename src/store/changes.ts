/** Tells this process's caches at once what changed; other processes see it when their copy is a second old. */
import { EventEmitter } from "node:events";

/** Longest time that a cached credential or head may be used without asking the database: revocation takes effect within it everywhere (C9). */
export const cacheLifeMs = 1_000;

export type Changes = EventEmitter<{
  /** An access key or an admin token was issued, rotated or revoked: its id. */
  credential: [id: string];
  /** A product's head switched, or the product is new: its name. */
  head: [product: string];
  /** Manifests or tags of an image repository: its name. */
  images: [repository: string];
}>;

export function newChanges(): Changes {
  return new EventEmitter({ captureRejections: false });
}
