/** Fields that every part of a recipe's form is made of: one line of text, a template, a parser of ours inside zod. */
import { z } from "zod";
import { errorTable, SlipwayError } from "../model/errors.ts";
import { RecipeTextError } from "./recipe-error.ts";
import { type Placeholder, parseTemplate } from "./templates.ts";

/** What a check adds to an issue, so that the message points at the right letters: a piece of the text, or the key instead of its value. */
export type IssueParams = { readonly piece?: string | undefined; readonly isAtKey?: boolean };

/** Runs a parser of ours inside zod: its SlipwayError becomes an issue at this place; anything else is a bug and passes through. */
export function reading<From, To>(read: (value: From) => To) {
  return (value: From, context: z.RefinementCtx): To => {
    try {
      return read(value);
    } catch (error) {
      if (!(error instanceof SlipwayError)) throw error;
      const params: IssueParams = { piece: error instanceof RecipeTextError ? error.piece : undefined };
      context.addIssue({ code: "custom", message: withHint(error), params });
      return z.NEVER;
    }
  };
}

/** What to do stands beside what is wrong: the recipe's own hint is the same for every line of it. */
export function withHint(error: SlipwayError): string {
  return error.hint === errorTable.recipe_invalid.hint ? error.message : `${error.message}: ${error.hint}`;
}

/** As `line`, and it may be empty: a value of its own, as of an environment variable. */
export const lineOrNothing = (limit: number) =>
  z
    .string()
    .max(limit, { error: `is longer than ${limit} characters`, abort: true })
    .regex(/^[^\p{Cc}]*$/u, { error: "must be one line", abort: true });

/**
 * One line without control characters: it becomes a field of deb's control file, where a line break would begin another field.
 * `abort`, because the checks of the whole object must not see a text that was refused and so never became a template.
 */
export const line = (limit: number) => lineOrNothing(limit).min(1, { error: "must not be empty", abort: true });

/** Known before a target is chosen. */
export const releaseWords: readonly Placeholder[] = ["name", "version", "tag"];
const targetWords: readonly Placeholder[] = [...releaseWords, "os", "arch"];
/** For paths of sources. `{target}` holds a slash, so the names of artifacts have the words without it. */
export const sourceWords: readonly Placeholder[] = [...targetWords, "target", "exe"];
/** For what goes into packages: `scripts/{format}/postinstall`. */
export const packageWords: readonly Placeholder[] = [...sourceWords, "format"];
export const nameWords: readonly Placeholder[] = [...targetWords, "exe"];

export const template = (words: readonly Placeholder[]) => line(1_000).transform(reading((text: string) => parseTemplate(text, words)));

/** The name of an artifact as a recipe may spell it. */
export const artifactName = template(nameWords);

/** A check of a record whose problems stand at the key, not at its value. */
export function checkKeys<Value>(problem: (key: string, value: Value) => string | undefined) {
  return (record: Readonly<Record<string, Value>>, context: z.RefinementCtx): void => {
    for (const [key, value] of Object.entries(record)) {
      const message = problem(key, value);
      if (message !== undefined) context.addIssue({ code: "custom", message, path: [key], params: { isAtKey: true } satisfies IssueParams });
    }
  };
}

/** The message of what a parser or printer of ours refuses; undefined where it does not. */
export function refusalOf(attempt: () => unknown): string | undefined {
  try {
    attempt();
    return undefined;
  } catch (error) {
    if (error instanceof SlipwayError) return withHint(error);
    throw error;
  }
}
