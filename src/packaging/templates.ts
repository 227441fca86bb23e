/** The recipe's whole template language: `{name} {version} {tag} {os} {arch} {arch:gnu|deb|rpm|apk} {bin} {exe} {target} {format} {out}`. */

import { nearestWord } from "../model/names.ts";
import { type ArchitectureWords, architectures, architectureWord, formatTarget, type Target } from "../model/target.ts";
import { RecipeTextError } from "./recipe-error.ts";

export const placeholders = ["name", "version", "tag", "os", "arch", "bin", "exe", "target", "format", "out"] as const;
export type Placeholder = (typeof placeholders)[number];

type Part = { readonly kind: "text"; readonly text: string } | { readonly kind: "placeholder"; readonly name: Placeholder; readonly words?: ArchitectureWords };

export type Template = { readonly source: string; readonly parts: readonly Part[] };

/** What a template is filled with; a placeholder whose value is absent here was refused when the template was parsed. */
export type TemplateValues = {
  readonly name: string;
  readonly version: string;
  readonly tag: string;
  readonly target?: Target;
  /** Of a package for all processors: `{arch}` is the word that its format has for that. */
  readonly isForAll?: boolean;
  readonly bin?: string;
  /** `deb`, `rpm` or `apk`. */
  readonly format?: string;
  readonly out?: string;
};

/** `{word}` or `{word:word}`; other braces, as in JSON or a shell function, are plain text. */
const pattern = /\{([A-Za-z_][A-Za-z0-9_]*)(?::([A-Za-z0-9_]*))?\}/g;

const archWords = Object.keys(architectures.amd64) as readonly ArchitectureWords[];

/** Reads a template of which only `allowed` placeholders make sense in its place; throws RecipeTextError (`recipe_invalid`) that names the piece. */
export function parseTemplate(source: string, allowed: readonly Placeholder[]): Template {
  const parts: Part[] = [];
  let position = 0;
  for (const match of source.matchAll(pattern)) {
    const [piece, word = "", words] = match;
    if (match.index > position) parts.push({ kind: "text", text: source.slice(position, match.index) });
    position = match.index + piece.length;
    parts.push(parsePlaceholder({ piece, word, words, allowed }));
  }
  if (position < source.length) parts.push({ kind: "text", text: source.slice(position) });
  return { source, parts };
}

function parsePlaceholder(found: { piece: string; word: string; words: string | undefined; allowed: readonly Placeholder[] }): Part {
  const { piece, word, words, allowed } = found;
  const known = allowed.map((name) => `{${name}}`).join(" ");
  const name = placeholders.find((candidate) => candidate === word);
  if (name === undefined) {
    const near = nearestWord(word, placeholders);
    throw new RecipeTextError(`unknown placeholder ${piece}${near === undefined ? `; known here: ${known}` : ` - did you mean {${near}}?`}`, piece);
  }
  if (!allowed.includes(name)) throw new RecipeTextError(`${piece} has no meaning here; known here: ${known}`, piece);
  if (words === undefined) return { kind: "placeholder", name };
  const format = archWords.find((candidate) => candidate === words);
  if (name !== "arch" || format === undefined) {
    throw new RecipeTextError(`unknown placeholder ${piece}; only {arch:${archWords.join("|")}} takes a word after the colon`, piece);
  }
  return { kind: "placeholder", name, words: format };
}

export function usesPlaceholder(template: Template, name: Placeholder): boolean {
  return template.parts.some((part) => part.kind === "placeholder" && part.name === name);
}

export function expandTemplate(template: Template, values: TemplateValues): string {
  return template.parts.map((part) => (part.kind === "text" ? part.text : placeholderValue(part.name, part.words, values))).join("");
}

function placeholderValue(name: Placeholder, words: ArchitectureWords | undefined, values: TemplateValues): string {
  switch (name) {
    case "name":
    case "version":
    case "tag":
      return values[name];
    case "os":
      return given(values.target, name).os;
    case "arch":
      return values.isForAll === true ? allWord(words) : architectureWord(given(values.target, name).arch, words ?? "go");
    case "target":
      return values.isForAll === true ? `${given(values.target, name).os}/all` : formatTarget(given(values.target, name));
    case "exe":
      return given(values.target, name).os === "windows" ? ".exe" : "";
    case "bin":
      return given(values.bin, name);
    case "format":
      return given(values.format, name);
    case "out":
      return given(values.out, name);
    default:
      return name satisfies never;
  }
}

function allWord(words: ArchitectureWords | undefined): string {
  return words === "rpm" || words === "apk" ? "noarch" : "all";
}

function given<T>(value: T | undefined, name: Placeholder): T {
  if (value === undefined) throw new Error(`bug: the template was parsed as if {${name}} had a value here`);
  return value;
}
