/** The file tags of an rpm header: parallel arrays, one value per file in byte order of the path. */
import type { ConfigPolicy, PackageEntry } from "./package.ts";
import type { RpmValue } from "./rpm-header.ts";
import { rpmFileFlag, rpmHashSha256, rpmTag } from "./rpm-tags.ts";

const verifyAll = 0xffffffff;
/** No digest, size, link target or mtime to verify: the file is made at run time. */
const verifyGhost = 0xffffffd8;
const typeBits = { file: 0o100000, directory: 0o040000, symlink: 0o120000, ghost: 0o100000 } as const;

/** Mode with the type bits, as cpio and header carry it. */
export function rpmFileMode(entry: PackageEntry): number {
  return typeBits[entry.kind] | (entry.kind === "symlink" ? 0o777 : entry.mode);
}

/** A link's size is the length of its target; a folder's is 0, so that it does not depend on a file system. */
export function rpmFileSize(entry: PackageEntry): number {
  if (entry.kind === "file") return entry.source.size;
  return entry.kind === "symlink" ? Buffer.byteLength(entry.target) : 0;
}

/**
 * All file tags, or none at all for a package without files: rpm rejects empty arrays.
 * `digests` are the files' SHA-256 in hex by path; everything else has the empty one.
 */
export function rpmFileTags(
  entries: readonly PackageEntry[],
  digests: ReadonlyMap<string, string>,
  epochSeconds: number,
): readonly (readonly [number, RpmValue])[] {
  if (entries.length === 0) return [];
  const folders = new Map<string, number>();
  const folderOf = (path: string): string => path.slice(0, path.lastIndexOf("/") + 1);
  for (const { path } of entries) if (!folders.has(folderOf(path))) folders.set(folderOf(path), folders.size);

  const numbers = (kind: "int16" | "int32", value: (entry: PackageEntry, place: number) => number): RpmValue => ({ kind, values: entries.map(value) });
  const texts = (value: (entry: PackageEntry) => string): RpmValue => ({ kind: "strings", texts: entries.map(value) });
  return [
    [rpmTag.FILESIZES, numbers("int32", rpmFileSize)],
    [rpmTag.FILEMODES, numbers("int16", rpmFileMode)],
    [rpmTag.FILERDEVS, numbers("int16", () => 0)],
    [rpmTag.FILEMTIMES, numbers("int32", () => epochSeconds)],
    [rpmTag.FILEDIGESTS, texts((entry) => digests.get(entry.path) ?? "")],
    [rpmTag.FILELINKTOS, texts((entry) => (entry.kind === "symlink" ? entry.target : ""))],
    [rpmTag.FILEFLAGS, numbers("int32", fileFlags)],
    [rpmTag.FILEUSERNAME, texts((entry) => entry.owner)],
    [rpmTag.FILEGROUPNAME, texts((entry) => entry.group)],
    [rpmTag.FILEVERIFYFLAGS, numbers("int32", (entry) => (entry.kind === "ghost" ? verifyGhost : verifyAll))],
    [rpmTag.FILEDEVICES, numbers("int32", () => 1)],
    [rpmTag.FILEINODES, numbers("int32", (_, place) => place + 1)],
    [rpmTag.FILELANGS, texts(languageOf)],
    [rpmTag.DIRINDEXES, numbers("int32", (entry) => folders.get(folderOf(entry.path)) ?? 0)],
    [rpmTag.BASENAMES, texts((entry) => entry.path.slice(entry.path.lastIndexOf("/") + 1))],
    [rpmTag.DIRNAMES, { kind: "strings", texts: [...folders.keys()] }],
    [rpmTag.FILEDIGESTALGO, { kind: "int32", values: [rpmHashSha256] }],
  ];
}

const configFlags: Readonly<Record<ConfigPolicy, number>> = { noreplace: rpmFileFlag.NOREPLACE, replace: 0, missingok: rpmFileFlag.MISSINGOK };

/** The language of a translation or a translated manual page, which a system may leave out (`%_install_langs`); rpmbuild's find-lang.sh says so too. */
function languageOf({ kind, path }: PackageEntry): string {
  if (kind !== "file") return "";
  const [, locale, manual] = /^\/usr\/share\/(?:locale\/([^/]+)\/LC_[A-Z]+\/[^/]+\.mo|man\/(?!man\d)([A-Za-z][^/]*)\/man\d[^/]*\/[^/]+)$/.exec(path) ?? [];
  return locale ?? manual ?? "";
}

function fileFlags(entry: PackageEntry): number {
  if (entry.kind === "ghost") return rpmFileFlag.GHOST;
  if (entry.kind !== "file") return 0;
  const config = entry.config === undefined ? 0 : rpmFileFlag.CONFIG | configFlags[entry.config];
  return config | (entry.isDoc === true ? rpmFileFlag.DOC : 0) | (entry.isLicense === true ? rpmFileFlag.LICENSE : 0);
}
