/**
 * `updateinfo.xml` of rpm-md: which package of the repository fixes which advisory, for `dnf updateinfo` and `dnf upgrade --security`.
 *
 * Source of the form: createrepo_c's `xml_dump_updateinfo.c`; libsolv's `repo_updateinfoxml.c` reads it. An update lists the packages that
 * bring the fix; dnf calls an installed package affected where it is older than one of the same name and architecture.
 */
import { SlipwayError } from "../model/errors.ts";
import type { Advisory, Severity } from "./advisory.ts";
import { xmlElement } from "./xml.ts";
import type { YumFragments } from "./yum-fragments.ts";

/** One rpm of a release that brings a fix, as `updatePackage` reads it. */
export type UpdatePackage = {
  readonly name: string;
  readonly epoch: string;
  readonly version: string;
  readonly release: string;
  readonly arch: string;
  readonly fileName: string;
  /** Hex. */
  readonly sha256: string;
};

export type YumUpdate = { readonly advisory: Advisory; readonly packages: readonly UpdatePackage[] };

/** The words that Red Hat's tools know for a severity. */
const severityWords: Readonly<Record<Severity, string>> = { critical: "Critical", high: "Important", medium: "Moderate", low: "Low" };

/** Reads back what yumFragments wrote of the package. Throws `internal` for another text. */
export function updatePackage(fragments: YumFragments): UpdatePackage {
  const { primary } = fragments;
  const found = (pattern: RegExp, what: string): string => {
    const value = pattern.exec(primary)?.[1];
    if (value === undefined) throw new SlipwayError("internal", `a stored rpm description has no ${what}`);
    return plainText(value);
  };
  const href = found(/<location href="([^"]*)"/, "location");
  return {
    name: found(/<name>([^<]*)<\/name>/, "name"),
    epoch: found(/<version epoch="([^"]*)"/, "epoch"),
    version: found(/<version [^>]*\bver="([^"]*)"/, "version"),
    release: found(/<version [^>]*\brel="([^"]*)"/, "release"),
    arch: found(/<arch>([^<]*)<\/arch>/, "architecture"),
    fileName: href.slice(href.lastIndexOf("/") + 1),
    sha256: found(/<checksum type="sha256"[^>]*>([0-9a-f]{64})</, "checksum"),
  };
}

const entities: Readonly<Record<string, string>> = { "&lt;": "<", "&gt;": ">", "&quot;": '"', "&amp;": "&" };

function plainText(xml: string): string {
  return xml.replaceAll(/&(?:lt|gt|quot|amp);/g, (entity) => entities[entity] ?? entity);
}

/** The whole file, in the order given. */
export function updateInfo(updates: readonly YumUpdate[], place: { readonly product: string; readonly channel: string }): string {
  const body = updates.map((update) => updateElement(update, place)).join("");
  return `<?xml version="1.0" encoding="UTF-8"?>\n<updates>\n${body}</updates>\n`;
}

function updateElement({ advisory, packages }: YumUpdate, place: { readonly product: string; readonly channel: string }): string {
  const version = String(advisory.revisions.length);
  const references = [
    ...advisory.cves.map((cve) => ({ href: `https://www.cve.org/CVERecord?id=${cve}`, id: cve, title: cve, type: "cve" })),
    ...advisory.references.map((href) => ({ href, id: href, title: href, type: "other" })),
  ];
  const solution = `Upgrade ${advisory.product} to ${advisory.fixedIn}.${advisory.workaround === undefined ? "" : `\nUntil then: ${advisory.workaround.trim()}`}`;
  const lines = [
    xmlElement("id", {}, advisory.id),
    xmlElement("title", {}, advisory.title),
    xmlElement("issued", { date: dateText(advisory.publishedAt) }),
    xmlElement("updated", { date: dateText(advisory.updatedAt) }),
    xmlElement("severity", {}, severityWords[advisory.severity]),
    xmlElement("release", {}, `${place.product} ${place.channel}`),
    xmlElement("description", {}, advisory.text.trim()),
    xmlElement("solution", {}, solution),
    "<references>",
    ...references.map((reference) => `  ${xmlElement("reference", reference)}`),
    "</references>",
    "<pkglist>",
    `  <collection short="${place.product}-${place.channel}">`,
    `    ${xmlElement("name", {}, `${place.product} ${place.channel}`)}`,
    ...packages.flatMap(packageLines),
    "  </collection>",
    "</pkglist>",
  ];
  return `  <update from="${place.product}" status="final" type="security" version="${version}">\n${lines.map((line) => `    ${line}\n`).join("")}  </update>\n`;
}

function packageLines(found: UpdatePackage): readonly string[] {
  const { name, epoch, version, release, arch, fileName, sha256 } = found;
  // libsolv wants the attribute `src` but ignores it; createrepo_c writes it empty for packages without a source rpm.
  const head = xmlElement("package", { name, epoch, version, release, arch, src: "" }).replace(/\/>$/, ">");
  return [`    ${head}`, `      ${xmlElement("filename", {}, fileName)}`, `      ${xmlElement("sum", { type: "sha256" }, sha256)}`, "    </package>"];
}

/** `2026-03-01 12:00:00`, UTC. */
function dateText(date: Date): string {
  return date.toISOString().slice(0, 19).replace("T", " ");
}
