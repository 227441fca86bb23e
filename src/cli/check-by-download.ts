/** The check before publishing: every file of the draft comes back over HTTP and must be what was signed, for the vendor's eyes and not the server's. */
import { createHash } from "node:crypto";
import { z } from "zod";
import { systemClock } from "../io/clock.ts";
import { type Digest, digestFromHex, digestHex } from "../model/digest.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { manifestName, manifestSizeLimit } from "../model/manifest.ts";
import { parseVersion } from "../model/version.ts";
import type { artifactSchema, WireRelease } from "../server/wire.ts";
import { releaseKeysSchema } from "../server/wire.ts";
import { digestOf, parseChecksums, sumsSizeLimit } from "../trust/checksums.ts";
import { createTrustPolicy, signatureKinds } from "../trust/keyring.ts";
import { isSignatureFile, signatureSuffixes } from "../trust/release-signature.ts";
import { type GoodSignature, verifyRelease } from "../trust/verify-release.ts";
import { type ApiClient, withRetries } from "./api-client.ts";
import type { Invocation } from "./command.ts";
import type { Progress } from "./output.ts";

export type CheckedDraft = {
  /** The manifest's. */
  readonly sequence: number;
  /** No upgrade path passes it by, as its manifest says. */
  readonly isWaypoint: boolean;
  readonly sumsDigest: Digest;
  readonly files: number;
  readonly bytes: number;
  readonly signatures: readonly GoodSignature[];
};

/** Signatures have some kilobytes; nothing that is kept whole in memory here may be larger than sums or manifest. */
const keptLimit = Math.max(sumsSizeLimit, manifestSizeLimit);

type WireArtifact = z.output<typeof artifactSchema>;
type Downloaded = { readonly digest: Digest; readonly size: number; readonly bytes: Buffer | undefined };

/**
 * Throws `release_incomplete` for a draft without sums or with a file that they do not list, `sums_invalid` where bytes differ from the sums,
 * `data_damaged` where the server's disk lost or changed some, `upgrade_verification_failed` where a registered release key did not sign. Nothing is changed.
 */
export async function checkByDownload(
  api: ApiClient,
  invocation: Invocation,
  draft: { readonly release: WireRelease; readonly sumsName: string },
): Promise<CheckedDraft> {
  const { release, sumsName } = draft;
  if (!release.artifacts.some(({ name }) => name === sumsName)) {
    throw new SlipwayError("release_incomplete", `the draft of ${release.product} ${release.version} has no ${sumsName}`, {
      hint: "upload it with `slipway publish`; another name is given with --sums",
    });
  }
  const signatureNames = Object.values(signatureSuffixes).map((suffix) => `${sumsName}${suffix}`);
  const kept = new Set([sumsName, manifestName, ...signatureNames]);
  const files = await downloadAll(api, invocation, { release, kept });
  const sums = bytesOf(files, sumsName);
  const listed = parseChecksums(sums, sumsName);
  const isSignature = (name: string): boolean => isSignatureFile(name, { name: sumsName, has: (other) => listed.has(other) });
  compare(files, listed, (name) => name === sumsName || isSignature(name));
  const signatures = await checkSignatures(api, { release, files, sumsName });
  if (signatures.length === 0) invocation.output.note(`${release.product} has no release keys on the server: no signature was checked`);
  const bytes = release.artifacts.reduce((sum, artifact) => sum + artifact.size, 0);
  return { ...describedBy(bytesOf(files, manifestName)), sumsDigest: digestOf(sums), files: files.size, bytes, signatures };
}

async function downloadAll(
  api: ApiClient,
  invocation: Invocation,
  at: { readonly release: WireRelease; readonly kept: ReadonlySet<string> },
): Promise<ReadonlyMap<string, Downloaded>> {
  const { output, signal } = invocation;
  const { release } = at;
  const total = release.artifacts.reduce((sum, artifact) => sum + artifact.size, 0);
  const progress = output.progress(`verifying ${release.product} ${release.version} by re-download`, total);
  const files = new Map<string, Downloaded>();
  let before = 0;
  for (const artifact of release.artifacts) {
    signal.throwIfAborted();
    const path = ["products", release.product, "releases", release.version, "artifacts", artifact.name];
    const start = before;
    const isKept = at.kept.has(artifact.name);
    const file = await withRetries({ signal, isRepeatable: true }, () => downloadOne(api, { path, artifact, isKept, progress, before: start }));
    if (file.digest !== artifact.digest || file.size !== artifact.size) {
      throw new SlipwayError(
        "sums_invalid",
        `${artifact.name} came back as ${file.digest} with ${file.size} bytes; the draft says ${artifact.digest} with ${artifact.size}`,
      );
    }
    files.set(artifact.name, file);
    before += artifact.size;
  }
  progress.end();
  return files;
}

