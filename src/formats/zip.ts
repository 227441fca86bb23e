/**
 * Writes a zip by yazl, reproducibly: entries in the given order, DOS time stamps in UTC, no extra time fields.
 *
 * A zip's time has no zone, and yazl takes the machine's local one: the date handed to it answers in UTC instead.
 */
import { Readable } from "node:stream";
import { ZipFile } from "yazl";
import { SlipwayError } from "../model/errors.ts";
import { type ArchivedFile, type ArchiveEntry, checkArchivePaths, hashedSource } from "./archive.ts";
import type { ByteSink, ByteSource } from "./package.ts";

/** The second and the last-but-one day that a zip can name: yazl clamps at local midnights, which must not decide. */
const firstSecond = Date.UTC(1980, 0, 2) / 1000;
const lastSecond = Date.UTC(2107, 11, 30) / 1000;
const typeBits = { file: 0o100000, directory: 0o040000 } as const;
/** Larger files need zip64, which Windows' own unpacker reads but many others do not. */
const sizeLimit = 0xfffffffe;

export type ZipSpec = { readonly entries: readonly ArchiveEntry[]; readonly level: number; readonly epochSeconds: number };

/** Returns the files with their digests, for the manifest. Links are refused (`recipe_invalid`): Windows has none in zips. */
export async function writeZip(spec: ZipSpec, sink: ByteSink): Promise<readonly ArchivedFile[]> {
  checkArchivePaths(spec.entries);
  const zip = new ZipFile();
  const failed = new Promise<never>((_, reject) => zip.on("error", reject));
  failed.catch(() => undefined); // heard by the race below, or no longer wanted
  const files: (() => ArchivedFile)[] = [];
  const common = { mtime: utcDate(spec.epochSeconds), forceDosTimestamp: true };
  for (const entry of spec.entries) {
    if (entry.kind === "symlink") throw new SlipwayError("recipe_invalid", `${entry.path} is a link; a zip for Windows cannot hold it`);
    const mode = typeBits[entry.kind] | entry.mode;
    if (entry.kind === "directory") {
      zip.addEmptyDirectory(entry.path, { ...common, mode });
      continue;
    }
    const { path, source } = entry;
    if (source.size > sizeLimit) throw new SlipwayError("format_limit", `${path} has ${source.size} bytes; a zip member ends at ${sizeLimit}`);
    const hashed = hashedSource(source);
    files.push(() => ({ path, sha256: hashed.sha256(), mode: entry.mode, size: source.size }));
    // Opened only when its turn comes: thousands of files must not be open at once.
    zip.addReadStreamLazy(path, { ...common, mode, size: source.size, compressionLevel: spec.level }, (give) => {
      const stream = Readable.from(ownPieces(hashed.source), { objectMode: false });
      // yazl pipes and would wait for ever for a stream that failed.
      stream.on("error", (error) => zip.emit("error", error));
      give(null, stream);
    });
  }
  zip.end();
  const written = (async () => {
    for await (const piece of zip.outputStream as AsyncIterable<Buffer>) await sink(piece);
  })();
  try {
    await Promise.race([written, failed]);
  } catch (error) {
    written.catch(() => undefined); // the first failure is the one that is told
    if (error instanceof Error && error.message.includes("unexpected number of bytes")) {
      throw new SlipwayError("source_unusable", "a file changed its size while it was read", { cause: error });
    }
    throw error;
  }
  return files.map((file) => file());
}

/** Copies: a stream reads ahead, and a source lends its pieces. */
async function* ownPieces(source: ByteSource): AsyncGenerator<Uint8Array> {
  for await (const piece of source.open()) yield Buffer.from(piece);
}

/** A date whose local fields are those of UTC, whatever the zone (a plain shift would fail in the hour that daylight saving skips). */
function utcDate(epochSeconds: number): Date {
  const date = new Date(Math.min(Math.max(epochSeconds, firstSecond), lastSecond) * 1000);
  return Object.assign(date, {
    getFullYear: () => date.getUTCFullYear(),
    getMonth: () => date.getUTCMonth(),
    getDate: () => date.getUTCDate(),
    getHours: () => date.getUTCHours(),
    getMinutes: () => date.getUTCMinutes(),
    getSeconds: () => date.getUTCSeconds(),
  });
}
