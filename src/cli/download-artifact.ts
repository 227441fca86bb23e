/** One file of a release from the vendor's server, written under its name and compared with the digest that the server gives for it. */
import { createHashedFile } from "../io/hashed-file.ts";
import { safeJoin } from "../io/safe-path.ts";
import { SlipwayError } from "../model/errors.ts";

/** Throws `sums_invalid` where the bytes are not those of the digest; the file is gone then, or stays for the caller to remove with its folder. */
export async function downloadArtifact(
  body: AsyncIterable<Uint8Array>,
  artifact: { readonly name: string; readonly digest: string; readonly size: number },
  to: { readonly folder: string; readonly onBytes?: (size: number) => void },
): Promise<void> {
  const file = await createHashedFile(safeJoin(to.folder, artifact.name), 0o644);
  try {
    let size = 0;
    for await (const piece of body) {
      size += piece.length;
      if (size > artifact.size) throw new SlipwayError("sums_invalid", `${artifact.name} is longer than its ${artifact.size} bytes`);
      file.write(piece);
      to.onBytes?.(size);
    }
  } catch (error) {
    await file.discard();
    throw error;
  }
  const { digest } = await file.close();
  if (digest !== artifact.digest) throw new SlipwayError("sums_invalid", `${artifact.name} came back as ${digest}; the server says ${artifact.digest}`);
}
