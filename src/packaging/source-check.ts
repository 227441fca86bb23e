/** Looks for everything that a plan is made of, before a build command runs: what is missing or cannot be packaged is said at once, with its line. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import { formatTarget } from "../model/target.ts";
import { archiveEntries } from "./archive-entries.ts";
import { type FileRule, insideFolder } from "./file-rules.ts";
import { systemEntries } from "./image-files.ts";
import { namedScripts, packageSpec } from "./package-spec.ts";
import { buildValues, hasBuildCommand, type Plan, type PlannedArtifact, type PlannedPackage } from "./plan.ts";
import { fileChangelog } from "./package-changelog.ts";
import type { Recipe } from "./recipe.ts";
import { RecipeError, type RecipeProblem } from "./recipe-error.ts";
import { spellPath } from "./recipe-problems.ts";
import { readNotes } from "./release-notes.ts";
import { type FindBinary, resolveFiles } from "./resolve-files.ts";
import { expandTemplate } from "./templates.ts";

export type SourceQuestion = {
  readonly recipe: Recipe;
  readonly plan: Plan;
  /** The recipe's folder, absolute. */
  readonly folder: string;
  /** Where releases are written, absolute. */
  readonly outFolder?: string;
  /** It stands in until git is asked: nobody wrote anything about it. */
  readonly isVersionMadeUp?: boolean;
};

/** Stands in for binaries: whether they are there is the build's question, because its command may make them. */
const anyBinary: FindBinary = () => ({ path: "", size: 0 });

/**
 * Resolves every artifact as its writer will, and opens none of the files that go into it. What the build command makes is not looked for: the
 * binaries, and what `build.outputs` names. Throws all problems as one error with the code, place and message of the first: `source_missing`,
 * `source_unusable` (an unasked setuid bit, a unit that starts nothing, notes without a promised section), `path_unsafe`, `format_limit` (a file above 4 GiB in a package), and
 * `recipe_invalid` for colliding destinations and a file where another source needs a folder.
 */
export async function checkSources(question: SourceQuestion): Promise<void> {
  const problems = new Map<string, SlipwayError>();
  const attempt = async (work: () => Promise<unknown>): Promise<boolean> => {
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof SlipwayError)) throw error;
      problems.set(`${error.place ?? ""} ${error.message}`, error);
      return false;
    }
  };
  const seen = new Set<string>();
  for (const artifact of question.plan.artifacts) {
    const key = contentKey(artifact, question.recipe);
    if (seen.has(key)) continue;
    seen.add(key);
    if (await attempt(() => checkArtifact(artifact, question))) continue;
    // The first mistake ended it: the others come to light rule by rule.
    for (const one of ruleQuestions(artifact, question)) await attempt(() => resolveFiles(one.rules, one));
  }
  const { recipe, plan, folder } = question;
  if (plan.artifacts.some(({ kind }) => kind === "deb" || kind === "rpm") && question.isVersionMadeUp !== true) {
    await attempt(() => fileChangelog({ recipe, plan, folder }));
  }
  for (const name of question.recipe.sbom?.lockFiles ?? []) {
    const place = question.recipe.placeOf(["sbom", "lockFiles"]);
    await attempt(() => requireThere(join(question.folder, name), `sbom.lockFiles: there is no ${name}`, place));
  }
  const found = [...problems.values()];
  if (found.length > 0) throw joined(found);
}

/** Paths of binaries that must have been made elsewhere and are not there yet; none where the build command makes them. */
export async function absentBinaries({ recipe, plan, folder }: SourceQuestion): Promise<readonly string[]> {
  const { prebuilt, binaries } = recipe.build;
  if (hasBuildCommand(recipe) || prebuilt === undefined) return [];
  const absent: string[] = [];
  for (const target of plan.targets) {
    for (const bin of binaries) {
      const path = insideFolder(recipe, expandTemplate(prebuilt, { ...buildValues(recipe, plan.version, target), bin }), ["build", "prebuilt"]);
      if (!(await isThere(join(folder, path)))) absent.push(path);
    }
  }
  return absent;
}

/** Artifacts of one key are made of the same sources: the formats differ only in what services and users add, and in what apk cannot hold. */
function contentKey(artifact: PlannedArtifact, recipe: Recipe): string {
  switch (artifact.kind) {
    case "deb":
    case "rpm":
    case "apk":
      return `package ${formatTarget(artifact.target)} ${isOfFormat(artifact, recipe) ? artifact.kind : ""} ${JSON.stringify(artifact.rules)}`;
    case "archive":
    case "binary":
    case "image":
    case "notes":
      return artifact.name;
    default:
      return artifact satisfies never;
  }
}

