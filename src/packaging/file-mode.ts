/** Permission bits as a recipe writes them: `"0755"` in quotes, or YAML's octal `0o755`. */
import { RecipeTextError } from "./recipe-error.ts";

/** Three or four octal digits, the fourth for setuid, setgid and sticky; throws RecipeTextError (`recipe_invalid`). */
export function parseFileMode(text: string): number {
  const match = /^(?:0o?)?([0-7]{3,4})$/.exec(text);
  if (match === null) throw new RecipeTextError(`${JSON.stringify(text)} is not a file mode; write "0644" or "0755"`, text);
  return Number.parseInt(match[1] ?? "", 8);
}
