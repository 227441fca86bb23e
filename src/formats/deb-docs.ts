/** The two documents that Debian policy wants in every package: `copyright` (12.5) and a changelog (12.7). */
import { changelogOf } from "./changelog.ts";
import { debFullVersion } from "./deb-control.ts";
import type { PackageSpec } from "./package.ts";

/** Licences whose text base-files brings; a copy of one in the package is an error to lintian. */
const commonLicenses: Readonly<Record<string, string>> = {
  "Apache-2.0": "Apache-2.0",
  "Artistic-1.0-Perl": "Artistic",
  "CC0-1.0": "CC0-1.0",
  "GPL-1.0-or-later": "GPL-1",
  "GPL-2.0-only": "GPL-2",
  "GPL-2.0-or-later": "GPL-2",
  "GPL-3.0-only": "GPL-3",
  "GPL-3.0-or-later": "GPL-3",
  "LGPL-2.1-only": "LGPL-2.1",
  "LGPL-2.1-or-later": "LGPL-2.1",
  "LGPL-3.0-only": "LGPL-3",
  "LGPL-3.0-or-later": "LGPL-3",
  "MPL-2.0": "MPL-2.0",
};

/** How long a licence may be that goes into the copyright file word for word, in letters; EULAs of a book's length stay in their own file. */
const licenseTextLimit = 64 * 1024;

/**
 * Machine-readable copyright (DEP-5) for /usr/share/doc/<name>/copyright. `licenseText` is the vendor's LICENSE file, which goes in word for
 * word unless every Debian has that licence under /usr/share/common-licenses (policy 12.5).
 */
export function debCopyright(spec: Pick<PackageSpec, "name" | "license" | "maintainer" | "homepage" | "vendor">, licenseText = ""): string {
  const lines = [
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/",
    `Upstream-Name: ${spec.name}`,
    `Upstream-Contact: ${spec.maintainer}`,
    ...(spec.homepage === undefined ? [] : [`Source: ${spec.homepage}`]),
    "",
    "Files: *",
    `Copyright: ${spec.vendor ?? spec.maintainer}`,
    `License: ${spec.license}`,
    ...licenseLines(spec.license, licenseText),
  ];
  return `${lines.join("\n")}\n`;
}

/** Continuation lines of a License field: one leading space, a dot for an empty line. */
function licenseLines(license: string, text: string): readonly string[] {
  const common = commonLicenses[license];
  if (common !== undefined) return [` On Debian systems the full text is in /usr/share/common-licenses/${common}.`];
  if (text.length > licenseTextLimit) return [];
  const lines = text.replaceAll("\r", "").trim().split("\n");
  return lines.length === 1 && lines[0] === "" ? [] : lines.map((line) => (line.trim() === "" ? " ." : ` ${line.trimEnd()}`));
}

/** What lintian lets a line of a changelog have. */
const changelogWidth = 79;

type ChangelogSpec = Pick<PackageSpec, "name" | "version" | "release" | "maintainer" | "epochSeconds" | "changelog">;

/** All releases of the changelog, newest first (deb-changelog(5)), for /usr/share/doc/<name>/changelog.gz. */
export function debChangelog(spec: ChangelogSpec): string {
  return changelogOf(spec)
    .map(({ version, epochSeconds, changes }) => {
      const lines = changes.flatMap((change) => wrapped(change, changelogWidth - 4).map((line, index) => `${index === 0 ? "  * " : "    "}${line}`));
      // toUTCString is RFC 7231's form; the changelog wants RFC 5322's numeric zone.
      const date = new Date(epochSeconds * 1000).toUTCString().replace("GMT", "+0000");
      return `${spec.name} (${debFullVersion({ ...spec, version })}) stable; urgency=medium\n\n${lines.join("\n")}\n\n -- ${spec.maintainer}  ${date}\n`;
    })
    .join("\n");
}

/** Words on lines of at most `width` letters; a longer word has a line of its own. */
function wrapped(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
