/**
 * A published release seen from the outside (K14): everything that its sums list is fetched and hashed again, every signature and bundle that the
 * policy knows is verified, and what was found becomes a report. Nothing is kept and nothing is installed.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import { displayUrl, fetchBounded, type Remote, streamRemote } from "../io/download.ts";
import { digestFromHex } from "../model/digest.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { manifestName, manifestSizeLimit } from "../model/manifest.ts";
import type { Version } from "../model/version.ts";
import { sumsSizeLimit } from "../trust/checksums.ts";
import type { TrustPolicy } from "../trust/keyring.ts";
import { bundleSuffixes, signatureSuffixes } from "../trust/release-signature.ts";
import { bundleSizeLimit } from "../trust/sigstore-bundle.ts";
import { type ReleaseDescription, requireArtifact, requireBundle, requireDigest, type SignatureFiles, verifyRelease } from "../trust/verify-release.ts";
import type { Verified } from "../trust/verified.ts";

/** Where the release's files lie side by side. */
export type ReleasePlace = {
  /** For the report: without credentials. */
  readonly name: string;
  /** A small file; undefined where there is none. */
  readonly read: (file: string, limit: number) => Promise<Uint8Array | undefined>;
  readonly open: (file: string, limit: number) => AsyncIterable<Uint8Array>;
};

/** Files below `base`, which ends in a slash: our server's `/releases/<product>/<version>/`, a bucket, a forge's download page. */
export function remotePlace(base: URL, remote: Omit<Remote, "url">): ReleasePlace {
  const at = (file: string): Remote => ({ ...remote, url: new URL(encodeURIComponent(file), base) });
  return {
    name: displayUrl(base),
    read: async (file, limit) => {
      try {
        return await fetchBounded(at(file), limit);
      } catch (error) {
        if (error instanceof SlipwayError && error.code === "not_found") return undefined;
        throw error;
      }
    },
    open: (file, limit) => streamRemote(at(file), limit),
  };
}

export function folderPlace(folder: string): ReleasePlace {
  return {
    name: folder,
    read: async (file, limit) => {
      try {
        return await readFileBounded(join(folder, file), limit);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        throw error;
      }
    },
    open: (file) => createReadStream(join(folder, file)) as AsyncIterable<Buffer>,
  };
}

export type Examined = { readonly name: string; readonly result: "PASS" | "FAIL"; readonly detail: string };

export type ReleaseReport = {
  readonly schema: 1;
  readonly result: "PASS" | "FAIL";
  readonly product: string;
  readonly version: string;
  readonly sequence?: number;
  readonly commit?: string;
  readonly source: string;
  /** RFC 3339. */
  readonly verifiedAt: string;
  readonly verifiedBy: string;
  /** What was demanded. */
  readonly required: readonly string[];
  readonly signers: readonly { readonly kind: string; readonly id: string }[];
  readonly checks: readonly Examined[];
  readonly files: readonly { readonly name: string; readonly size: number; readonly sha256: string; readonly bundleBy?: string }[];
};

/** A refusal is a failed check, so that the report covers every file; no network, no credentials and the like are thrown. */
export async function examineRelease(question: {
  readonly place: ReleasePlace;
  readonly product: string;
  readonly version: Version;
  readonly sumsName: string;
  readonly policy: TrustPolicy;
  readonly now: Date;
  readonly tool: string;
  readonly onFile?: (name: string) => void;
}): Promise<ReleaseReport> {
  const { place, product, version, policy } = question;
  const checks: Examined[] = [];
  const files: ReleaseReport["files"][number][] = [];
  const proven = await attempt("release", checks, () => prove(question));
  if (proven !== undefined) {
    for (const { kind, keyId } of proven.signatures) checks.push({ name: `${kind} signature`, result: "PASS", detail: `by ${keyId}` });
    checks.push({ name: "release", result: "PASS", detail: `${proven.product} ${proven.version}, sequence ${proven.sequence}` });
    for (const name of proven.sums.keys()) {
      const file = await attempt(name, checks, () => examineFile(place, { release: proven, name, policy }));
      if (file !== undefined) {
        files.push(file);
        checks.push({ name, result: "PASS", detail: `sha256:${file.sha256}` });
        if (file.bundleBy !== undefined) checks.push({ name: `${name}${bundleSuffixes.bundle}`, result: "PASS", detail: `by ${file.bundleBy}` });
      }
      question.onFile?.(name);
    }
  }
  return {
    schema: 1,
    result: checks.length > 0 && checks.every((check) => check.result === "PASS") ? "PASS" : "FAIL",
    product,
    version,
    ...(proven === undefined ? {} : { sequence: proven.sequence }),
    ...(proven?.manifest.commit === undefined ? {} : { commit: proven.manifest.commit }),
    source: place.name,
    verifiedAt: question.now.toISOString(),
    verifiedBy: question.tool,
    required: policy.require,
    signers: (proven?.signatures ?? []).map(({ kind, keyId }) => ({ kind, id: keyId })),
    checks,
    files,
  };
}

