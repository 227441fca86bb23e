/** go.mod (Go Modules Reference): every module that a build may need. What a program really has, its build information says. */
import type { Component } from "../formats/bill-of-materials.ts";
import { packageUrl } from "../formats/package-url.ts";
import { type LockFile, type LockReading, lockFileError } from "./lock-file-text.ts";

type Module = { readonly path: string; readonly version: string };
type Line = { readonly verb: string; readonly words: readonly string[]; readonly number: number };

/** Throws `source_unusable` for a line that go.mod does not have. */
export function readGoMod(file: LockFile): LockReading {
  const required: Module[] = [];
  const replacements = new Map<string, Module | undefined>();
  for (const line of directives(file)) {
    const { verb, words, number } = line;
    const wrong = (): Error => lockFileError(file, `cannot read "${verb} ${words.join(" ").slice(0, 100)}"`, { at: { line: number, column: 1 } });
    if (verb === "require") {
      const [path, version, ...others] = words;
      if (path === undefined || version === undefined || others.length > 0 || !/^v\d/.test(version)) throw wrong();
      required.push({ path, version });
    } else if (verb === "replace") {
      const arrow = words.indexOf("=>");
      const [path, version] = words.slice(0, arrow);
      const [newPath, newVersion] = words.slice(arrow + 1);
      if (arrow < 1 || path === undefined || newPath === undefined) throw wrong();
      // A replacement without a version is a folder of the project itself.
      replacements.set(version === undefined ? path : `${path}@${version}`, newVersion === undefined ? undefined : { path: newPath, version: newVersion });
    }
  }
  const components = required.flatMap((module): readonly Component[] => {
    const key = [`${module.path}@${module.version}`, module.path].find((candidate) => replacements.has(candidate));
    const used = key === undefined ? module : replacements.get(key);
    if (used === undefined) return [];
    return [
      {
        name: used.path,
        version: used.version,
        purl: packageUrl({ ecosystem: "golang", name: used.path, version: used.version }),
        checksums: [],
        origins: [file.name],
      },
    ];
  });
  return { components, warnings: [] };
}

const verbs: ReadonlySet<string> = new Set(["module", "go", "toolchain", "godebug", "require", "replace", "exclude", "retract", "tool", "ignore"]);

/** One per line; those of a block in parentheses carry its verb. */
function* directives(file: LockFile): Generator<Line> {
  let block: string | undefined;
  for (const [index, raw] of file.text.split(/\r?\n/).entries()) {
    const words = (raw.replace(/\/\/.*$/, "").match(/"[^"]*"|`[^`]*`|\S+/g) ?? []).map((word) => word.replace(/^(["`])(.*)\1$/, "$2"));
    const [first, ...others] = words;
    if (first === undefined) continue;
    const number = index + 1;
    if (block !== undefined) {
      if (first === ")") block = undefined;
      else yield { verb: block, words, number };
    } else if (!verbs.has(first)) {
      throw lockFileError(file, `"${first.slice(0, 100)}" is no word of a go.mod`, { at: { line: number, column: 1 } });
    } else if (others[0] === "(") {
      block = first;
    } else {
      yield { verb: first, words: others, number };
    }
  }
  if (block !== undefined) throw lockFileError(file, `the block of ${block} is not closed`);
}
