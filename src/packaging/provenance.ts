/** The provenance of a release: one statement over all artifacts, and where a signer is given its DSSE envelope. */
import { z } from "zod";
import { type EnvelopeSigner, type Provenance, type ProvenanceMaterial, renderProvenance, signStatement } from "../formats/in-toto.ts";
import { vcsUrl } from "../formats/package-url.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Version } from "../model/version.ts";
import type { ReadLockFile } from "./lock-file-kinds.ts";
import { provenanceNames } from "./provenance-names.ts";
import type { SbomFile } from "./sbom-write.ts";

/** What no inputs tell: only the one who built knows it, and only a signature makes others believe it. */
export type ProvenanceClaims = {
  /** URI of who built, for example a CI workflow. */
  readonly builderId?: string;
  /** Where the source is, as the statement says it; instead of what `remote` gives. */
  readonly sourceUri?: string;
};

export type ProvenanceRequest = ProvenanceClaims &
  Omit<Provenance, "source" | "materials" | "version"> & {
    readonly version: Version;
    readonly commit?: string;
    /** The remote of the repository as git has it; credentials in it are left out. */
    readonly remote?: string;
    /** Whether the tag names that commit: else the release says so, but the repository has no such tag there. */
    readonly isTagged?: boolean;
    readonly recipeSha256: string;
    readonly lockFiles: readonly ReadLockFile[];
    /** Base images, vendored archives. */
    readonly otherMaterials?: readonly ProvenanceMaterial[];
  };

/**
 * The statement, and the envelope where there are signers. Subjects are every file of the release that was written before it, the SBOMs included.
 * Throws `format_limit`, `format_invalid` as renderProvenance does, and what a signer throws.
 */
export async function writeProvenance(request: ProvenanceRequest, signers: readonly EnvelopeSigner[] = []): Promise<readonly SbomFile[]> {
  const { commit, remote, isTagged = false, sourceUri, recipeSha256, lockFiles, otherMaterials = [], ...facts } = request;
  const uri = sourceUri ?? (remote === undefined ? undefined : vcsUrl(remote, isTagged ? `refs/tags/${request.tag}` : commit));
  const statement = Buffer.from(
    renderProvenance({
      ...facts,
      ...(commit === undefined ? {} : { source: { commit, ...(uri === undefined ? {} : { uri }) } }),
      materials: [
        { name: request.recipe, digest: { sha256: recipeSha256 } },
        ...lockFiles.map(({ name, sha256 }) => ({ name, digest: { sha256 } })),
        ...otherMaterials,
      ],
    }),
  );
  const names = provenanceNames(request.product, request.version);
  const envelope = signers.length === 0 ? [] : [{ name: names.envelope, bytes: Buffer.from(await signStatement(statement, signers)) }];
  return [{ name: names.statement, bytes: statement }, ...envelope];
}

const claimsSchema = z.object({
  predicate: z.object({
    buildDefinition: z.object({ resolvedDependencies: z.array(z.object({ name: z.string(), uri: z.string().max(2_000).optional() })).max(2_000) }),
    runDetails: z.object({ builder: z.object({ id: z.string().max(2_000) }) }),
  }),
});

/** The claims of a statement that writeProvenance wrote, for a rebuild that must say the same. Throws `format_invalid` for any other text. */
export function readProvenanceClaims(statement: string): ProvenanceClaims {
  let value: unknown;
  try {
    value = JSON.parse(statement);
  } catch (error) {
    throw new SlipwayError("format_invalid", "the provenance is not JSON", { cause: error });
  }
  const parsed = claimsSchema.safeParse(value);
  if (!parsed.success) throw new SlipwayError("format_invalid", "the provenance is not a SLSA statement of ours", { cause: parsed.error });
  const { buildDefinition, runDetails } = parsed.data.predicate;
  const sourceUri = buildDefinition.resolvedDependencies.find(({ name }) => name === "source")?.uri;
  return { builderId: runDetails.builder.id, ...(sourceUri === undefined ? {} : { sourceUri }) };
}
