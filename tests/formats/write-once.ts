/** A program of its own, so that tests can run the writers under another time zone, umask, locale and folder: `node write-once.ts <folder> [<MB>]`. */
import { mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ArchiveEntry } from "../../src/formats/archive.ts";
import type { ByteSource, PackageCompression, PackageEntry } from "../../src/formats/package.ts";
import { writeTarArchive } from "../../src/formats/tar-archive.ts";
import { writeZip } from "../../src/formats/zip.ts";
import { parseVersion } from "../../src/model/version.ts";
import { apkFile } from "./apk-sample.ts";
import { debFile, file, gzip, loggingScripts, rpmFile, sampleSpec, writeFileBy, zstd } from "./sample.ts";

/**
 * A large file that is generated piece by piece, so that what grows is the writer's own memory. One sixteenth of it does not compress:
 * enough for megabytes of output without minutes of deflating.
 */
function generated(sizeBytes: number): ByteSource {
  const open = async function* (): AsyncGenerator<Uint8Array> {
    const piece = Buffer.alloc(1024 * 1024);
    let state = 0x51a7;
    for (let made = 0; made < sizeBytes; made += piece.length) {
      for (let at = 0; at < piece.length / 16; at += 4) {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
        piece.writeInt32LE(state, at);
      }
      yield piece.subarray(0, Math.min(piece.length, sizeBytes - made));
    }
  };
  return { size: sizeBytes, open };
}

const [folder = ".", megabytes] = process.argv.slice(2);
const spools = await mkdtemp(join(tmpdir(), "slipway-write-"));
const big: readonly PackageEntry[] = [{ ...file("/opt/big", ""), source: generated(Number(megabytes ?? 0) * 1024 * 1024) }];
const spec = sampleSpec({ version: parseVersion("1.4.0-rc.1"), scripts: loggingScripts, ...(megabytes === undefined ? {} : { entries: big }) });
const archive: readonly ArchiveEntry[] = spec.entries.flatMap((entry) =>
  entry.kind === "file" ? [{ kind: "file", path: entry.path.slice(1), mode: entry.mode, source: entry.source } as const] : [],
);
const peaks: Record<string, number> = {};
const measured = async (name: string, write: () => Promise<unknown>): Promise<void> => {
  await write();
  peaks[name] = process.resourceUsage().maxRSS * 1024;
};
const compressions: readonly PackageCompression[] = [zstd, gzip];
peaks["start"] = process.resourceUsage().maxRSS * 1024;
for (const compression of compressions) {
  await measured(`${compression.codec}.deb`, () => debFile(spools, { ...spec, compression }, { name: `${compression.codec}.deb` }));
  await measured(`${compression.codec}.rpm`, () => rpmFile(spools, { ...spec, compression }, { name: `${compression.codec}.rpm` }));
}
const { epochSeconds } = spec;
await measured("gzip.apk", () => apkFile(spools, { ...spec, compression: gzip }, "gzip.apk"));
await measured("toy.tar.gz", () =>
  writeFileBy(join(spools, "toy.tar.gz"), (sink) => writeTarArchive({ entries: archive, compression: gzip, epochSeconds }, sink)),
);
await measured("toy.zip", () => writeFileBy(join(spools, "toy.zip"), (sink) => writeZip({ entries: archive, level: 6, epochSeconds }, sink)));
for (const name of await readdir(spools)) await rename(join(spools, name), join(folder, name));
await rm(spools, { recursive: true, force: true });
process.stdout.write(JSON.stringify(peaks));
