/** `slipway plan`: every artifact with its name and what goes into it, before anything is built; and what is missing for it. */
import { join, resolve } from "node:path";
import { systemClock } from "../io/clock.ts";
import { runCommand } from "../io/command.ts";
import { SlipwayError } from "../model/errors.ts";
import { formatTarget, parseTarget } from "../model/target.ts";
import { isSnapshot, parseVersion } from "../model/version.ts";
import { hasBuildCommand, artifactTargets, parseBuildableKinds, type Plan, type PlannedCommand, type PlanRequest, planRelease } from "../packaging/plan.ts";
import { type AbsentKey, findAbsentKeys } from "../packaging/planned-keys.ts";
import { shellWord } from "../packaging/shell-word.ts";
import { RecipeError } from "../packaging/recipe-error.ts";
import { type RecipeFile, readRecipeFile } from "../packaging/recipe-file.ts";
import { type ReleaseVersion, readReleaseVersion } from "../packaging/release-version.ts";
import { absentBinaries, checkSources } from "../packaging/source-check.ts";
import { type CommandRun, flagOption, type Invocation, listOption, textOption } from "./command.ts";
import { findDeltaBases, plannedDeltas, type PlannedDelta } from "./delta-bases.ts";
import type { Output } from "./output.ts";

/** Stands in where no version can be found, so that mistakes of the recipe are said before that. */
const standInVersion = parseVersion("0.0.0");
const shownAbsent = 6;

export const run: CommandRun = async (invocation) => {
  const planned = await readPlan(invocation);
  const { plan, recipe, absentKeys, folder } = planned;
  const bases = await findDeltaBases(invocation, { recipe, plan, isPreview: isPreview(invocation, plan), outFolder: join(folder, "dist") });
  const absent = await absentBinaries(planned);
  const { output } = invocation;
  printPlan(plan, plannedDeltas(plan, bases), output);
  if (hasBuildCommand(recipe)) output.note(`the binaries are not looked for: ${recipe.build.run === undefined ? "build.before" : "build.run"} makes them`);
  if (absent.length > 0) {
    const rest = absent.length - shownAbsent;
    output.note(`not built yet, and needed by \`slipway build\`: ${absent.slice(0, shownAbsent).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`);
  }
  for (const { place, message } of absentKeys) output.note(`${place} ${message}; \`slipway build\` will need it`);
  return 0;
};

export type PlannedRelease = RecipeFile & {
  readonly plan: Plan;
  /** What the whole recipe would make: the plan itself where no option leaves something out. */
  readonly fullPlan: Plan;
  /** Keys that are named and not here. */
  readonly absentKeys: readonly AbsentKey[];
};

/**
 * The recipe and the plan that the options ask for: the same for `plan`, `build --dry-run` and `build`. Whatever can be wrong before a build is
 * found here, the recipe's mistakes before questions to git: throws what loadRecipe, planRelease and checkSources throw, and `key_missing`,
 * `key_unfit` and `key_invalid` with the line under `sign`.
 */
export async function readPlan(invocation: Invocation): Promise<PlannedRelease> {
  const { options, cwd, env } = invocation;
  const file = await readRecipeFile(cwd, textOption(options, "recipe"));
  const only = listOption(options, "only");
  const targets = listOption(options, "target");
  const isUnsigned = flagOption(options, "unsigned");
  const choice = {
    ...(only === undefined ? {} : { only: parseBuildableKinds(only) }),
    ...(targets === undefined ? {} : { targets: targets.map(parseTarget) }),
  };
  const release = await readVersion(invocation, file, { ...choice, isUnsigned });
  const request: PlanRequest = { recipe: file.recipe, ...release, isUnsigned };
  const plan = planRelease({ ...request, ...choice });
  await checkSources({ ...file, plan, outFolder: outFolderOf(invocation, file.folder) });
  const absentKeys = await findAbsentKeys({ ...file, plan, isUnsigned, env, now: systemClock.now() });
  const unknown = isPreview(invocation, plan) ? undefined : absentKeys.find((key) => key.isUnknown);
  if (unknown !== undefined) throw absentKeyError(unknown);
  return { ...file, plan, fullPlan: only === undefined && targets === undefined ? plan : planRelease(request), absentKeys };
}