/** Services, users and scripts are another thing in each format, and apk refuses more. */
function isOfFormat(artifact: PlannedPackage, recipe: Recipe): boolean {
  return recipe.service.length + recipe.users.length > 0 || artifact.kind === "apk" || namedScripts(recipe, artifact.kind).length > 0;
}

async function checkArtifact(artifact: PlannedArtifact, question: SourceQuestion): Promise<void> {
  const context = { ...question, findBinary: anyBinary };
  switch (artifact.kind) {
    case "deb":
    case "rpm":
    case "apk":
      await packageSpec({ ...artifact, rules: lookedFor(artifact.rules, question.recipe) }, context);
      return;
    case "archive":
      await archiveEntries({ ...artifact, rules: lookedFor(artifact.rules, question.recipe).filter((rule) => rule.kind === "copy") }, context);
      return;
    case "image":
      for (const one of ruleQuestions(artifact, question)) await resolveFiles(one.rules, one);
      await systemEntries(artifact.image, { folder: question.folder });
      if (artifact.image.base.kind === "layout") {
        const { path } = artifact.image.base;
        await requireThere(join(question.folder, path), `images: there is no base ${path}`, artifact.image.place);
      }
      return;
    case "notes":
      await readNotes(artifact, question);
      return;
    case "binary":
      return;
    default:
      artifact satisfies never;
  }
}

type RuleQuestion = Parameters<typeof resolveFiles>[1] & { readonly rules: readonly FileRule[] };

function ruleQuestions(artifact: PlannedArtifact, { recipe, folder, outFolder }: SourceQuestion): readonly RuleQuestion[] {
  const common = { folder, findBinary: anyBinary, outFolder };
  const single = (rules: readonly FileRule[], rest: Pick<RuleQuestion, "target" | "subject">): readonly RuleQuestion[] =>
    lookedFor(rules, recipe).map((rule) => ({ ...common, ...rest, rules: [rule] }));
  switch (artifact.kind) {
    case "deb":
    case "rpm":
    case "apk":
      return single(artifact.rules, { target: artifact.target, subject: "packages.files" });
    case "archive":
      return single(artifact.rules, { target: artifact.target, subject: "archives" });
    case "image": {
      const subject = spellPath(["images", artifact.index, "files"]);
      return artifact.layers.map(({ target, rules }) => ({ ...common, target, subject, rules: lookedFor(rules, recipe) }));
    }
    case "binary":
    case "notes":
      return [];
    default:
      return artifact satisfies never;
  }
}

/** Without what the build command makes. */
function lookedFor(rules: readonly FileRule[], recipe: Recipe): readonly FileRule[] {
  return rules.filter((rule) => !isBuildOutput(rule, recipe));
}

/** Does the build command make it (`build.outputs`)? Before a build it may not be there. */
export function isBuildOutput(rule: FileRule, recipe: Recipe): boolean {
  if (rule.kind !== "copy" || rule.source.kind !== "path") return false;
  const source = rule.source.name.replace(/\/+$/, "");
  return recipe.build.outputs.map((path) => path.replace(/\/+$/, "")).some((output) => source === output || source.startsWith(`${output}/`));
}

async function requireThere(path: string, message: string, place: string): Promise<void> {
  if (!(await isThere(path))) throw new SlipwayError("source_missing", message, { place });
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return false;
  }
}

/** The first, with the others in its hint. */
function joined(found: readonly SlipwayError[]): SlipwayError {
  const [first, ...others] = found;
  if (first === undefined) throw new Error("bug: no problem to tell");
  if (others.length === 0) return first;
  const problems = found.flatMap((error): readonly RecipeProblem[] =>
    error instanceof RecipeError ? error.problems : [{ place: error.place ?? "", message: error.message }],
  );
  const [told, ...more] = problems;
  if (told !== undefined && found.every((error) => error instanceof RecipeError)) return new RecipeError([told, ...more]);
  return new SlipwayError(first.code, first.message, {
    ...(first.place === undefined ? {} : { place: first.place }),
    hint: [first.hint, ...others.map(({ place, message }) => `also ${place === undefined ? "" : `${place} `}${message}`)].join("\n  "),
    cause: first,
  });
}
