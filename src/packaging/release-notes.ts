/** The notes of a release as the recipe promises them. */
import { SlipwayError } from "../model/errors.ts";
import type { PlannedNotes } from "./plan.ts";
import type { Recipe } from "./recipe.ts";
import { readSourceText } from "./source-text.ts";

const notesSizeLimit = 1024 * 1024;

/**
 * Reads them. They must have the headings that the recipe promises (`## Summary`), so that nobody looks for the migration steps in vain.
 * Throws `source_missing` and `source_unusable` with the recipe's line.
 */
export async function readNotes(planned: PlannedNotes, { recipe, folder }: { readonly recipe: Recipe; readonly folder: string }): Promise<string> {
  const { source, place } = planned;
  const text = await readSourceText(source, { folder, place, limitBytes: notesSizeLimit });
  const headings = new Set(text.split("\n").flatMap((line) => /^##\s+(.+?)\s*#*\s*$/.exec(line)?.[1] ?? []));
  const missing = (recipe.notes?.sections ?? []).filter((section) => !headings.has(section));
  if (missing.length > 0) {
    throw new SlipwayError("source_unusable", `${source} lacks ${missing.map((section) => `"## ${section}"`).join(", ")}`, {
      place,
      hint: 'write the missing sections; "none" is a good answer',
    });
  }
  return text;
}
