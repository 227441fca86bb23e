/** Keyless signatures over a built release: beside every file that its sums list, and beside the sums. A failed run goes on where it stopped. */
import { join } from "node:path";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { parseChecksums, sumsSizeLimit } from "../trust/checksums.ts";
import type { BundleOutput } from "../trust/release-signature.ts";
import type { SigstoreSigner } from "./sigstore-sign.ts";

const artifactFileMode = 0o644;

/** The files that `signBundles` leaves, in order. The sums get the bundle alone: their `.sig` is OpenPGP's. */
export function bundleFilesOf(names: readonly string[], sumsName: string, outputs: readonly BundleOutput[]): readonly string[] {
  return [...names.flatMap((name) => outputs.map((output) => `${name}.${output}`)), `${sumsName}.bundle`];
}

/** Signs all; returns the names of what was written. Throws what the signer throws: the files that were written stay, and are replaced by the next run. */
export async function signBundles(options: {
  readonly folder: string;
  readonly sumsName: string;
  readonly signer: SigstoreSigner;
  readonly outputs: readonly BundleOutput[];
  readonly onFile?: (name: string) => void;
}): Promise<readonly string[]> {
  const { folder, sumsName, signer, outputs } = options;
  const listed = parseChecksums(await readFileBounded(join(folder, sumsName), sumsSizeLimit), sumsName);
  const written: string[] = [];
  for (const name of [...listed.keys(), sumsName]) {
    const wanted: readonly BundleOutput[] = name === sumsName ? ["bundle"] : outputs;
    for (const file of await signer.sign({ name, path: join(folder, name) }, wanted)) {
      await writeFileAtomic(join(folder, file.name), file.bytes, { mode: artifactFileMode });
      written.push(file.name);
    }
    options.onFile?.(name);
  }
  return written;
}
