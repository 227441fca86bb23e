/** The documents that each format wants in a package: copyright and changelog in deb (Debian policy 12.5, 12.7), the licence's text in rpm and apk. */
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { bytesSource } from "../formats/byte-source.ts";
import { gzipBytes } from "../formats/compress.ts";
import { debChangelog, debCopyright } from "../formats/deb-docs.ts";
import type { FileEntry, PackageSpec } from "../formats/package.ts";
import { fileBytes } from "../io/spool.ts";
import type { PackageFormat } from "./recipe-schema.ts";

export const licenseNames = ["LICENSE", "LICENSE.txt", "LICENSE.md", "COPYING"] as const;
const documentMode = 0o644;

/** The documents that the recipe's own files do not bring already. `folder` is the recipe's: its LICENSE goes into rpm and apk. */
export async function packageDocuments(spec: PackageSpec, format: PackageFormat, folder: string): Promise<readonly FileEntry[]> {
  const documents = format === "deb" ? debDocuments(spec) : await licenseDocuments(spec, folder);
  return documents.filter((document) => !spec.entries.some((entry) => entry.path === document.path));
}

const common = { kind: "file", mode: documentMode, owner: "root", group: "root" } as const;

function debDocuments(spec: PackageSpec): readonly FileEntry[] {
  const folder = `/usr/share/doc/${spec.name}`;
  // A package with a Debian revision keeps Debian's changelog apart from the upstream one.
  const changelog = spec.release === undefined ? "changelog.gz" : "changelog.Debian.gz";
  return [
    { ...common, path: `${folder}/${changelog}`, isDoc: true, source: bytesSource(gzipBytes(Buffer.from(debChangelog(spec, [])))) },
    { ...common, path: `${folder}/copyright`, isDoc: true, source: bytesSource(Buffer.from(debCopyright(spec))) },
  ];
}

async function licenseDocuments(spec: PackageSpec, folder: string): Promise<readonly FileEntry[]> {
  for (const name of licenseNames) {
    const path = join(folder, name);
    const stat = await lstat(path).catch(() => undefined); // absent: the next name
    if (stat?.isFile() === true) return [{ ...common, path: `/usr/share/licenses/${spec.name}/${name}`, isLicense: true, source: fileBytes(path, stat.size) }];
  }
  return [];
}
