/** What the system says about a source that cannot be read, as a failure that names the recipe's line. */
import { relative } from "node:path";
import { SlipwayError } from "../model/errors.ts";

/** `what` is the source as the recipe names it; the path that failed, below it, is told relative to `folder`, the recipe's. */
type Source = { readonly what: string; readonly place: string; readonly folder: string };

/** Codes of open(2), readdir(3) and realpath(3) that say something about the source and not about this machine. */
const reasons: Readonly<Record<string, readonly [reason: string, hint: string]>> = {
  EACCES: ["may not be read by this user", "make it readable, or run as its owner"],
  EPERM: ["may not be read by this user", "make it readable, or run as its owner"],
  ELOOP: ["is a link that leads back to itself", "correct the link"],
  ENOTDIR: ["goes through a file as if that were a folder", "correct its path in the recipe"],
  ENAMETOOLONG: ["has a longer name than the file system takes", "correct its path in the recipe"],
  ENOENT: ["went away while it was looked at", "run the build again when nothing else writes there"],
};

/** `source_unusable` for what the table knows; anything else is handed back as it is. */
export function sourceFailure(thrown: unknown, { what, place, folder }: Source): unknown {
  const { code = "", path } = thrown as NodeJS.ErrnoException;
  const known = thrown instanceof Error && Object.hasOwn(reasons, code) ? reasons[code] : undefined;
  if (known === undefined || thrown instanceof SlipwayError) return thrown;
  const [reason, hint] = known;
  const below = path === undefined ? "" : relative(folder, path);
  const shown = below === "" || below.startsWith("..") || what.endsWith(below) ? what : `${what} (${below})`;
  return new SlipwayError("source_unusable", `${shown} ${reason}`, { place, hint, cause: thrown });
}
