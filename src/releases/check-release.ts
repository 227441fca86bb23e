/**
 * What must be true of a draft before it is published: complete, unaltered, of the version that it claims, signed by the vendor.
 *
 * Order: sums against the attached artifacts, both ways; release.json against product, version, channel and artifacts; signatures with the
 * product's release keys, where it has any; those inside apks; at last every blob is read again and hashed.
 */
import { createHash } from "node:crypto";
import { pipeline } from "node:stream/promises";
import { readApk } from "../formats/apk-read.ts";
import { type Digest, digestFromHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { type Manifest, manifestName, manifestSchema, manifestSizeLimit } from "../model/manifest.ts";
import type { Store } from "../store/store.ts";
import { readApkPublicKey, verifyApkMember } from "../trust/apk-signature.ts";
import { parseChecksums, sumsSizeLimit } from "../trust/checksums.ts";
import { createTrustPolicy } from "../trust/keyring.ts";
import { minisigSizeLimit } from "../trust/minisign.ts";
import { openpgpSignatureSizeLimit } from "../trust/openpgp-verify.ts";
import { isSignatureFile } from "../trust/release-signature.ts";
import { verifyRelease } from "../trust/verify-release.ts";
import { blobSource } from "./describe-package.ts";
import type { ReleaseKeys } from "./products.ts";
import type { Artifact, ReleaseWithArtifacts } from "./releases.ts";

const incomplete = (message: string, detail: string): SlipwayError => new SlipwayError("release_incomplete", message, { detail });

/**
 * Checks everything and returns the manifest. Throws `release_incomplete` with a detail (`sums_missing`, `not_attached`, `not_listed`,
 * `digest_mismatch`, `manifest_missing`, `manifest_mismatch`, `blob_damaged`), `sums_invalid`, and for a product with release keys
 * `signature_invalid` for a release that is not signed by them. Changes nothing.
 */
export async function checkRelease(
  store: Store,
  input: { readonly release: ReleaseWithArtifacts; readonly sums: Digest; readonly keys: ReleaseKeys },
): Promise<Manifest> {
  const { release } = input;
  const sumsArtifact = release.artifacts.find((artifact) => artifact.digest === input.sums);
  if (sumsArtifact === undefined) throw incomplete(`no attached artifact has the digest ${input.sums} of the sums file`, "sums_missing");
  const sums = await store.blobs.read(sumsArtifact.digest, sumsSizeLimit);
  checkSums(release, sumsArtifact, parseChecksums(sums, sumsArtifact.name));
  const manifestBytes = await readArtifact(store, release, manifestName, manifestSizeLimit);
  if (manifestBytes === undefined) throw incomplete(`${manifestName} is not attached`, "manifest_missing");
  const manifest = parseManifest(manifestBytes);
  checkManifest(release, manifest);
  await checkSignatures(store, { ...input, sumsArtifact, sumsBytes: sums, manifestBytes });
  await checkApkSignatures(store, release, input.keys.apk);
  for (const artifact of release.artifacts) await checkBlob(store, artifact);
  return manifest;
}

function checkSums(release: ReleaseWithArtifacts, sumsArtifact: Artifact, sums: ReadonlyMap<string, string>): void {
  const attached = new Map(release.artifacts.map((artifact) => [artifact.name, artifact]));
  for (const [name, hex] of sums) {
    const artifact = attached.get(name);
    if (artifact === undefined) throw incomplete(`${sumsArtifact.name} lists ${name}, which is not attached`, "not_attached");
    if (artifact.digest !== digestFromHex(hex)) throw incomplete(`${name} is ${artifact.digest}; ${sumsArtifact.name} says sha256:${hex}`, "digest_mismatch");
  }
  const isExempt = (name: string): boolean =>
    name === sumsArtifact.name || name === `${sumsArtifact.name}.asc` || isSignatureFile(name, { name: sumsArtifact.name, has: (listed) => sums.has(listed) });
  // The sums cannot list themselves, nor signatures, which are made after them and follow a file's name.
  for (const name of attached.keys()) {
    if (!sums.has(name) && !isExempt(name)) {
      throw new SlipwayError("release_incomplete", `${name} is attached but not listed in ${sumsArtifact.name}`, {
        detail: "not_listed",
        hint: "run `slipway publish` again: it discards a draft with files too many, and sends no bytes twice",
      });
    }
  }
}

async function readArtifact(store: Store, release: ReleaseWithArtifacts, name: string, limit: number): Promise<Buffer | undefined> {
  const artifact = release.artifacts.find((candidate) => candidate.name === name);
  return artifact === undefined ? undefined : store.blobs.read(artifact.digest, limit);
}

function parseManifest(bytes: Buffer): Manifest {
  try {
    const parsed = manifestSchema.safeParse(JSON.parse(bytes.toString("utf8")));
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw incomplete(`${manifestName}: ${issue?.path.join(".") ?? ""} ${issue?.message ?? "is invalid"}`, "manifest_mismatch");
  } catch (error) {
    if (error instanceof SlipwayError) throw error;
    throw new SlipwayError("release_incomplete", `${manifestName} is not JSON`, { detail: "manifest_mismatch", cause: error });
  }
}

function checkManifest(release: ReleaseWithArtifacts, manifest: Manifest): void {
  for (const field of ["product", "version", "channel"] as const) {
    if (manifest[field] !== release[field]) {
      throw incomplete(`${manifestName} says ${field} "${manifest[field]}", the release is "${release[field]}"`, "manifest_mismatch");
    }
  }
  for (const described of manifest.artifacts) {
    const artifact = release.artifacts.find((candidate) => candidate.name === described.name);
    if (artifact === undefined) throw incomplete(`${manifestName} names ${described.name}, which is not attached`, "not_attached");
    if (artifact.digest !== digestFromHex(described.sha256) || artifact.size !== described.size) {
      throw incomplete(`${described.name} has another digest or size than ${manifestName} says`, "digest_mismatch");
    }
  }
}

type Signed = {
  readonly release: ReleaseWithArtifacts;
  readonly keys: ReleaseKeys;
  readonly sumsArtifact: Artifact;
  readonly sumsBytes: Buffer;
  readonly manifestBytes: Buffer;
};

/** With keys registered, a signature of each kind must be there and be good: a stolen admin token alone cannot publish. */
async function checkSignatures(store: Store, signed: Signed): Promise<void> {
  const { release, keys, sumsArtifact } = signed;
  const require = (["minisign", "openpgp"] as const).filter((kind) => keys[kind] !== undefined);
  if (require.length === 0) return;
  const policy = await createTrustPolicy({
    ...(keys.minisign === undefined ? {} : { minisign: [keys.minisign] }),
    ...(keys.openpgp === undefined ? {} : { openpgp: { keyring: Buffer.from(keys.openpgp) } }),
    require,
  });
  try {
    await verifyRelease({
      sums: signed.sumsBytes,
      signatures: {
        openpgp: await readArtifact(store, release, `${sumsArtifact.name}.sig`, openpgpSignatureSizeLimit),
        minisign: await readArtifact(store, release, `${sumsArtifact.name}.minisig`, minisigSizeLimit),
      },
      manifest: signed.manifestBytes,
      expected: { product: release.product, version: release.version },
      policy,
      now: store.clock.now(),
    });
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code !== "upgrade_verification_failed") throw error;
    throw new SlipwayError("signature_invalid", `${release.product} ${release.version}: ${error.message}`, {
      ...(error.detail === undefined ? {} : { detail: error.detail }),
      hint: "sign SHA256SUMS with the product's release keys (`slipway build` does, given the keys), then publish again",
      cause: error,
    });
  }
}

