/** `slipway plan`: every artifact with its name and what goes into it, before anything is built. */
import { runCommand } from "../io/command.ts";
import { formatTarget, parseTarget } from "../model/target.ts";
import { artifactTargets, parseBuildableKinds, type Plan, planRelease } from "../packaging/plan.ts";
import { type RecipeFile, readRecipeFile } from "../packaging/recipe-file.ts";
import { readReleaseVersion } from "../packaging/release-version.ts";
import { type CommandRun, flagOption, type Invocation, listOption, textOption } from "./command.ts";
import type { Output } from "./output.ts";

export const run: CommandRun = async (invocation) => {
  const { plan } = await readPlan(invocation);
  printPlan(plan, invocation.output);
  return 0;
};

/** The recipe and the plan that the options ask for: the same for `plan`, `build --dry-run` and `build`. */
export async function readPlan({ options, cwd, env }: Invocation): Promise<RecipeFile & { readonly plan: Plan }> {
  const { recipe, folder } = await readRecipeFile(cwd, textOption(options, "recipe"));
  const wanted = textOption(options, "version");
  const only = listOption(options, "only");
  const targets = listOption(options, "target");
  const sourceDateEpoch = env["SOURCE_DATE_EPOCH"];
  const release = await readReleaseVersion({
    run: runCommand,
    folder,
    ...(wanted === undefined ? {} : { wanted }),
    ...(sourceDateEpoch === undefined || sourceDateEpoch === "" ? {} : { sourceDateEpoch }),
  });
  const plan = planRelease({
    recipe,
    ...release,
    isUnsigned: flagOption(options, "unsigned"),
    ...(only === undefined ? {} : { only: parseBuildableKinds(only) }),
    ...(targets === undefined ? {} : { targets: targets.map(parseTarget) }),
  });
  return { recipe, folder, plan };
}

const shownInputs = 4;

export function printPlan(plan: Plan, output: Output): void {
  output.line(`${output.colors.bold(`${plan.product} ${plan.version}`)} on channel ${plan.channel}, dated ${new Date(plan.epochSeconds * 1000).toISOString()}`);
  output.line();
  const rows = plan.artifacts.map((artifact) => {
    const { inputs } = artifact;
    const rest = inputs.length - shownInputs;
    const shown = rest > 0 ? `${inputs.slice(0, shownInputs).join(", ")} and ${rest} more` : inputs.join(", ");
    return [artifact.name, artifact.kind, artifactTargets(artifact).map(formatTarget).join(", "), shown];
  });
  output.table(
    ["NAME", "KIND", "TARGET", "MADE OF"],
    [...rows, ...plan.records.map((record) => [record.name, record.kind, "", record.kind === "sbom" ? record.of : ""])],
  );
  output.result(plan);
}
