/** Gathers what `slipway lint` judges: the recipe's packages as they would be, looked up on disk, nothing built and nothing written. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import type { RunCommand } from "../io/command.ts";
import { SlipwayError } from "../model/errors.ts";
import type { MaintainerScript, PackagedEntry, PackageFacts, SigningKeyFacts } from "../model/package-facts.ts";
import { formatTarget, type Target } from "../model/target.ts";
import type { Version } from "../model/version.ts";
import { type PackageFormat, packageFormats } from "./dependency-schema.ts";
import { type FileRule, insideFolder } from "./file-rules.ts";
import { readContentNature, scriptSizeLimit, shellSyntaxError } from "./lint-content.ts";
import { licenseNames } from "./package-documents.ts";
import { namedScripts } from "./package-spec.ts";
import { buildValues, hasBuildCommand, type Plan, type PlannedArtifact, type PlannedPackage } from "./plan.ts";
import type { Recipe } from "./recipe.ts";
import { type FindBinary, type ResolvedEntry, resolveFiles } from "./resolve-files.ts";
import { resolveServices } from "./service-parts.ts";
import { isSharedDirectory } from "./shared-directories.ts";
import { isBuildOutput } from "./source-check.ts";
import { expandTemplate, usesPlaceholder } from "./templates.ts";

export type LintQuestion = {
  readonly recipe: Recipe;
  /** The recipe's folder, absolute. */
  readonly folder: string;
  readonly plan: Plan;
  /** Undefined where the plan's version is made up, because no tag gave one. */
  readonly version?: Version;
  readonly keys: readonly SigningKeyFacts[];
  readonly run: RunCommand;
};

export type LintFacts = {
  readonly packages: readonly PackageFacts[];
  /** Sources that are missing or cannot be packaged: each would end the build. */
  readonly problems: readonly SlipwayError[];
};

const unitSizeLimit = 256 * 1024;
const unitPattern = /\/systemd\/(?:system|user)\/[^/]+$/;

/** One package per linux target. What cannot be read becomes a problem with its place; only bugs and faults of the disk are thrown. */
export async function readLintFacts(question: LintQuestion): Promise<LintFacts> {
  const { plan, recipe, folder } = question;
  const problems = new Map<string, SlipwayError>();
  const note = (error: unknown): void => {
    if (!(error instanceof SlipwayError)) throw error;
    problems.set(`${error.place ?? ""} ${error.message}`, error);
  };
  const planned = plan.artifacts.filter(isPackage);
  const hasLicenseFile = await isAnyThere(licenseNames.map((name) => join(folder, name)));
  const packages: PackageFacts[] = [];
  for (const ofTarget of alike(planned, recipe)) {
    const [first] = ofTarget;
    const { target } = first;
    packages.push({
      name: recipe.packages?.name ?? recipe.name,
      target,
      ...(first.isForAll === undefined ? {} : { isForAll: true }),
      formats: ofTarget.map(({ kind }) => kind),
      artifacts: ofTarget.map(({ name }) => name),
      ...(question.version === undefined ? {} : { version: question.version }),
      summary: { text: recipe.summary, place: recipe.placeOf(["summary"]) },
      description: { text: recipe.description.trimEnd(), place: recipe.placeOf(["description"]) },
      hasHomepage: recipe.homepage !== undefined,
      hasLicenseFile,
      license: { text: recipe.license, place: recipe.placeOf(["license"]) },
      formatsPlace: recipe.placeOf(["packages", "formats"]),
      entries: [...(await readEntries(first.rules, { ...question, target, note })), ...(await readUnits({ ...question, target, note }))],
      scripts: await readScripts({ ...question, target, note }, first.kind),
      keys: question.keys,
      dependsOn: dependencyNames(recipe),
      users: recipe.users.flatMap(({ name, groups }) => [name, ...groups]),
    });
  }
  return { packages, problems: [...problems.values()] };
}

