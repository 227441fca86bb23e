/** Whether the release keys that a plan needs are there and may sign: asked before anything is built. */
import { SlipwayError } from "../model/errors.ts";
import { parseKeyReference } from "../trust/key-reference.ts";
import { signatureSuffixes } from "../trust/release-signature.ts";
import type { Plan } from "./plan.ts";
import type { Recipe } from "./recipe.ts";
import { loadReleaseSigner, type ReleaseKeyReferences } from "./release-signer.ts";

export type PlannedKeysQuestion = {
  readonly recipe: Recipe;
  readonly plan: Plan;
  readonly isUnsigned: boolean;
  readonly folder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly now: Date;
};

/** A key that the build will want and that is not here; `isUnknown` where no other machine can be meant by its name: no such file, no such key in the folder. */
export type AbsentKey = { readonly place: string; readonly message: string; readonly isUnknown: boolean };

/** The keys of `sign:` that this plan signs with. */
export function plannedKeyReferences(recipe: Recipe, plan: Plan, isUnsigned: boolean): ReleaseKeyReferences {
  const { apk, gpg, minisign, minisign_next: minisignNext } = recipe.sign;
  const others = {
    ...(gpg === undefined ? {} : { gpg }),
    ...(minisign === undefined ? {} : { minisign }),
    ...(minisignNext === undefined ? {} : { minisignNext }),
  };
  const isApkSigned = !isUnsigned && plan.artifacts.some((artifact) => artifact.kind === "apk");
  const isSigned = plan.records.some((record) => record.kind in signatureSuffixes);
  return { ...(isSigned ? others : {}), ...(isApkSigned && apk !== undefined ? { apk } : {}) };
}

function isElsewhere(reference: string): boolean {
  const { kind } = parseKeyReference(reference);
  return kind === "agent" || kind === "command";
}

/**
 * Opens each key without a passphrase; a locked one counts as there. Returns those that are not, in the order of the recipe. Throws `key_unfit`
 * (expired, certified with SHA-1, too weak) and `key_invalid` with the recipe's line. An agent or a command is not started for a question.
 */
export async function findAbsentKeys(question: PlannedKeysQuestion): Promise<readonly AbsentKey[]> {
  const { recipe, plan, folder, env, now } = question;
  const references = plannedKeyReferences(recipe, plan, question.isUnsigned);
  const absent: AbsentKey[] = [];
  for (const word of ["minisign", "gpg", "apk"] as const) {
    const reference = references[word];
    if (reference === undefined || isElsewhere(reference)) continue; // who holds it is asked when something is to be signed
    const place = recipe.placeOf(["sign", word]);
    try {
      await loadReleaseSigner({ [word]: reference }, { env, folder, now, epochSeconds: plan.epochSeconds, passphrase: () => Promise.resolve(undefined) });
    } catch (error) {
      if (!(error instanceof SlipwayError)) throw error;
      const message = `sign.${word}: ${error.message}`;
      if (error.code === "key_missing") absent.push({ place, message, isUnknown: parseKeyReference(reference).kind !== "env" });
      else if (error.code !== "key_locked") throw new SlipwayError(error.code, message, { place, hint: error.hint, cause: error });
    }
  }
  return absent;
}
