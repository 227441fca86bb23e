/** `slipway lint`: what lintian, rpmlint and apk would complain about, before anything is built. */
import { systemClock } from "../io/clock.ts";
import { runCommand } from "../io/command.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseTarget } from "../model/target.ts";
import { parseVersion, type Version } from "../model/version.ts";
import { readLintFacts } from "../packaging/lint-facts.ts";
import { readKeyFacts } from "../packaging/lint-keys.ts";
import { planRelease } from "../packaging/plan.ts";
import { RecipeError } from "../packaging/recipe-error.ts";
import { readRecipeFile } from "../packaging/recipe-file.ts";
import { readReleaseVersion } from "../packaging/release-version.ts";
import { type Finding, severities, type Severity } from "../policy/lint-rule.ts";
import { lintPackages, sortFindings } from "../policy/package-lint.ts";
import { type CommandRun, flagOption, type Invocation, listOption, textOption } from "./command.ts";
import type { Output } from "./output.ts";

/** As for a build that could not use its sources. */
const findingsExitCode = 3;
/** Stands in where no tag gives a version: the packages are the same but for their names. */
const standInVersion = parseVersion("0.0.0");

export const run: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const { findings, packages } = await lint(invocation);
  const counts = Object.fromEntries(severities.map((severity) => [severity, findings.filter((one) => one.severity === severity).length])) as Record<
    Severity,
    number
  >;
  print(findings, output);
  const total = severities.map((severity) => `${counts[severity]} ${severity}${counts[severity] === 1 ? "" : "s"}`).join(", ");
  output.line(packages === 0 ? `${total}; the recipe makes no packages` : `${total} in ${packages} ${packages === 1 ? "package" : "packages"}`);
  output.result({ findings, counts, packages });
  return counts.error > 0 || (flagOption(options, "strict") && counts.warning > 0) ? findingsExitCode : 0;
};

async function lint(invocation: Invocation): Promise<{ readonly findings: readonly Finding[]; readonly packages: number }> {
  try {
    return await lintRecipe(invocation);
  } catch (error) {
    if (!(error instanceof RecipeError)) throw error;
    return {
      findings: error.problems.map(({ place, message }) => ({ rule: "recipe", severity: "error", place, message, advice: "correct the recipe" })),
      packages: 0,
    };
  }
}

async function lintRecipe({ options, cwd, env }: Invocation): Promise<{ readonly findings: readonly Finding[]; readonly packages: number }> {
  const { recipe, folder } = await readRecipeFile(cwd, textOption(options, "recipe"));
  const version = await findVersion(folder, textOption(options, "version"));
  const targets = listOption(options, "target");
  const plan = planRelease({
    recipe,
    version: version ?? standInVersion,
    epochSeconds: 0,
    isUnsigned: true,
    ...(targets === undefined ? {} : { targets: targets.map(parseTarget) }),
  });
  const keys = await readKeyFacts({ recipe, folder, env, now: systemClock.now() });
  const { packages, problems } = await readLintFacts({ recipe, folder, plan, keys, run: runCommand, ...(version === undefined ? {} : { version }) });
  const unusable = problems.map(({ place = recipe.fileName, message, hint }): Finding => ({ rule: "source", severity: "error", place, message, advice: hint }));
  return {
    findings: sortFindings([...lintPackages(packages), ...unusable]),
    packages: packages.reduce((sum, { artifacts }) => sum + artifacts.length, 0),
  };
}

/** Undefined where nobody gave one and no tag is reachable: everything but the version is linted all the same. */
async function findVersion(folder: string, wanted: string | undefined): Promise<Version | undefined> {
  try {
    const { version } = await readReleaseVersion({ run: runCommand, folder, sourceDateEpoch: "0", ...(wanted === undefined ? {} : { wanted }) });
    return version;
  } catch (error) {
    if (wanted === undefined && error instanceof SlipwayError && error.code === "version_invalid") return undefined;
    throw error;
  }
}

function print(findings: readonly Finding[], output: Output): void {
  const { colors } = output;
  const paint: Readonly<Record<Severity, (text: string) => string>> = { error: colors.red, warning: colors.yellow, note: colors.dim };
  const advised = new Set<string>();
  for (const { place, severity, rule, message, advice } of findings) {
    output.line(`${place} ${paint[severity](severity)} ${colors.bold(rule)}: ${message}`);
    if (!advised.has(`${rule} ${advice}`)) output.line(`  ${colors.dim(advice)}`);
    advised.add(`${rule} ${advice}`);
  }
  if (findings.length > 0) output.line();
}
