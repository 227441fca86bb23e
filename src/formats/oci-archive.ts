/** An image layout as one tar (`oci-archive:` of skopeo and podman, `docker load` since 25): the layout's files, sorted, no clock in them. */
import type { Digest } from "../model/digest.ts";
import { bytesSource } from "./byte-source.ts";
import { blobPath, layoutFileBytes, layoutFileName, layoutIndexName } from "./oci-layout.ts";
import type { ByteSink, ByteSource } from "./package.ts";
import { createTarWriter } from "./tar.ts";
import { readTar, requireMember } from "./tar-read.ts";

export type OciArchive = {
  /** The bytes of `index.json`. */
  readonly index: Uint8Array;
  readonly blobs: ReadonlyMap<Digest, ByteSource>;
  readonly epochSeconds: number;
};

/** Streams the archive. The two small files come first, so that a reader knows what to expect before the blobs. */
export async function writeOciArchive(archive: OciArchive, sink: ByteSink): Promise<void> {
  const tar = createTarWriter(sink);
  const { epochSeconds } = archive;
  const directory = async (name: string): Promise<void> => tar.add({ name, kind: "directory", mode: 0o755, epochSeconds });
  const file = async (name: string, source: ByteSource): Promise<void> => tar.add({ name, kind: "file", mode: 0o644, epochSeconds }, source);
  await file(layoutFileName, bytesSource(layoutFileBytes));
  await file(layoutIndexName, bytesSource(archive.index));
  await directory("blobs/");
  await directory("blobs/sha256/");
  // Digests are ASCII of one length: the order of code units is byte order.
  for (const [digest, source] of [...archive.blobs].sort(([left], [right]) => (left < right ? -1 : 1))) await file(blobPath(digest), source);
  await tar.end();
}

/** Four files per image and platform, and the layers of bases: far below it. */
const memberLimit = 10_000;

/** Where each file of the layout stands in the archive, by its path in the layout; `offset` and `size` in bytes. */
export type OciArchiveFiles = ReadonlyMap<string, { readonly offset: number; readonly size: number }>;

/** Reads the archive once, from its beginning. Throws `format_invalid` for damage, `path_unsafe` for a member that no layout has. */
export async function findOciArchiveFiles(bytes: AsyncIterable<Uint8Array>, name: string): Promise<OciArchiveFiles> {
  const files = new Map<string, { readonly offset: number; readonly size: number }>();
  for await (const one of readTar(bytes, { name, memberLimit, pax: "read" })) {
    const member = requireMember(one, name);
    if (member.kind === "file") files.set(member.path, { offset: member.offset, size: member.sizeBytes });
  }
  return files;
}
