/** Carries out a plan: binaries, artifacts, manifest, sums and signatures, all in a folder aside that takes its name when everything is there. */
import { join } from "node:path";
import type { RunCommand } from "../io/command.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { createHashedFile } from "../io/hashed-file.ts";
import type { ConnectRegistry } from "../io/registry-client.ts";
import { connectRegistry } from "../io/registry-login.ts";
import { safeJoin } from "../io/safe-path.ts";
import { stageFolder } from "../io/staged-folder.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { type Manifest, type ManifestArtifact, manifestName, manifestSchema } from "../model/manifest.ts";
import { fileVersion } from "../model/version.ts";
import { formatChecksums } from "../trust/checksums.ts";
import { type ReleaseSigner, signSums } from "../trust/release-signature.ts";
import { assertNotInterrupted, buildBinaries } from "./build-binaries.ts";
import { openFinishedArtifacts } from "./finished-artifacts.ts";
import { readChangelog } from "./package-changelog.ts";
import type { Plan, PlannedCommand } from "./plan.ts";
import type { ProvenanceClaims } from "./provenance.ts";
import type { Recipe } from "./recipe.ts";
import { RecipeError } from "./recipe-error.ts";
import type { RecordWriter, ReleaseRecord } from "./release-records.ts";
import type { FindBinary } from "./resolve-files.ts";
import { keySetFileLimit, type KeySetFile, keySetOf, parseKeySetFile, requireRotationOrder } from "./key-set-file.ts";
import type { DeltaPlace } from "./delta-build.ts";
import { contractOf } from "./upgrade-schema.ts";
import { writeArtifact } from "./write-artifact.ts";

export type BuildOptions = {
  readonly recipe: Recipe;
  readonly plan: Plan;
  /** The recipe's folder, absolute: sources are relative to it and the build command runs in it. */
  readonly folder: string;
  /** Where `<version>/` appears: dist. */
  readonly outFolder: string;
  /** Absent: nothing is signed, and the plan's signatures are not written. */
  readonly signer?: ReleaseSigner;
  readonly run: RunCommand;
  /** Reaches the registry of an image's base; without logins by default. */
  readonly connectRegistry?: ConnectRegistry;
  /** Keeps what is finished when the build fails, and begins with what an earlier one kept. By default a failure leaves nothing. */
  readonly isResumable?: boolean;
  /** Puts deltas beside the artifacts once these are there; none by default. */
  readonly makeDeltas?: (place: DeltaPlace) => Promise<readonly ManifestArtifact[]>;
  /** How many artifacts are written at once. */
  readonly jobs: number;
  /** What SBOMs and provenance name as the tool that made them. */
  readonly tool: { readonly name: string; readonly version: string };
  /** What nobody can find out from the inputs: by default nobody in particular builds, from where git has it. */
  readonly claims?: ProvenanceClaims;
  readonly signal?: AbortSignal;
  readonly onCommand?: (command: PlannedCommand) => void;
  readonly onOutput?: (text: string) => void;
  readonly onArtifact?: (artifact: ManifestArtifact) => void;
  /** Called before a resumable build fails, with the names of what the next one can use. */
  readonly onKept?: (names: readonly string[]) => void;
};

export type BuildResult = {
  /** `dist/<version>`, absolute. */
  readonly folder: string;
  readonly manifest: Manifest;
  /** Names of everything in the folder, in the order of the plan. */
  readonly files: readonly string[];
  /** What a person should know although the release is whole: what the SBOMs could not say. */
  readonly warnings: readonly string[];
  /** Names of the artifacts that an earlier, failed build had finished. */
  readonly reused: readonly string[];
};

const artifactFileMode = 0o644;

/**
 * Builds the plan into `<outFolder>/<version>/`. On any failure, Ctrl-C (`interrupted`) included, that folder is as it was before;
 * the message names the artifact that failed.
 * Throws what its parts throw: `build_failed`, `source_missing`, `source_unusable`, `path_unsafe`, `recipe_invalid`, `format_limit`, `key_missing`.
 */
