/** The lines of `packages.files`, `archives.files` and `images.files` for one target: what goes where, before the disk is looked at. */
import type { ConfigPolicy } from "../formats/package.ts";
import type { Target } from "../model/target.ts";
import type { PackageFormat } from "./dependency-schema.ts";
import type { FileValue } from "./file-schema.ts";
import { documentNames } from "./package-documents.ts";
import type { Recipe } from "./recipe.ts";
import { RecipeError } from "./recipe-error.ts";
import { type RecipePath, spellPath } from "./recipe-problems.ts";
import { expandTemplate, type Template, type TemplateValues } from "./templates.ts";

type RuleCommon = {
  /** Absolute, in an archive from its top; ends in `/` where the source's own name is added. */
  readonly destination: string;
  readonly owner: string;
  readonly group: string;
  /** `slipway.yaml:14:5`, for messages of the build. */
  readonly place: string;
};

export type CopyRule = RuleCommon & {
  readonly kind: "copy";
  /** A binary of the product by name, or a path relative to the recipe: a file, a folder, or a pattern. */
  readonly source: { readonly kind: "binary" | "path"; readonly name: string };
  readonly config?: ConfigPolicy;
  readonly isDoc?: boolean;
  readonly isLicense?: boolean;
  readonly mode?: number;
  /** Nothing there is no mistake. */
  readonly isOptional?: boolean;
};
export type LinkRule = RuleCommon & { readonly kind: "link"; readonly target: string };
export type DirectoryRule = RuleCommon & { readonly kind: "directory"; readonly mode: number };
/** Made at run time, owned by the package. */
export type GhostRule = RuleCommon & { readonly kind: "ghost"; readonly mode: number };
export type FileRule = CopyRule | LinkRule | DirectoryRule | GhostRule;

export const defaultDirectoryMode = 0o755;
const defaultGhostMode = 0o644;
/** Where an image has its binaries when it names no files. */
export const defaultBinaryFolder = "/usr/bin";

type TargetValues = TemplateValues & { readonly target: Target };

/** The rules of `packages.files` for one target in one format; throws RecipeError for a source outside the folder and for two rules with one destination. */
export function packageRules(recipe: Recipe, values: TargetValues & { readonly format: PackageFormat }): readonly FileRule[] {
  return mapRules({ recipe, values, path: ["packages", "files"] }, recipe.packages?.files ?? {});
}

/** The rules of one image for one of its platforms, like `packageRules`; without `files` every binary goes to /usr/bin. */
export function imageRules(recipe: Recipe, index: number, values: TargetValues): readonly FileRule[] {
  const files = recipe.images[index]?.files;
  if (files !== undefined) {
    const rules = mapRules({ recipe, values, path: ["images", index, "files"] }, files);
    const ghost = rules.find((rule) => rule.kind === "ghost");
    if (ghost !== undefined) throw new RecipeError([{ place: ghost.place, message: `images[${index}].files: an image has no ghosts, only what is shipped` }]);
    return rules;
  }
  return recipe.build.binaries.map((name, position) => {
    const place = recipe.placeOf(["build", "binaries", position]);
    return { kind: "copy", destination: `${defaultBinaryFolder}/`, source: { kind: "binary", name }, owner: "root", group: "root", place };
  });
}

/** A map of files, and where it stands in the recipe. */
type FileMap = { readonly recipe: Recipe; readonly values: TargetValues; readonly path: RecipePath };

function mapRules(map: FileMap, files: Readonly<Record<string, FileValue>>): readonly FileRule[] {
  const rules = Object.entries(files).flatMap(([destination, value]) => rulesOf(map, destination, value));
  refuseCollisions(rules, spellPath(map.path));
  return rules;
}

/** The rules of one archive for one target: its binaries and the named files, or the usual documents where none are named; at the top or in its folder. */
export function archiveRules(recipe: Recipe, index: number, values: TargetValues & { readonly folder: string }): readonly CopyRule[] {
  const common = { kind: "copy", owner: "root", group: "root" } as const;
  const { binaries: chosen, files: named } = recipe.archives[index] ?? {};
  const top = values.folder === "" ? "/" : `/${values.folder}/`;
  const binaries = (chosen ?? recipe.build.binaries).map((name): CopyRule => {
    const destination = `${top}${name}${values.target.os === "windows" ? ".exe" : ""}`;
    const place = recipe.placeOf(["build", "binaries", recipe.build.binaries.indexOf(name)]);
    return { ...common, destination, source: { kind: "binary", name }, place };
  });
  const documents = documentNames.map((name): CopyRule => {
    return { ...common, destination: top, source: { kind: "path", name }, isOptional: true, place: recipe.placeOf(["archives", index]) };
  });
  const files =
    named === undefined
      ? undefined
      : Array.isArray(named)
        ? named.map((one, position) => ["", one, position] as const)
        : Object.entries(named).map(([path, one]) => [path, one, path] as const);
  const copies = files?.map(([path, template, key]): CopyRule => {
    const at = ["archives", index, "files", key];
    const source = sourceOf({ recipe, template, values, path: at });
    if (path !== "" && !path.endsWith("/") && isPattern(source.name)) {
      throw new RecipeError([{ place: recipe.placeOf(at), message: `archives[${index}].files: the pattern ${source.name} needs a folder: write ${path}/` }]);
    }
    return { ...common, destination: `${top}${path}`, source, place: recipe.placeOf(at) };
  });
  const rules = [...binaries, ...(copies ?? documents)];
  refuseCollisions(rules, `archives[${index}]`);
  return rules;
}

