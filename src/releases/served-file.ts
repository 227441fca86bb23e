/** A blob as readers get it, whichever way they ask: what the answer's headers are made from. */
import type { Digest } from "../model/digest.ts";
import type { Version } from "../model/version.ts";
import type { SnapshotFileTable } from "../store/schema.ts";
import { mediaTypeOf } from "./media-type.ts";

export type ServedFile = {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** Stays the same for the same bytes at the same path: If-Modified-Since depends on it. */
  readonly modifiedAt: Date;
  readonly mediaType: string;
  /** The path names the content: it may be cached for ever. */
  readonly isImmutable: boolean;
  /** Undefined for an index file or a key. */
  readonly artifact?: { readonly version: Version; readonly name: string };
};

/** An index file as its snapshot has it. */
export function servedIndex(row: SnapshotFileTable): ServedFile {
  return { digest: row.digest, size: row.size, modifiedAt: new Date(row.modified_at), mediaType: row.media_type, isImmutable: row.is_immutable === 1 };
}

/** An artifact of a published release, at a path that names it for good. */
export function servedArtifact(
  version: Version,
  artifact: { readonly name: string; readonly digest: Digest; readonly size: number },
  modifiedAt: Date,
): ServedFile & Required<Pick<ServedFile, "artifact">> {
  const { name, digest, size } = artifact;
  return { digest, size, modifiedAt, mediaType: mediaTypeOf(name), isImmutable: true, artifact: { version, name } };
}
