/** The provenance of a release: one statement over all artifacts, and where a signer is given its DSSE envelope. */
import { type EnvelopeSigner, type Provenance, type ProvenanceMaterial, renderProvenance, signStatement } from "../formats/in-toto.ts";
import { vcsUrl } from "../formats/package-url.ts";
import type { Version } from "../model/version.ts";
import type { ReadLockFile } from "./lock-file-kinds.ts";
import { provenanceNames } from "./provenance-names.ts";
import type { SbomFile } from "./sbom-write.ts";

export type ProvenanceRequest = Omit<Provenance, "source" | "materials" | "version"> & {
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
  const { commit, remote, isTagged = false, recipeSha256, lockFiles, otherMaterials = [], ...facts } = request;
  const uri = remote === undefined ? undefined : vcsUrl(remote, isTagged ? `refs/tags/${request.tag}` : commit);
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