export async function buildRelease(options: BuildOptions): Promise<BuildResult> {
  const { plan, recipe, signer } = options;
  requireKeys(plan, signer);
  const staged = await stageFolder(options.outFolder, fileVersion(plan.version));
  const finished = options.isResumable === true ? await openFinishedArtifacts(resumePlace(options)) : undefined;
  try {
    const findBinary = await buildBinaries({ ...options, workFolder: staged.work });
    const records = await recordWriter(options, findBinary);
    const changelog = plan.artifacts.some(({ kind }) => kind === "deb" || kind === "rpm") ? await readChangelog(options) : undefined;
    const written = await mapBounded(plan.artifacts, options.jobs, async (planned) => {
      assertNotInterrupted(options.signal);
      try {
        const artifact = await writeArtifact(planned, {
          connectRegistry: (host) => connectRegistry(host),
          ...options,
          findBinary,
          filesFolder: staged.files,
          workFolder: staged.work,
          ...(changelog === undefined ? {} : { changelog }),
          ...(finished === undefined ? {} : { finished }),
        });
        options.onArtifact?.(artifact);
        return { artifact, sboms: await writeRecords(await records?.sbomsOf(planned, artifact), staged.files, options) };
      } catch (error) {
        throw namedFailure(error, planned.name);
      }
    });
    const packed = written.map(({ artifact }) => artifact);
    const place = { version: plan.version, folder: staged.files, workFolder: staged.work, artifacts: packed, signal: options.signal };
    const deltas = (await options.makeDeltas?.(place)) ?? [];
    const described = [...packed, ...deltas, ...written.flatMap(({ sboms }) => sboms)];
    const provenance = await writeRecords(await records?.provenanceOf(described), staged.files, options);
    const artifacts = [...described, ...provenance];
    const keySet = await readKeySet(recipe, options.folder);
    if (keySet !== undefined && signer !== undefined) requireRotationOrder(keySet, signer);
    const manifest = manifestOf(options, artifacts, keySet);
    const manifestText = `${JSON.stringify(manifest, null, 2)}\n`;
    const manifestDigest = await writeRecord(join(staged.files, manifestName), Buffer.from(manifestText));
    const sums = Buffer.from(formatChecksums([...artifacts.map((artifact) => [artifact.name, artifact.sha256] as const), [manifestName, manifestDigest]]));
    await writeRecord(join(staged.files, recipe.checksums), sums);
    const signatures =
      signer === undefined || (signer.openpgpDetached === undefined && signer.minisign === undefined)
        ? []
        : await signSums({ sums, sumsName: recipe.checksums, product: plan.product, version: plan.version, sequence: manifest.sequence }, signer);
    for (const signature of signatures) await writeRecord(join(staged.files, signature.name), signature.bytes);
    assertNotInterrupted(options.signal);
    await finished?.clear(); // first: after the commit there is nothing left that a failure could keep
    await staged.commit();
    const files = [...artifacts.map(({ name }) => name), manifestName, recipe.checksums, ...signatures.map((signature) => signature.name)];
    return {
      folder: join(options.outFolder, fileVersion(plan.version)),
      manifest,
      files,
      warnings: records?.warnings() ?? [],
      reused: finished?.taken() ?? [],
    };
  } catch (error) {
    // A disk that is full to the last byte has no room for the record either: nothing is kept then, and the first failure is the one that is told.
    const kept = (await finished?.keep(staged.files).catch(() => [])) ?? [];
    if (kept.length > 0) options.onKept?.(kept);
    throw error;
  } finally {
    await staged.discard();
  }
}

function resumePlace({ outFolder, plan, signer, tool }: BuildOptions): Parameters<typeof openFinishedArtifacts>[0] {
  const { node, zlib, zstd } = process.versions;
  return { outFolder, version: fileVersion(plan.version), tools: [tool, { node, zlib, zstd }, signer?.keyIds] };
}

/** The failure of one artifact among several says whose it is, a full disk's as well; bugs stay as they are. */
function namedFailure(thrown: unknown, name: string): unknown {
  const error = asSlipwayError(thrown);
  if (error.code === "internal" || error.code === "interrupted") return thrown;
  const message = `${error.message} (for ${name})`;
  if (error instanceof RecipeError) {
    const [first, ...others] = error.problems;
    return first === undefined ? error : new RecipeError([{ ...first, message }, ...others]);
  }
  const { code, detail, place, hint } = error;
  return new SlipwayError(code, message, { ...(detail === undefined ? {} : { detail }), ...(place === undefined ? {} : { place }), hint, cause: error });
}

