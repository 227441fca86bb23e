/** What this machine's dpkg leaves out of every package: `path-exclude` and `path-include` (dpkg(1)), as minimal images and servers set them for documentation. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";

const configurationFolder = "/etc/dpkg";
const fileLimitBytes = 256 * 1024;
/** dpkg.cfg(5): other names in dpkg.cfg.d are not read. */
const partName = /^[A-Za-z0-9_-]+$/;
const linePattern = /^\s*path-(exclude|include)\s*[=\s]\s*(["']?)(.*?)\2\s*$/;

/** Would dpkg have left this path out? The texts are those of its configuration files, in dpkg's order; the last rule that matches decides. */
export function exclusionOf(texts: readonly string[]): (path: string) => boolean {
  const rules = texts.flatMap((text) =>
    text.split("\n").flatMap((line) => {
      const [, kind, , pattern] = linePattern.exec(line) ?? [];
      return pattern === undefined || pattern === "" ? [] : [{ isExcluded: kind === "exclude", expression: fromGlob(pattern) }];
    }),
  );
  return (path) => rules.findLast(({ expression }) => expression.test(path))?.isExcluded ?? false;
}

/** The same for this machine; a configuration that cannot be read leaves out nothing. */
export async function dpkgExclusion(): Promise<(path: string) => boolean> {
  const folder = join(configurationFolder, "dpkg.cfg.d");
  const parts = (await readdir(folder).catch(() => [])).filter((name) => partName.test(name)).sort();
  const texts: string[] = [];
  for (const path of [...parts.map((name) => join(folder, name)), join(configurationFolder, "dpkg.cfg")])
    texts.push((await readFileBounded(path, fileLimitBytes).catch(() => Buffer.alloc(0))).toString("utf8"));
  return exclusionOf(texts);
}

/** glob(7), in which `*` and `?` also take slashes (dpkg(1), path-exclude). A folder matches what leaves out all of its content. */
function fromGlob(pattern: string): RegExp {
  let source = "";
  for (let at = 0; at < pattern.length; at += 1) {
    const character = pattern[at] ?? "";
    const end = character === "[" ? pattern.indexOf("]", at + 2) : -1;
    if (end > 0) {
      source += `[${pattern
        .slice(at + 1, end)
        .replace(/^!/, "^")
        .replaceAll("\\", "\\\\")}]`;
      at = end;
    } else if (character === "*") source += ".*";
    else if (character === "?") source += ".";
    else source += character.replace(/[\\^$.|+()[\]{}]/, "\\$&");
  }
  try {
    return new RegExp(`^${source}$`);
  } catch {
    return /(?!)/; // a class such as [z-a] matches nothing for dpkg, too
  }
}
