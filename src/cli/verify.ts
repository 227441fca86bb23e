/** `slipway verify artifact`: signatures over the sums, then each file's SHA-256, one line for each check. */
import { createReadStream } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import { systemClock } from "../io/clock.ts";
import { hashFile } from "../io/hash-file.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { manifestName, manifestSizeLimit } from "../model/manifest.ts";
import { parseVersion, type Version } from "../model/version.ts";
import { sumsSizeLimit } from "../trust/checksums.ts";
import type { TrustPolicy } from "../trust/keyring.ts";
import { minisigSizeLimit } from "../trust/minisign.ts";
import { openpgpSignatureSizeLimit } from "../trust/openpgp-verify.ts";
import { bundleSuffixes, signatureSuffixes } from "../trust/release-signature.ts";
import { bundleSizeLimit } from "../trust/sigstore-bundle.ts";
import {
  type ReleaseDescription,
  requireArtifact,
  requireBundle,
  requireDigest,
  type SignatureFiles,
  type SignedSums,
  verifyRelease,
  verifySums,
} from "../trust/verify-release.ts";
import type { Verified } from "../trust/verified.ts";
import { type CommandRun, flagOption, type Invocation, textOption } from "./command.ts";
import { readTrustOptions } from "./trust-options.ts";

type Check = { readonly name: string; readonly result: "PASS" | "FAIL"; readonly detail: string };

/** What was proven about the sums: with a release.json the whole release, else the sums alone. */
type Proven =
  | { readonly kind: "release"; readonly release: Verified<ReleaseDescription>; readonly checks: readonly Check[] }
  | { readonly kind: "sums"; readonly signed: Verified<SignedSums>; readonly checks: readonly Check[] }
  /** No sums were named: each file stands by its own bundle. */
  | { readonly kind: "bundles"; readonly checks: readonly Check[] };

const refusedExitCode = 20;

export const run: CommandRun = async (invocation) => {
  const { args, options, output, cwd } = invocation;
  const { policy, product } = await readTrustOptions(invocation);
  const sums = textOption(options, "sums");
  const proof = await attempt("signature", () => prove(invocation, { sums: sums === undefined ? undefined : resolve(cwd, sums), policy, product }));
  const checks: Check[] = [];
  if (proof.kind === "failed") checks.push(proof.check);
  else {
    checks.push(...proof.value.checks);
    for (const file of args)
      checks.push(
        ...(await checkFile(proof.value, {
          path: resolve(cwd, file),
          policy,
          version: versionOption(invocation),
          isAttestationAllowed: flagOption(options, "attestation"),
        })),
      );
  }
  const isGood = checks.every((check) => check.result === "PASS");
  for (const check of checks) {
    const mark = check.result === "PASS" ? output.colors.green("PASS") : output.colors.red("FAIL");
    output.line(`${mark}  ${check.name}  ${check.detail}`);
  }
  const release = proof.kind === "done" && proof.value.kind === "release" ? proof.value.release : undefined;
  output.result({
    result: isGood ? "PASS" : "FAIL",
    checks,
    ...(release === undefined ? {} : { product: release.product, version: release.version, sequence: release.sequence }),
  });
  return isGood ? 0 : refusedExitCode;
};

type Asked = { readonly sums: string | undefined; readonly policy: TrustPolicy; readonly product: string | undefined };

async function prove(invocation: Invocation, asked: Asked): Promise<Proven> {
  const { options } = invocation;
  const { sums: sumsPath, policy } = asked;
  if (sumsPath === undefined) {
    const isEnough = policy.sigstore !== undefined && policy.require.every((kind) => kind === "sigstore");
    if (!isEnough)
      throw new SlipwayError("usage", "name the sums that are signed: --sums SHA256SUMS", { hint: "only Sigstore bundles stand beside the files themselves" });
    return { kind: "bundles", checks: [] };
  }
  const sums = await readFileBounded(sumsPath, sumsSizeLimit);
  const signatures: SignatureFiles = {
    openpgp: await readOptional(`${sumsPath}${signatureSuffixes.openpgp}`, openpgpSignatureSizeLimit),
    minisign: await readOptional(`${sumsPath}${signatureSuffixes.minisign}`, minisigSizeLimit),
    sigstore: policy.sigstore === undefined ? undefined : await readOptional(`${sumsPath}${signatureSuffixes.sigstore}`, bundleSizeLimit),
  };
  const manifest = await readOptional(join(dirname(sumsPath), manifestName), manifestSizeLimit);
  const product = textOption(options, "product") ?? asked.product;
  const version = versionOption(invocation);
  const question = { sums, signatures, policy, version, now: systemClock.now() };
  const signed = await verifySums(question);
  const checks = signed.signatures.map((signature): Check => ({ name: `${signature.kind} signature`, result: "PASS", detail: `by ${signature.keyId}` }));
  if (manifest === undefined) {
    if (product !== undefined || version !== undefined) {
      throw new SlipwayError("upgrade_verification_failed", `there is no ${manifestName} beside the sums to tell product and version`, {
        detail: "release_json_mismatch",
      });
    }
    return { kind: "sums", signed, checks };
  }
  const release = await verifyRelease({ ...question, manifest, expected: expectedRelease(manifest, { product, version }) });
  return {
    kind: "release",
    release,
    checks: [...checks, { name: "release", result: "PASS", detail: `${release.product} ${release.version}, sequence ${release.sequence}` }],
  };
}

