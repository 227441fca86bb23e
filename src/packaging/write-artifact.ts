/** Writes one planned artifact into the release's folder and describes it for the manifest. */
import { join } from "node:path";
import type { ArchivedFile, ArchiveEntry } from "../formats/archive.ts";
import { writeApk } from "../formats/apk.ts";
import { pour } from "../formats/byte-source.ts";
import { writeDeb } from "../formats/deb.ts";
import { comparePaths } from "../formats/entry-path.ts";
import type { ByteSink, CommonScriptName, PackageEntry, PackageSpec } from "../formats/package.ts";
import { writeRpm } from "../formats/rpm.ts";
import { writeTarArchive } from "../formats/tar-archive.ts";
import { writeZip } from "../formats/zip.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { createHashedFile } from "../io/hashed-file.ts";
import type { ConnectRegistry } from "../io/registry-client.ts";
import { createSpool, fileBytes } from "../io/spool.ts";
import { digestHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { ManifestArtifact } from "../model/manifest.ts";
import type { ReleaseSigner } from "../trust/release-signature.ts";
import { assertNotInterrupted } from "./build-binaries.ts";
import { insideFolder } from "./file-rules.ts";
import type { PlannedLayer } from "./image-artifacts.ts";
import type { HandWrittenScript, ScriptRequest } from "./maintainer-scripts.ts";
import { packageDocuments } from "./package-documents.ts";
import { buildValues, type Plan, type PlannedArchive, type PlannedArtifact, type PlannedBinary, type PlannedNotes, type PlannedPackage } from "./plan.ts";
import type { Recipe } from "./recipe.ts";
import { type FindBinary, type ResolveContext, type ResolvedEntry, resolveFiles } from "./resolve-files.ts";
import { resolveServices, serviceParts } from "./service-parts.ts";
import { spellPath } from "./recipe-problems.ts";
import { expandTemplate } from "./templates.ts";
import { writeImage } from "./write-image.ts";

export type ArtifactContext = {
  readonly recipe: Recipe;
  readonly plan: Plan;
  readonly folder: string;
  readonly findBinary: FindBinary;
  /** Where the artifact goes, and where spools may lie meanwhile. */
  readonly filesFolder: string;
  readonly workFolder: string;
  readonly signer?: ReleaseSigner;
  /** For images on a base in a registry. */
  readonly connectRegistry: ConnectRegistry;
  readonly signal?: AbortSignal;
};

const plainMode = 0o644;
const programMode = 0o755;
const apkCompression = { codec: "gzip", level: 6 } as const;
const archiveCompression = { codec: "gzip", level: 6 } as const;
const scriptSizeLimit = 1024 * 1024;
const notesSizeLimit = 1024 * 1024;

/** Throws what the writers throw, and `source_missing`, `source_unusable` with the recipe's line. A part that was written is removed on failure. */
export async function writeArtifact(planned: PlannedArtifact, context: ArtifactContext): Promise<ManifestArtifact> {
  const file = await createHashedFile(join(context.filesFolder, planned.name), planned.kind === "binary" ? programMode : plainMode);
  const sink: ByteSink = (piece) => {
    assertNotInterrupted(context.signal);
    return file.write(piece);
  };
  try {
    const content = await writeContent(planned, context, sink);
    const { digest, size } = await file.close();
    const sha256 = digestHex(digest);
    return {
      name: planned.name,
      kind: planned.kind,
      ...("target" in planned ? planned.target : {}),
      size,
      sha256,
      ...(planned.kind === "binary" ? { files: [{ path: planned.name, sha256, mode: programMode, size }] } : {}),
      ...content,
    };
  } catch (error) {
    await file.discard();
    throw error;
  }
}

/** Writes the bytes; returns what the manifest says of the inside. */
async function writeContent(planned: PlannedArtifact, context: ArtifactContext, sink: ByteSink): Promise<Pick<ManifestArtifact, "files" | "image">> {
  switch (planned.kind) {
    case "deb":
    case "rpm":
    case "apk":
      await writePackage(planned, context, sink);
      return {};
    case "archive":
      return { files: [...(await writeArchive(planned, context, sink))] };
    case "binary":
      await copyBinary(planned, context, sink);
      return {};
    case "image": {
      const subject = spellPath(["images", planned.index, "files"]);
      const { folder, findBinary } = context;
      const entriesOf = async ({ target, rules }: PlannedLayer) => (await resolveFiles(rules, { folder, target, findBinary, subject })).map(packageEntry);
      return { image: await writeImage(planned, { ...context, entriesOf }, sink) };
    }
    case "notes":
      await copyNotes(planned, context, sink);
      return {};
    default:
      return planned satisfies never;
  }
}

function resolveContext(planned: PlannedPackage | PlannedArchive, context: ArtifactContext): ResolveContext {
  return {
    folder: context.folder,
    target: planned.target,
    findBinary: context.findBinary,
    subject: planned.kind === "archive" ? "archives" : "packages.files",
  };
}

async function writePackage(planned: PlannedPackage, context: ArtifactContext, sink: ByteSink): Promise<void> {
  const spec = await packageSpec(planned, context);
  let spools = 0;
  const makeSpool = () => {
    spools += 1;
    return createSpool(join(context.workFolder, `${planned.name}.${spools}.spool`));
  };
  const { rpmHeader: signHeader, apkMember: signControl } = context.signer ?? {};
  switch (planned.kind) {
    case "deb":
      await writeDeb(spec, { sink, makeSpool });
      break;
    case "rpm":
      await writeRpm(spec, { sink, makeSpool, ...(signHeader === undefined ? {} : { signHeader }) });
      break;
    case "apk":
      await writeApk(spec, { sink, makeSpool, ...(signControl === undefined ? {} : { signControl }) });
      break;
    default:
      planned.kind satisfies never;
  }
}

async function packageSpec(planned: PlannedPackage, context: ArtifactContext): Promise<PackageSpec> {
  const { recipe, plan } = context;
  const { packages } = recipe;
  if (packages === undefined) throw new Error("bug: a package was planned without packages in the recipe");
  const files = (await resolveFiles(planned.rules, resolveContext(planned, context))).map(packageEntry);
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
    entries,
    // An apk is always gzip; the recipe's other codec is for the formats that have it.
    compression: planned.kind === "apk" && packages.compression.codec !== "gzip" ? apkCompression : packages.compression,
    epochSeconds: plan.epochSeconds,
  };
  const documents = await packageDocuments(spec, planned.kind, context.folder);
  return { ...spec, entries: [...entries, ...documents].toSorted((left, right) => comparePaths(left.path, right.path)) };
}