/** `linux/amd64: go build …`, quoted as a shell would have it; `first:` for what runs once before all others. */
export function showCommand({ target, argv }: Pick<PlannedCommand, "target" | "argv">): string {
  const words = argv.map((word) => (word.includes("{out}") ? word : shellWord(word)));
  return `${target === undefined ? "first" : formatTarget(target)}: ${words.join(" ")}`;
}

/** Where `<version>/` appears, absolute. */
export function outFolderOf({ options, cwd }: Pick<Invocation, "options" | "cwd">, folder: string): string {
  const out = textOption(options, "out");
  return out === undefined ? join(folder, "dist") : resolve(cwd, out);
}

/** A part of a release, or a state between two tags: nobody can take it for the release, so it may go without a signature. */
export function isPreview({ options }: Pick<Invocation, "options">, plan: Plan): boolean {
  return listOption(options, "only") !== undefined || listOption(options, "target") !== undefined || isSnapshot(plan.version);
}

export function absentKeyError({ place, message }: AbsentKey): SlipwayError {
  return new SlipwayError("key_missing", message, {
    place,
    hint: "`slipway keys list` shows what is there, `slipway keys new` makes one; --unsigned builds without signatures",
  });
}

/** Without a version or a commit there is nothing to build; what is wrong with the recipe itself is said first all the same. */
async function readVersion(
  { options, env }: Invocation,
  { recipe, folder }: RecipeFile,
  choice: Pick<PlanRequest, "only" | "targets" | "isUnsigned">,
): Promise<ReleaseVersion> {
  const wanted = textOption(options, "version");
  const sourceDateEpoch = env["SOURCE_DATE_EPOCH"];
  try {
    return await readReleaseVersion({
      run: runCommand,
      folder,
      ...(wanted === undefined ? {} : { wanted }),
      ...(sourceDateEpoch === undefined || sourceDateEpoch === "" ? {} : { sourceDateEpoch }),
    });
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    await checkRecipe(recipe, folder, choice);
    throw error;
  }
}

async function checkRecipe(recipe: RecipeFile["recipe"], folder: string, choice: Pick<PlanRequest, "only" | "targets" | "isUnsigned">): Promise<void> {
  try {
    const plan = planRelease({ recipe, version: standInVersion, epochSeconds: 0, ...choice });
    // The notes of a made-up version are nobody's mistake, nor is its channel.
    await checkSources({ recipe, folder, plan: { ...plan, artifacts: plan.artifacts.filter(({ kind }) => kind !== "notes") }, isVersionMadeUp: true });
  } catch (error) {
    if (error instanceof RecipeError && error.place === recipe.placeOf(["channels"])) return;
    throw error;
  }
}

const shownInputs = 4;

export function printPlan(plan: Plan, deltas: readonly PlannedDelta[], output: Output): void {
  output.line(`${output.colors.bold(`${plan.product} ${plan.version}`)} on channel ${plan.channel}, dated ${new Date(plan.epochSeconds * 1000).toISOString()}`);
  output.line();
  const rows = plan.artifacts.map((artifact) => {
    const { inputs } = artifact;
    const rest = inputs.length - shownInputs;
    const shown = rest > 0 ? `${inputs.slice(0, shownInputs).join(", ")} and ${rest} more` : inputs.join(", ");
    return [artifact.name, artifact.kind, "isForAll" in artifact ? "linux/all" : artifactTargets(artifact).map(formatTarget).join(", "), shown];
  });
  output.table(
    ["NAME", "KIND", "TARGET", "MADE OF"],
    [...rows, ...plan.records.map((record) => [record.name, record.kind, "", record.kind === "sbom" ? record.of : ""])],
  );
  for (const { name, source } of deltas) output.line(`${name}, where it is small enough (made from ${source})`);
  output.result({ ...plan, deltas });
}
