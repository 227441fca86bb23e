/**
 * Names that Windows cannot hold, or takes for another file than the one that is meant (Microsoft, "Naming Files, Paths, and Namespaces").
 * Asked on every system: a release is made on Linux, and its files are fetched and unpacked there.
 */

/** A device wherever it stands, whatever follows its first dot: opening `NUL.zip` opens no file. */
const devicePattern = /^(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\.|$)/i;
/** The colon begins a drive or an alternate stream, the backslash a folder. */
const refusedCharacter = /[<>:"|?*\\\p{Cc}]/u;

/** Why Windows cannot hold this relative path (its parts separated by slashes); undefined where it can. */
export function windowsNameProblem(path: string): string | undefined {
  for (const part of path.split("/")) {
    const character = refusedCharacter.exec(part)?.[0];
    if (character !== undefined) return `holds ${JSON.stringify(character)}, which Windows has in no name`;
    if (/[. ]$/.test(part)) return `has a part that ends in a ${part.endsWith(".") ? "dot" : "space"}, which Windows drops`;
    if (devicePattern.test(part)) return `has the part ${part}, which is a device on Windows`;
  }
  return undefined;
}

/** The first two of these paths that are one file where case does not count, as on Windows and macOS. */
export function sameButForCase(paths: Iterable<string>): readonly [string, string] | undefined {
  const seen = new Map<string, string>();
  for (const path of paths) {
    const key = path.toLowerCase();
    const other = seen.get(key);
    if (other !== undefined && other !== path) return [other, path];
    seen.set(key, path);
  }
  return undefined;
}