function packageEntry(entry: ResolvedEntry): PackageEntry {
  const { destination: path, owner, group } = entry;
  switch (entry.kind) {
    case "file":
      return {
        kind: "file",
        path,
        owner,
        group,
        mode: entry.mode,
        source: fileBytes(entry.path, entry.size),
        ...(entry.config === undefined ? {} : { config: entry.config }),
        ...(path.startsWith("/usr/share/doc/") || path.startsWith("/usr/share/man/") ? { isDoc: true } : {}),
      };
    case "directory":
      return { kind: "directory", path, owner, group, mode: entry.mode };
    case "symlink":
      return { kind: "symlink", path, owner, group, target: entry.target };
    default:
      return entry satisfies never;
  }
}

async function readScripts(planned: PlannedPackage, context: ArtifactContext): Promise<ScriptRequest["handWritten"]> {
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

async function writeArchive(planned: PlannedArchive, context: ArtifactContext, sink: ByteSink): Promise<readonly ArchivedFile[]> {
  const resolved = await resolveFiles(planned.rules, resolveContext(planned, context));
  const entries = resolved.map((entry): ArchiveEntry => {
    const path = entry.destination.slice(1);
    switch (entry.kind) {
      case "file":
        return { kind: "file", path, mode: entry.mode, source: fileBytes(entry.path, entry.size) };
      case "directory":
        return { kind: "directory", path, mode: entry.mode };
      case "symlink":
        return { kind: "symlink", path, target: entry.target };
      default:
        return entry satisfies never;
    }
  });
  const { epochSeconds } = context.plan;
  if (planned.container === "zip") return writeZip({ entries, level: archiveCompression.level, epochSeconds }, sink);
  return writeTarArchive({ entries, compression: archiveCompression, epochSeconds }, sink);
}

async function copyBinary(planned: PlannedBinary, context: ArtifactContext, sink: ByteSink): Promise<void> {
  const binary = context.findBinary(planned.target, planned.binary, context.recipe.placeOf(["binaries"]));
  await pour(fileBytes(binary.path, binary.size), sink, { name: planned.binary });
}

/** Notes must have the headings that the recipe promises (`## Summary`), so that nobody looks for the migration steps in vain. */
async function copyNotes(planned: PlannedNotes, context: ArtifactContext, sink: ByteSink): Promise<void> {
  const text = await readText({ path: join(context.folder, planned.source), shown: planned.source, limit: notesSizeLimit, place: planned.place });
  const headings = new Set(text.split("\n").flatMap((line) => /^##\s+(.+?)\s*#*\s*$/.exec(line)?.[1] ?? []));
  const missing = (context.recipe.notes?.sections ?? []).filter((section) => !headings.has(section));
  if (missing.length > 0) {
    throw new SlipwayError("source_unusable", `${planned.source} lacks ${missing.map((section) => `"## ${section}"`).join(", ")}`, {
      place: planned.place,
      hint: 'write the missing sections; "none" is a good answer',
    });
  }
  await sink(Buffer.from(text));
}

async function readText(file: { readonly path: string; readonly shown: string; readonly limit: number; readonly place: string }): Promise<string> {
  try {
    return (await readFileBounded(file.path, file.limit)).toString("utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new SlipwayError("source_missing", `there is no ${file.shown}`, { place: file.place, cause: error });
  }
}
