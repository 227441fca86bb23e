/** What the lint rules about files have in common: going through the entries, and asking for folders and rights. */
import type { FileFacts, PackagedEntry, PackageFacts } from "../model/package-facts.ts";
import type { Hit } from "./lint-rule.ts";

export const programFolders = ["/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/", "/usr/games/"] as const;

/** A rule that looks at each entry by itself; `problem` returns the message, or undefined where there is nothing to say. */
export function eachEntry(problem: (entry: PackagedEntry) => string | undefined): (facts: PackageFacts) => readonly Hit[] {
  return ({ entries }) =>
    entries.flatMap((entry) => {
      const message = problem(entry);
      return message === undefined ? [] : [{ place: entry.place, message }];
    });
}

export function eachFile(problem: (file: FileFacts) => string | undefined): (facts: PackageFacts) => readonly Hit[] {
  return eachEntry((entry) => (entry.kind === "file" ? problem(entry) : undefined));
}

/** The folder itself counts. */
export function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}