/** A release that was planned as signed must not come out half-signed. */
function requireKeys(plan: Plan, signer: ReleaseSigner | undefined): void {
  if (signer === undefined) return;
  const isPlanned = (kind: "openpgp" | "minisign"): boolean => plan.records.some((record) => record.kind === kind);
  if (isPlanned("openpgp") && signer.openpgpDetached === undefined)
    throw new SlipwayError("key_missing", "the plan has an OpenPGP signature and the signer no OpenPGP key");
  if (isPlanned("minisign") && signer.minisign === undefined)
    throw new SlipwayError("key_missing", "the plan has a minisign signature and the signer no minisign key");
}

/** Loaded only where it is needed: the libraries behind it cost more time to start than a small build takes. */
async function recordWriter(options: BuildOptions, findBinary: FindBinary): Promise<RecordWriter | undefined> {
  if (!options.plan.records.some(({ kind }) => kind === "sbom" || kind === "provenance")) return undefined;
  const { createRecordWriter } = await import("./release-records.ts");
  return createRecordWriter({ ...options, findBinary });
}

async function writeRecords(records: readonly ReleaseRecord[] | undefined, folder: string, options: BuildOptions): Promise<readonly ManifestArtifact[]> {
  const written: ManifestArtifact[] = [];
  for (const { name, kind, bytes } of records ?? []) {
    assertNotInterrupted(options.signal);
    const record = { name, kind, size: bytes.length, sha256: await writeRecord(join(folder, name), bytes) };
    options.onArtifact?.(record);
    written.push(record);
  }
  return written;
}

/** The key set that the recipe names, of this commit. Throws `policy_invalid`, `source_missing`. */
async function readKeySet(recipe: Recipe, folder: string): Promise<KeySetFile | undefined> {
  if (recipe.sign.keys === undefined) return undefined;
  const path = safeJoin(folder, recipe.sign.keys);
  try {
    return parseKeySetFile((await readFileBounded(path, keySetFileLimit)).toString("utf8"), recipe.sign.keys);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new SlipwayError("source_missing", `there is no key set ${recipe.sign.keys}`, { place: recipe.placeOf(["sign", "keys"]), cause: error });
  }
}

function manifestOf({ plan, recipe }: BuildOptions, artifacts: readonly ManifestArtifact[], keySet: KeySetFile | undefined): Manifest {
  const manifest: Manifest = {
    schema: 1,
    product: plan.product,
    version: plan.version,
    tag: plan.tag,
    channel: plan.channel,
    sequence: plan.epochSeconds,
    createdAt: new Date(plan.epochSeconds * 1000).toISOString(),
    ...(plan.commit === undefined ? {} : { commit: plan.commit }),
    summary: recipe.summary,
    artifacts: artifacts.toSorted((left, right) => (left.name < right.name ? -1 : 1)),
    ...contractOf(recipe.upgrade),
    ...(keySet === undefined ? {} : { trust: keySetOf(keySet, plan.epochSeconds) }),
  };
  const checked = manifestSchema.safeParse(manifest);
  const issue = checked.error?.issues[0];
  if (issue !== undefined) throw new SlipwayError("format_limit", `${manifestName} cannot hold this release: ${issue.path.join(".")}: ${issue.message}`);
  return manifest;
}

/** Writes a small file and returns its SHA-256 in hex. */
async function writeRecord(path: string, bytes: Uint8Array): Promise<string> {
  const file = await createHashedFile(path, artifactFileMode);
  file.write(bytes);
  const { digest } = await file.close();
  return digest.slice("sha256:".length);
}

/** Maps with at most `limit` at work; results in the order of the items. After a failure nothing new is begun, and what runs is awaited first. */
async function mapBounded<Item, Result>(items: readonly Item[], limit: number, work: (item: Item) => Promise<Result>): Promise<readonly Result[]> {
  const results: Result[] = [];
  const queue = items.entries();
  let isFailed = false;
  const worker = async (): Promise<void> => {
    for (const [index, item] of queue) {
      if (isFailed) return;
      try {
        results[index] = await work(item);
      } catch (error) {
        isFailed = true;
        throw error;
      }
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: Math.max(1, Math.min(limit, items.length)) }, worker));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  return results;
}