/** Packages for one target that hold the same, whatever their format: they are looked at once. */
function alike(planned: readonly PlannedPackage[], recipe: Recipe): readonly (readonly [PlannedPackage, ...PlannedPackage[]])[] {
  const groups = new Map<string, [PlannedPackage, ...PlannedPackage[]]>();
  for (const one of planned) {
    const scripts = namedScripts(recipe, one.kind).map(({ template }) => (usesPlaceholder(template, "format") ? one.kind : template.source));
    const key = JSON.stringify([formatTarget(one.target), one.rules, scripts]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return [...groups.values()];
}

function dependencyNames(recipe: Recipe): readonly string[] {
  const { depends, recommends } = recipe.packages ?? {};
  const lists = [depends, recommends].flatMap((formats) => (formats === undefined ? [] : Object.values(formats)));
  return lists.flat(2).map(({ name }) => name);
}

function isPackage(artifact: PlannedArtifact): artifact is PlannedPackage {
  return packageFormats.some((format) => format === artifact.kind);
}

async function isAnyThere(paths: readonly string[]): Promise<boolean> {
  for (const path of paths) if ((await statOf(path))?.isFile() === true) return true;
  return false;
}

type Gathering = LintQuestion & { readonly target: Target; readonly note: (error: unknown) => void };

/** Rule by rule, so that one missing source does not hide what is wrong with the others. */
async function readEntries(rules: readonly FileRule[], gathering: Gathering): Promise<readonly PackagedEntry[]> {
  const { folder, target, note } = gathering;
  const findBinary = await binaryFinder(gathering);
  const entries: PackagedEntry[] = [];
  for (const rule of rules) {
    try {
      const resolved = await resolveFiles([rule], { folder, target, findBinary, subject: "packages.files" });
      // A ghost is made at run time: the package brings nothing that could be wrong.
      for (const entry of resolved) if (entry.kind !== "ghost") entries.push(await factsOf(entry, gathering.run));
    } catch (error) {
      const isNotBuiltYet = error instanceof SlipwayError && error.code === "source_missing" && isBuildOutput(rule, gathering.recipe);
      if (!isNotBuiltYet) note(error);
    }
  }
  return entries;
}

/** The units of `service:`, as they will be shipped. */
async function readUnits({ recipe, plan, folder, target, note }: Gathering): Promise<readonly PackagedEntry[]> {
  try {
    const services = await resolveServices(recipe, buildValues(recipe, plan.version, target), folder);
    return services.map(({ name, unitText, place }) => ({
      kind: "file",
      path: `/usr/lib/systemd/system/${name}.service`,
      source: `${name}.service`,
      place,
      owner: "root",
      group: "root",
      mode: 0o644,
      sizeBytes: Buffer.byteLength(unitText),
      nature: { kind: "other" },
      text: unitText,
    }));
  } catch (error) {
    note(error);
    return [];
  }
}

/** What is built already; the rest has no path yet, and its facts stay unknown. */
async function binaryFinder({ recipe, folder, plan, target, note }: Gathering): Promise<FindBinary> {
  const { prebuilt, binaries } = recipe.build;
  const found = new Map<string, { readonly path: string; readonly size: number }>();
  for (const name of binaries) {
    if (prebuilt === undefined) continue;
    const at = ["build", "prebuilt"];
    const shown = insideFolder(recipe, expandTemplate(prebuilt, { ...buildValues(recipe, plan.version, target), bin: name }), at);
    const path = join(folder, shown);
    const stats = await statOf(path);
    if (stats?.isFile() === true) found.set(name, { path, size: stats.size });
    else if (!hasBuildCommand(recipe))
      note(new SlipwayError("source_missing", `there is no ${shown} for ${formatTarget(target)}`, { place: recipe.placeOf(at) }));
  }
  return (_, name) => found.get(name) ?? { path: "", size: 0 };
}

async function statOf(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

async function factsOf(entry: Exclude<ResolvedEntry, { kind: "ghost" }>, run: RunCommand): Promise<PackagedEntry> {
  const { destination: path, source, place, owner, group } = entry;
  const common = { path, source, place, owner, group };
  switch (entry.kind) {
    case "symlink":
      return { kind: "symlink", ...common, target: entry.target };
    case "directory":
      return { kind: "directory", ...common, mode: entry.mode, isShared: isSharedDirectory(path) };
    case "file": {
      const { mode, size } = entry;
      const config = entry.config === undefined ? {} : { config: entry.config };
      if (entry.path === "") return { kind: "file", ...common, mode, ...config, nature: { kind: "unknown" } };
      const nature = await readContentNature({ path: entry.path, source, size }, run);
      const text = unitPattern.test(path) && size <= unitSizeLimit ? { text: (await readFileBounded(entry.path, unitSizeLimit)).toString("utf8") } : {};
      return { kind: "file", ...common, mode, ...config, sizeBytes: size, nature, ...text };
    }
    default:
      return entry satisfies never;
  }
}

async function readScripts(gathering: Gathering, format: PackageFormat): Promise<readonly MaintainerScript[]> {
  const { recipe, folder, plan, target, note } = gathering;
  const scripts: MaintainerScript[] = [];
  for (const name of ["preinstall", "postinstall", "preremove", "postremove"] as const) {
    const template = recipe.packages?.scripts[name];
    if (template === undefined) continue;
    const at = ["packages", "scripts", name];
    const place = recipe.placeOf(at);
    try {
      const source = insideFolder(recipe, expandTemplate(template, { ...buildValues(recipe, plan.version, target), format }), at);
      const path = join(folder, source);
      if ((await statOf(path)) === undefined) throw new SlipwayError("source_missing", `packages.scripts: there is no ${source}`, { place });
      const text = (await readFileBounded(path, scriptSizeLimit)).toString("utf8");
      const syntaxError = await shellSyntaxError({ interpreter: /^#! *([^\n]*)/.exec(text)?.[1] ?? "", path, source }, gathering.run);
      scripts.push({ name, source, place, text, ...(syntaxError === undefined ? {} : { syntaxError }) });
    } catch (error) {
      note(error);
    }
  }
  return scripts;
}
