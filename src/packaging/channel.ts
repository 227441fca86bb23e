/** Which channel a version goes to, from the recipe's patterns of tags. */
import { isStable, tagOf, type Version } from "../model/version.ts";
import type { Recipe } from "./recipe.ts";
import { RecipeError } from "./recipe-error.ts";

/**
 * The channel whose pattern fits the tag best (the longest pattern). A preview is never on `stable`, whatever the pattern says (C3, K1);
 * one that fits nowhere is on `preview`. Throws RecipeError where no pattern takes a stable version.
 */
export function channelOf(recipe: Recipe, version: Version): string {
  const tag = tagOf(version);
  const fitting = Object.entries(recipe.channels).filter(([name, pattern]) => matches(pattern, tag) && (name !== "stable" || isStable(version)));
  const best = fitting.toSorted(([, left], [, right]) => right.length - left.length)[0];
  if (best !== undefined) return best[0];
  if (!isStable(version)) return "preview";
  throw new RecipeError([{ place: recipe.placeOf(["channels"]), message: `channels: no pattern takes the tag ${tag}` }]);
}

function matches(pattern: string, text: string): boolean {
  const source = pattern.replaceAll(/[.+]/g, String.raw`\$&`).replaceAll("*", ".*").replaceAll("?", ".");
  return new RegExp(`^${source}$`).test(text);
}