function rulesOf({ recipe, values, path: mapPath }: FileMap, destination: string, value: FileValue): readonly FileRule[] {
  const path: RecipePath = [...mapPath, destination];
  const copies = (
    templates: Template | readonly Template[],
    at: RecipePath,
    rest: Pick<CopyRule, "owner" | "group" | "config" | "mode" | "isDoc" | "isLicense">,
  ): readonly CopyRule[] =>
    [templates].flat().map((template: Template, index) => {
      const place = Array.isArray(templates) ? [...at, index] : at;
      const source = sourceOf({ recipe, template, values, path: place });
      if (isPattern(source.name) && !destination.endsWith("/")) {
        throw new RecipeError([
          { place: recipe.placeOf(place), message: `${spellPath(mapPath)}: the pattern ${source.name} needs a folder: write ${destination}/` },
        ]);
      }
      return { kind: "copy", destination, source, place: recipe.placeOf(place), ...rest };
    });
  if (Array.isArray(value) || "parts" in value) return copies(value, path, { owner: "root", group: "root" });
  const { from, link, ghost, owner, group, config, doc, license, mode, formats } = value;
  const place = recipe.placeOf(path);
  if (formats !== undefined && values.format === undefined) {
    throw new RecipeError([{ place: recipe.placeOf([...path, "formats"]), message: `${spellPath(mapPath)}: formats are those of packages` }]);
  }
  if (formats?.some((format) => format === values.format) === false) return [];
  if (from !== undefined) {
    return copies(from, [...path, "from"], {
      owner,
      group,
      ...(config === undefined ? {} : { config }),
      ...(doc === undefined ? {} : { isDoc: true }),
      ...(license === undefined ? {} : { isLicense: true }),
      ...(mode === undefined ? {} : { mode }),
    });
  }
  const plain = destination.replace(/\/$/, "");
  if (link !== undefined) return [{ kind: "link", destination: plain, target: link, owner, group, place }];
  if (ghost !== undefined) return [{ kind: "ghost", destination: plain, mode: mode ?? defaultGhostMode, owner, group, place }];
  return [{ kind: "directory", destination: plain, mode: mode ?? defaultDirectoryMode, owner, group, place }];
}

function sourceOf(at: { recipe: Recipe; template: Template; values: TemplateValues; path: RecipePath }): CopyRule["source"] {
  const name = expandTemplate(at.template, at.values);
  if (at.recipe.build.binaries.includes(name)) return { kind: "binary", name };
  return { kind: "path", name: insideFolder(at.recipe, name, at.path) };
}

/** A path of the recipe as it is; throws RecipeError where it leads out of the recipe's folder. */
export function insideFolder(recipe: Recipe, path: string, at: RecipePath): string {
  const isOutside = path === "" || path.startsWith("/") || path.includes("\\") || path.split("/").includes("..");
  if (isOutside) throw new RecipeError([{ place: recipe.placeOf(at), message: `${JSON.stringify(path)} leads out of the recipe's folder` }]);
  return path;
}

/** True where the source is a pattern whose matches only the disk knows. */
export function isPattern(source: string): boolean {
  return /[*?[]/.test(source);
}

/** The source as messages name it. */
export function sourceName(rule: FileRule): string {
  if (rule.kind === "link") return `link to ${rule.target}`;
  return rule.kind === "copy" ? rule.source.name : rule.kind;
}

/** Where a rule writes, if that is known without the disk. */
function knownDestination(rule: FileRule): string | undefined {
  if (rule.kind !== "copy" || !rule.destination.endsWith("/")) return rule.destination;
  return isPattern(rule.source.name) ? undefined : rule.destination + baseName(rule.source.name);
}

export function baseName(path: string): string {
  return path.replace(/\/+$/, "").split("/").at(-1) ?? path;
}

type Written = { readonly destination: string; readonly source: string; readonly isDirectory: boolean; readonly place: string };

function refuseCollisions(rules: readonly FileRule[], subject: string): void {
  const written = rules.flatMap((rule): readonly Written[] => {
    const destination = knownDestination(rule);
    // A path may be a folder, which only the disk knows: what lies below its destination is looked at when it is resolved.
    const isDirectory = rule.kind === "directory" || (rule.kind === "copy" && rule.source.kind === "path");
    return destination === undefined ? [] : [{ destination, source: sourceName(rule), isDirectory, place: rule.place }];
  });
  assertDistinct(written, subject);
}

/**
 * Throws RecipeError where two sources write one path, or one writes below the other's file. Directories may repeat as parents, not as entries.
 */
export function assertDistinct(written: readonly Written[], subject: string): void {
  const byDestination = new Map<string, Written>();
  for (const one of written) {
    const path = one.destination;
    const other = byDestination.get(path);
    if (other !== undefined)
      throw new RecipeError([{ place: one.place, message: `${subject}: ${other.source} (${other.place}) and ${one.source} both write ${path}` }]);
    byDestination.set(path, one);
  }
  for (const [path, one] of byDestination) {
    for (let parent = parentOf(path); parent !== ""; parent = parentOf(parent)) {
      const above = byDestination.get(parent);
      if (above !== undefined && !above.isDirectory) {
        throw new RecipeError([
          { place: one.place, message: `${subject}: ${one.source} goes into ${parent}, which is a file (${above.source}, ${above.place})` },
        ]);
      }
    }
  }
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}
