/** One package of the plan as the value that the writers take: what the disk has for the recipe's files, scripts, services and documents. */
import { checkApkEntry } from "../formats/apk.ts";
import { cpioSizeLimit } from "../formats/cpio.ts";
import { comparePaths } from "../formats/entry-path.ts";
import type { ChangelogEntry, PackageEntry, PackageSpec, ScriptName } from "../formats/package.ts";
import { lentFileBytes } from "../io/spool.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Target } from "../model/target.ts";
import type { PackageFormat } from "./dependency-schema.ts";
import { insideFolder } from "./file-rules.ts";
import type { HandWrittenScript, ScriptRequest } from "./maintainer-scripts.ts";
import { packageDocuments } from "./package-documents.ts";
import { buildValues, type Plan, type PlannedPackage } from "./plan.ts";
import type { Recipe } from "./recipe.ts";
import { type FindBinary, readNature, type ResolvedEntry, resolveFiles } from "./resolve-files.ts";
import { resolveServices, serviceParts } from "./service-parts.ts";
import { readSourceText } from "./source-text.ts";
import { expandTemplate, type Template, type TemplateValues } from "./templates.ts";

export type PackageContext = {
  readonly recipe: Recipe;
  readonly plan: Plan;
  /** The recipe's, absolute. */
  readonly folder: string;
  readonly findBinary: FindBinary;
  /** Where releases are written, absolute. */
  readonly outFolder?: string | undefined;
  /** Of deb and rpm; absent where the plan has neither. */
  readonly changelog?: readonly ChangelogEntry[];
};

const apkCompression = { codec: "gzip", level: 6 } as const;
const scriptSizeLimit = 1024 * 1024;

/** Throws `source_missing`, `source_unusable` and `recipe_invalid` with the recipe's line. Nothing is opened that the writer will read. */
export async function packageSpec(planned: PlannedPackage, context: PackageContext): Promise<PackageSpec> {
  const { recipe, plan } = context;
  const { packages } = recipe;
  if (packages === undefined) throw new Error("bug: a package was planned without packages in the recipe");
  const resolved = await resolveFiles(planned.rules, {
    folder: context.folder,
    target: planned.target,
    findBinary: context.findBinary,
    subject: "packages.files",
    fileLimitBytes: cpioSizeLimit,
    outFolder: context.outFolder,
  });
  if (planned.kind === "apk") for (const entry of resolved) requireApkEntry(entry);
  if (planned.isForAll === true) for (const entry of resolved) refuseMachineCode(entry);
  const files = resolved.map(packageEntry);
  const name = packages.name ?? recipe.name;
  const parts = serviceParts({
    format: planned.kind,
    packageName: name,
    services: await resolveServices(recipe, packageValues(recipe, plan, planned), context.folder),
    accounts: recipe.users,
    handWritten: await readScripts(planned, context),
    entries: files,
  });
  const entries = [...files, ...parts.entries];
  const kinds = ["depends", "recommends", "suggests", "conflicts", "provides", "replaces"] as const;
  const spec: PackageSpec = {
    name,
    version: plan.version,
    ...(packages.release === undefined ? {} : { release: packages.release }),
    arch: planned.isForAll === true ? "all" : planned.target.arch,
    summary: recipe.summary,
    description: recipe.description.trimEnd(),
    maintainer: recipe.maintainer,
    license: recipe.license,
    ...(recipe.homepage === undefined ? {} : { homepage: recipe.homepage }),
    ...(recipe.vendor === undefined ? {} : { vendor: recipe.vendor }),
    section: packages.section,
    dependencies: Object.fromEntries(
      kinds.map((kind) => {
        const added = kind === "depends" || kind === "provides" ? parts[kind] : [];
        return [kind, [...(packages[kind]?.[planned.kind] ?? []), ...added]];
      }),
    ),
    scripts: parts.scripts,
    ...(context.changelog === undefined ? {} : { changelog: context.changelog }),
    ...(await ownExtras(planned, context)),
    entries,
    // An apk is always gzip; the recipe's other codec is for the formats that have it.
    compression: planned.kind === "apk" && packages.compression.codec !== "gzip" ? apkCompression : packages.compression,
    epochSeconds: plan.epochSeconds,
  };
  const documents = await packageDocuments(spec, planned.kind, context.folder);
  return { ...spec, entries: [...entries, ...documents].toSorted((left, right) => comparePaths(left.path, right.path)) };
}

/** A program in a package for all processors runs on one of them. */
function refuseMachineCode(entry: ResolvedEntry): void {
  if (entry.kind !== "file" || entry.path === "") return; // what the build command makes is looked at when it is there
  const nature = readNature(entry.path);
  if (nature.kind !== "program") return;
  const { place, source } = entry;
  throw new SlipwayError("source_unusable", `packages.files: ${source} is machine code (${nature.format}) in a package for all processors`, {
    place,
    hint: "leave out packages.arch: there is a package for each target then",
  });
}

/** What an apk would not install, with the recipe's line. */
function requireApkEntry(entry: ResolvedEntry): void {
  try {
    checkApkEntry(packageEntry(entry));
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    throw new SlipwayError(error.code, `packages.files: ${error.message}`, { place: entry.place, hint: error.hint, cause: error });
  }
}

/** Without the keys that the recipe does not have. */
function given<Value extends object>(value: Value): { [Key in keyof Value]: Exclude<Value[Key], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as { [Key in keyof Value]: Exclude<Value[Key], undefined> };
}

