/** Gemfile.lock of Bundler. It does not say the groups, so all of it is listed. */
import type { Component } from "../formats/bill-of-materials.ts";
import { packageUrl, vcsUrl } from "../formats/package-url.ts";
import { type LockFile, type LockReading, lockFileError } from "./lock-file-text.ts";

const sections: ReadonlySet<string> = new Set([
  "GEM",
  "GIT",
  "PATH",
  "PLUGIN SOURCE",
  "PLATFORMS",
  "DEPENDENCIES",
  "CHECKSUMS",
  "RUBY VERSION",
  "BUNDLED WITH",
]);

/** Gems of a PATH are the project's own and are left out. Throws `source_unusable` for a section or a line that Bundler does not write. */
export function readGemfileLock(file: LockFile): LockReading {
  const components: Component[] = [];
  let section = "";
  let remote: string | undefined;
  let revision: string | undefined;
  for (const [index, line] of file.text.split(/\r?\n/).entries()) {
    const at = { line: index + 1, column: 1 };
    if (/^(?:<{7}|={7}|>{7})/.test(line)) throw lockFileError(file, "holds a merge conflict", { at });
    if (line !== "" && !line.startsWith(" ")) {
      if (!sections.has(line)) throw lockFileError(file, `${JSON.stringify(line.slice(0, 100))} is no section of a Gemfile.lock`, { at });
      section = line;
      remote = undefined;
      revision = undefined;
    }
    remote = /^ {2}remote: (.+)$/.exec(line)?.[1] ?? remote;
    revision = /^ {2}revision: ([0-9a-f]+)$/.exec(line)?.[1] ?? revision;
    if ((section !== "GEM" && section !== "GIT") || !/^ {4}\S/.test(line)) continue;
    const [, name, version, platform] = /^ {4}(\S+) \(([^\s()-]+)(?:-([^\s()]+))?\)$/.exec(line) ?? [];
    if (name === undefined || version === undefined)
      throw lockFileError(file, `${JSON.stringify(line.trim().slice(0, 100))} is not a gem with its version`, { at });
    const vcs = section === "GIT" && remote !== undefined ? vcsUrl(remote, revision) : undefined;
    const qualifiers = { ...(platform === undefined ? {} : { platform }), ...(vcs === undefined ? {} : { vcs_url: vcs }) };
    const hasQualifiers = Object.keys(qualifiers).length > 0;
    components.push({
      name,
      version,
      purl: packageUrl({ ecosystem: "gem", name, version, ...(hasQualifiers ? { qualifiers } : {}) }),
      checksums: [],
      origins: [file.name],
    });
  }
  return { components, warnings: components.length === 0 ? [] : [`${file.name} does not tell the groups apart: all gems are listed`] };
}
