/** The names of the provenance of a release, known to the plan before anything is built. */
import { fileVersion, type Version } from "../model/version.ts";

/** `statement` is plain JSON; `envelope` is the same, signed. */
export function provenanceNames(product: string, version: Version): { readonly statement: string; readonly envelope: string } {
  const stem = `${product}-${fileVersion(version)}`;
  return { statement: `${stem}.provenance.json`, envelope: `${stem}.intoto.jsonl` };
}