/** What was found on the disk, as package and image writers take it. */
export function packageEntry(entry: ResolvedEntry): PackageEntry {
  const { destination: path, owner, group } = entry;
  switch (entry.kind) {
    case "file":
      return {
        kind: "file",
        path,
        owner,
        group,
        mode: entry.mode,
        source: lentFileBytes(entry.path, entry.size),
        ...(entry.config === undefined ? {} : { config: entry.config }),
        ...(entry.isDoc === true || path.startsWith("/usr/share/doc/") || path.startsWith("/usr/share/man/") ? { isDoc: true } : {}),
        ...(entry.isLicense === true ? { isLicense: true } : {}),
      };
    case "directory":
    case "ghost":
      return { kind: entry.kind, path, owner, group, mode: entry.mode };
    case "symlink":
      return { kind: "symlink", path, owner, group, target: entry.target };
    default:
      return entry satisfies never;
  }
}

/** What dpkg and rpm take and then cannot start, or cannot hold. */
function refuseUnstartable(text: string, path: string, place: string): void {
  const refuse = (what: string, hint: string): SlipwayError => new SlipwayError("source_unusable", `${path} ${what}`, { place, hint });
  if (!text.startsWith("#!")) throw refuse("does not begin with #!, so no package manager could start it", "begin it with #!/bin/sh");
  if (/^[^\n]*\r/.test(text)) throw refuse("has Windows line ends: no interpreter has a carriage return in its name", "save it with LF alone");
  if (text.includes("\0") || text.includes("\ufffd")) throw refuse("holds bytes that are no text", "packages carry scripts as UTF-8 text");
}

async function readScripts(planned: PlannedPackage, context: PackageContext): Promise<ScriptRequest["handWritten"]> {
  const { recipe } = context;
  const scripts: Partial<Record<ScriptName, HandWrittenScript>> = {};
  for (const { name, template, at } of namedScripts(recipe, planned.kind)) {
    const text = await readPackageText(template, at, { planned, context });
    refuseUnstartable(text.body, text.source, text.place);
    scripts[name] = text;
  }
  return scripts;
}

type NamedScript = { readonly name: ScriptName; readonly template: Template; readonly at: readonly string[] };

/** The scripts that the recipe names for one format: those of all, and its own. */
export function namedScripts({ packages }: Pick<Recipe, "packages">, format: PackageFormat): readonly NamedScript[] {
  const { deb, rpm, apk, scripts } = packages ?? {};
  const own: Readonly<Record<PackageFormat, Readonly<Partial<Record<ScriptName, readonly [Template | undefined, readonly string[]]>>>>> = {
    deb: { config: [deb?.config, ["deb", "config"]] },
    rpm: {
      pretransaction: [rpm?.scripts.pretrans, ["rpm", "scripts", "pretrans"]],
      posttransaction: [rpm?.scripts.posttrans, ["rpm", "scripts", "posttrans"]],
      verify: [rpm?.scripts.verify, ["rpm", "scripts", "verify"]],
    },
    apk: {
      preupgrade: [apk?.scripts.preupgrade, ["apk", "scripts", "preupgrade"]],
      postupgrade: [apk?.scripts.postupgrade, ["apk", "scripts", "postupgrade"]],
      trigger: [apk?.scripts.trigger, ["apk", "scripts", "trigger"]],
    },
  };
  const common = Object.entries(scripts ?? {}).map(([name, template]) => [name, [template, ["scripts", name]]] as const);
  return [...common, ...Object.entries(own[format])].flatMap(([name, [template, at]]): readonly NamedScript[] =>
    template === undefined ? [] : [{ name: name as ScriptName, template, at: ["packages", ...at] }],
  );
}

/** What templates of a package are filled with. */
function packageValues(recipe: Recipe, plan: Plan, { kind, target, isForAll }: PlannedPackage): TemplateValues & { readonly target: Target } {
  return { ...buildValues(recipe, plan.version, target), format: kind, ...(isForAll === undefined ? {} : { isForAll }) };
}

type PackageText = { readonly planned: PlannedPackage; readonly context: PackageContext };

async function readPackageText(template: Template, at: readonly string[], { planned, context }: PackageText): Promise<HandWrittenScript> {
  const { recipe, plan, folder } = context;
  const source = insideFolder(recipe, expandTemplate(template, packageValues(recipe, plan, planned)), at);
  const place = recipe.placeOf(at);
  return { body: await readSourceText(source, { folder, place, limitBytes: scriptSizeLimit }), source, place };
}

/** What one format alone has. */
async function ownExtras(planned: PlannedPackage, context: PackageContext): Promise<Pick<PackageSpec, "triggers" | "deb" | "rpm" | "apk">> {
  const { packages } = context.recipe;
  switch (planned.kind) {
    case "deb": {
      const { predepends, breaks, enhances, priority, fields, templates } = packages?.deb ?? {};
      const text = templates === undefined ? undefined : await readPackageText(templates, ["packages", "deb", "templates"], { planned, context });
      return {
        ...(packages?.triggers === undefined ? {} : { triggers: given(packages.triggers) }),
        deb: { ...given({ predepends, breaks, enhances, priority, fields }), ...(text === undefined ? {} : { templates: text.body }) },
      };
    }
    case "rpm": {
      const { supplements, enhances, requires, group, prefixes } = packages?.rpm ?? {};
      return { rpm: given({ supplements, enhances, requires, group, prefixes }) };
    }
    case "apk": {
      const { installIf, triggers, providerPriority, replacesPriority } = packages?.apk ?? {};
      return { apk: given({ installIf, triggers, providerPriority, replacesPriority }) };
    }
    default:
      return planned.kind satisfies never;
  }
}
