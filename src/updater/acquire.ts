/** Rows 1 to 4: fetch the release's description and artifact into the staging folder, and prove them, before anything that runs is touched. */
import { randomBytes } from "node:crypto";
import { access, constants, type FileHandle, rename, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { syncDirectory, writeFileAtomic } from "../io/atomic-file.ts";
import { downloadPart, type PartValidator } from "../io/download.ts";
import { hashHandle, readHandle } from "../io/hash-file.ts";
import { type Digest, digestFromHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { type Manifest, manifestName, manifestSizeLimit, type ManifestArtifact } from "../model/manifest.ts";
import { contractSchema, type UpgradeContract } from "../model/upgrade-contract.ts";
import { parseVersion, type Version } from "../model/version.ts";
import { sumsSizeLimit } from "../trust/checksums.ts";
import type { TrustPolicy } from "../trust/keyring.ts";
import { requireArtifact, requireBundle } from "../trust/verify-release.ts";
import { tryDelta } from "./delta-download.ts";
import { lstatIfThere, openRegular, seeFile } from "./file-tree.ts";
import { requireContract } from "./gate.ts";
import { readState } from "./installed-state.ts";
import { readPrivateFile } from "./journal.ts";
import { requireUnpackaged } from "./package-owner.ts";
import { chooseArtifact, requireProgress } from "./plan.ts";
import { proveDescription, readTrustPolicy, rememberTrust } from "./prove.ts";
import type { ReleaseFiles } from "./release-source.ts";
import { sectionsOf } from "./sections.ts";
import { ensurePrivate } from "./state-directory.ts";
import type { HeldArtifact } from "./strategy.ts";
import type { FileTable } from "./transaction.ts";
import { requireGoOn, type Work } from "./work.ts";

const signatureLimitBytes = 64 * 1024;
const names = {
  sums: "SHA256SUMS",
  minisign: "SHA256SUMS.minisig",
  openpgp: "SHA256SUMS.sig",
  sigstore: "SHA256SUMS.bundle",
  manifest: manifestName,
  bundle: "artifact.bundle",
  artifact: "artifact",
  part: "artifact.part",
  partNote: "part.json",
} as const;
const partNoteSchema = z.object({ etag: z.string().max(1000).optional(), lastModified: z.string().max(100).optional() });

/** Row 1 and 2: description, plan and bytes; the journal is `downloaded` afterwards. */
export async function download(work: Work): Promise<void> {
  const { installation, machine, directory, source, journal, strategy, signal } = work;
  const version = parseVersion(journal.current().to.version);
  const staging = directory.staging(journal.current().id);
  await ensurePrivate(staging);
  const files = await source.files(version, signal);
  const policy = await readTrustPolicy(installation);
  const description = await proveDescription({ files, installation, policy, version, now: machine.clock.now() });
  requireProgress(description, await readState(directory.state, installation.product));
  await rememberTrust(directory.state, description);
  const artifact = chooseArtifact(description.manifest, installation);
  const target = strategy.target(artifact, version);
  await saveDescription(staging, files);
  await saveFile(staging, names.bundle, await fetchBundle(work, { policy, version, name: artifact.name }));
  // What an engine pulls lies where the engine keeps it; room for the archive is only needed where that is what comes.
  if (strategy.fetch === undefined) await requireSpace(work, artifact, target.files);
  const before = journal.current();
  const contract = contractSchema.parse(description.manifest);
  const paths = Object.keys(target.files);
  if (before.isUnlinked !== true) await requireUnpackaged(machine, strategy.livePaths(target.files));
  // What was installed by other means promises what its own release says: known once that was fetched and proven.
  const adopted: UpgradeContract[] = [];
  const fetch = async (other: Version, folder: string): Promise<ManifestArtifact> => {
    const release = await fetchRelease(work, other, folder);
    adopted.push(contractSchema.parse(release.manifest));
    return release.artifact;
  };
  const from = { ...(await strategy.adopt(before.from, { paths, fetch })), ...(adopted[0] === undefined ? {} : { contract: adopted[0] }) };
  requireContract(from, { version, contract }, sectionsOf(installation, from.contract, contract));
  await journal.advance({
    phase: "downloading",
    from,
    to: {
      ...before.to,
      seq: description.sequence,
      target: artifact.name,
      size: artifact.size,
      sha256: artifact.sha256,
      files: target.files,
      ...(target.ref === undefined ? {} : { ref: target.ref }),
      contract,
    },
    trust: {
      ...before.trust,
      checks: [...(installation.trust.tuf === undefined ? [] : ["tuf"]), ...description.signatures.map((signature) => signature.kind)],
    },
  });
  const registry = await strategy.fetch?.({ artifact, version, path: join(staging, names.artifact) });
  if (registry === undefined) {
    if (strategy.fetch !== undefined) await requireSpace(work, artifact, target.files);
    await tryDelta(work, { manifest: description.manifest, artifact, version, folder: staging, name: names.artifact });
    await fetchArtifact(work, { artifact, version, folder: staging, name: names.artifact });
  }
  const { registry: _, ...earlier } = journal.current().download;
  const brought = registry === undefined ? { bytes: artifact.size } : { bytes: 0, registry };
  await journal.advance({ phase: "downloaded", download: { ...earlier, ...brought } });
}

/**
 * Another release's artifact for this installation, proven by its own signature, complete at `folder`/`artifact.name` afterwards. For the way back
 * where the package that is installed was put there by other means; its manifest says what the version promises.
 */
async function fetchRelease(work: Work, version: Version, folder: string): Promise<{ readonly artifact: ManifestArtifact; readonly manifest: Manifest }> {
  const { installation, machine, source, signal } = work;
  const files = await source.files(version, signal);
  const policy = await readTrustPolicy(installation);
  const { manifest } = await proveDescription({ files, installation, policy, version, now: machine.clock.now() });
  const artifact = chooseArtifact(manifest, installation);
  const bundle = await fetchBundle(work, { policy, version, name: artifact.name });
  await fetchArtifact(work, { artifact, version, folder, name: artifact.name });
  const handle = await openRegular(join(folder, artifact.name));
  if (handle === undefined)
    throw new SlipwayError("unavailable", `${join(folder, artifact.name)} is gone`, {
      detail: "staging_lost",
      hint: "run the same command again: it is fetched again",
    });
  try {
    await requireBundle({ version }, { name: artifact.name, bundle, artifact: readHandle(handle) }, policy);
  } finally {
    await handle.close();
  }
  return { artifact, manifest };
}

/** Before the artifact itself: where the policy demands a bundle and there is none, nothing large is fetched. */
async function fetchBundle(
  { source, signal }: Work,
  { policy, version, name }: { readonly policy: TrustPolicy; readonly version: Version; readonly name: string },
): Promise<Uint8Array | undefined> {
  if (policy.sigstore === undefined) return undefined;
  const bundle = await source.bundle(version, name, signal);
  if (bundle === undefined && policy.require.includes("sigstore")) {
    throw new SlipwayError("upgrade_verification_failed", `there is no Sigstore bundle of ${name}`, { detail: "bundle_missing" });
  }
  return bundle;
}

async function saveFile(staging: string, name: string, bytes: Uint8Array | undefined): Promise<void> {
  if (bytes === undefined) await rm(join(staging, name), { force: true });
  else await writeFileAtomic(join(staging, name), bytes);
}

async function saveDescription(staging: string, files: ReleaseFiles): Promise<void> {
  await saveFile(staging, names.sums, files.sums);
  await saveFile(staging, names.minisign, files.minisign);
  await saveFile(staging, names.openpgp, files.openpgp);
  await saveFile(staging, names.sigstore, files.sigstore);
  await saveFile(staging, names.manifest, files.manifest);
}

/** A root on a read-only mount is said before anything is fetched or stopped. As the superuser nothing else can be said without a write. */
async function requireWritable(path: string): Promise<void> {
  try {
    await access(path, constants.W_OK);
  } catch (error) {
    throw new SlipwayError("permission_denied", `${path} cannot be written: ${(error as NodeJS.ErrnoException).code ?? ""}`, {
      place: path,
      hint: "run slipway as the owner of the product; a read-only file system must be mounted writable for the upgrade",
      cause: error,
    });
  }
}

/**
 * Part, unpacked files, kept old code: with a tenth to spare (updater facts 3.4 row 1). What goes to one file system is counted together, and a folder of the
 * product may have one of its own. Throws `disk_full`, `permission_denied` before a byte is fetched.
 */
async function requireSpace(work: Work, artifact: ManifestArtifact, files: FileTable): Promise<void> {
  const { installation, directory, journal } = work;
  const old = Object.values(journal.current().from.files).reduce((sum, file) => sum + (file.size ?? 0), 0);
  // A package manager may have its own ways to make a read-only folder writable.
  const isOurs = installation.strategy === "versions" || installation.strategy === "inplace";
  const copies = installation.strategy === "package" || installation.strategy === "container" ? 2 : 1;
  const parts: [path: string, bytes: number][] = [[directory.path, artifact.size * copies + (installation.strategy === "versions" ? 0 : old)]];
  if (installation.strategy === "inplace")
    for (const [path, { size }] of Object.entries(files)) parts.push([dirname(join(installation.root, path)), size ?? 0]);
  else parts.push([installation.root, (artifact.files ?? []).reduce((sum, file) => sum + file.size, 0) || artifact.size]);
  const needs = new Map<string, number>();
  for (const [path, bytes] of parts) needs.set(path, (needs.get(path) ?? 0) + bytes);
  const places = new Map<number, { readonly path: string; readonly bytes: number }>();
  for (const [wanted, bytes] of needs) {
    const path = await nearestFolder(wanted);
    if (isOurs) await requireWritable(path);
    const { dev } = await stat(path);
    const known = places.get(dev);
    places.set(dev, { path: known?.path ?? path, bytes: (known?.bytes ?? 0) + bytes });
  }
  for (const { path, bytes } of places.values()) {
    const { bavail, bsize } = await statfs(path);
    const needed = Math.ceil(bytes * 1.1);
    if (bavail * bsize < needed) throw new SlipwayError("disk_full", `${path} has ${bavail * bsize} bytes free; the upgrade needs ${needed}`, { place: path });
  }
}

/** The folder itself, or the one in which it will be made. */
async function nearestFolder(path: string): Promise<string> {
  let folder = path;
  while (dirname(folder) !== folder && (await lstatIfThere(folder)) === undefined) folder = dirname(folder);
  return folder;
}

type Fetching = { readonly artifact: ManifestArtifact; readonly version: Version; readonly folder: string; readonly name: string };

/** The artifact's bytes, complete and with the signed hash, under `name` in `folder`. */
async function fetchArtifact(work: Work, { artifact, version, folder, name }: Fetching): Promise<void> {
  const { source, machine, signal } = work;
  const [whole, part, note] = [join(folder, name), join(folder, names.part), join(folder, names.partNote)];
  const isRight = async (path: string): Promise<boolean> => {
    const seen = await seeFile(path);
    return seen !== undefined && seen.size === artifact.size && seen.sha256 === artifact.sha256;
  };
  if (await isRight(whole)) return;
  await rm(whole, { force: true });
  let mayRestart = true;
  for (;;) {
    requireGoOn(work);
    const { resumedFrom } = await source
      .artifact({ version, name: artifact.name, signal }, async (remote) =>
        downloadPart({
          remote,
          size: artifact.size,
          path: part,
          validator: await readNote(note),
          onValidator: (validator) => writeFileAtomic(note, JSON.stringify(validator)),
          onProgress: (done) => machine.observe({ event: "download", done, total: artifact.size }),
        }),
      )
      .catch((error: unknown) => {
        if (!(error instanceof SlipwayError) || error.detail !== "size_mismatch") throw error;
        throw new SlipwayError("upgrade_verification_failed", error.message, { detail: "size_mismatch", cause: error });
      });
    if (await isRight(part)) break;
    const seen = await seeFile(part);
    await rm(part, { force: true });
    await rm(note, { force: true });
    // What was there before may have been damaged on this disk: one try from byte 0, then it is the source that is wrong.
    if (resumedFrom === 0 || !mayRestart) {
      throw new SlipwayError("upgrade_verification_failed", `${artifact.name} has SHA-256 ${seen?.sha256 ?? "-"}; signed was ${artifact.sha256}`, {
        detail: "hash_mismatch",
      });
    }
    mayRestart = false;
    machine.observe({ event: "warning", text: `the resumed download of ${artifact.name} has the wrong hash; it starts again from 0` });
  }
  await rename(part, whole);
  await rm(note, { force: true });
  await syncDirectory(folder);
  machine.observe({ event: "step", step: "download", text: `${artifact.name} is complete` });
}

async function readNote(path: string): Promise<PartValidator | undefined> {
  const bytes = await readPrivateFile(path, 4096);
  if (bytes === undefined) return undefined;
  try {
    return partNoteSchema.parse(JSON.parse(bytes.toString("utf8")));
  } catch {
    return undefined; // without a note the download starts from 0, which is always safe
  }
}

/**
 * Row 4: everything again from the staging folder, on a descriptor that stays open until the files are placed. Works offline.
 * Throws `upgrade_verification_failed`, or `unavailable` where the staging folder lost a file.
 */
export async function holdArtifact(work: Work): Promise<HeldArtifact> {
  const { directory, journal, installation, machine } = work;
  const transaction = journal.current();
  const staging = directory.staging(transaction.id);
  const lost = (name: string): SlipwayError =>
    new SlipwayError("unavailable", `${join(staging, name)} is gone`, { detail: "staging_lost", hint: "`slipway upgrade resume` fetches it again" });
  const read = async (name: string, limit: number): Promise<Uint8Array | undefined> => readPrivateFile(join(staging, name), limit);
  const sums = await read(names.sums, sumsSizeLimit);
  const manifest = await read(names.manifest, manifestSizeLimit);
  if (sums === undefined) throw lost(names.sums);
  if (manifest === undefined) throw lost(names.manifest);
  const files: ReleaseFiles = {
    sums,
    manifest,
    minisign: await read(names.minisign, signatureLimitBytes),
    openpgp: await read(names.openpgp, signatureLimitBytes),
    sigstore: await read(names.sigstore, signatureLimitBytes),
  };
  const policy = await readTrustPolicy(installation);
  const description = await proveDescription({ files, installation, policy, version: parseVersion(transaction.to.version), now: machine.clock.now() });
  const handle = await openRegular(join(staging, names.artifact));
  if (handle === undefined) throw lost(names.artifact);
  try {
    const name = transaction.to.target ?? "";
    if (transaction.download.registry !== undefined) {
      const signed = { name, digest: digestFromHex(transaction.to.sha256 ?? ""), size: transaction.to.size ?? 0 };
      return { handle, artifact: requireArtifact(description, signed) };
    }
    const bundle = policy.sigstore === undefined ? undefined : await read(names.bundle, signatureLimitBytes);
    // A bundle's check reads every byte, so what it has seen need not be read once more.
    const proven = await requireBundle(description, { name, bundle, artifact: readHandle(handle) }, policy);
    const seen = proven ?? (await hashed(handle));
    const artifact = requireArtifact(description, { name, digest: seen.digest, size: seen.size });
    if (artifact.sha256 !== transaction.to.sha256) {
      throw new SlipwayError("upgrade_verification_failed", `the journal is about another ${artifact.name} than the one that was signed`, {
        detail: "hash_mismatch",
      });
    }
    return { handle, artifact };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function hashed(handle: FileHandle): Promise<{ readonly digest: Digest; readonly size: number }> {
  const { sha256, size } = await hashHandle(handle);
  return { digest: digestFromHex(sha256), size };
}

export const newTransactionId = (): string => randomBytes(12).toString("hex");
