/** The sections of an installation's state: what a backup holds and a restore replaces. The operator's file decides; where it names none, the signed releases do. */
import { basename, join } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import type { StateSection, UpgradeContract } from "../model/upgrade-contract.ts";

/** The part of an installation that says what its state is. */
export type StateSource = {
  readonly backup: { readonly paths: readonly string[]; readonly sections: readonly StateSection[] };
  readonly stateDir: string;
  readonly place: string;
};

/**
 * The sections for a step between releases: those of the one that is left and of the one that comes, the former's word first. Throws
 * `installation_invalid` where two lie inside each other, or in the updater's own folder.
 */
export function sectionsOf(installation: StateSource, ...contracts: readonly (UpgradeContract | undefined)[]): readonly StateSection[] {
  const { paths, sections } = installation.backup;
  const own = [...sections, ...namedPaths(paths, new Set(sections.map(({ name }) => name)))];
  const chosen = own.length > 0 ? own : promisedSections(contracts);
  requireApart(chosen, { updates: join(installation.stateDir, "updates"), place: installation.place });
  return chosen;
}

function promisedSections(contracts: readonly (UpgradeContract | undefined)[]): readonly StateSection[] {
  const byName = new Map<string, StateSection>();
  for (const section of contracts.flatMap((contract) => contract?.state ?? [])) {
    const hasPath = section.path !== undefined && [...byName.values()].some(({ path }) => path === section.path);
    if (!byName.has(section.name) && !hasPath) byName.set(section.name, section);
  }
  return [...byName.values()];
}

/** `backup.paths` as sections named after their last part: `data`, and where two end the same, `data-2`. */
function namedPaths(paths: readonly string[], taken: ReadonlySet<string>): readonly StateSection[] {
  const used = new Set(taken);
  return paths.map((path) => {
    const word = basename(path)
      .toLowerCase()
      .replace(/[^a-z0-9-]+/g, "-")
      .replace(/^[^a-z]+/, "")
      .slice(0, 50);
    const stem = word === "" ? "path" : word;
    let name = stem;
    for (let count = 2; used.has(name); count += 1) name = `${stem}-${count}`;
    used.add(name);
    return { name, kind: "dir", path, timeout_seconds: 3_600 };
  });
}

const isInside = (child: string, parent: string): boolean => child === parent || child.startsWith(parent.endsWith("/") ? parent : `${parent}/`);

function requireApart(sections: readonly StateSection[], { updates, place }: { readonly updates: string; readonly place: string }): void {
  const refuse = (message: string): never => {
    throw new SlipwayError("installation_invalid", message, { place, hint: "name the product's data more narrowly under backup: in the installation file" });
  };
  const paths = sections.flatMap(({ path }) => (path === undefined ? [] : [path]));
  for (const [index, path] of paths.entries()) {
    if (isInside(updates, path) || isInside(path, updates)) refuse(`backup: ${path} and the updater's own ${updates} lie inside each other`);
    if (paths.some((other, at) => at !== index && isInside(other, path))) refuse(`backup: ${path} holds another path of the list`);
  }
}

/** A command with the dump's path in the place of `{file}`. */
export function withDump(argv: readonly string[], file: string): readonly string[] {
  return argv.map((argument) => argument.replaceAll("{file}", file));
}
