/** The documents that each format wants in a package: copyright and changelog in deb (Debian policy 12.5, 12.7), the licence's text in rpm and apk. */
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { bytesSource } from "../formats/byte-source.ts";
import { gzipBytes } from "../formats/compress.ts";
import { debChangelog, debCopyright } from "../formats/deb-docs.ts";
import type { FileEntry, PackageEntry, PackageSpec } from "../formats/package.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { lentFileBytes } from "../io/spool.ts";
import type { PackageFormat } from "./dependency-schema.ts";

export const licenseNames = ["LICENSE", "LICENSE.txt", "LICENSE.md", "COPYING"] as const;
/** What goes into an archive that names no files, where it is there. */
export const documentNames = [...licenseNames, "README", "README.txt", "README.md", "INSTALL", "INSTALL.txt", "INSTALL.md"] as const;
const licenseTextLimit = 1024 * 1024;
const documentMode = 0o644;
const folderMode = 0o755;

/** The documents that the recipe's own files do not bring already. `folder` is the recipe's: its LICENSE goes into all of them. */
export async function packageDocuments(spec: PackageSpec, format: PackageFormat, folder: string): Promise<readonly PackageEntry[]> {
  const documents = format === "deb" ? await debDocuments(spec, folder) : await licenseDocuments(spec, format, folder);
  return documents.filter((document) => !spec.entries.some((entry) => entry.path === document.path));
}

const common = { kind: "file", mode: documentMode, owner: "root", group: "root" } as const;

async function debDocuments(spec: PackageSpec, recipeFolder: string): Promise<readonly FileEntry[]> {
  const folder = `/usr/share/doc/${spec.name}`;
  const license = await findLicense(recipeFolder);
  const licenseText = license === undefined || license.size > licenseTextLimit ? "" : (await readFileBounded(license.path, licenseTextLimit)).toString("utf8");
  // A package with a Debian revision keeps Debian's changelog apart from the upstream one.
  const changelog = spec.release === undefined ? "changelog.gz" : "changelog.Debian.gz";
  return [
    { ...common, path: `${folder}/${changelog}`, isDoc: true, source: bytesSource(gzipBytes(Buffer.from(debChangelog(spec)))) },
    { ...common, path: `${folder}/copyright`, isDoc: true, source: bytesSource(Buffer.from(debCopyright(spec, licenseText))) },
  ];
}

async function licenseDocuments(spec: PackageSpec, format: PackageFormat, recipeFolder: string): Promise<readonly PackageEntry[]> {
  const license = await findLicense(recipeFolder);
  if (license === undefined) return [];
  const { name, path, size } = license;
  const folder = `/usr/share/licenses/${spec.name}`;
  const text: FileEntry = { ...common, path: `${folder}/${name}`, isLicense: true, source: lentFileBytes(path, size) };
  // rpm leaves a folder behind that nobody owns; rpmbuild's %license owns it too.
  return format === "rpm" ? [{ kind: "directory", path: folder, mode: folderMode, owner: "root", group: "root" }, text] : [text];
}

async function findLicense(folder: string): Promise<{ readonly name: string; readonly path: string; readonly size: number } | undefined> {
  for (const name of licenseNames) {
    const path = join(folder, name);
    const stat = await lstat(path).catch(() => undefined); // absent: the next name
    if (stat?.isFile() === true) return { name, path, size: stat.size };
  }
  return undefined;
}
