/** Texts of the recipe's folder that are read whole: scripts, units, notes. */
import { join } from "node:path";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { sourceFailure } from "./source-failure.ts";

type TextQuestion = {
  /** The recipe's, absolute. */
  readonly folder: string;
  readonly place: string;
  readonly limitBytes: number;
  /** For messages, as `service`; none by default. */
  readonly subject?: string;
};

/**
 * The text at `path`, relative to the folder. Throws `source_missing`, and `source_unusable` for what is no file, is larger than the limit or
 * may not be read; each names the place.
 */
export async function readSourceText(path: string, { folder, place, limitBytes, subject }: TextQuestion): Promise<string> {
  const prefix = subject === undefined ? "" : `${subject}: `;
  try {
    return (await readFileBounded(join(folder, path), limitBytes)).toString("utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") {
      throw new SlipwayError("source_missing", `${prefix}there is no ${path}`, { place, cause: error });
    }
    if (!(error instanceof SlipwayError)) throw sourceFailure(error, { what: `${prefix}${path}`, place, folder });
    const what = error.code === "format_limit" ? `is larger than ${limitBytes} bytes, more than is read of such a text` : "is not a regular file";
    throw new SlipwayError("source_unusable", `${prefix}${path} ${what}`, { place, cause: error });
  }
}
