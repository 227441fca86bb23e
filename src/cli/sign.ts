/** `slipway sign`: signatures beside the sums of a built release, made after the sums were checked and verified before they are written. */
import { join, resolve } from "node:path";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { systemClock } from "../io/clock.ts";
import { readPassphrase } from "../io/passphrase.ts";
import { digestHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { defaultSumsName, type Manifest, manifestName, manifestSchema, manifestSizeLimit } from "../model/manifest.ts";
import { parseFileName } from "../model/names.ts";
import { parseVersion } from "../model/version.ts";
import type { SigstoreSigning } from "../packaging/sigstore-schema.ts";
import { loadReleaseSigner } from "../packaging/release-signer.ts";
import { digestOf, parseChecksums, sumsSizeLimit } from "../trust/checksums.ts";
import { createTrustPolicy, type SignatureKind, signatureKinds } from "../trust/keyring.ts";
import { type ReleaseSigner, type SignedFile, signatureSuffixes, signSums } from "../trust/release-signature.ts";
import { verifySums } from "../trust/verify-release.ts";
import { readRecipeIfPresent } from "./built-release.ts";
import { type CommandRun, flagOption, type Invocation, textOption } from "./command.ts";
import { signKeyless } from "./sign-keyless.ts";

export const run: CommandRun = async (invocation) => {
  const { args, options, output, env, cwd } = invocation;
  const folder = resolve(cwd, args[0] ?? ".");
  const sumsName = parseFileName(textOption(options, "sums") ?? defaultSumsName);
  const isKeyless = flagOption(options, "sigstore");
  const references = { gpg: textOption(options, "gpg"), minisign: textOption(options, "minisign"), minisignNext: textOption(options, "minisignNext") };
  const hasKey = references.gpg !== undefined || references.minisign !== undefined;
  if (!hasKey && !isKeyless) {
    throw new SlipwayError("usage", "name at least one key to sign with", { hint: "add --gpg key:NAME, --minisign key:NAME, or --sigstore" });
  }
  const sums = await readReleaseFile(folder, sumsName, sumsSizeLimit);
  const manifest = readManifest(await readReleaseFile(folder, manifestName, manifestSizeLimit), sums, sumsName);
  const bundles = isKeyless ? await signKeyless(invocation, { folder, sumsName, sigstore: await keylessSettings(invocation) }) : [];
  for (const name of bundles) output.line(`signed ${join(args[0] ?? ".", name)}`);
  const signer = await loadReleaseSigner(references, {
    env,
    folder: cwd,
    now: systemClock.now(),
    epochSeconds: Math.floor(Date.parse(manifest.createdAt) / 1000),
    passphrase: (question) =>
      readPassphrase({ env, file: textOption(options, "passphraseFile"), terminal: { input: process.stdin, output: process.stderr } }, question),
  });
  const files = !hasKey
    ? []
    : await signSums({ sums, sumsName, product: manifest.product, version: parseVersion(manifest.version), sequence: manifest.sequence }, signer);
  if (hasKey) await verifyOwnSignatures({ sums, sumsName, signer, files });
  for (const file of files) {
    await writeFileAtomic(join(folder, file.name), file.bytes, { mode: 0o644 });
    output.line(`signed ${join(args[0] ?? ".", file.name)}`);
  }
  output.result({
    product: manifest.product,
    version: manifest.version,
    sequence: manifest.sequence,
    keys: signer.keyIds,
    files: [...files.map((file) => file.name), ...bundles],
  });
  return 0;
};

/** Services and outputs of the recipe here, where it names any; else Sigstore's public instance and bundles. */
async function keylessSettings(invocation: Invocation): Promise<SigstoreSigning> {
  const recipe = await readRecipeIfPresent(invocation);
  return recipe?.sign.sigstore ?? { outputs: ["bundle"] };
}

/** A signature that we would refuse ourselves is not written: a key damaged in memory or on disk shows here, not at the customer's. */
async function verifyOwnSignatures(made: {
  readonly sums: Uint8Array;
  readonly sumsName: string;
  readonly signer: ReleaseSigner;
  readonly files: readonly SignedFile[];
}): Promise<void> {
  const { openpgp, minisign } = made.signer.publicKeys;
  const signatureOf = (kind: SignatureKind): Uint8Array | undefined =>
    made.files.find((file) => file.name === `${made.sumsName}${signatureSuffixes[kind]}`)?.bytes;
  const policy = await createTrustPolicy({
    ...(openpgp === undefined ? {} : { openpgp: { keyring: Buffer.from(openpgp) } }),
    ...(minisign === undefined ? {} : { minisign: [minisign] }),
    require: signatureKinds.filter((kind) => made.signer.publicKeys[kind] !== undefined),
  });
  const signatures = { openpgp: signatureOf("openpgp"), minisign: signatureOf("minisign") };
  await verifySums({ sums: made.sums, signatures, policy, now: systemClock.now() });
}

async function readReleaseFile(folder: string, name: string, limit: number): Promise<Buffer> {
  try {
    return await readFileBounded(join(folder, name), limit);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new SlipwayError("source_missing", `${folder} holds no ${name}`, {
      cause: error,
      hint: "name the folder that `slipway build` wrote: dist/<version>",
    });
  }
}

/** What is signed must be what the sums list: a manifest of another release would bind the signature to the wrong version. */
function readManifest(bytes: Uint8Array, sums: Uint8Array, sumsName: string): Manifest {
  const listed = parseChecksums(sums, sumsName).get(manifestName);
  if (listed !== digestHex(digestOf(bytes))) {
    throw new SlipwayError("sums_invalid", `${manifestName} is ${listed === undefined ? "not listed in" : "not the one listed in"} ${sumsName}`, {
      hint: "build the release again",
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (error) {
    throw new SlipwayError("format_invalid", `${manifestName} is not JSON`, { cause: error });
  }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success) throw new SlipwayError("format_invalid", `${manifestName} is not a manifest`, { cause: parsed.error });
  return parsed.data;
}
