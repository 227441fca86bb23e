/** Writes what a release says about its own making: an SBOM per artifact and format, and the provenance over everything written so far. */
import { basename } from "node:path";
import type { ProvenanceMaterial } from "../formats/in-toto.ts";
import { parseOciReference } from "../formats/oci-reference.ts";
import type { Dependency, DependencyKind } from "../formats/package.ts";
import { packageUrl } from "../formats/package-url.ts";
import type { RunCommand } from "../io/command.ts";
import { readGitOrigin } from "../io/git.ts";
import { hashFile } from "../io/hash-file.ts";
import { digestHex } from "../model/digest.ts";
import type { ManifestArtifact } from "../model/manifest.ts";
import { formatTarget, type Target } from "../model/target.ts";
import type { ReleaseSigner } from "../trust/release-signature.ts";
import type { FileRule } from "./file-rules.ts";
import { type ReadLockFile, readLockFiles } from "./lock-file-kinds.ts";
import type { Plan, PlannedArtifact } from "./plan.ts";
import { type ProvenanceClaims, writeProvenance } from "./provenance.ts";
import type { Recipe } from "./recipe.ts";
import type { FindBinary } from "./resolve-files.ts";
import { createSbomWriter, type SbomFile, type SbomProgram } from "./sbom-write.ts";
import { accountDependencies } from "./users-accounts.ts";

export type RecordContext = {
  readonly recipe: Recipe;
  readonly plan: Plan;
  /** The recipe's, absolute. */
  readonly folder: string;
  readonly findBinary: FindBinary;
  readonly run: RunCommand;
  readonly signer?: ReleaseSigner;
  readonly tool: { readonly name: string; readonly version: string };
  readonly claims?: ProvenanceClaims;
};

/** A record as bytes; `kind` is the manifest's. */
export type ReleaseRecord = SbomFile & { readonly kind: "sbom" | "provenance" };

export type RecordWriter = {
  /** The SBOMs of one artifact; none where the recipe wants none, and for notes. */
  readonly sbomsOf: (planned: PlannedArtifact, written: ManifestArtifact) => Promise<readonly ReleaseRecord[]>;
  /** Over every file that was written; none where the recipe wants none. */
  readonly provenanceOf: (written: readonly ManifestArtifact[]) => Promise<readonly ReleaseRecord[]>;
  /** What the SBOMs could not say; complete after the last artifact. */
  readonly warnings: () => readonly string[];
};

/** Reads the lock files. Throws `source_missing` with the recipe's line, and `source_unusable` with the lock file's. */
export async function createRecordWriter(context: RecordContext): Promise<RecordWriter> {
  const { recipe, plan, folder, tool } = context;
  const named = recipe.sbom?.lockFiles;
  const placeOf = (name: string): string => recipe.placeOf(["sbom", "lockFiles", named?.indexOf(name) ?? 0]);
  const sources = { folder, placeOf, ...(named === undefined ? {} : { lockFiles: named }) };
  const release = {
    product: plan.product,
    version: plan.version,
    summary: recipe.summary,
    license: recipe.license,
    supplier: recipe.vendor ?? recipe.maintainer.replace(/ <.*$/, ""),
    ...(recipe.homepage === undefined ? {} : { homepage: recipe.homepage }),
    epochSeconds: plan.epochSeconds,
    tool,
  };
  const sboms = recipe.sbom === undefined ? undefined : await createSbomWriter(release, sources, recipe.sbom.formats);
  const lockFiles = sboms?.lockFiles ?? (await readLockFiles(folder));
  const programsOf = programHasher(context);
  return {
    sbomsOf: async (planned, written) => {
      if (sboms === undefined || planned.kind === "notes") return [];
      const { name, kind, sha256, image } = written;
      const files = await sboms.write({
        name,
        kind,
        sha256,
        ...(image === undefined ? {} : { image }),
        programs: await programsOf(planned),
        dependencies: dependenciesOf(planned, recipe),
      });
      return files.map((file) => ({ ...file, kind: "sbom" }));
    },
    provenanceOf: async (written) => (recipe.provenance ? provenance(context, lockFiles, written) : []),
    warnings: () => sboms?.warnings() ?? [],
  };
}

