/** Reads `slipway.yaml`: text in, a checked recipe out, or every problem in it with file, line and column. */
import { createHash } from "node:crypto";
import { type Document, isCollection, isScalar, LineCounter, parseDocument, visit } from "yaml";
import { RecipeError, type RecipeProblem } from "./recipe-error.ts";
import { type LocatedDocument, placeAt, placeOf, problemsOf, type RecipePath } from "./recipe-problems.ts";
import { type RecipeBody, recipeSchema } from "./recipe-schema.ts";

export const recipeName = "slipway.yaml";

/** Largest recipe that is read; real ones have some kilobytes. */
export const recipeSizeLimit = 1024 * 1024;

export type Recipe = RecipeBody & {
  readonly fileName: string;
  /** Of the text: 64 hex digits. */
  readonly sha256: string;
  /** `slipway.yaml:14:5` of the value at a path such as `["packages", "depends", "deb", 0]`, or of its nearest parent. */
  readonly placeOf: (path: RecipePath) => string;
};

/**
 * Reads a recipe; `fileName` is what messages show. Throws RecipeError (`recipe_invalid`) with all problems: syntax, duplicate and unknown
 * keys, wrong types, placeholders, dependencies, modes. Paths in it are not looked at: that is the build's business.
 */
export function loadRecipe(text: string, fileName: string): Recipe {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, version: "1.2", merge: false });
  const located: LocatedDocument = { fileName, text, document, lines };
  const syntax = syntaxProblems(located);
  if (isFilled(syntax)) throw new RecipeError(syntax);
  quoteOctals(document);
  const parsed = recipeSchema.safeParse(document.toJS({ maxAliasCount: 0 }));
  if (parsed.success) {
    const sha256 = createHash("sha256").update(text).digest("hex");
    return { ...parsed.data, fileName, sha256, placeOf: (path) => placeOf(located, path) };
  }
  const problems = problemsOf(located, parsed.error.issues);
  if (isFilled(problems)) throw new RecipeError(problems);
  throw new Error("bug: zod refused the recipe without an issue", { cause: parsed.error });
}

const isFilled = (problems: readonly RecipeProblem[]): problems is readonly [RecipeProblem, ...RecipeProblem[]] => problems.length > 0;

/** YAML's own errors, its warnings (an unknown tag would be ignored), and aliases, whose places would point somewhere else. */
function syntaxProblems(located: LocatedDocument): readonly RecipeProblem[] {
  const { document } = located;
  const duplicates = document.errors.filter((error) => error.code === "DUPLICATE_KEY");
  const broken = document.errors.filter((error) => error.code !== "DUPLICATE_KEY").slice(0, 1); // what follows a syntax error is noise
  const problems: RecipeProblem[] = [
    ...broken.map((error) => ({ place: placeAt(located, error.pos[0]), message: syntaxMessage(error.message) })),
    ...duplicates.map((error) => ({ place: placeAt(located, error.pos[0]), message: `the key ${duplicateKey(located, error.pos)} stands here twice` })),
    ...document.warnings.map((warning) => ({ place: placeAt(located, warning.pos[0]), message: firstLine(warning.message) })),
  ];
  visit(document, {
    Alias: (_, node) => {
      problems.push({ place: placeAt(located, node.range?.[0] ?? 0), message: `*${node.source}: aliases are not part of a recipe; write the value out` });
    },
    Pair: (_, { key }) => {
      if (isCollection(key)) problems.push({ place: placeAt(located, key.range?.[0] ?? 0), message: "a key must be a text, not keys or a list" });
      // JavaScript would take it for the object's parent: it would vanish instead of being refused.
      if (isScalar(key) && key.value === "__proto__") problems.push({ place: placeAt(located, key.range?.[0] ?? 0), message: 'unknown key "__proto__"' });
    },
  });
  return problems;
}

/** The parser calls itself for each level and ends where the stack does. */
function syntaxMessage(text: string): string {
  return /call stack/i.test(text) ? "lists and keys are nested too deeply here" : firstLine(text);
}

const firstLine = (text: string): string => text.split("\n")[0] ?? text;

function duplicateKey(located: LocatedDocument, position: readonly [number, number]): string {
  return JSON.stringify(/^[^\s:]*/.exec(located.text.slice(position[0]))?.[0] ?? "");
}

/** `mode: 0o755` arrives as the number 493, indistinguishable from 493 itself: octal numbers go on as the text that was written. */
function quoteOctals(document: Document): void {
  visit(document, {
    Scalar: (_, node) => {
      if (isScalar(node) && node.format === "OCT" && typeof node.source === "string") node.value = node.source;
    },
  });
}
