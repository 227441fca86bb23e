/** `slipway verify artifact`: signatures over the sums, then each file's SHA-256, one line for each check. */
import { basename, dirname, join, resolve } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import { systemClock } from "../io/clock.ts";
import { hashFile } from "../io/hash-file.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { manifestName, manifestSizeLimit } from "../model/manifest.ts";
import { parseVersion, type Version } from "../model/version.ts";
import { sumsSizeLimit } from "../trust/checksums.ts";
import { createTrustPolicy, kindOfPublicKey, type TrustPolicy } from "../trust/keyring.ts";
import { minisigSizeLimit } from "../trust/minisign.ts";
import { openpgpKeySizeLimit } from "../trust/openpgp.ts";
import { openpgpSignatureSizeLimit } from "../trust/openpgp-verify.ts";
import { signatureSuffixes } from "../trust/release-signature.ts";
import {
  type ReleaseDescription,
  requireArtifact,
  requireDigest,
  type SignatureFiles,
  type SignedSums,
  verifyRelease,
  verifySums,
} from "../trust/verify-release.ts";
import type { Verified } from "../trust/verified.ts";
import { type CommandRun, type Invocation, listOption, textOption } from "./command.ts";

type Check = { readonly name: string; readonly result: "PASS" | "FAIL"; readonly detail: string };

/** What was proven about the sums: with a release.json the whole release, else the sums alone. */
type Proven =
  | { readonly kind: "release"; readonly release: Verified<ReleaseDescription>; readonly checks: readonly Check[] }
  | { readonly kind: "sums"; readonly signed: Verified<SignedSums>; readonly checks: readonly Check[] };

const refusedExitCode = 20;

export const run: CommandRun = async (invocation) => {
  const { args, options, output, cwd } = invocation;
  const sumsPath = resolve(cwd, textOption(options, "sums") ?? "SHA256SUMS");
  const policy = await readPolicy(invocation);
  const proof = await attempt("signature", () => prove(invocation, sumsPath, policy));
  const checks: Check[] = [];
  if (proof.kind === "failed") checks.push(proof.check);
  else {
    checks.push(...proof.value.checks);
    for (const file of args) checks.push(await checkFile(proof.value, resolve(cwd, file)));
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

async function prove({ options }: Invocation, sumsPath: string, policy: TrustPolicy): Promise<Proven> {
  const sums = await readFileBounded(sumsPath, sumsSizeLimit);
  const signatures: SignatureFiles = {
    openpgp: await readOptional(`${sumsPath}${signatureSuffixes.openpgp}`, openpgpSignatureSizeLimit),
    minisign: await readOptional(`${sumsPath}${signatureSuffixes.minisign}`, minisigSizeLimit),
  };
  const manifest = await readOptional(join(dirname(sumsPath), manifestName), manifestSizeLimit);
  const product = textOption(options, "product");
  const versionText = textOption(options, "version");
  const version = versionText === undefined ? undefined : parseVersion(versionText);
  const question = { sums, signatures, policy, now: systemClock.now() };
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

async function checkFile(proven: Proven, path: string): Promise<Check> {
  const name = basename(path);
  const outcome = await attempt(name, async () => {
    const { digest, size } = await hashFile(path);
    if (proven.kind === "sums") requireDigest(proven.signed, { name, digest });
    else if (proven.release.manifest.artifacts.some((artifact) => artifact.name === name)) requireArtifact(proven.release, { name, digest, size });
    else requireDigest(proven.release, { name, digest });
    return digest;
  });
  return outcome.kind === "failed" ? outcome.check : { name, result: "PASS", detail: outcome.value };
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

async function readPolicy({ options, cwd }: Invocation): Promise<TrustPolicy> {
  const minisign: string[] = [];
  const openpgp: Uint8Array[] = [];
  for (const key of listOption(options, "key") ?? []) {
    const isBareKey = key.length === 56 && kindOfPublicKey(Buffer.from(key)) === "minisign";
    const bytes = isBareKey ? Buffer.from(key) : await readFileBounded(resolve(cwd, key), openpgpKeySizeLimit);
    if (kindOfPublicKey(bytes) === "minisign") minisign.push(bytes.toString("utf8"));
    else openpgp.push(bytes);
  }
  const fingerprints = listOption(options, "fingerprint");
  if (openpgp.length > 1) throw new SlipwayError("usage", "name one OpenPGP keyring; it may hold several keys");
  const [keyring] = openpgp;
  return createTrustPolicy({
    minisign,
    ...(keyring === undefined ? {} : { openpgp: { keyring, ...(fingerprints === undefined ? {} : { fingerprints }) } }),
    require: [...(minisign.length > 0 ? (["minisign"] as const) : []), ...(keyring === undefined ? [] : (["openpgp"] as const))],
  });
}

async function readOptional(path: string, limit: number): Promise<Buffer | undefined> {
  try {
    return await readFileBounded(path, limit);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
