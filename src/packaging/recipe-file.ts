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
    return { recipe: loadRecipe(textOf(await readFileBounded(path, recipeSizeLimit), named), named), folder: dirname(path) };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw new SlipwayError("recipe_missing", `there is no ${named} in ${cwd}`, { cause: error });
    if (code === "format_limit") {
      throw new SlipwayError("recipe_invalid", `${named} is larger than ${recipeSizeLimit} bytes`, { hint: "name a recipe with --recipe", cause: error });
    }
    throw error;
  }
}

/** Bytes that are no UTF-8 would be read as U+FFFD, and a name in them would be another one. */
function textOf(bytes: Uint8Array, named: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    const valid = Buffer.from(bytes).toString("utf8").split("\ufffd")[0] ?? "";
    const place = `${named}:${valid.split("\n").length}:${(valid.split("\n").at(-1) ?? "").length + 1}`;
    throw new SlipwayError("recipe_invalid", "here is a byte that is not UTF-8", { place, hint: "save the file as UTF-8", cause: error });
  }
}
