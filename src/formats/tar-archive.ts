/** Writes a compressed tar of plain files (`.tar.gz`): entries in the given order, all owned by root, one time stamp. */
import { type ArchivedFile, type ArchiveEntry, checkArchivePaths } from "./archive.ts";
import { createCompressor } from "./compress.ts";
import type { ByteSink, MakeXzCompressor, PackageCompression } from "./package.ts";
import { createTarWriter } from "./tar.ts";

export type TarArchiveSpec = {
  readonly entries: readonly ArchiveEntry[];
  readonly compression: PackageCompression;
  readonly epochSeconds: number;
};

/** Returns the files with their digests, for the manifest. Throws `path_unsafe`, `format_limit`, `source_unusable`. */
export async function writeTarArchive(spec: TarArchiveSpec, sink: ByteSink, makeXzCompressor?: MakeXzCompressor): Promise<readonly ArchivedFile[]> {
  checkArchivePaths(spec.entries);
  const { epochSeconds } = spec;
  const compressor = createCompressor(spec.compression, sink, makeXzCompressor);
  const tar = createTarWriter(compressor.write);
  const files: ArchivedFile[] = [];
  for (const entry of spec.entries) {
    switch (entry.kind) {
      case "directory":
        await tar.add({ kind: "directory", name: `${entry.path}/`, mode: entry.mode, epochSeconds });
        break;
      case "symlink":
        await tar.add({ kind: "symlink", name: entry.path, mode: 0o777, target: entry.target, epochSeconds });
        break;
      case "file": {
        const sha256 = await tar.addHashed({ kind: "file", name: entry.path, mode: entry.mode, epochSeconds }, entry.source, "sha256");
        files.push({ path: entry.path, sha256, mode: entry.mode, size: entry.source.size });
        break;
      }
    }
  }
  await tar.end();
  await compressor.end();
  return files;
}
