/** `slipway schema`: the JSON Schema of slipway.yaml. */
import { recipeJsonSchema } from "../packaging/recipe-schema.ts";
import type { CommandRun } from "./command.ts";

export const run: CommandRun = async ({ output }) => {
  const schema = recipeJsonSchema();
  output.line(JSON.stringify(schema, null, 2));
  output.result(schema);
  return 0;
};
