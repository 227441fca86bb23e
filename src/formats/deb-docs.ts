/** The two documents that Debian policy wants in every package: `copyright` (12.5) and a changelog (12.7). */
import { debFullVersion } from "./deb-control.ts";
import type { PackageSpec } from "./package.ts";

/** Machine-readable copyright (DEP-5) for /usr/share/doc/<name>/copyright; the licence's text itself is the vendor's LICENSE file. */
export function debCopyright(spec: Pick<PackageSpec, "name" | "license" | "maintainer" | "homepage" | "vendor">): string {
  const lines = [
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/",
    `Upstream-Name: ${spec.name}`,
    `Upstream-Contact: ${spec.maintainer}`,
    ...(spec.homepage === undefined ? [] : [`Source: ${spec.homepage}`]),
    "",
    "Files: *",
    `Copyright: ${spec.vendor ?? spec.maintainer}`,
    `License: ${spec.license}`,
  ];
  return `${lines.join("\n")}\n`;
}

/** One changelog entry (deb-changelog(5)) for /usr/share/doc/<name>/changelog.gz; `notes` are the changes, one a line. */
export function debChangelog(spec: Pick<PackageSpec, "name" | "version" | "release" | "maintainer" | "epochSeconds">, notes: readonly string[]): string {
  const changes = (notes.length === 0 ? [`Release ${spec.version}.`] : notes).map((note) => `  * ${note.replaceAll("\n", "\n    ")}`);
  // toUTCString is RFC 7231's form; the changelog wants RFC 5322's numeric zone.
  const date = new Date(spec.epochSeconds * 1000).toUTCString().replace("GMT", "+0000");
  return `${spec.name} (${debFullVersion(spec)}) stable; urgency=medium\n\n${changes.join("\n")}\n\n -- ${spec.maintainer}  ${date}\n`;
}
