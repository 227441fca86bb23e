/** What the installation file trusts, and a release's description proven by it. */
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Version } from "../model/version.ts";
import { createTrustPolicy, type SignatureKind, type TrustPolicy } from "../trust/keyring.ts";
import { type ReleaseDescription, verifyRelease } from "../trust/verify-release.ts";
import type { Verified } from "../trust/verified.ts";
import type { Installation } from "./installation.ts";
import type { ReleaseFiles } from "./release-source.ts";

const keyringLimitBytes = 1024 * 1024;

/** The trust policy of the installation file: by default every kind of signature that a key is given for must be there. */
export async function readTrustPolicy(installation: Installation): Promise<TrustPolicy> {
  const { minisign, openpgp, require } = installation.trust;
  const given: readonly SignatureKind[] = [...(minisign.length > 0 ? (["minisign"] as const) : []), ...(openpgp === undefined ? [] : (["openpgp"] as const))];
  try {
    return await createTrustPolicy({
      minisign,
      ...(openpgp === undefined
        ? {}
        : {
            openpgp: {
              keyring: await readFileBounded(openpgp.keyring, keyringLimitBytes),
              fingerprints: openpgp.fingerprints.map((text) => text.replaceAll(" ", "").toUpperCase()),
            },
          }),
      require: require.length > 0 ? require : given,
    });
  } catch (error) {
    throw new SlipwayError("installation_invalid", `trust: ${error instanceof Error ? error.message : String(error)}`, {
      place: installation.place,
      cause: error,
    });
  }
}

/** A release's description, proven; throws `upgrade_verification_failed`. */
export function proveDescription(options: {
  readonly files: ReleaseFiles;
  readonly installation: Installation;
  readonly policy: TrustPolicy;
  readonly version: Version;
  readonly now: Date;
}): Promise<Verified<ReleaseDescription>> {
  const { files, installation, policy, version, now } = options;
  return verifyRelease({
    sums: files.sums,
    manifest: files.manifest,
    signatures: { minisign: files.minisign, openpgp: files.openpgp },
    expected: { product: installation.product, version },
    policy,
    now,
  });
}
