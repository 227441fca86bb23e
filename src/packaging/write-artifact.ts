/** Writes one planned artifact into the release's folder and describes it for the manifest. */
import { join } from "node:path";
import { writeApk } from "../formats/apk.ts";
import type { ArchivedFile, ArchiveEntry } from "../formats/archive.ts";
import { pour } from "../formats/byte-source.ts";
import { writeDeb } from "../formats/deb.ts";
import type { ByteSink, MakeXzCompressor, PackageEntry, PackageSpec } from "../formats/package.ts";
import { writeRpm } from "../formats/rpm.ts";
import { writeTarArchive } from "../formats/tar-archive.ts";
import { writeZip } from "../formats/zip.ts";
import { createHashedFile } from "../io/hashed-file.ts";
import type { ConnectRegistry } from "../io/registry-client.ts";
import { createSpool, lentFileBytes } from "../io/spool.ts";
import { openXzPrograms } from "../io/xz-program.ts";
import { digestHex } from "../model/digest.ts";
import type { ManifestArtifact } from "../model/manifest.ts";
import type { ReleaseSigner } from "../trust/release-signature.ts";
import { archiveEntries } from "./archive-entries.ts";
import { type Ingredients, recordContents } from "./artifact-ingredients.ts";
import { assertNotInterrupted } from "./build-binaries.ts";
import type { FinishedArtifacts } from "./finished-artifacts.ts";
import type { PlannedImageArchive, PlannedLayer } from "./image-artifacts.ts";
import { type PackageContext, packageEntry, packageSpec } from "./package-spec.ts";
import type { PlannedArchive, PlannedArtifact, PlannedBinary, PlannedNotes, PlannedPackage } from "./plan.ts";
import { spellPath } from "./recipe-problems.ts";
import { readNotes } from "./release-notes.ts";
import { resolveFiles } from "./resolve-files.ts";
import { writeImage } from "./write-image.ts";

export type ArtifactContext = PackageContext & {
  /** Where the artifact goes, and where spools may lie meanwhile. */
  readonly filesFolder: string;
  readonly workFolder: string;
  readonly signer?: ReleaseSigner;
  /** For images on a base in a registry. */
  readonly connectRegistry: ConnectRegistry;
  /** Where the build may be gone on with after a failure. */
  readonly finished?: FinishedArtifacts;
  readonly signal?: AbortSignal;
};

const plainMode = 0o644;
const programMode = 0o755;
/** zstd -9 packs programs about as small as gzip does, in a fraction of the time; xz is chosen by who wants them smallest. */
export const tarCompressions = {
  "tar.gz": { codec: "gzip", level: 6 },
  "tar.zst": { codec: "zstd", level: 9 },
  "tar.xz": { codec: "xz", level: 6 },
} as const;
const zipLevel = 6;

/** What is known of an artifact before its first byte is written. */
type Gathered =
  | { readonly kind: "package"; readonly planned: PlannedPackage; readonly spec: PackageSpec }
  | { readonly kind: "archive"; readonly planned: PlannedArchive; readonly entries: readonly ArchiveEntry[] }
  | { readonly kind: "other"; readonly planned: PlannedBinary | PlannedImageArchive | PlannedNotes };

/**
 * Throws what the writers throw, and `source_missing`, `source_unusable` with the recipe's line. A part that was written is removed on failure.
 * Packages and archives of an earlier, failed attempt are taken as they are where their ingredients are the same.
 */
export async function writeArtifact(planned: PlannedArtifact, context: ArtifactContext): Promise<ManifestArtifact> {
  const gathered = await gather(planned, context);
  const ingredients = ingredientsOf(gathered, context);
  const earlier = ingredients === undefined ? undefined : await context.finished?.take(ingredients, context.filesFolder);
  if (earlier !== undefined) return earlier;
  const recorded = recordContents(ingredients?.entries ?? []);
  const file = await createHashedFile(join(context.filesFolder, planned.name), planned.kind === "binary" ? programMode : plainMode);
  const sink: ByteSink = (piece) => {
    assertNotInterrupted(context.signal);
    return file.write(piece);
  };
  const xz = openXzPrograms();
  try {
    // Only a build that may be gone on with pays for the digests of its ingredients.
    const content = await writeContent(context.finished === undefined ? gathered : withEntries(gathered, recorded.entries), context, {
      sink,
      makeXzCompressor: xz.makeCompressor,
    });
    const { digest, size } = await file.close();
    const sha256 = digestHex(digest);
    const artifact = {
      name: planned.name,
      kind: planned.kind,
      ...("target" in planned ? placeOf(planned) : {}),
      size,
      sha256,
      ...(planned.kind === "binary" ? { files: [{ path: planned.name, sha256, mode: programMode, size }] } : {}),
      ...content,
    };
    if (ingredients !== undefined) context.finished?.note(ingredients, recorded.digests, artifact);
    return artifact;
  } catch (error) {
    await file.discard();
    throw error;
  } finally {
    xz.end();
  }
}

