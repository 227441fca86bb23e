/** `slipway rebuild --verify`: builds a release again from its tag, in a checkout of its own, and holds the result against what was released. */
import { copyFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import type { RunCommand } from "../io/command.ts";
import { addWorktree } from "../io/git-worktree.ts";
import { safeJoin } from "../io/safe-path.ts";
import { SlipwayError } from "../model/errors.ts";
import { type Manifest, type ManifestArtifact, manifestName, manifestSizeLimit } from "../model/manifest.ts";
import { fileVersion, parseVersion, tagOf, type Version } from "../model/version.ts";
import type { ReleaseSigner } from "../trust/release-signature.ts";
import { type BuildOptions, buildRelease } from "./build.ts";
import { type Plan, type PlannedCommand, planRelease } from "./plan.ts";
import type { ProvenanceClaims } from "./provenance.ts";
import { provenanceNames } from "./provenance-names.ts";
import { compareReleases, type FileVerdict } from "./rebuild-comparison.ts";
import type { Recipe } from "./recipe.ts";
import { readRecipeFile } from "./recipe-file.ts";

export type RebuildRequest = {
  /** The user's recipe, absolute: its place in the repository, not its text, is what counts. */
  readonly recipePath: string;
  readonly version: Version;
  /** The folder with what was released, and its manifest. */
  readonly released: string;
  readonly manifest: Manifest;
  readonly run: RunCommand;
  readonly jobs: number;
  /** As buildRelease wants it: SBOMs and provenance name it. */
  readonly tool: BuildOptions["tool"];
  readonly signal?: AbortSignal;
  /** Opens what keys there are for the recipe at the tag; undefined builds without signatures. */
  readonly openSigner: (recipe: Recipe, at: { readonly folder: string; readonly epochSeconds: number }) => Promise<ReleaseSigner | undefined>;
  readonly onCommand?: (command: PlannedCommand) => void;
  readonly onOutput?: (text: string) => void;
};

export type RebuildReport = {
  readonly product: string;
  readonly version: Version;
  readonly tag: string;
  readonly commit: string;
  readonly files: readonly FileVerdict[];
  /** What the recipe at the tag makes besides, and was not released. */
  readonly unreleased: readonly string[];
};

/**
 * Nothing is left behind, and nothing outside the checkout is written. The time in the artifacts is the release's own (its sequence).
 * Throws `not_found` for a tag that is not there, `conflict` for a release of another version, and whatever a build throws.
 */
export async function rebuildRelease(request: RebuildRequest): Promise<RebuildReport> {
  const { version, manifest, run } = request;
  if (manifest.version !== version) {
    throw new SlipwayError("conflict", `${request.released} holds ${manifest.product} ${manifest.version}, not ${version}`, {
      hint: "name the release's folder with --dist",
    });
  }
  const tag = tagOf(version);
  const worktree = await addWorktree(run, dirname(request.recipePath), tag);
  try {
    const { recipe, folder } = await readRecipeFile(worktree.folder, basename(request.recipePath));
    const epochSeconds = manifest.sequence;
    // A release from a changed tree names no commit; then the rebuilt one must not either, and other bytes will show.
    const commit = manifest.commit === undefined ? {} : { commit: worktree.commit };
    const whole = planRelease({ recipe, version: parseVersion(manifest.version), epochSeconds, isUnsigned: true, ...commit });
    const { plan, unreleased } = onlyReleased(whole, manifest);
    const signer = await request.openSigner(recipe, { folder, epochSeconds });
    await buildRelease({
      recipe,
      plan,
      folder,
      outFolder: worktree.scratch,
      run,
      jobs: request.jobs,
      tool: request.tool,
      claims: await releasedClaims(request),
      makeDeltas: (place) => takeDeltas(request, place.folder),
      ...(signer === undefined ? {} : { signer }),
      ...(request.signal === undefined ? {} : { signal: request.signal }),
      ...(request.onCommand === undefined ? {} : { onCommand: request.onCommand }),
      ...(request.onOutput === undefined ? {} : { onOutput: request.onOutput }),
    });
    const files = await compareReleases(request.released, join(worktree.scratch, fileVersion(version)), { manifest, sumsName: recipe.checksums });
    return { product: manifest.product, version, tag, commit: worktree.commit, files, unreleased };
  } finally {
    await worktree.remove();
  }
}

/** Deltas hang on what was released before, and prove nothing: they are taken over, so that everything that lists them can be compared. */
async function takeDeltas({ released, manifest }: RebuildRequest, folder: string): Promise<readonly ManifestArtifact[]> {
  const deltas = manifest.artifacts.filter(({ kind }) => kind === "delta");
  for (const { name } of deltas) await copyFile(safeJoin(released, name), safeJoin(folder, name));
  return deltas;
}

/** Who built and from which address is nothing that the tag says: a rebuilt provenance repeats it, or nothing where there was none. */
async function releasedClaims({ released, manifest, version }: RebuildRequest): Promise<ProvenanceClaims> {
  const { statement } = provenanceNames(manifest.product, version);
  if (!manifest.artifacts.some(({ kind, name }) => kind === "provenance" && name === statement)) return {};
  const { readProvenanceClaims } = await import("./provenance.ts");
  return readProvenanceClaims((await readFileBounded(join(released, statement), manifestSizeLimit)).toString("utf8"));
}

/** A release may hold a part of what the recipe makes (`--only`, `--target`): that part is built again. */
function onlyReleased(plan: Plan, manifest: Manifest): { readonly plan: Plan; readonly unreleased: readonly string[] } {
  const released = new Set(manifest.artifacts.map(({ name }) => name));
  const artifacts = plan.artifacts.filter(({ name }) => released.has(name));
  if (artifacts.length === 0) {
    throw new SlipwayError("not_reproducible", `the recipe at ${plan.tag} makes none of the artifacts that ${manifestName} lists`, {
      hint: "the names have changed since, or this is another product",
    });
  }
  const targets = plan.targets.filter((target) => artifacts.some((artifact) => !("target" in artifact) || artifact.target === target));
  return {
    plan: {
      ...plan,
      artifacts,
      targets,
      commands: plan.commands.filter(({ target }) => target === undefined || targets.includes(target)),
      records: plan.records.filter(({ kind }) => (kind !== "sbom" && kind !== "provenance") || manifest.artifacts.some((artifact) => artifact.kind === kind)),
    },
    unreleased: plan.artifacts.filter(({ name }) => !released.has(name)).map(({ name }) => name),
  };
}
