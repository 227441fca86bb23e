/** The SBOMs of a release: one CycloneDX and one SPDX document per artifact, from what went into it. */
import { type BillOfMaterials, mergeComponents, type Program, type SystemDependency } from "../formats/bill-of-materials.ts";
import { renderCycloneDx } from "../formats/cyclonedx.ts";
import type { Dependency, DependencyKind } from "../formats/package.ts";
import { renderSpdx } from "../formats/spdx.ts";
import type { ArtifactKind, ManifestArtifact } from "../model/manifest.ts";
import { type ProgramInformation, readProgramInformation } from "./build-information-program.ts";
import { type ReadLockFile, readLockFiles } from "./lock-file-kinds.ts";
import { type SbomFormat, sbomFormats, sbomName } from "./sbom-schema.ts";

/** What is the same for all artifacts of a release. */
export type SbomRelease = {
  readonly product: string;
  readonly version: string;
  readonly summary: string;
  /** The recipe's: an SPDX expression, or words like Proprietary. */
  readonly license: string;
  /** The recipe's vendor, or its maintainer. */
  readonly supplier: string;
  readonly homepage?: string;
  readonly epochSeconds: number;
  readonly tool: { readonly name: string; readonly version: string };
};

export type SbomProgram = {
  /** Name of the binary in the recipe. */
  readonly name: string;
  readonly path: string;
  /** 64 hex digits. */
  readonly sha256: string;
};

export type SbomArtifact = {
  readonly name: string;
  readonly kind: ArtifactKind;
  /** Of the file: 64 hex digits. */
  readonly sha256: string;
  /** Images only: what a registry knows it by. */
  readonly image?: NonNullable<ManifestArtifact["image"]>;
  readonly programs: readonly SbomProgram[];
  /** Packages only: the recipe's dependencies as this format has them. */
  readonly dependencies: Readonly<Partial<Record<DependencyKind, readonly Dependency[]>>>;
};

export type SbomFile = { readonly name: string; readonly bytes: Buffer };

export type SbomWriter = {
  /** One document per format, named by `sbomName`. */
  readonly write: (artifact: SbomArtifact) => Promise<readonly SbomFile[]>;
  readonly lockFiles: readonly ReadLockFile[];
  /** What nobody could say, each sentence once; complete when the last artifact was written. */
  readonly warnings: () => readonly string[];
};

export type SbomSources = {
  readonly folder: string;
  /** Paths relative to it; those that lie in it by default. */
  readonly lockFiles?: readonly string[];
  /** Where the recipe names a lock file, for messages. */
  readonly placeOf?: (lockFile: string) => string;
};

const renderers: Readonly<Record<SbomFormat, (bill: BillOfMaterials) => string>> = { cyclonedx: renderCycloneDx, spdx: renderSpdx };

/**
 * Reads the lock files once, and every program once however many artifacts hold it.
 * Where each program of an artifact says itself what it is made of, the lock files of those ecosystems are passed over for this artifact: they
 * also list what was never linked. Throws what readLockFiles throws.
 */
export async function createSbomWriter(release: SbomRelease, sources: SbomSources, formats: readonly SbomFormat[] = sbomFormats): Promise<SbomWriter> {
  const lockFiles = await readLockFiles(sources.folder, sources.lockFiles, sources.placeOf);
  const warnings = new Set<string>();
  const known = new Map<string, Promise<ProgramInformation>>();
  const informationOf = (program: SbomProgram): Promise<ProgramInformation> => {
    const key = `${program.name}\n${program.sha256}`;
    const reading = known.get(key) ?? readProgramInformation(program.path, program.name);
    known.set(key, reading);
    return reading;
  };
  return {
    lockFiles,
    warnings: () => [...warnings].toSorted(),
    write: async (artifact) => {
      const programs = artifact.programs.toSorted((left, right) => (left.name < right.name ? -1 : 1));
      const information = await Promise.all(programs.map(informationOf));
      const used = neededLockFiles(lockFiles, information);
      for (const warning of [...information, ...used].flatMap((source) => source.warnings)) warnings.add(warning);
      const bill: BillOfMaterials = {
        ...release,
        artifact: {
          name: artifact.name,
          kind: artifact.kind,
          sha256: artifact.sha256,
          ...(artifact.image === undefined ? {} : { image: artifact.image }),
        },
        programs: programs.map((program, index): Program => {
          const { components = [], facts = [] } = information[index] ?? {};
          return { name: program.name, sha256: program.sha256, components: mergeComponents(components), facts };
        }),
        components: mergeComponents(used.flatMap((file) => file.components)),
        systemDependencies: systemDependencies(artifact.dependencies),
      };
      return formats.map((format) => ({ name: sbomName(artifact.name, format), bytes: Buffer.from(renderers[format](bill)) }));
    },
  };
}

/** A program without information may be of any ecosystem, and then the lock files are the best that is known. */
function neededLockFiles(lockFiles: readonly ReadLockFile[], programs: readonly ProgramInformation[]): readonly ReadLockFile[] {
  const isToldByAll = programs.length > 0 && programs.every((program) => program.ecosystems.length > 0);
  if (!isToldByAll) return lockFiles;
  const told = new Set(programs.flatMap((program) => program.ecosystems));
  return lockFiles.filter((file) => !told.has(file.ecosystem));
}

const dependencyKinds = ["depends", "recommends", "suggests"] as const;

function systemDependencies(dependencies: SbomArtifact["dependencies"]): readonly SystemDependency[] {
  return dependencyKinds.flatMap((kind) =>
    (dependencies[kind] ?? []).flatMap((dependency): readonly SystemDependency[] => {
      const [first] = dependency;
      return first === undefined ? [] : [{ kind, name: first.name, relation: printedRelation(dependency) }];
    }),
  );
}

function printedRelation(dependency: Dependency): string {
  return dependency
    .map(({ name, operator, version }) => (operator === undefined || version === undefined ? name : `${name} (${operator} ${version})`))
    .join(" | ");
}
