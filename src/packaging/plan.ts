/** The plan of a build: every artifact with its name and what it is made of, from the recipe and a version alone, before anything is built. */

import { SlipwayError } from "../model/errors.ts";
import { manifestName } from "../model/manifest.ts";
import { nearestWord, parseFileName } from "../model/names.ts";
import { formatTarget, type Target } from "../model/target.ts";
import { fileVersion, isSnapshot, tagOf, type Version } from "../model/version.ts";
import { requireApkForm } from "./apk-limits.ts";
import { channelOf } from "./channel.ts";
import { archiveRules, type CopyRule, type FileRule, insideFolder, packageRules, sourceName } from "./file-rules.ts";
import { type PlannedImageArchive, planImages } from "./image-artifacts.ts";
import { type PackageFormat, packageFormats } from "./dependency-schema.ts";
import { provenanceNames } from "./provenance-names.ts";
import type { Recipe } from "./recipe.ts";
import { RecipeError } from "./recipe-error.ts";
import { withHint } from "./recipe-fields.ts";
import type { RecipePath } from "./recipe-problems.ts";
import { type SbomFormat, sbomName } from "./sbom-schema.ts";
import { serviceInputs } from "./service-parts.ts";
import { bundleFilesOf } from "./sign-bundles.ts";
import { expandTemplate, parseTemplate, type Template, type TemplateValues, usesPlaceholder } from "./templates.ts";

export const buildableKinds = ["deb", "rpm", "apk", "archive", "binary", "image"] as const;
export type BuildableKind = (typeof buildableKinds)[number];

type PlannedCommon = {
  readonly name: string;
  /** What it is made of, as a person would name it: `jaco`, `build/packaging/jaco.service`. */
  readonly inputs: readonly string[];
};
export type PlannedPackage = PlannedCommon & {
  readonly kind: PackageFormat;
  /** Of a package for all processors: the one whose binaries go in. */
  readonly target: Target;
  readonly isForAll?: true;
  readonly rules: readonly FileRule[];
};
export type PlannedArchive = PlannedCommon & {
  readonly kind: "archive";
  readonly target: Target;
  readonly container: ArchiveContainer;
  /** In which everything lies; empty for the top. */
  readonly folder: string;
  readonly rules: readonly CopyRule[];
  /** The units of the recipe's services go in too. */
  readonly hasUnits: boolean;
};
const archiveContainers = ["tar.gz", "tar.zst", "tar.xz", "zip"] as const;
export type ArchiveContainer = (typeof archiveContainers)[number];
export type PlannedBinary = PlannedCommon & { readonly kind: "binary"; readonly target: Target; readonly binary: string };
export type PlannedNotes = PlannedCommon & { readonly kind: "notes"; readonly source: string; readonly place: string };
export type PlannedArtifact = PlannedPackage | PlannedArchive | PlannedBinary | PlannedImageArchive | PlannedNotes;

/** One run of the recipe's build command; `{out}` is still in it, because only the build knows that path. */
export type PlannedCommand = {
  /** Absent where it is one of those that run once, before all others. */
  readonly target?: Target;
  /** The binary that it writes to `{out}`, where it names one. */
  readonly binary?: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
};

export type PlannedSbom = { readonly name: string; readonly kind: "sbom"; readonly format: SbomFormat /** Name of the artifact. */; readonly of: string };
/** Files about the release: written last, in this order. */
export type PlannedRecord =
  | PlannedSbom
  | { readonly name: string; readonly kind: "provenance"; readonly form: "statement" | "envelope" }
  | { readonly name: string; readonly kind: "manifest" | "sums" | "openpgp" | "minisign" }
  /** Made after everything else, by a service: what keyless signing leaves beside a file. */
  | { readonly name: string; readonly kind: "bundle" };