type Wanted = {
  readonly path: readonly string[];
  readonly artifact: WireArtifact;
  readonly isKept: boolean;
  readonly progress: Progress;
  readonly before: number;
};

async function downloadOne(api: ApiClient, wanted: Wanted): Promise<Downloaded> {
  const hash = createHash("sha256");
  const pieces: Uint8Array[] = [];
  let size = 0;
  const body = await api.download(wanted.path).catch((error: unknown) => {
    const failure = asSlipwayError(error);
    throw failure.code === "data_damaged"
      ? new SlipwayError("data_damaged", `the server's copy of ${wanted.artifact.name} is damaged`, { cause: error })
      : failure;
  });
  for await (const piece of body) {
    hash.update(piece);
    size += piece.length;
    if (size > wanted.artifact.size) throw new SlipwayError("sums_invalid", `${wanted.artifact.name} is longer than its ${wanted.artifact.size} bytes`);
    if (wanted.isKept && size <= keptLimit) pieces.push(piece);
    wanted.progress.update(wanted.before + size, wanted.artifact.name);
  }
  return { digest: digestFromHex(hash.digest("hex")), size, bytes: wanted.isKept && size <= keptLimit ? Buffer.concat(pieces) : undefined };
}

function bytesOf(files: ReadonlyMap<string, Downloaded>, name: string): Buffer {
  const bytes = files.get(name)?.bytes;
  if (bytes === undefined) throw new SlipwayError("release_incomplete", `the draft has no readable ${name}`);
  return bytes;
}

const described = z.object({ sequence: z.int().nonnegative(), compat: z.object({ waypoint: z.boolean().optional() }).optional() });

function describedBy(manifest: Uint8Array): Pick<CheckedDraft, "sequence" | "isWaypoint"> {
  const parsed = described.safeParse(JSON.parse(Buffer.from(manifest).toString("utf8")));
  if (!parsed.success) throw new SlipwayError("release_incomplete", `${manifestName} of the draft has no sequence`, { cause: parsed.error });
  return { sequence: parsed.data.sequence, isWaypoint: parsed.data.compat?.waypoint === true };
}

/** Both ways: what the sums list is there with those bytes, and nothing is there that they do not list. */
function compare(files: ReadonlyMap<string, Downloaded>, sums: ReadonlyMap<string, string>, isExempt: (name: string) => boolean): void {
  for (const [name, hex] of sums) {
    const file = files.get(name);
    if (file === undefined) throw new SlipwayError("release_incomplete", `the sums list ${name}, which the draft lacks`);
    if (digestHex(file.digest) !== hex) throw new SlipwayError("sums_invalid", `${name} came back with SHA-256 ${digestHex(file.digest)}; the sums say ${hex}`);
  }
  for (const name of files.keys()) {
    if (!sums.has(name) && !isExempt(name)) throw new SlipwayError("release_incomplete", `the draft has ${name}, which the sums do not list`);
  }
}

async function checkSignatures(
  api: ApiClient,
  draft: { readonly release: WireRelease; readonly files: ReadonlyMap<string, Downloaded>; readonly sumsName: string },
): Promise<readonly GoodSignature[]> {
  const { release, files, sumsName } = draft;
  const keys = await api.call({ method: "GET", path: ["products", release.product, "release-keys"], schema: releaseKeysSchema });
  const require = signatureKinds.filter((kind) => keys[kind] !== undefined);
  if (require.length === 0) return [];
  const policy = await createTrustPolicy({
    ...(keys.minisign === undefined ? {} : { minisign: [keys.minisign] }),
    ...(keys.openpgp === undefined ? {} : { openpgp: { keyring: Buffer.from(keys.openpgp) } }),
    require,
  });
  const verified = await verifyRelease({
    sums: bytesOf(files, sumsName),
    signatures: {
      openpgp: files.get(`${sumsName}${signatureSuffixes.openpgp}`)?.bytes,
      minisign: files.get(`${sumsName}${signatureSuffixes.minisign}`)?.bytes,
    },
    manifest: bytesOf(files, manifestName),
    expected: { product: release.product, version: parseVersion(release.version) },
    policy,
    now: systemClock.now(),
  });
  return verified.signatures;
}
