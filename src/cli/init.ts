/** `slipway init`: writes a commented slipway.yaml, guessed from what lies in the folder. */
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { runCommand } from "../io/command.ts";
import { SlipwayError } from "../model/errors.ts";
import { guessProduct } from "../packaging/guess-product.ts";
import { draftRecipe } from "../packaging/recipe-draft.ts";
import { loadRecipe, recipeName } from "../packaging/recipe.ts";
import type { CommandRun } from "./command.ts";

export const run: CommandRun = async ({ output, cwd }) => {
  const product = await guessProduct(cwd, runCommand);
  const text = draftRecipe(product);
  loadRecipe(text, recipeName); // what we write, we read
  try {
    await writeFile(resolve(cwd, recipeName), text, { flag: "wx", mode: 0o644 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw new SlipwayError("conflict", `there is already a ${recipeName} here`, {
      hint: "edit it, or move it away first; `slipway plan` shows what it makes",
      cause: error,
    });
  }
  output.line(`wrote ${recipeName} for ${product.name} (${product.source})`);
  output.line("next: read it, then slipway plan");
  output.result({ file: recipeName, product });
  return 0;
};