export type Plan = {
  readonly product: string;
  readonly version: Version;
  readonly tag: string;
  readonly channel: string;
  /** Seconds since 1970 of the commit: the only time in the artifacts, and the release's sequence. */
  readonly epochSeconds: number;
  readonly commit?: string;
  /** Those that an artifact is made for. */
  readonly targets: readonly Target[];
  readonly commands: readonly PlannedCommand[];
  readonly artifacts: readonly PlannedArtifact[];
  readonly records: readonly PlannedRecord[];
};

export type PlanRequest = {
  readonly recipe: Recipe;
  readonly version: Version;
  readonly epochSeconds: number;
  readonly commit?: string;
  /** All targets of the recipe by default. */
  readonly targets?: readonly Target[];
  /** All kinds by default. */
  readonly only?: readonly BuildableKind[];
  /** Plan no signatures, for a preview on a machine without the keys. */
  readonly isUnsigned?: boolean;
};

export const notesArtifactName = "RELEASE-NOTES.md";

/**
 * Decides everything about a build but the bytes. Pure: the same request gives the same plan anywhere.
 * Throws RecipeError (`recipe_invalid`) for colliding names or destinations and impossible artifact names, `target_invalid` for a target that
 * the recipe does not have.
 */
export function planRelease(request: PlanRequest): Plan {
  const { recipe, version, epochSeconds } = request;
  const targets = request.targets ?? recipe.targets;
  for (const target of targets) {
    if (!recipe.targets.some((known) => formatTarget(known) === formatTarget(target))) {
      throw new SlipwayError(
        "target_invalid",
        `${formatTarget(target)} is not among the targets of ${recipe.fileName}: ${recipe.targets.map(formatTarget).join(", ")}`,
      );
    }
  }
  const isWanted = (kind: BuildableKind): boolean => request.only === undefined || request.only.includes(kind);
  const images = isWanted("image") ? planImages({ ...request, targets, valuesFor: (target) => buildValues(recipe, version, target) }) : [];
  const notes = request.only === undefined ? notesOf(recipe, version) : [];
  const [host] = targets.filter(({ os }) => os === "linux");
  const isPackaged = (target: Target): boolean => target.os === "linux" && (recipe.packages?.arch === undefined || target === host);
  const artifacts = [
    ...targets.flatMap((target) => [...(isPackaged(target) ? packagesOf(request, target, isWanted) : []), ...artifactsOf(request, target, isWanted)]),
    ...images,
    ...notes,
  ];
  if (artifacts.length === 0)
    throw new SlipwayError("usage", `nothing to build: ${recipe.fileName} makes no ${(request.only ?? []).join(" or ")} for these targets`);
  const built = targets.filter((target) => artifacts.some((artifact) => artifactTargets(artifact).includes(target)));
  const records = recordsOf(request, artifacts);
  refuseSameNames(recipe, artifacts, records);
  return {
    product: recipe.name,
    version,
    tag: tagOf(version),
    channel: channelOf(recipe, version),
    epochSeconds,
    ...(request.commit === undefined ? {} : { commit: request.commit }),
    targets: built,
    commands: [...preparations(recipe, version), ...built.flatMap((target) => commandsOf(recipe, version, target))],
    artifacts,
    records,
  };
}

/** Reads `--only deb,rpm`; throws `usage` with the nearest word. */
export function parseBuildableKinds(words: readonly string[]): readonly BuildableKind[] {
  if (words.length === 0) throw new SlipwayError("usage", `no kind of artifact is named; known: ${buildableKinds.join(", ")}`);
  return words.map((word) => {
    const kind = buildableKinds.find((candidate) => candidate === word);
    if (kind !== undefined) return kind;
    const near = nearestWord(word, buildableKinds);
    throw new SlipwayError(
      "usage",
      `"${word}" is not a kind of artifact; known: ${buildableKinds.join(", ")}${near === undefined ? "" : ` - did you mean "${near}"?`}`,
    );
  });
}

/** Values for names, in which build metadata is spelled without `+`. */
function nameValues(recipe: Recipe, version: Version, target: Target): TemplateValues & { readonly target: Target } {
  return { name: recipe.name, version: fileVersion(version), tag: `v${fileVersion(version)}`, target };
}

