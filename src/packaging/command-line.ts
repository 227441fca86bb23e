/** A command line of the recipe, split into arguments as a shell's quotes would, and run without a shell: nothing is expanded. */
import { RecipeTextError } from "./recipe-error.ts";

/** What a shell would act on; refused, because silently passing it as text would do something else than it reads. */
const shellOnly = /[|&;<>()$`]/;

/**
 * Splits `go build -ldflags "-s -w" -o {out}` into arguments: single quotes keep everything, double quotes and bare words know the backslash
 * (POSIX shell, 2.2 Quoting). Throws RecipeTextError (`recipe_invalid`) for an open quote and for what only a shell could do.
 */
export function splitCommandLine(line: string): readonly string[] {
  const words: string[] = [];
  let word: string | undefined;
  let index = 0;
  while (index < line.length) {
    const character = line.charAt(index);
    if (character === "'" || character === '"') {
      const quoted = readQuoted(line, index);
      word = (word ?? "") + quoted.text;
      index = quoted.end;
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
      index += 1;
    } else if (character === "\\") {
      word = (word ?? "") + escaped(line, index);
      index += 2;
    } else {
      if (shellOnly.test(character)) throw shellNeeded(character);
      word = (word ?? "") + character;
      index += 1;
    }
  }
  if (word !== undefined) words.push(word);
  if (words.length === 0) throw new RecipeTextError("an empty command line cannot be run");
  return words;
}

function readQuoted(line: string, start: number): { readonly text: string; readonly end: number } {
  const quote = line.charAt(start);
  let text = "";
  let index = start + 1;
  while (index < line.length) {
    const character = line.charAt(index);
    if (character === quote) return { text, end: index + 1 };
    if (quote === '"' && character === "\\" && /["\\$`]/.test(line.charAt(index + 1))) {
      text += line.charAt(index + 1);
      index += 2;
    } else {
      if (quote === '"' && (character === "$" || character === "`")) throw shellNeeded(character);
      text += character;
      index += 1;
    }
  }
  throw new RecipeTextError(`the quote ${quote} is never closed`, line.slice(start));
}

function escaped(line: string, index: number): string {
  if (index + 1 >= line.length) throw new RecipeTextError("a backslash at the end quotes nothing");
  return line.charAt(index + 1);
}

function shellNeeded(character: string): RecipeTextError {
  return new RecipeTextError(`${JSON.stringify(character)} needs a shell and there is none here: put the line into a script, or quote it`, character);
}
