/** One package of the plan as the value that the writers take: what the disk has for the recipe's files, scripts, services and documents. */
import { join } from "node:path";
import { cpioSizeLimit } from "../formats/cpio.ts";
import { comparePaths } from "../formats/entry-path.ts";
import type { ChangelogEntry, CommonScriptName, DebTriggers, PackageEntry, PackageSpec } from "../formats/package.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { lentFileBytes } from "../io/spool.ts";
import { SlipwayError } from "../model/errors.ts";
import { insideFolder } from "./file-rules.ts";
import type { HandWrittenScript, ScriptRequest } from "./maintainer-scripts.ts";
import { packageDocuments } from "./package-documents.ts";
import { buildValues, type Plan, type PlannedPackage } from "./plan.ts";
import type { Recipe } from "./recipe.ts";
import { type FindBinary, type ResolvedEntry, resolveFiles } from "./resolve-files.ts";
import { resolveServices, serviceParts } from "./service-parts.ts";
import { expandTemplate } from "./templates.ts";

export type PackageContext = {
  readonly recipe: Recipe;
  readonly plan: Plan;
  /** The recipe's, absolute. */
  readonly folder: string;
  readonly findBinary: FindBinary;
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
  const files = (
    await resolveFiles(planned.rules, {
      folder: context.folder,
      target: planned.target,
      findBinary: context.findBinary,
      subject: "packages.files",
      fileLimitBytes: cpioSizeLimit,
    })
  ).map(packageEntry);
  const name = packages.name ?? recipe.name;
  const parts = serviceParts({
    format: planned.kind,
    packageName: name,
    services: await resolveServices(recipe, buildValues(recipe, plan.version, planned.target), context.folder),
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
    arch: planned.target.arch,
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
    ...(packages.triggers === undefined || planned.kind !== "deb" ? {} : { triggers: givenTriggers(packages.triggers) }),
    entries,
    // An apk is always gzip; the recipe's other codec is for the formats that have it.
    compression: planned.kind === "apk" && packages.compression.codec !== "gzip" ? apkCompression : packages.compression,
    epochSeconds: plan.epochSeconds,
  };
  const documents = await packageDocuments(spec, planned.kind, context.folder);
  return { ...spec, entries: [...entries, ...documents].toSorted((left, right) => comparePaths(left.path, right.path)) };
}

/** Without the keys that the recipe does not have. */
function givenTriggers(triggers: NonNullable<NonNullable<Recipe["packages"]>["triggers"]>): DebTriggers {
  return Object.fromEntries(Object.entries(triggers).filter(([, names]) => names !== undefined));
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

async function readScripts(planned: PlannedPackage, context: PackageContext): Promise<ScriptRequest["handWritten"]> {
  const { recipe, plan, folder } = context;
  const scripts: Partial<Record<CommonScriptName, HandWrittenScript>> = {};
  for (const name of ["preinstall", "postinstall", "preremove", "postremove"] as const) {
    const template = recipe.packages?.scripts[name];
    if (template === undefined) continue;
    const at = ["packages", "scripts", name];
    const path = insideFolder(recipe, expandTemplate(template, buildValues(recipe, plan.version, planned.target)), at);
    const place = recipe.placeOf(at);
    const text = await readText({ path: join(folder, path), shown: path, limit: scriptSizeLimit, place });
    if (!text.startsWith("#!")) {
      throw new SlipwayError("source_unusable", `${path} does not begin with #!, so no package manager could start it`, {
        place,
        hint: "begin it with #!/bin/sh",
      });
    }
    scripts[name] = { body: text, source: path, place };
  }
  return scripts;
}

/** A text of the recipe's folder; `shown` is its name there. Throws `source_missing`. */
export async function readText(file: { readonly path: string; readonly shown: string; readonly limit: number; readonly place: string }): Promise<string> {
  try {
    return (await readFileBounded(file.path, file.limit)).toString("utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new SlipwayError("source_missing", `there is no ${file.shown}`, { place: file.place, cause: error });
  }
}
