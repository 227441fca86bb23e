/** The text members of a deb's control.tar: `control`, `md5sums`, `conffiles`, scripts (deb-control(5), deb-md5sums(5), deb-conffiles(5)). */
import { SlipwayError } from "../model/errors.ts";
import { architectureWord } from "../model/target.ts";
import { debVersion } from "../model/version.ts";
import { debDependency } from "./dependency.ts";
import { hasControlCharacter, undeclaredParents } from "./entry-path.ts";
import { debTriggerDirectives, type Dependency, type DependencyKind, type PackageSpec, type RelationKind, type ScriptName } from "./package.ts";

const relationFields: readonly (readonly [DependencyKind, string])[] = [
  ["depends", "Depends"],
  ["recommends", "Recommends"],
  ["suggests", "Suggests"],
  ["conflicts", "Conflicts"],
  ["replaces", "Replaces"],
  ["provides", "Provides"],
];

export const debScripts = {
  config: "config",
  preinstall: "preinst",
  postinstall: "postinst",
  preremove: "prerm",
  postremove: "postrm",
} as const satisfies Partial<Record<ScriptName, string>>;

/** Debian's full version: upstream, and a revision where the spec has one (deb-version(7)). */
export function debFullVersion(spec: Pick<PackageSpec, "version" | "release">): string {
  const upstream = debVersion(spec.version);
  return spec.release === undefined ? upstream : `${upstream}-${spec.release}`;
}

/** The architecture field: `all` or dpkg's own word. */
export function debArchitecture(arch: PackageSpec["arch"]): string {
  return arch === "all" ? "all" : architectureWord(arch, "deb");
}

/** The control file. License and Vendor are no fields of a binary package and are left to /usr/share/doc. Throws `recipe_invalid`, `name_invalid`. */
export function debControl(spec: PackageSpec): string {
  if (!/^[a-z0-9][a-z0-9+.-]+$/.test(spec.name)) throw new SlipwayError("name_invalid", `"${spec.name}" is not a Debian package name`);
  const lines = [
    field("Package", spec.name),
    field("Version", debFullVersion(spec)),
    field("Architecture", debArchitecture(spec.arch)),
    field("Maintainer", spec.maintainer),
    field("Installed-Size", String(installedSizeKib(spec))),
    ...relations("Pre-Depends", "predepends", spec.deb?.predepends ?? []),
    ...relationFields.flatMap(([kind, name]) => relations(name, kind, spec.dependencies[kind] ?? [])),
    ...relations("Breaks", "breaks", spec.deb?.breaks ?? []),
    ...relations("Enhances", "enhances", spec.deb?.enhances ?? []),
    field("Section", spec.section),
    field("Priority", spec.deb?.priority ?? "optional"),
    ...(spec.homepage === undefined ? [] : [field("Homepage", spec.homepage)]),
    ...Object.entries(spec.deb?.fields ?? {}).map(([name, value]) => furtherField(name, value)),
    field("Description", spec.summary),
    ...descriptionLines(spec.description === "" ? spec.summary : spec.description),
  ];
  return `${lines.join("\n")}\n`;
}

/**
 * dpkg-gencontrol's sum (deb-substvars(5)): each file rounded up to 1 KiB, 1 KiB for everything else. A size in bytes / 1024 would be
 * too small for many small files.
 */
export function installedSizeKib(spec: Pick<PackageSpec, "entries">): number {
  let total = undeclaredParents(spec.entries.filter((entry) => entry.kind !== "ghost")).length;
  for (const entry of spec.entries) {
    if (entry.kind === "file") total += Math.ceil(entry.source.size / 1024);
    else if (entry.kind !== "ghost") total += 1;
  }
  return total;
}

/** Absolute paths of configuration files; undefined where there are none, because an empty member is an error to dpkg's tools. */
export function debConffiles(spec: Pick<PackageSpec, "entries">): string | undefined {
  const paths = spec.entries.flatMap((entry) => (entry.kind === "file" && entry.config !== undefined ? [entry.path] : []));
  return paths.length === 0 ? undefined : paths.map((path) => `${path}\n`).join("");
}

/** The `triggers` member (deb-triggers(5)): one directive a line; undefined where there are none. Throws `recipe_invalid` for an unusable name. */
export function debTriggers(spec: Pick<PackageSpec, "triggers">): string | undefined {
  const lines = debTriggerDirectives.flatMap((directive) =>
    (spec.triggers?.[directive] ?? []).map((name) => {
      if (!isDebTriggerName(name)) throw new SlipwayError("recipe_invalid", `"${name.slice(0, 200)}" cannot be the name of a deb trigger`);
      return `${directive} ${name}\n`;
    }),
  );
  return lines.length === 0 ? undefined : lines.join("");
}

/** dpkg's rule (trig_name_is_illegal): printable ASCII without a space; a path stands for everything at and below it. */
export function isDebTriggerName(name: string): boolean {
  return name.startsWith("/") ? /^(?:\/[\x21-\x2e\x30-\x7e]+)+$/.test(name) : /^[a-z0-9][\x21-\x2e\x30-\x7e]*$/i.test(name);
}

/** Fields that the rest of a package says: written by us, or meaningful to dpkg only where it made them. */
const ownFields = [
  ["Package", "Version", "Architecture", "Maintainer", "Installed-Size", "Section", "Priority", "Homepage", "Description"],
  ["Depends", "Pre-Depends", "Recommends", "Suggests", "Enhances", "Conflicts", "Breaks", "Replaces", "Provides"],
  ["Filename", "Size", "MD5sum", "SHA1", "SHA256", "SHA512", "Status", "Conffiles", "Config-Version"],
].flat();

/** What is wrong with a further field's name; undefined where nothing is (deb-control(5): letters, digits and dashes here, which all tools read). */
export function debFieldProblem(name: string): string | undefined {
  if (!/^[A-Za-z][A-Za-z0-9-]{0,62}$/.test(name)) return "must be the name of a field: letters, digits and dashes";
  const own = ownFields.find((known) => known.toLowerCase() === name.toLowerCase());
  return own === undefined ? undefined : `${own} is written from the rest of the recipe`;
}

function furtherField(name: string, value: string): string {
  const problem = debFieldProblem(name);
  if (problem !== undefined) throw new SlipwayError("recipe_invalid", `the field ${name} of a deb: ${problem}`);
  return field(name, value);
}

function relations(name: string, kind: RelationKind, dependencies: readonly Dependency[]): readonly string[] {
  if (dependencies.length === 0) return [];
  return [field(name, dependencies.map((dependency) => debDependency(dependency, kind)).join(", "))];
}

function field(name: string, value: string): string {
  // A line feed would let a value write fields of its own.
  if (value.trim() === "" || hasControlCharacter(value)) throw new SlipwayError("recipe_invalid", `the ${name} of a deb must be one non-empty line`);
  return `${name}: ${value}`;
}

/** Continuation lines: one leading space, a dot for an empty line. */
function descriptionLines(text: string): readonly string[] {
  return text
    .trim()
    .split("\n")
    .map((line) => line.trimEnd())
    .map((line) => (line === "" ? " ." : ` ${line}`));
}
