/** One archive of the plan as the entries that the writers take: binaries, documents, and the units of the recipe's services. */
import type { ArchiveEntry } from "../formats/archive.ts";
import { bytesSource } from "../formats/byte-source.ts";
import { comparePaths } from "../formats/entry-path.ts";
import { lentFileBytes } from "../io/spool.ts";
import { SlipwayError } from "../model/errors.ts";
import { sameButForCase, windowsNameProblem } from "../model/windows-name.ts";
import type { PackageContext } from "./package-spec.ts";
import { buildValues, type PlannedArchive } from "./plan.ts";
import { type ResolvedEntry, resolveFiles } from "./resolve-files.ts";
import { resolveServices } from "./service-parts.ts";

const unitMode = 0o644;

/** Sorted by path. Throws `source_missing`, `source_unusable` and `recipe_invalid` with the recipe's line. */
export async function archiveEntries(planned: PlannedArchive, context: PackageContext): Promise<readonly ArchiveEntry[]> {
  const { folder, findBinary, outFolder } = context;
  const resolved = await resolveFiles(planned.rules, { folder, target: planned.target, findBinary, subject: "archives", outFolder });
  const entries = resolved.flatMap(archiveEntry);
  const units = planned.hasUnits ? await unitEntries(planned, context) : [];
  const added = units.filter((unit) => !entries.some((entry) => entry.path === unit.path));
  if (planned.target.os === "windows") requireWindowsNames(planned.name, resolved);
  return [...entries, ...added].toSorted((left, right) => comparePaths(left.path, right.path));
}

/** On Linux every name can be packed; on Windows it would be lost, or overwrite another file, when the archive is unpacked. */
function requireWindowsNames(archive: string, entries: readonly ResolvedEntry[]): void {
  const places = new Map(entries.map(({ destination, place }) => [destination.slice(1), place]));
  for (const [path, place] of places) {
    const problem = windowsNameProblem(path);
    if (problem !== undefined) throw new SlipwayError("recipe_invalid", `${archive} cannot hold ${JSON.stringify(path)}: it ${problem}`, { place });
  }
  const [one, other] = sameButForCase(places.keys()) ?? [];
  const place = places.get(other ?? "") ?? archive;
  if (one !== undefined) throw new SlipwayError("recipe_invalid", `${archive} cannot hold both ${one} and ${other}: on Windows they are one file`, { place });
}

async function unitEntries(planned: PlannedArchive, { recipe, plan, folder }: PackageContext): Promise<readonly ArchiveEntry[]> {
  const services = await resolveServices(recipe, buildValues(recipe, plan.version, planned.target), folder);
  const top = planned.folder === "" ? "" : `${planned.folder}/`;
  return services.map(({ name, unitText }) => ({ kind: "file", path: `${top}${name}.service`, mode: unitMode, source: bytesSource(Buffer.from(unitText)) }));
}

function archiveEntry(entry: ResolvedEntry): readonly ArchiveEntry[] {
  const path = entry.destination.slice(1);
  switch (entry.kind) {
    case "file":
      return [{ kind: "file", path, mode: entry.mode, source: lentFileBytes(entry.path, entry.size) }];
    case "directory":
      return [{ kind: "directory", path, mode: entry.mode }];
    case "symlink":
      return [{ kind: "symlink", path, target: entry.target }];
    case "ghost":
      return []; // packages alone have them
    default:
      return entry satisfies never;
  }
}
