/** The files of an artifact as release.json lists and its signature covers them. */
import { SlipwayError } from "../model/errors.ts";
import type { ManifestArtifact } from "../model/manifest.ts";
import { type Installation, isPlainRelative } from "./installation.ts";
import type { FileTable } from "./transaction.ts";

/** Programs on the live path belong to nobody else: no setuid, and never unreadable to ourselves. */
const modeMask = 0o777;
const ownerBits = 0o600;

/**
 * Path in the installation -> what must be there; `member` is the path inside the artifact. A binary is one file under the product's
 * name, or under the operator's. Throws `upgrade_verification_failed` with detail `release_json_mismatch` for an archive without a list, an unsafe or repeated path.
 */
export function signedFiles(artifact: ManifestArtifact, installation: Installation): FileTable {
  const refuse = (message: string): never => {
    throw new SlipwayError("upgrade_verification_failed", message, { detail: "release_json_mismatch" });
  };
  if (artifact.kind === "binary") {
    const name = installation.artifact.install_as ?? installation.product;
    return { [name]: { sha256: artifact.sha256, mode: 0o755, size: artifact.size, member: artifact.name } };
  }
  const listed = artifact.files ?? refuse(`release.json does not say which files ${artifact.name} holds`);
  const table: FileTable = {};
  const seen = new Set<string>();
  for (const file of listed) {
    if (!isPlainRelative(file.path)) refuse(`${artifact.name} lists the path ${JSON.stringify(file.path.slice(0, 200))}`);
    const live = installation.files === undefined ? file.path : installation.files[file.path];
    if (seen.has(file.path.toLowerCase())) refuse(`${artifact.name} lists ${file.path} twice (letter case aside)`);
    seen.add(file.path.toLowerCase());
    if (live === undefined) continue; // the operator's map leaves it out
    if (table[live] !== undefined) refuse(`two files of ${artifact.name} go to ${live}`);
    table[live] = { sha256: file.sha256, mode: (file.mode & modeMask) | ownerBits, size: file.size, member: file.path };
  }
  const paths = Object.keys(table);
  if (paths.length === 0) refuse(`${artifact.name} holds none of the files that the installation names`);
  for (const path of paths) {
    for (let slash = path.indexOf("/"); slash !== -1; slash = path.indexOf("/", slash + 1)) {
      if (table[path.slice(0, slash)] !== undefined) refuse(`${artifact.name}: ${path} lies below a file`);
    }
  }
  return table;
}
