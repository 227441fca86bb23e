/**
 * From which earlier releases deltas are made: those of --delta-from, else the newest ones, as many as the recipe's `deltas` says.
 *
 * The server knows what is published; what it has is fetched from there, unless the very same release lies under dist/. Where no server is in
 * reach, what lies under dist/ counts. None of it is trusted: a delta from other bytes than a customer has is one that nobody can use.
 */
import { mkdir, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { z } from "zod";
import { readFileBounded } from "../io/bounded-read.ts";
import { asSlipwayError } from "../model/errors.ts";
import { type Manifest, manifestName, manifestSchema, manifestSizeLimit } from "../model/manifest.ts";
import { compareVersions, fileVersion, isStable, parseVersion, tryParseVersion, type Version } from "../model/version.ts";
import { deltaBase, deltaName, readReleaseManifest } from "../packaging/delta-build.ts";
import type { Plan, PlannedArtifact } from "../packaging/plan.ts";
import type { Recipe } from "../packaging/recipe.ts";
import { artifactSchema, releaseSchema, releaseSummarySchema } from "../server/wire.ts";
import { digestOf } from "../trust/checksums.ts";
import { type ApiClient, openApi } from "./api-client.ts";
import { type Invocation, listOption, textOption } from "./command.ts";
import { downloadArtifact } from "./download-artifact.ts";

type LocalBase = { readonly kind: "local"; readonly manifest: Manifest; readonly folder: string };
/** Only its description was fetched. */
type RemoteBase = {
  readonly kind: "remote";
  readonly manifest: Manifest;
  readonly api: ApiClient;
  readonly artifacts: readonly z.output<typeof artifactSchema>[];
};
export type DeltaBase = LocalBase | RemoteBase;

/** A delta that is tried; it becomes a file where it saves enough. */
export type PlannedDelta = { readonly name: string; readonly of: string; readonly from: string; readonly source: string };

/** Newest first. Nothing but descriptions is fetched. A server that cannot be asked is said in a note; a build does not fail for it. */
export async function findDeltaBases(
  invocation: Invocation,
  at: { readonly recipe: Recipe; readonly plan: Plan; readonly isPreview: boolean; readonly outFolder: string },
): Promise<readonly DeltaBase[]> {
  const { recipe, plan, isPreview, outFolder } = at;
  const named = listOption(invocation.options, "deltaFrom");
  if (named !== undefined) {
    const folders = named.map((name) => resolve(invocation.cwd, name));
    return Promise.all(folders.map(async (folder) => ({ kind: "local", folder, manifest: await readReleaseManifest(folder) }) as const));
  }
  if (recipe.deltas === 0 || isPreview) return [];
  const local = await localReleases(outFolder, plan);
  const server = textOption(invocation.options, "server") ?? recipe.publish.server;
  if (server === undefined) return local.slice(0, recipe.deltas);
  try {
    return await publishedReleases(await openApi(invocation, server), { plan, local, count: recipe.deltas });
  } catch (error) {
    if (invocation.signal.aborted) throw error;
    invocation.output.note(`deltas are made from what lies in ${outFolder} alone: ${asSlipwayError(error).message}`);
    return local.slice(0, recipe.deltas);
  }
}

/** What an installation of this version may come from: earlier, and no preview unless this is one. */
function isEarlier(version: Version, plan: Plan): boolean {
  return compareVersions(version, plan.version) < 0 && (isStable(version) || !isStable(plan.version));
}

async function localReleases(outFolder: string, plan: Plan): Promise<readonly LocalBase[]> {
  const names = await readdir(outFolder).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  });
  const found: (LocalBase & { readonly version: Version })[] = [];
  for (const name of names) {
    if (name.startsWith(".")) continue;
    const folder = join(outFolder, name);
    const manifest = await readReleaseManifest(folder).catch(() => undefined); // whatever else lies there
    const version = tryParseVersion(manifest?.version ?? "");
    if (manifest?.product === plan.product && version !== undefined && isEarlier(version, plan)) found.push({ kind: "local", folder, manifest, version });
  }
  return found.sort((left, right) => compareVersions(right.version, left.version));
}

const releasesSchema = z.object({ releases: z.array(releaseSummarySchema) });

