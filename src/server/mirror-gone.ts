/** Why a mirror has no file at an address that it once had: read once for each set, from the list beside it. */
import { basename } from "node:path";
import { type Gone, type GoneSet, readGone, whyGone, whyTagGone } from "../mirror/gone.ts";
import { readOciAddress } from "./oci-address.ts";

export type GoneFinder = {
  /** `tree`: the folder of the set that the reader sees; `path`: as asked for, without a leading slash. Undefined: it never was here, or nobody said why. */
  readonly find: (tree: string, path: string) => Promise<Gone | undefined>;
};

/** The present set and those that readers still hold on to. */
const keptSets = 4;

export function createGoneFinder(directory: string): GoneFinder {
  const sets = new Map<string, Promise<GoneSet>>();
  const setOf = (id: string): Promise<GoneSet> => {
    const known = sets.get(id);
    if (known !== undefined) return known;
    if (sets.size >= keptSets) sets.clear();
    const reading = readGone(directory, id);
    sets.set(id, reading);
    reading.catch(() => sets.delete(id));
    return reading;
  };
  return {
    find: async (tree, path) => {
      const gone = await setOf(basename(tree));
      if (!path.startsWith("v2/")) return whyGone(gone, path);
      const target = readOciAddress(path.slice("v2/".length));
      if (target?.kind !== "manifest" && target?.kind !== "blob") return undefined;
      const reference = target.kind === "manifest" ? target.reference : target.digest;
      if (!reference.startsWith("sha256:")) return whyTagGone(gone, target.name, reference);
      return whyGone(gone, `images/${target.name}/blobs/sha256/${reference.slice("sha256:".length)}`);
    },
  };
}
