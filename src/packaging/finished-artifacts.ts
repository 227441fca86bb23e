/**
 * What a failed build had finished, kept for the next attempt beside the release's folder: `dist/.<version>.unfinished/` holds the artifacts
 * and `finished.json`, which says for each what it was made of. The next build takes those whose ingredients are the same, hashes them, and
 * removes the folder when the release is whole. A cache: what cannot be read or has changed is built again.
 */
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { hashFile } from "../io/hash-file.ts";
import { digestHex } from "../model/digest.ts";
import { type ManifestArtifact, manifestArtifactSchema } from "../model/manifest.ts";
import { parseFileName } from "../model/names.ts";
import { type ContentDigests, type Ingredients, ingredientsDigest, readContents } from "./artifact-ingredients.ts";

export type FinishedArtifacts = {
  /** Moves the artifact of an earlier attempt into `filesFolder`; undefined where there is none of the same ingredients. */
  readonly take: (ingredients: Ingredients, filesFolder: string) => Promise<ManifestArtifact | undefined>;
  /** Remembers what was written now. */
  readonly note: (ingredients: Ingredients, contents: ContentDigests, artifact: ManifestArtifact) => void;
  /** Names of those that were taken. */
  readonly taken: () => readonly string[];
  /** After a failure: moves what is finished out of `filesFolder` to where the next attempt finds it; returns all names that lie there. */
  readonly keep: (filesFolder: string) => Promise<readonly string[]>;
  /** After a success. */
  readonly clear: () => Promise<void>;
};

const recordName = "finished.json";
const recordSizeLimit = 64 * 1024 * 1024;
const recordSchema = z.strictObject({
  schema: z.literal(1),
  artifacts: z.array(z.strictObject({ madeOf: z.string().regex(/^[0-9a-f]{64}$/), artifact: manifestArtifactSchema })).max(1_000),
});
type Finished = z.output<typeof recordSchema>["artifacts"][number];

/** `tools` is everything that makes bytes and is no ingredient of one artifact: versions of program and compressors, the keys. */
export async function openFinishedArtifacts(place: {
  readonly outFolder: string;
  readonly version: string;
  readonly tools: unknown;
}): Promise<FinishedArtifacts> {
  const folder = join(place.outFolder, `.${place.version}.unfinished`);
  const earlier = new Map((await readRecord(folder)).map((one) => [one.artifact.name, one]));
  const finished: { readonly artifact: ManifestArtifact; readonly madeOf: () => string }[] = [];
  const taken: string[] = [];
  const digestOf = (ingredients: Ingredients, contents: ContentDigests): string =>
    ingredientsDigest({ ...ingredients, facts: [place.tools, ingredients.facts] }, contents);
  return {
    take: async (ingredients, filesFolder) => {
      const found = earlier.get(ingredients.name);
      if (found === undefined || digestOf(ingredients, await readContents(ingredients.entries)) !== found.madeOf) return undefined;
      const path = join(folder, found.artifact.name);
      if ((await sha256Of(path)) !== found.artifact.sha256) return undefined;
      await rename(path, join(filesFolder, found.artifact.name));
      earlier.delete(ingredients.name);
      finished.push({ artifact: found.artifact, madeOf: () => found.madeOf });
      taken.push(found.artifact.name);
      return found.artifact;
    },
    note: (ingredients, contents, artifact) => {
      earlier.delete(artifact.name);
      finished.push({ artifact, madeOf: () => digestOf(ingredients, contents) }); // most builds succeed and never ask
    },
    taken: () => taken,
    keep: async (filesFolder) => {
      const artifacts: readonly Finished[] = [...earlier.values(), ...finished.map(({ artifact, madeOf }) => ({ artifact, madeOf: madeOf() }))];
      if (artifacts.length === 0) return [];
      await mkdir(folder, { recursive: true });
      for (const { artifact } of finished) await rename(join(filesFolder, artifact.name), join(folder, artifact.name));
      await writeFileAtomic(join(folder, recordName), JSON.stringify({ schema: 1, artifacts }));
      return artifacts.map(({ artifact }) => artifact.name);
    },
    clear: () => rm(folder, { recursive: true, force: true }),
  };
}

async function readRecord(folder: string): Promise<readonly Finished[]> {
  try {
    const parsed = recordSchema.parse(JSON.parse((await readFileBounded(join(folder, recordName), recordSizeLimit)).toString("utf8")));
    for (const { artifact } of parsed.artifacts) parseFileName(artifact.name);
    return parsed.artifacts;
  } catch {
    return []; // absent, or of another program: it only saves time
  }
}

async function sha256Of(path: string): Promise<string | undefined> {
  try {
    return digestHex((await hashFile(path)).digest);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