/** A package for all processors names none. */
function placeOf(planned: PlannedPackage | PlannedArchive | PlannedBinary): Pick<ManifestArtifact, "os" | "arch"> {
  const { os, arch } = planned.target;
  return "isForAll" in planned ? { os } : { os, arch };
}

async function gather(planned: PlannedArtifact, context: ArtifactContext): Promise<Gathered> {
  switch (planned.kind) {
    case "deb":
    case "rpm":
    case "apk":
      return { kind: "package", planned, spec: await packageSpec(planned, context) };
    case "archive":
      return { kind: "archive", planned, entries: await archiveEntries(planned, context) };
    case "binary":
    case "image":
    case "notes":
      return { kind: "other", planned };
    default:
      return planned satisfies never;
  }
}

/** Undefined for what is copied in no time, and for images, whose base lies elsewhere. */
function ingredientsOf(gathered: Gathered, { recipe, plan }: ArtifactContext): Ingredients | undefined {
  switch (gathered.kind) {
    case "package": {
      const { entries, ...rest } = gathered.spec;
      return { name: gathered.planned.name, entries, facts: [gathered.planned.kind, rest, recipe.packages?.debsigs] };
    }
    case "archive":
      return { name: gathered.planned.name, entries: gathered.entries, facts: [gathered.planned.container, plan.epochSeconds] };
    case "other":
      return undefined;
    default:
      return gathered satisfies never;
  }
}

/** The entries are those that `ingredientsOf` gave, with other sources. */
function withEntries(gathered: Gathered, entries: Ingredients["entries"]): Gathered {
  switch (gathered.kind) {
    case "package":
      return { ...gathered, spec: { ...gathered.spec, entries: entries as readonly PackageEntry[] } };
    case "archive":
      return { ...gathered, entries: entries as readonly ArchiveEntry[] };
    case "other":
      return gathered;
    default:
      return gathered satisfies never;
  }
}

type Output = { readonly sink: ByteSink; readonly makeXzCompressor: MakeXzCompressor };

/** Writes the bytes; returns what the manifest says of the inside. */
async function writeContent(gathered: Gathered, context: ArtifactContext, output: Output): Promise<Pick<ManifestArtifact, "files" | "image">> {
  switch (gathered.kind) {
    case "package":
      await writePackage(gathered.planned, gathered.spec, { context, output });
      return {};
    case "archive":
      return { files: [...(await writeArchive(gathered.planned, gathered.entries, { context, output }))] };
    case "other":
      return writeOther(gathered.planned, context, output.sink);
    default:
      return gathered satisfies never;
  }
}

async function writeOther(
  planned: PlannedBinary | PlannedImageArchive | PlannedNotes,
  context: ArtifactContext,
  sink: ByteSink,
): Promise<Pick<ManifestArtifact, "image">> {
  switch (planned.kind) {
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
      await sink(Buffer.from(await readNotes(planned, context)));
      return {};
    default:
      return planned satisfies never;
  }
}

type Writing = { readonly context: ArtifactContext; readonly output: Output };

async function writePackage(planned: PlannedPackage, spec: PackageSpec, { context, output }: Writing): Promise<void> {
  let spools = 0;
  const makeSpool = () => {
    spools += 1;
    return createSpool(join(context.workFolder, `${planned.name}.${spools}.spool`));
  };
  const { rpmHeader: signHeader, apkMember: signControl, debPackage: makeSigner } = context.signer ?? {};
  switch (planned.kind) {
    case "deb":
      await writeDeb(spec, { ...output, makeSpool, ...(makeSigner === undefined || context.recipe.packages?.debsigs !== true ? {} : { makeSigner }) });
      break;
    case "rpm":
      await writeRpm(spec, { ...output, makeSpool, ...(signHeader === undefined ? {} : { signHeader }) });
      break;
    case "apk":
      await writeApk(spec, { ...output, makeSpool, ...(signControl === undefined ? {} : { signControl }) });
      break;
    default:
      planned.kind satisfies never;
  }
}

async function writeArchive(planned: PlannedArchive, entries: readonly ArchiveEntry[], { context, output }: Writing): Promise<readonly ArchivedFile[]> {
  const { epochSeconds } = context.plan;
  if (planned.container === "zip") return writeZip({ entries, level: zipLevel, epochSeconds }, output.sink);
  return writeTarArchive({ entries, compression: tarCompressions[planned.container], epochSeconds }, output.sink, output.makeXzCompressor);
}

async function copyBinary(planned: PlannedBinary, context: ArtifactContext, sink: ByteSink): Promise<void> {
  const binary = context.findBinary(planned.target, planned.binary, context.recipe.placeOf(["binaries"]));
  await pour(lentFileBytes(binary.path, binary.size), sink, { name: planned.binary });
}
