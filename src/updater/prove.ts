/** What an installation trusts, and a release's description proven by it. */
import { SlipwayError } from "../model/errors.ts";
import type { Version } from "../model/version.ts";
import { createTrustPolicy, type TrustPolicy } from "../trust/keyring.ts";
import { rememberKeySet, type TrustMemory, withMemory } from "../trust/trust-memory.ts";
import { type ReleaseDescription, verifyRelease } from "../trust/verify-release.ts";
import type { Verified } from "../trust/verified.ts";
import type { Installation } from "./installation.ts";
import { readState, writeState } from "./installed-state.ts";
import type { ReleaseFiles } from "./release-source.ts";
import { readSigstoreRoot } from "./sigstore-root.ts";
import { stateDirectoryOf } from "./state-directory.ts";
import { readTrustSection } from "./trust-section.ts";

/** The trust policy of the installation file, with what verified releases have changed since: keys added and retired, more required. */
export async function readTrustPolicy(installation: Installation): Promise<TrustPolicy> {
  const { trust: memory } = await readState(stateDirectoryOf(installation.stateDir).state, installation.product);
  return trustPolicyOf(installation, memory);
}

/** The same with a memory that is at hand. Throws `installation_invalid`, and `journal_corrupt` for a damaged trusted root that was followed. */
export async function trustPolicyOf(installation: Installation, memory: TrustMemory | undefined): Promise<TrustPolicy> {
  // Without TUF nothing could have been followed; a file of a time before counts no more.
  const followed = installation.trust.tuf === undefined ? undefined : await readSigstoreRoot(installation.stateDir);
  try {
    return await createTrustPolicy(withMemory(await readTrustSection(installation.trust, followed), memory).source);
  } catch (error) {
    throw new SlipwayError("installation_invalid", `trust: ${error instanceof Error ? error.message : String(error)}`, {
      place: installation.place,
      cause: error,
    });
  }
}

/** Durable before anything of the release is used: a machine that goes back to the old version does not go back to the old keys. */
export async function rememberTrust(statePath: string, description: Verified<ReleaseDescription>): Promise<void> {
  const state = await readState(statePath, description.product);
  const memory = await rememberKeySet(state.trust, description);
  if (memory !== undefined && memory !== state.trust) await writeState(statePath, { ...state, trust: memory });
}

/** A release's description, proven; throws `upgrade_verification_failed`. */
export async function proveDescription(options: {
  readonly files: ReleaseFiles;
  readonly installation: Installation;
  readonly policy: TrustPolicy;
  readonly version: Version;
  readonly now: Date;
}): Promise<Verified<ReleaseDescription>> {
  const { files, installation, policy, version, now } = options;
  try {
    return await verifyRelease({
      sums: files.sums,
      manifest: files.manifest,
      signatures: { minisign: files.minisign, openpgp: files.openpgp, sigstore: files.sigstore },
      expected: { product: installation.product, version },
      policy,
      now,
    });
  } catch (error) {
    throw withRotationHint(error, version);
  }
}

/** Attack 72: a release by a key that this machine has not learnt of, because the release that introduces it was passed by. */
function withRotationHint(error: unknown, version: Version): unknown {
  if (!(error instanceof SlipwayError) || (error.detail !== "minisig_key_unknown" && error.detail !== "gpg_wrong_key")) return error;
  return new SlipwayError(error.code, error.message, {
    detail: error.detail,
    cause: error,
    hint: `nothing was changed. If the vendor changed keys before ${version}, install the release that introduces the new key first (a waypoint: \`slipway upgrade install --version\`); otherwise do not install this, and tell the vendor`,
  });
}
