/** yarn.lock: the own format of Yarn 1, and the YAML of Yarn 2 and newer. Neither says what only development needs, so all of it is listed. */
import { z } from "zod";
import type { Component } from "../formats/bill-of-materials.ts";
import { packageUrl } from "../formats/package-url.ts";
import { purlOf } from "./lock-file-npm.ts";
import { checksumsOfIntegrity, type LockFile, type LockReading, lockFileError, readLockYaml } from "./lock-file-text.ts";

const lockedPackage = z.object({
  version: z.string().min(1).max(1_000),
  resolution: z.string().min(1).max(10_000),
  linkType: z.enum(["hard", "soft"]),
});
const lock = z.record(z.string(), z.unknown());
const metadata = z.object({ __metadata: z.object({ version: z.union([z.string(), z.number()]) }) });

/** Throws `source_unusable` for a line that neither format has. */
export function readYarnLock(file: LockFile): LockReading {
  const components = /^# yarn lockfile v1$/m.test(file.text) ? [...readFirst(file)] : readModern(file);
  return { components, warnings: [`${file.name} does not tell development packages apart: all are listed`] };
}

type Entry = { readonly name: string; readonly line: number; version?: string; resolved?: string; integrity?: string };

/** Entries begin in the first column, `name@range, name@range:`; their fields stand two blanks in, and lists four. */
function* readFirst(file: LockFile): Generator<Component> {
  let entry: Entry | undefined;
  for (const [index, line] of file.text.split(/\r?\n/).entries()) {
    if (line === "" || line.startsWith("#")) continue;
    const at = { line: index + 1, column: 1 };
    if (!line.startsWith(" ")) {
      if (entry !== undefined) yield componentOf(file, entry);
      const name = /^.+:$/.test(line) ? firstName(line.slice(0, -1)) : undefined;
      if (name === undefined) throw lockFileError(file, `${JSON.stringify(line.slice(0, 100))} is no entry of a yarn.lock`, { at });
      entry = { name, line: index + 1 };
      continue;
    }
    const field = /^ {2}(version|resolved|integrity) "?([^"]+)"?$/.exec(line);
    if (entry === undefined) throw lockFileError(file, "a field stands before the first entry", { at });
    if (field !== null) entry[field[1] as "version" | "resolved" | "integrity"] = field[2] ?? "";
  }
  if (entry !== undefined) yield componentOf(file, entry);
}

/** `"@scope/name@^1"` -> `@scope/name`; an alias (`short@npm:real@^1`) is the package that it stands for. */
function firstName(heads: string): string | undefined {
  const head = (heads.split(", ")[0] ?? "").replace(/^"(.*)"$/, "$1");
  const at = head.indexOf("@", 1);
  if (at < 0) return undefined;
  const range = head.slice(at + 1);
  if (!range.startsWith("npm:")) return head.slice(0, at);
  const alias = range.slice("npm:".length);
  const end = alias.indexOf("@", 1);
  return end < 0 ? alias : alias.slice(0, end);
}

function componentOf(file: LockFile, entry: Entry): Component {
  if (entry.version === undefined) throw lockFileError(file, `${entry.name} has no version`, { at: { line: entry.line, column: 1 } });
  const resolved = entry.resolved?.startsWith("https:") === true && entry.resolved.includes(".git#") ? `git+${entry.resolved}` : entry.resolved;
  return {
    name: entry.name,
    version: entry.version,
    ...purlOf(entry.name, entry.version, resolved),
    checksums: checksumsOfIntegrity(entry.integrity),
    origins: [file.name],
  };
}

/** Its checksums are over Yarn's own zip files, which no registry serves, and are left out. */
function readModern(file: LockFile): readonly Component[] {
  const entries = readLockYaml(file, lock);
  if (!metadata.safeParse(entries).success) throw lockFileError(file, "is neither a yarn.lock of Yarn 1 nor one with __metadata");
  return Object.entries(entries).flatMap(([key, value]): readonly Component[] => {
    if (key === "__metadata") return [];
    const parsed = lockedPackage.safeParse(value);
    if (!parsed.success) throw lockFileError(file, `${key}: ${parsed.error.issues[0]?.message ?? "is not an entry"}`);
    const { version, resolution, linkType } = parsed.data;
    if (linkType === "soft") return [];
    const at = resolution.indexOf("@", 1);
    const name = resolution.slice(0, at);
    const isFromRegistry = /^(?:npm|patch):/.test(resolution.slice(at + 1));
    return [{ name, version, ...(isFromRegistry ? { purl: packageUrl({ ecosystem: "npm", name, version }) } : {}), checksums: [], origins: [file.name] }];
  });
}
