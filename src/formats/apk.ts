/**
 * Writes an apk package, format v2 (apk-v2(5)), which apk-tools 2 and 3 install: signature | control | data, each a gzip member.
 *
 * The control segment names the SHA-256 of the data member and the signature covers the control member, each before the bytes it speaks
 * of. So data is compressed into a spool first. A file's checksum stands before its content, so a large file is read twice: hashed, then
 * packed; a small one is lent whole.
 */
import { createHash, hash } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";
import { apkControlMembers } from "./apk-control.ts";
import { packSegment, packSignatures, type SignApk } from "./apk-segment.ts";
import { bytesSource, countingSink, lendChecked, pour, pourHashed } from "./byte-source.ts";
import { createCompressor } from "./compress.ts";
import { checkEntries, comparePaths, undeclaredParents } from "./entry-path.ts";
import type { ByteSource, FileEntry, PackageEntry, PackageOutput, PackageSpec, Spool } from "./package.ts";
import { createTarWriter } from "./tar.ts";

export type ApkOutput = PackageOutput & {
  /** Over the control member; without it the package has no signature segment and installs with `--allow-untrusted` only. */
  readonly signControl?: SignApk;
};

/** apk 2 reads a member's size into 32 bits. */
const fileSizeLimit = 0xffffffff;
export const apkChecksumKey = "APK-TOOLS.checksum.SHA1";

/**
 * Writes the package to `output.sink` and returns its size. The same spec and signatures give the same bytes.
 * Throws `recipe_invalid`, `name_invalid` and `version_invalid` for what an apk cannot say or would not install, `format_limit` for what it
 * cannot hold, `source_unusable` for a source that changes while it is read. The spool is removed in every case; what the sink has got
 * is the caller's to drop.
 */
export async function writeApk(spec: PackageSpec, output: ApkOutput): Promise<{ readonly sizeBytes: number }> {
  checkEntries(spec.entries);
  for (const entry of spec.entries) checkApkEntry(entry);
  if (spec.compression.codec !== "gzip") throw new SlipwayError("recipe_invalid", `an apk is always gzip, not ${spec.compression.codec}`);
  apkControlMembers(spec, "0".repeat(64)); // before the long work: it refuses what apk cannot say
  const { epochSeconds } = spec;
  const { sink, count } = countingSink(output.sink);
  const spool = await output.makeSpool();
  try {
    const data = await spoolData(spool, spec);
    const control = await packSegment(apkControlMembers(spec, data.sha256), { epochSeconds, isLast: false });
    if (output.signControl !== undefined) await sink(await packSignatures(await output.signControl(control), epochSeconds));
    await sink(control);
    await pour(data.source, sink, { name: "the data segment" });
  } finally {
    await spool.remove();
  }
  return { sizeBytes: count() };
}

/** What apk would skip with a warning, or overwrite without one, stops the build instead. Throws `recipe_invalid`, `format_limit`. */
export function checkApkEntry(entry: PackageEntry): void {
  if (entry.kind === "ghost") return;
  const { path } = entry;
  const baseName = path.slice(path.lastIndexOf("/") + 1);
  if (path.startsWith("/.")) throw new SlipwayError("recipe_invalid", `apk silently leaves out names at the top that begin with a dot: ${path}`);
  if (entry.kind !== "directory" && baseName.startsWith(".keep_")) throw new SlipwayError("recipe_invalid", `apk leaves out files named .keep_*: ${path}`);
  if (entry.kind !== "file") return;
  if (entry.config !== undefined && !path.startsWith("/etc/")) {
    throw new SlipwayError("recipe_invalid", `${path} is a configuration outside /etc, where apk overwrites an operator's edits`, {
      hint: "ship it below /etc, or leave apk out of packages.formats",
    });
  }
  if (entry.source.size > fileSizeLimit) {
    throw new SlipwayError("format_limit", `${path} has ${entry.source.size} bytes; apk reads files up to ${fileSizeLimit}`);
  }
}

async function spoolData(spool: Spool, spec: PackageSpec): Promise<{ readonly source: ByteSource; readonly sha256: string }> {
  const sha256 = createHash("sha256");
  const compressor = createCompressor(spec.compression, (piece) => {
    sha256.update(piece);
    return spool.write(piece);
  });
  const tar = createTarWriter(compressor.write);
  const entries = spec.entries.filter((entry) => entry.kind !== "ghost");
  // apk takes every folder from the archive: a file whose folder does not stand before it is "no dirent in archive".
  const parents = undeclaredParents(entries).map((path): PackageEntry => ({ kind: "directory", path, mode: 0o755, owner: "root", group: "root" }));
  for (const entry of [...entries, ...parents].sort((left, right) => comparePaths(left.path, right.path))) {
    const { epochSeconds } = spec;
    const { owner, group } = entry;
    const name = entry.path.slice(1);
    switch (entry.kind) {
      case "directory":
        await tar.add({ name: `${name}/`, kind: "directory", mode: entry.mode, epochSeconds, owner, group, pax: {} });
        break;
      case "symlink": {
        // Of the target's text; a checksum of nothing makes `apk audit` report every link as changed.
        const pax = { [apkChecksumKey]: hash("sha1", entry.target) };
        await tar.add({ name, kind: "symlink", mode: 0o777, target: entry.target, epochSeconds, owner, group, pax });
        break;
      }
      case "file":
        await addFile(tar, entry, epochSeconds);
        break;
      case "ghost":
        throw new Error(`${entry.path}: ghosts were filtered out above`);
    }
  }
  await tar.end();
  await compressor.end();
  return { source: await spool.finish(), sha256: sha256.digest("hex") };
}

async function addFile(tar: ReturnType<typeof createTarWriter>, entry: FileEntry, epochSeconds: number): Promise<void> {
  const { path, owner, group, mode, source } = entry;
  const headerFor = (checksum: string) =>
    ({ name: path.slice(1), kind: "file", mode, epochSeconds, owner, group, pax: { [apkChecksumKey]: checksum } }) as const;
  const lent = lendChecked(source, path);
  if (lent !== undefined) {
    try {
      await tar.add(headerFor(hash("sha1", lent.bytes)), bytesSource(lent.bytes));
    } finally {
      lent.giveBack();
    }
    return;
  }
  const announced = await pourHashed(source, () => undefined, { name: path, algorithm: "sha1" });
  const packed = await tar.addHashed(headerFor(announced), source, "sha1");
  if (packed !== announced) throw new SlipwayError("source_unusable", `${path} changed while it was read`);
}
