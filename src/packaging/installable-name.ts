/** Names under which nothing can be installed, refused while the recipe's line is still known. */
import { hasControlCharacter } from "../formats/entry-path.ts";
import { SlipwayError } from "../model/errors.ts";

/** NAME_MAX and PATH_MAX of Linux (limits.h), the latter without its NUL. */
const segmentLimitBytes = 255;
const pathLimitBytes = 4095;

type Named = {
  readonly destination: string;
  readonly source: string;
  readonly place: string;
  /** Of a link. */
  readonly target?: string;
};

/**
 * Throws `source_unusable` for line feeds and the like, for bytes that are no UTF-8 (Node reads them as U+FFFD, and a file of that name is not
 * found again), and for what no file system takes.
 */
export function requireInstallableName({ destination, source, place, target }: Named, subject: string): void {
  const refuse = (what: string, hint: string): SlipwayError =>
    new SlipwayError("source_unusable", `${subject}: ${JSON.stringify(source.slice(0, 300))} ${what}`, { place, hint });
  for (const [text, what] of [
    [destination, "has a name"],
    [target ?? "", "leads to a name"],
  ] as const) {
    if (hasControlCharacter(text)) throw refuse(`${what} with control characters`, "rename it");
    if (text.includes("\ufffd")) throw refuse(`${what} that is not UTF-8`, "rename it");
  }
  if (Buffer.byteLength(destination) <= segmentLimitBytes) return;
  if (destination.split("/").some((segment) => Buffer.byteLength(segment) > segmentLimitBytes)) {
    throw refuse(`would be installed under a name of more than ${segmentLimitBytes} bytes, which no file system takes`, "shorten its name");
  }
  if (Buffer.byteLength(destination) > pathLimitBytes) {
    throw refuse(`would be installed under a path of more than ${pathLimitBytes} bytes, which Linux does not take`, "shorten its destination");
  }
}
