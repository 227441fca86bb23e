/** Paths from outside go through safeJoin or nowhere. */
import { isAbsolute, join, normalize, resolve, sep } from "node:path";
import { SlipwayError } from "../model/errors.ts";

/**
 * Joins a relative path from outside to `root`; throws `path_unsafe` for absolute paths, `..`, NUL, backslashes and drive letters.
 * The path may not exist yet; links on the way are the opener's business (O_NOFOLLOW).
 */
export function safeJoin(root: string, relative: string): string {
  const hasControl = Buffer.from(relative).some((byte) => byte < 32);
  const isBad = relative === "" || relative.length > 4096 || hasControl || relative.includes("\\") || isAbsolute(relative) || /^[A-Za-z]:/.test(relative);
  if (isBad || relative.split("/").includes("..")) {
    throw new SlipwayError("path_unsafe", `refusing the path ${JSON.stringify(relative.slice(0, 200))}`);
  }
  const joined = resolve(root, normalize(relative));
  if (joined !== resolve(root) && !joined.startsWith(resolve(root) + sep)) {
    throw new SlipwayError("path_unsafe", `refusing the path ${JSON.stringify(relative.slice(0, 200))}`);
  }
  return join(joined);
}
