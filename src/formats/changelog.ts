/** The changelog of a package as a value, the same for deb and rpm; apk has none. */
import type { ChangelogEntry, PackageSpec } from "./package.ts";

/** The spec's entries, or one for this release; an entry without changes says at least which release it is. */
export function changelogOf(spec: Pick<PackageSpec, "version" | "epochSeconds" | "changelog">): readonly ChangelogEntry[] {
  const entries = spec.changelog ?? [{ version: spec.version, epochSeconds: spec.epochSeconds, changes: [] }];
  return entries.map((entry) => (entry.changes.length > 0 ? entry : { ...entry, changes: [`Release ${entry.version}.`] }));
}
