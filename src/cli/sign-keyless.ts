/** Keyless signing for `slipway build` and `slipway sign`: services and outputs of the recipe, the token of the CI run, progress. */
import { systemClock } from "../io/clock.ts";
import { SlipwayError } from "../model/errors.ts";
import { signBundles } from "../packaging/sign-bundles.ts";
import type { SigstoreSigning } from "../packaging/sigstore-schema.ts";
import { createSigstoreSigner } from "../packaging/sigstore-sign.ts";
import type { Invocation } from "./command.ts";

/**
 * Signs every file of the built release; returns what was written. Throws `key_missing` without a token, `unauthorized`, `network_unreachable`:
 * the release stays as it was built, and the hint says how to go on.
 */
export async function signKeyless(
  { env, output, signal }: Invocation,
  release: { readonly folder: string; readonly sumsName: string; readonly sigstore: SigstoreSigning },
): Promise<readonly string[]> {
  const { folder, sumsName, sigstore } = release;
  const signer = createSigstoreSigner({ services: sigstore, env, now: () => systemClock.now(), signal });
  try {
    return await signBundles({
      folder,
      sumsName,
      signer,
      outputs: sigstore.outputs,
      onFile: (name) => output.note(output.colors.dim(`keyless signature of ${name}`)),
    });
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code === "interrupted") throw error;
    const { code, message, detail } = error;
    throw new SlipwayError(code, message, {
      ...(detail === undefined ? {} : { detail }),
      cause: error,
      hint: `${error.hint}; what was built stays: \`slipway sign ${folder} --sigstore\` signs it`,
    });
  }
}
