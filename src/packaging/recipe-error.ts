/** Failures of reading a recipe: one bad piece of a text, and the whole list of problems with their places. */
import { SlipwayError } from "../model/errors.ts";

/** A text of the recipe (a template, a command line, a dependency) that cannot be read; `piece` is the part that is wrong. */
export class RecipeTextError extends SlipwayError {
  readonly piece: string | undefined;

  constructor(message: string, piece?: string) {
    super("recipe_invalid", message);
    this.piece = piece;
  }
}

/** `place` is `file:line:column`. */
export type RecipeProblem = { readonly place: string; readonly message: string };

/** All problems of one recipe: the first is the message, the others stand in the hint and, as data, in `problems`. */
export class RecipeError extends SlipwayError {
  readonly problems: readonly RecipeProblem[];

  constructor(problems: readonly [RecipeProblem, ...RecipeProblem[]]) {
    const [first, ...others] = problems;
    super("recipe_invalid", first.message, {
      place: first.place,
      ...(others.length === 0 ? {} : { hint: others.map((problem) => `also ${problem.place} ${problem.message}`).join("\n  ") }),
    });
    this.problems = problems;
  }

  override toJSON(): ReturnType<SlipwayError["toJSON"]> & { readonly problems: readonly RecipeProblem[] } {
    return { ...super.toJSON(), problems: this.problems };
  }
}
