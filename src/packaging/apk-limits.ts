/** What a recipe may not ask of an apk, each with the recipe's line: said when the release is planned, before anything is built. */
import { SlipwayError } from "../model/errors.ts";
import { apkVersion, type Version } from "../model/version.ts";
import { type FileRule, sourceName } from "./file-rules.ts";
import type { Recipe } from "./recipe.ts";
import { RecipeError } from "./recipe-error.ts";

/**
 * Throws `version_invalid` for a prerelease without an apk form, and RecipeError (`recipe_invalid`) for a configuration outside /etc, where
 * apk overwrites an operator's edits, and for a name at the top that begins with a dot, which apk leaves out without a word.
 */
export function requireApkForm(recipe: Recipe, version: Version, rules: readonly FileRule[]): void {
  const place = recipe.placeOf(["packages", "formats", recipe.packages?.formats.indexOf("apk") ?? 0]);
  try {
    apkVersion(version);
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    throw new SlipwayError(error.code, `packages.formats: ${error.message}`, { place, hint: error.hint, cause: error });
  }
  const problems = rules.flatMap((rule) => {
    const { destination } = rule;
    const problem = (text: string): readonly { place: string; message: string }[] => [{ place: rule.place, message: `packages.files: ${text}` }];
    if (rule.kind === "copy" && rule.config !== undefined && !destination.startsWith("/etc/")) {
      return problem(`${destination} (${sourceName(rule)}) is a configuration outside /etc, where apk overwrites an operator's edits; move it below /etc`);
    }
    return destination.startsWith("/.") ? problem(`apk silently leaves out names at the top that begin with a dot: ${destination}`) : [];
  });
  const [first, ...others] = problems;
  if (first !== undefined) throw new RecipeError([first, ...others]);
}
