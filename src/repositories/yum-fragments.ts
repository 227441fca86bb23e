/**
 * What one rpm says in the three indexes of rpm-md: primary (what it is and needs), filelists (its files), other (its changelog).
 *
 * Source of the form: createrepo_c's output, which dnf, dnf5 and zypper are written against (its `xml_dump_primary.c`,
 * `xml_dump_filelists.c`, `xml_dump_other.c`). The package id is the SHA-256 of the file.
 */
import type { RpmCapability, RpmFile, RpmPackage } from "../formats/rpm-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { xmlAttributes, xmlElement } from "./xml.ts";

const dependencyKinds = ["provides", "requires", "conflicts", "obsoletes", "suggests", "enhances", "recommends", "supplements"] as const;

/** What the indexes need of an rpm: what rpm-read gives, without what only a verifier wants. */
export type RpmDescription = Omit<RpmPackage, "headerBytes" | "signatures">;

/** `href` is relative to the folder that holds `repodata` (`x86_64/coequal-1.4.2-1.x86_64.rpm`); `sha256` is bare hex of the whole file. */
export type YumLocation = { readonly href: string; readonly sha256: string; readonly modifiedAt: Date };

export type YumFragments = { readonly primary: string; readonly filelists: string; readonly other: string };

/** The files that primary repeats, since others may depend on them by path without reading filelists (createrepo_c `cr_is_primary`). */
const isPrimaryFile = (path: string): boolean => path.startsWith("/etc/") || path.includes("bin/") || path === "/usr/lib/sendmail";

/** Newest entries of the changelog that are listed; createrepo_c's default. */
const changelogLimit = 10;

/** One rpm's fragments, made once at upload. Throws `format_invalid` for texts that XML cannot hold and `path_unsafe` for an href that leaves the repository. */
export function yumFragments(rpm: RpmDescription, location: YumLocation): YumFragments {
  const version = xmlElement("version", { epoch: rpm.epoch, ver: rpm.version, rel: rpm.release });
  const opening = `<package${xmlAttributes({ pkgid: location.sha256, name: rpm.name, arch: rpm.arch })}>\n  ${version}\n`;
  const files = rpm.files.map((file) => `  ${fileElement(file)}\n`).join("");
  const changes = listedChanges(rpm).map(({ author, epochSeconds, text }) => `  ${xmlElement("changelog", { author, date: epochSeconds }, text)}\n`);
  return {
    primary: primaryFragment(rpm, location, version),
    filelists: `${opening}${files}</package>\n`,
    other: `${opening}${changes.join("")}</package>\n`,
  };
}

/**
 * The newest changes, oldest first; rpm keeps the newest first. Clients sort by time, and rpm's has the precision of a day: what stands
 * under the same is told apart by one second each (createrepo_c does the same).
 */
function listedChanges(rpm: RpmDescription): RpmDescription["changelogs"] {
  const oldestFirst = rpm.changelogs.slice(0, changelogLimit).toReversed();
  let [before, among] = [Number.NaN, 0];
  return oldestFirst.map((change) => {
    [before, among] = [change.epochSeconds, change.epochSeconds === before ? among + 1 : 0];
    return { ...change, epochSeconds: change.epochSeconds + among };
  });
}

function primaryFragment(rpm: RpmDescription, location: YumLocation, version: string): string {
  if (location.href.startsWith("/") || location.href.split("/").includes(".."))
    throw new SlipwayError("path_unsafe", `"${location.href}" leaves the repository`);
  const primaryFiles = rpm.files.filter(({ path }) => isPrimaryFile(path));
  const brought = new Set([...rpm.provides.flatMap((entry) => [entry.name, dependencyElement(entry)]), ...primaryFiles.map(({ path }) => path)]);
  const isBrought = (entry: RpmCapability): boolean => brought.has(entry.flags === undefined ? entry.name : dependencyElement({ ...entry, isPre: false }));
  const dependencies = dependencyKinds.map((kind) => {
    // rpm's own abilities, and what the package brings itself, are nothing to look for (createrepo_c `cr_package_from_header`).
    const entries = rpm[kind].filter((entry) => !entry.isRpmlib && (kind !== "requires" || !isBrought(entry)));
    const lines = [...new Set(entries.map(dependencyElement))].map((line) => `      ${line}\n`).join("");
    return lines === "" ? "" : `    <rpm:${kind}>\n${lines}    </rpm:${kind}>\n`;
  });
  const lines = [
    xmlElement("name", {}, rpm.name),
    xmlElement("arch", {}, rpm.arch),
    version,
    xmlElement("checksum", { type: "sha256", pkgid: "YES" }, location.sha256),
    xmlElement("summary", {}, rpm.summary),
    xmlElement("description", {}, rpm.description),
    xmlElement("packager", {}, rpm.packager),
    xmlElement("url", {}, rpm.url),
    xmlElement("time", { file: Math.floor(location.modifiedAt.getTime() / 1000), build: rpm.buildTime }),
    xmlElement("size", { package: rpm.sizes.packageBytes, installed: rpm.sizes.installedBytes, archive: rpm.sizes.archiveBytes }),
    xmlElement("location", { href: location.href }),
  ];
  const format = [
    xmlElement("rpm:license", {}, rpm.license),
    xmlElement("rpm:vendor", {}, rpm.vendor),
    xmlElement("rpm:group", {}, rpm.group === "" ? "Unspecified" : rpm.group),
    xmlElement("rpm:buildhost", {}, rpm.buildHost),
    xmlElement("rpm:sourcerpm", {}, rpm.sourceRpm),
    xmlElement("rpm:header-range", rpm.headerRange),
  ];
  return [
    '<package type="rpm">\n',
    ...lines.map((line) => `  ${line}\n`),
    "  <format>\n",
    ...format.map((line) => `    ${line}\n`),
    ...dependencies,
    ...primaryFiles.map((file) => `    ${fileElement(file)}\n`),
    "  </format>\n</package>\n",
  ].join("");
}

function dependencyElement(entry: RpmCapability): string {
  const bounds = entry.flags === undefined ? {} : { flags: entry.flags, epoch: entry.epoch, ver: entry.version, rel: entry.release };
  return xmlElement("rpm:entry", { name: entry.name, ...bounds, pre: entry.isPre ? "1" : undefined });
}

const fileElement = ({ path, kind }: RpmFile): string => xmlElement("file", { type: kind === "file" ? undefined : kind }, path);