/** Values for everything that is no name: the version as it is. */
export function buildValues(recipe: Recipe, version: Version, target: Target): TemplateValues & { readonly target: Target } {
  return { name: recipe.name, version, tag: tagOf(version), target };
}

function packagesOf({ recipe, version }: PlanRequest, target: Target, isWanted: (kind: BuildableKind) => boolean): readonly PlannedPackage[] {
  const { packages } = recipe;
  if (packages === undefined) return [];
  const ofAll = packages.arch === undefined ? {} : ({ isForAll: true } as const);
  const values = { ...buildValues(recipe, version, target), ...ofAll };
  return packageFormats
    .filter((format) => packages.formats.includes(format) && isWanted(format))
    .map((kind) => {
      const rules = packageRules(recipe, { ...values, format: kind });
      if (kind === "apk") requireApkForm(recipe, version, rules);
      const name = packageName(recipe, kind, { ...nameValues(recipe, version, target), ...ofAll });
      return { kind, target, ...ofAll, rules, name, inputs: [...rules.filter(isMadeOfSomething).map(sourceName), ...serviceInputs(recipe, values)] };
    });
}

function artifactsOf(request: PlanRequest, target: Target, isWanted: (kind: BuildableKind) => boolean): readonly PlannedArtifact[] {
  const { recipe, version } = request;
  const names = nameValues(recipe, version, target);
  const values = buildValues(recipe, version, target);
  const artifacts: PlannedArtifact[] = [];
  const { binaries } = recipe;
  if (isWanted("archive")) {
    for (const index of recipe.archives.keys()) artifacts.push(archiveOf(recipe, index, { names, values }));
  }
  if (isWanted("binary") && binaries !== undefined) {
    for (const binary of recipe.build.binaries) {
      artifacts.push({ kind: "binary", target, binary, name: checkedName(recipe, binaries, { ...names, bin: binary }, ["binaries"]), inputs: [binary] });
    }
  }
  return artifacts;
}

/** An empty folder and a ghost come from nowhere. */
const isMadeOfSomething = (rule: FileRule): boolean => rule.kind === "copy" || rule.kind === "link";

function archiveOf(
  recipe: Recipe,
  index: number,
  at: { names: TemplateValues & { readonly target: Target }; values: TemplateValues & { readonly target: Target } },
): PlannedArchive {
  const { target } = at.names;
  const template = recipe.archives[index]?.name ?? defaultArchiveName;
  const path: RecipePath = ["archives", index, "name"];
  const written = checkedName(recipe, template, at.names, path);
  const container = archiveContainer(written) ?? (target.os === "windows" ? "zip" : "tar.gz");
  const name = archiveContainer(written) === undefined ? `${written}.${container}` : written;
  const folder = recipe.archives[index]?.folder;
  const top = folder === undefined ? "" : checkedName(recipe, folder, at.names, ["archives", index, "folder"]);
  const rules = archiveRules(recipe, index, { ...at.values, folder: top });
  const hasUnits = target.os === "linux" && recipe.archives[index]?.units === true && recipe.service.length > 0;
  const isDocumented = rules.some((rule) => rule.isOptional === true);
  const inputs = [
    ...rules.filter((rule) => rule.isOptional !== true).map(sourceName),
    ...(isDocumented ? ["documents"] : []),
    ...(hasUnits ? serviceInputs(recipe, at.values) : []),
  ];
  return { kind: "archive", target, container, name, folder: top, rules, hasUnits, inputs };
}

const defaultArchiveName = parseTemplate("{name}-{version}-{os}-{arch}", ["name", "version", "os", "arch"]);

function archiveContainer(name: string): ArchiveContainer | undefined {
  return archiveContainers.find((container) => name.endsWith(`.${container}`));
}

/**
 * Conventional names: deb-buildpackage's `name_version_arch.deb`, rpm's `name-version-release.arch.rpm`, for apk the first form (in a repository
 * it is `name-version.apk`, one folder per architecture); a preview keeps its dash, for `~` is no part of a name.
 */
