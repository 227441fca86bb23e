/** One archive of the plan as the entries that the writers take: binaries, documents, and the units of the recipe's services. */
import type { ArchiveEntry } from "../formats/archive.ts";
import { bytesSource } from "../formats/byte-source.ts";
import { comparePaths } from "../formats/entry-path.ts";
import { lentFileBytes } from "../io/spool.ts";
import type { PackageContext } from "./package-spec.ts";
import { buildValues, type PlannedArchive } from "./plan.ts";
import { type ResolvedEntry, resolveFiles } from "./resolve-files.ts";
import { resolveServices } from "./service-parts.ts";

const unitMode = 0o644;

/** Sorted by path. Throws `source_missing`, `source_unusable` and `recipe_invalid` with the recipe's line. */
export async function archiveEntries(planned: PlannedArchive, context: PackageContext): Promise<readonly ArchiveEntry[]> {
  const { folder, findBinary } = context;
  const resolved = await resolveFiles(planned.rules, { folder, target: planned.target, findBinary, subject: "archives" });
  const entries = resolved.flatMap(archiveEntry);
  const units = planned.hasUnits ? await unitEntries(planned, context) : [];
  const added = units.filter((unit) => !entries.some((entry) => entry.path === unit.path));
  return [...entries, ...added].toSorted((left, right) => comparePaths(left.path, right.path));
}

async function unitEntries(planned: PlannedArchive, { recipe, plan, folder }: PackageContext): Promise<readonly ArchiveEntry[]> {
  const services = await resolveServices(recipe, buildValues(recipe, plan.version, planned.target), folder);
  return services.map(({ name, unitText }) => ({ kind: "file", path: `${name}.service`, mode: unitMode, source: bytesSource(Buffer.from(unitText)) }));
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