async function prove({ place, product, version, sumsName, policy, now }: Parameters<typeof examineRelease>[0]): Promise<Verified<ReleaseDescription>> {
  return verifyRelease({ ...(await readReleaseFiles(place, sumsName)), expected: { product, version }, policy, now });
}

/** Sums, signatures and release.json, as they came. Throws `upgrade_verification_failed` where sums or release.json are missing. */
export async function readReleaseFiles(
  place: ReleasePlace,
  sumsName: string,
): Promise<{ readonly sums: Uint8Array; readonly manifest: Uint8Array; readonly signatures: SignatureFiles }> {
  const required = async (name: string, limit: number): Promise<Uint8Array> => {
    const bytes = await place.read(name, limit);
    if (bytes === undefined) throw new SlipwayError("upgrade_verification_failed", `there is no ${name}`, { detail: "sums_entry_missing" });
    return bytes;
  };
  const signature = (kind: keyof typeof signatureSuffixes): Promise<Uint8Array | undefined> =>
    place.read(`${sumsName}${signatureSuffixes[kind]}`, bundleSizeLimit);
  return {
    sums: await required(sumsName, sumsSizeLimit),
    manifest: await required(manifestName, manifestSizeLimit),
    signatures: { openpgp: await signature("openpgp"), minisign: await signature("minisign"), sigstore: await signature("sigstore") },
  };
}

/** One pass: the bytes are hashed, and where a bundle counts, verified, as they come. */
async function examineFile(
  place: ReleasePlace,
  question: { readonly release: Verified<ReleaseDescription>; readonly name: string; readonly policy: TrustPolicy },
): Promise<ReleaseReport["files"][number]> {
  const { release, name, policy } = question;
  const row = release.manifest.artifacts.find((artifact) => artifact.name === name);
  const artifact = cutAfter(place.open(name, row?.size ?? manifestSizeLimit), { name, limit: row?.size ?? manifestSizeLimit });
  const bundle = policy.sigstore === undefined ? undefined : await place.read(`${name}${bundleSuffixes.bundle}`, bundleSizeLimit);
  const bundled = await requireBundle(release, { name, bundle, artifact }, policy);
  const seen = bundled ?? (await hashAll(artifact));
  if (row === undefined) requireDigest(release, { name, digest: seen.digest });
  else requireArtifact(release, { name, digest: seen.digest, size: seen.size });
  return { name, size: seen.size, sha256: seen.digest.slice("sha256:".length), ...(bundled === undefined ? {} : { bundleBy: bundled.signer }) };
}

async function hashAll(artifact: AsyncIterable<Uint8Array>): Promise<{ readonly digest: ReturnType<typeof digestFromHex>; readonly size: number }> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const piece of artifact) {
    hash.update(piece);
    size += piece.length;
  }
  return { digest: digestFromHex(hash.digest("hex")), size };
}

/** A file longer than what was signed is not read to its end. */
async function* cutAfter(pieces: AsyncIterable<Uint8Array>, { name, limit }: { readonly name: string; readonly limit: number }): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const piece of pieces) {
    size += piece.length;
    if (size > limit) throw new SlipwayError("upgrade_verification_failed", `${name} is longer than its ${limit} signed bytes`, { detail: "size_mismatch" });
    yield piece;
  }
}

/** What says something about the release; anything else says something about the way to it, and stops. */
const verdictCodes: readonly string[] = ["upgrade_verification_failed", "not_found", "gone", "too_large"];

async function attempt<T>(name: string, checks: Examined[], action: () => Promise<T>): Promise<T | undefined> {
  try {
    return await action();
  } catch (thrown) {
    const isAbsent = (thrown as NodeJS.ErrnoException).code === "ENOENT";
    const error = isAbsent ? new SlipwayError("not_found", `${name} is not there`) : asSlipwayError(thrown);
    if (!verdictCodes.includes(error.code)) throw error;
    checks.push({ name, result: "FAIL", detail: error.detail === undefined ? error.message : `${error.detail}: ${error.message}` });
    return undefined;
  }
}