const packageNames: Readonly<Record<PackageFormat, (name: string, version: string, release: string | undefined) => string>> = {
  deb: (name, version, release) => `${name}_${version}${release === undefined ? "" : `-${release}`}_{arch:deb}.deb`,
  rpm: (name, version, release) => `${name}-${version}-${release ?? "1"}.{arch:rpm}.rpm`,
  apk: (name, version, release) => `${name}_${version}${release === undefined ? "" : `-r${release}`}_{arch:apk}.apk`,
};

function packageName(recipe: Recipe, format: PackageFormat, values: TemplateValues): string {
  const own = recipe.packages?.names[format];
  const conventional = packageNames[format](recipe.packages?.name ?? recipe.name, values.version, recipe.packages?.release);
  const path: RecipePath = ["packages", "names", format];
  const name = checkedName(recipe, own ?? parseTemplate(conventional, ["arch"]), values, path);
  if (!name.endsWith(`.${format}`))
    throw new RecipeError([{ place: recipe.placeOf(path), message: `packages.names.${format}: ${name} must end in .${format}` }]);
  return name;
}

function checkedName(recipe: Recipe, template: Template, values: TemplateValues, path: RecipePath): string {
  return requireName(recipe, expandTemplate(template, values), path);
}

function requireName(recipe: Recipe, name: string, path: RecipePath): string {
  try {
    return parseFileName(name);
  } catch (error) {
    if (error instanceof SlipwayError) throw new RecipeError([{ place: recipe.placeOf(path), message: withHint(error) }]);
    throw error;
  }
}

/** Notes are asked for where a tag was made on purpose; a `git describe` snapshot between two tags has none yet. */
function notesOf(recipe: Recipe, version: Version): readonly PlannedNotes[] {
  if (recipe.notes === undefined || isSnapshot(version)) return [];
  const path: RecipePath = ["notes", "file"];
  const source = insideFolder(recipe, expandTemplate(recipe.notes.file, { name: recipe.name, version, tag: tagOf(version) }), path);
  return [{ kind: "notes", name: notesArtifactName, source, place: recipe.placeOf(path), inputs: [source] }];
}

function recordsOf({ recipe, version, isUnsigned }: PlanRequest, artifacts: readonly PlannedArtifact[]): readonly PlannedRecord[] {
  const { gpg, minisign, sigstore } = isUnsigned === true ? {} : recipe.sign;
  const subjects = artifacts.filter((artifact) => artifact.kind !== "notes");
  const sbomOf = (of: string, format: SbomFormat): PlannedSbom => ({ name: requireName(recipe, sbomName(of, format), ["sbom"]), kind: "sbom", format, of });
  const records: readonly PlannedRecord[] = [
    ...subjects.flatMap(({ name }) => (recipe.sbom?.formats ?? []).map((format) => sbomOf(name, format))),
    ...(recipe.provenance ? provenanceRecords(recipe, version, minisign !== undefined) : []),
    { name: manifestName, kind: "manifest" },
    { name: recipe.checksums, kind: "sums" },
    ...(gpg === undefined ? [] : [{ name: `${recipe.checksums}.sig`, kind: "openpgp" } as const]),
    ...(minisign === undefined ? [] : [{ name: `${recipe.checksums}.minisig`, kind: "minisign" } as const]),
  ];
  if (sigstore === undefined) return records;
  const listed = [...artifacts, ...records.filter(({ kind }) => kind === "sbom" || kind === "provenance" || kind === "manifest")].map(({ name }) => name);
  return [...records, ...bundleFilesOf(listed.toSorted(), recipe.checksums, sigstore.outputs).map((name) => ({ name, kind: "bundle" }) as const)];
}

/** An envelope is signed with a bare key, which minisign's is and an OpenPGP key is not. */
function provenanceRecords(recipe: Recipe, version: Version, hasBareKey: boolean): readonly PlannedRecord[] {
  const names = provenanceNames(recipe.name, version);
  const forms = hasBareKey ? (["statement", "envelope"] as const) : (["statement"] as const);
  return forms.map((form) => ({ name: requireName(recipe, names[form], ["provenance"]), kind: "provenance", form }));
}

