/** The provenance of a release: one statement over all artifacts, and where a signer is given its DSSE envelope. */
import { type EnvelopeSigner, type Provenance, type ProvenanceMaterial, renderProvenance, signStatement } from "../formats/in-toto.ts";
import { vcsUrl } from "../formats/package-url.ts";
import { fileVersion, type Version } from "../model/version.ts";
import type { SbomFile } from "./sbom-write.ts";
import type { ReadLockFile } from "./lock-file-kinds.ts";

export type ProvenanceRequest = Omit<Provenance, "source" | "materials" | "version"> & {
  readonly version: Version;
  readonly commit?: string;
  /** The remote of the repository as git has it; credentials in it are left out. */
  readonly remote?: string;
  readonly recipeSha256: string;
  readonly lockFiles: readonly ReadLockFile[];
  /** Base images, vendored archives. */
  readonly otherMaterials?: readonly ProvenanceMaterial[];
};

/** Names for the plan: the statement always, the envelope where the release is signed. */
export function provenanceNames(product: string, version: Version): { readonly statement: string; readonly envelope: string } {
  const stem = `${product}-${fileVersion(version)}`;
  return { statement: `${stem}.provenance.json`, envelope: `${stem}.intoto.jsonl` };
}

/**
 * The statement, and the envelope where there are signers. Subjects are every file of the release that was written before it, the SBOMs included.
 * Throws `format_limit`, `format_invalid` as renderProvenance does, and what a signer throws.
 */
export async function writeProvenance(request: ProvenanceRequest, signers: readonly EnvelopeSigner[] = []): Promise<readonly SbomFile[]> {
  const { commit, remote, recipeSha256, lockFiles, otherMaterials = [], ...facts } = request;
  const uri = remote === undefined ? undefined : vcsUrl(remote);
  const statement = Buffer.from(
    renderProvenance({
      ...facts,
      ...(commit === undefined ? {} : { source: { commit, ...(uri === undefined ? {} : { uri: `${uri}@refs/tags/${request.tag}` }) } }),
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
