/** What lint says about the release keys: a key that cannot sign is better found before the build than after it. */
import { SlipwayError } from "../model/errors.ts";
import type { SigningKeyFacts } from "../model/package-facts.ts";
import type { Recipe } from "./recipe.ts";
import { loadReleaseSigner } from "./release-signer.ts";

export type KeyQuestion = {
  readonly recipe: Recipe;
  readonly folder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly now: Date;
};

const words = [
  ["gpg", "openpgp"],
  ["minisign", "minisign"],
  ["apk", "apk"],
] as const;

/** A key that is not on this machine, or is locked, is no finding: lint runs where the keys are not. */
export async function readKeyFacts({ recipe, folder, env, now }: KeyQuestion): Promise<readonly SigningKeyFacts[]> {
  const facts: SigningKeyFacts[] = [];
  const epochSeconds = Math.floor(now.getTime() / 1000);
  for (const [word, kind] of words) {
    const reference = recipe.sign[word];
    if (reference === undefined) continue;
    const place = recipe.placeOf(["sign", word]);
    try {
      await loadReleaseSigner({ [word]: reference }, { env, folder, now, epochSeconds, passphrase: () => Promise.resolve(undefined) });
      facts.push({ kind, reference, place });
    } catch (error) {
      if (!(error instanceof SlipwayError)) throw error;
      const isUnfit = error.code === "key_unfit" || error.code === "key_invalid";
      facts.push({ kind, reference, place, ...(isUnfit ? { unfitness: error.message } : {}) });
    }
  }
  return facts;
}