/** The targets that an artifact is for: one, an image's platforms, or none in particular. */
export function artifactTargets(artifact: PlannedArtifact): readonly Target[] {
  if (artifact.kind === "image") return artifact.image.targets;
  return "target" in artifact ? [artifact.target] : [];
}

const recordPaths: Readonly<Record<PlannedRecord["kind"], RecipePath>> = {
  sbom: ["sbom"],
  provenance: ["provenance"],
  manifest: ["checksums"],
  sums: ["checksums"],
  openpgp: ["sign", "gpg"],
  minisign: ["sign", "minisign"],
  bundle: ["sign", "sigstore"],
};

function refuseSameNames(recipe: Recipe, artifacts: readonly PlannedArtifact[], records: readonly PlannedRecord[]): void {
  const owners = new Map<string, string>();
  const claim = (name: string, owner: string, path: RecipePath): void => {
    const other = owners.get(name.toLowerCase()); // on Windows and macOS names that differ in case alone are one file
    if (other !== undefined) throw new RecipeError([{ place: recipe.placeOf(path), message: `${other} and ${owner} are both named ${name}` }]);
    owners.set(name.toLowerCase(), owner);
  };
  const claimRecords = (claimed: readonly PlannedRecord[]): void => {
    for (const record of claimed) claim(record.name, record.kind === "sbom" ? `sbom of ${record.of}` : record.kind, recordPaths[record.kind]);
  };
  // Those that are named after artifacts come last: two artifacts of one name are the mistake then, not their SBOMs.
  const isDerived = (record: PlannedRecord): boolean => record.kind === "sbom" || record.kind === "provenance";
  claimRecords(records.filter((record) => !isDerived(record)));
  for (const artifact of artifacts) {
    const targets = artifactTargets(artifact).map(formatTarget).join(", ");
    claim(artifact.name, targets === "" ? artifact.kind : `${artifact.kind} ${artifact.inputs[0] ?? ""} (${targets})`, namePath(artifact));
  }
  claimRecords(records.filter(isDerived));
}

function namePath(artifact: PlannedArtifact): RecipePath {
  switch (artifact.kind) {
    case "binary":
      return ["binaries"];
    case "archive":
      return ["archives"];
    case "image":
      return ["images", artifact.index, "archive"];
    case "notes":
      return ["notes"];
    case "deb":
    case "rpm":
    case "apk":
      return ["packages", "names", artifact.kind];
    default:
      return artifact satisfies never;
  }
}

/** True where a command of the recipe may make the binaries: then nobody looks for them before it ran. */
export function hasBuildCommand({ build }: Pick<Recipe, "build">): boolean {
  return build.run !== undefined || build.before.length > 0;
}

function preparations(recipe: Recipe, version: Version): readonly PlannedCommand[] {
  const values = { name: recipe.name, version, tag: tagOf(version) };
  return recipe.build.before.map((words) => ({ argv: words.map((word) => expandTemplate(word, values)), env: {} }));
}

function commandsOf(recipe: Recipe, version: Version, target: Target): readonly PlannedCommand[] {
  const { run, env, binaries } = recipe.build;
  if (run === undefined) return [];
  const isPerBinary = [...run, ...Object.values(env)].some((word) => usesPlaceholder(word, "bin") || usesPlaceholder(word, "out"));
  const command = (binary?: string): PlannedCommand => {
    const values = { ...buildValues(recipe, version, target), out: "{out}", ...(binary === undefined ? {} : { bin: binary }) };
    return {
      target,
      ...(binary === undefined ? {} : { binary }),
      argv: run.map((word) => expandTemplate(word, values)),
      env: Object.fromEntries(Object.entries(env).map(([key, value]) => [key, expandTemplate(value, values)])),
    };
  };
  return isPerBinary ? binaries.map(command) : [command()];
}