function versionOption({ options }: Invocation): Version | undefined {
  const text = textOption(options, "version");
  return text === undefined ? undefined : parseVersion(text.replace(/^v(?=\d)/, ""));
}

/** Without --product or --version the release may be any that these keys signed; then it must only agree with itself. */
function expectedRelease(
  manifest: Uint8Array,
  pinned: { readonly product: string | undefined; readonly version: Version | undefined },
): { product: string; version: Version } {
  let claimed: unknown;
  try {
    claimed = JSON.parse(Buffer.from(manifest).toString("utf8"));
  } catch {
    claimed = undefined; // verifyRelease refuses it with its own words
  }
  const read = (key: string): string => {
    const value = typeof claimed === "object" && claimed !== null ? (claimed as Record<string, unknown>)[key] : undefined;
    return typeof value === "string" ? value : "";
  };
  return { product: pinned.product ?? read("product"), version: pinned.version ?? parseVersion(read("version") || "0.0.0") };
}

type AskedFile = { readonly path: string; readonly policy: TrustPolicy; readonly version: Version | undefined; readonly isAttestationAllowed: boolean };

/** The bundle beside the file, where somebody is trusted to have made it, and the file's place in the sums. One pass over its bytes. */
async function checkFile(proven: Proven, { path, policy, version, isAttestationAllowed }: AskedFile): Promise<readonly Check[]> {
  const name = basename(path);
  const checks: Check[] = [];
  const outcome = await attempt(name, async () => {
    const known = proven.kind === "release" ? proven.release.version : version;
    const bundle = policy.sigstore === undefined ? undefined : await readOptional(`${path}${bundleSuffixes.bundle}`, bundleSizeLimit);
    const bundled = await requireBundle(
      { version: known },
      { name, bundle, artifact: createReadStream(path) as AsyncIterable<Buffer>, isAttestationAllowed },
      policy,
    );
    if (bundled !== undefined) checks.push({ name: `${name}${bundleSuffixes.bundle}`, result: "PASS", detail: `by ${bundled.signer}` });
    const { digest, size } = bundled ?? (await hashFile(path));
    if (proven.kind === "sums") requireDigest(proven.signed, { name, digest });
    else if (proven.kind === "release") {
      if (proven.release.manifest.artifacts.some((artifact) => artifact.name === name)) requireArtifact(proven.release, { name, digest, size });
      else requireDigest(proven.release, { name, digest });
    }
    return digest;
  });
  checks.push(outcome.kind === "failed" ? outcome.check : { name, result: "PASS", detail: outcome.value });
  return checks;
}

/** A refusal becomes a failed check, so that the report covers every file; anything else stops the command. */
async function attempt<T>(name: string, action: () => Promise<T>): Promise<{ kind: "done"; value: T } | { kind: "failed"; check: Check }> {
  try {
    return { kind: "done", value: await action() };
  } catch (thrown) {
    const isAbsent = (thrown as NodeJS.ErrnoException).code === "ENOENT";
    const error = isAbsent ? new SlipwayError("source_missing", `there is no file ${(thrown as NodeJS.ErrnoException).path ?? name}`) : asSlipwayError(thrown);
    if (error.code !== "upgrade_verification_failed" && !isAbsent) throw error;
    return { kind: "failed", check: { name, result: "FAIL", detail: error.detail === undefined ? error.message : `${error.detail}: ${error.message}` } };
  }
}

async function readOptional(path: string, limit: number): Promise<Buffer | undefined> {
  try {
    return await readFileBounded(path, limit);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