/** apk asks for this signature where a customer installs a package by its file, apart from the repository. */
async function checkApkSignatures(store: Store, release: ReleaseWithArtifacts, keyText: string | undefined): Promise<void> {
  if (keyText === undefined) return;
  const key = readApkPublicKey(keyText);
  for (const artifact of release.artifacts.filter(({ kind }) => kind === "apk")) {
    const apk = await readApk(blobSource({ ...artifact, blobs: store.blobs }));
    try {
      verifyApkMember({ member: apk.controlBytes, signatures: apk.signatures }, [key]);
    } catch (error) {
      if (!(error instanceof SlipwayError)) throw error;
      throw new SlipwayError(error.code, `${artifact.name}: ${error.message}`, {
        ...(error.detail === undefined ? {} : { detail: error.detail }),
        hint: `build it with the apk key that is registered (${key.keyFile}), or register the one it was built with`,
        cause: error,
      });
    }
  }
}

/** Read whole from the disk: what customers will get is what was announced, not what was once received. */
async function checkBlob(store: Store, artifact: Artifact): Promise<void> {
  const hash = createHash("sha256");
  await pipeline(await store.blobs.open(artifact.digest), hash);
  const actual = digestFromHex(hash.digest("hex"));
  if (actual !== artifact.digest) {
    throw new SlipwayError("release_incomplete", `the stored bytes of ${artifact.name} are damaged: ${actual} instead of ${artifact.digest}`, {
      detail: "blob_damaged",
      hint: "check the server's disk, then upload the artifact again",
    });
  }
}
