/** Finds and reads the recipe's file. */
import { dirname, resolve } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { loadRecipe, type Recipe, recipeName, recipeSizeLimit } from "./recipe.ts";

export type RecipeFile = { readonly recipe: Recipe /** Absolute; sources are relative to it. */; readonly folder: string };

/** Reads the file that `--recipe` names, by default slipway.yaml in `cwd`; throws `recipe_missing` and what loadRecipe throws. */
export async function readRecipeFile(cwd: string, named: string = recipeName): Promise<RecipeFile> {
  const path = resolve(cwd, named);
  try {
    const text = (await readFileBounded(path, recipeSizeLimit)).toString("utf8");
    return { recipe: loadRecipe(text, named), folder: dirname(path) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new SlipwayError("recipe_missing", `there is no ${named} in ${cwd}`, { cause: error });
  }
}