/** The binaries inside an artifact; each is hashed once, however many artifacts hold it. */
function programHasher({ recipe, findBinary }: RecordContext): (planned: PlannedArtifact) => Promise<readonly SbomProgram[]> {
  const hashes = new Map<string, Promise<string>>();
  const sha256Of = (path: string): Promise<string> => {
    const hash = hashes.get(path) ?? hashFile(path).then(({ digest }) => digestHex(digest));
    hashes.set(path, hash);
    return hash;
  };
  return async (planned) =>
    Promise.all(
      binariesIn(planned).map(async ({ target, binary, name }) => {
        const { path } = findBinary(target, binary, recipe.placeOf(["build", "binaries"]));
        return { name, path, sha256: await sha256Of(path) };
      }),
    );
}

type BinaryInside = { readonly target: Target; readonly binary: string; readonly name: string };

function binariesIn(planned: PlannedArtifact): readonly BinaryInside[] {
  switch (planned.kind) {
    case "deb":
    case "rpm":
    case "apk":
    case "archive":
      return binaryNames(planned.rules).map((binary) => ({ target: planned.target, binary, name: binary }));
    case "binary":
      return [{ target: planned.target, binary: planned.binary, name: planned.binary }];
    case "image":
      // One program per platform, and names must differ inside an SBOM.
      return planned.layers.flatMap(({ target, rules }) =>
        binaryNames(rules).map((binary) => ({ target, binary, name: planned.layers.length === 1 ? binary : `${formatTarget(target)}/${binary}` })),
      );
    case "notes":
      return [];
    default:
      return planned satisfies never;
  }
}

function binaryNames(rules: readonly FileRule[]): readonly string[] {
  return [...new Set(rules.flatMap((rule) => (rule.kind === "copy" && rule.source.kind === "binary" ? [rule.source.name] : [])))];
}

function dependenciesOf(planned: PlannedArtifact, recipe: Recipe): Readonly<Partial<Record<DependencyKind, readonly Dependency[]>>> {
  if (planned.kind !== "deb" && planned.kind !== "rpm" && planned.kind !== "apk") return {};
  const own = (kind: "depends" | "recommends" | "suggests"): readonly Dependency[] => recipe.packages?.[kind]?.[planned.kind] ?? [];
  const predepends = planned.kind === "deb" ? (recipe.packages?.deb?.predepends ?? []) : [];
  return {
    depends: [...predepends, ...own("depends"), ...accountDependencies(recipe.users, planned.kind)],
    recommends: own("recommends"),
    suggests: own("suggests"),
  };
}

async function provenance(context: RecordContext, lockFiles: readonly ReadLockFile[], written: readonly ManifestArtifact[]): Promise<readonly ReleaseRecord[]> {
  const { recipe, plan, folder, run, signer, tool, claims } = context;
  const { commit } = plan;
  const origin = commit === undefined ? undefined : await readGitOrigin(run, folder, { commit, tag: plan.tag });
  // Paths in the repository, where the product may be one of several.
  const prefix = origin?.prefix ?? "";
  const files = await writeProvenance(
    {
      subjects: written.map(({ name, sha256 }) => ({ name, sha256 })),
      product: plan.product,
      version: plan.version,
      tag: plan.tag,
      channel: plan.channel,
      recipe: prefix + basename(recipe.fileName),
      recipeSha256: recipe.sha256,
      targets: plan.targets.map(formatTarget),
      ...(commit === undefined ? {} : { commit }),
      ...(origin?.remote === undefined ? {} : { remote: origin.remote }),
      isTagged: origin?.isTagged === true,
      lockFiles: lockFiles.map((file) => ({ ...file, name: prefix + file.name })),
      otherMaterials: baseImages(plan),
      ...claims,
      tool,
    },
    signer?.envelope === undefined ? [] : [signer.envelope],
  );
  return files.map((file) => ({ ...file, kind: "provenance" }));
}

/** Those of registries, each once: they are pinned by digest in the recipe. */
function baseImages(plan: Plan): readonly ProvenanceMaterial[] {
  const materials = plan.artifacts.flatMap((artifact): readonly ProvenanceMaterial[] => {
    if (artifact.kind !== "image" || artifact.image.base.kind !== "registry") return [];
    const { host, repository, digest } = parseOciReference(artifact.image.base.reference);
    if (digest === undefined) return [];
    const name = `${host}/${repository}`;
    const uri = packageUrl({ ecosystem: "oci", name: basename(repository), version: digest, qualifiers: { repository_url: name } });
    return [{ name, uri, digest: { sha256: digestHex(digest) } }];
  });
  return [...new Map(materials.map((material) => [material.uri, material])).values()];
}