async function publishedReleases(
  api: ApiClient,
  at: { readonly plan: Plan; readonly local: readonly LocalBase[]; readonly count: number },
): Promise<readonly DeltaBase[]> {
  const { plan, local, count } = at;
  const product = ["products", plan.product];
  const { releases } = await api.call({ method: "GET", path: [...product, "releases"], schema: releasesSchema });
  const versions = releases
    .flatMap(({ version: text, state }) => {
      const version = state === "published" ? tryParseVersion(text) : undefined;
      return version !== undefined && isEarlier(version, plan) ? [version] : [];
    })
    .sort((left, right) => compareVersions(right, left));
  const bases: DeltaBase[] = [];
  for (const version of versions.slice(0, count)) {
    const path = [...product, "releases", version];
    const { artifacts } = await api.call({ method: "GET", path, schema: releaseSchema });
    const described = artifacts.find(({ name }) => name === manifestName);
    const near = local.find(({ manifest }) => manifest.version === version);
    if (described === undefined) continue;
    if (near !== undefined && digestOf(await readFileBounded(join(near.folder, manifestName), manifestSizeLimit)) === described.digest) bases.push(near);
    else {
      const pieces: Uint8Array[] = [];
      if (described.size > manifestSizeLimit) continue;
      for await (const piece of await api.download([...path, "artifacts", manifestName])) pieces.push(piece);
      bases.push({ kind: "remote", manifest: manifestSchema.parse(JSON.parse(Buffer.concat(pieces).toString("utf8"))), api, artifacts });
    }
  }
  return bases;
}

/** The deltas that a build would try, in its order. */
export function plannedDeltas(plan: Plan, bases: readonly DeltaBase[]): readonly PlannedDelta[] {
  return bases.flatMap((base) =>
    plan.artifacts.flatMap((artifact) => {
      const { version } = base.manifest;
      if (baseOf(artifact, plan, base) === undefined) return [];
      const source = base.kind === "local" ? base.folder : base.api.server;
      return [{ name: deltaName(artifact.name, version), of: artifact.name, from: version, source }];
    }),
  );
}

function baseOf(artifact: PlannedArtifact, { version }: Plan, { manifest }: DeltaBase): Manifest["artifacts"][number] | undefined {
  if (artifact.kind !== "archive" && artifact.kind !== "binary") return undefined;
  return deltaBase({ name: artifact.name, kind: artifact.kind, os: artifact.target.os, arch: artifact.target.arch, version }, manifest);
}

/**
 * Fetches what is still on the server into `work`, and only what a delta is made from. Returns the folders of the bases, in their order; one that
 * cannot be fetched is left out with a note: a release is not held up by a file that only saves bytes.
 */
export async function fetchDeltaBases(
  invocation: Invocation,
  at: { readonly bases: readonly DeltaBase[]; readonly plan: Plan; readonly work: string },
): Promise<readonly string[]> {
  const folders: string[] = [];
  for (const base of at.bases) {
    if (base.kind === "local") {
      folders.push(base.folder);
      continue;
    }
    const { version } = base.manifest;
    const into = join(at.work, fileVersion(parseVersion(version)));
    await mkdir(into, { recursive: true });
    try {
      await fetchBase(invocation, { base, plan: at.plan, into });
      folders.push(into);
    } catch (error) {
      if (invocation.signal.aborted) throw error;
      invocation.output.note(`no delta from ${version}, which cannot be fetched: ${asSlipwayError(error).message}`);
    }
  }
  return folders;
}

type Fetching = { readonly base: RemoteBase; readonly plan: Plan; readonly into: string };

async function fetchBase({ output, signal }: Invocation, { base, plan, into }: Fetching): Promise<void> {
  const { manifest, api, artifacts } = base;
  const needed = new Set(plan.artifacts.flatMap((artifact) => baseOf(artifact, plan, base)?.name ?? []));
  const wanted = artifacts.filter(({ name }) => name === manifestName || needed.has(name));
  const total = wanted.reduce((sum, { size }) => sum + size, 0);
  const progress = output.progress(`fetching ${manifest.product} ${manifest.version} for deltas`, total);
  let done = 0;
  for (const artifact of wanted) {
    signal.throwIfAborted();
    const body = await api.download(["products", manifest.product, "releases", manifest.version, "artifacts", artifact.name]);
    await downloadArtifact(body, artifact, { folder: into, onBytes: (size) => progress.update(done + size, artifact.name) });
    done += artifact.size;
  }
  progress.end();
}
