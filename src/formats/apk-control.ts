/** The control segment of an apk: `.PKGINFO` and the scripts (apk-package(5); abuild's `.PKGINFO` is the form that every apk reads). */
import { SlipwayError } from "../model/errors.ts";
import { architectureWord } from "../model/target.ts";
import type { SegmentMember } from "./apk-segment.ts";
import { apkFullVersion } from "./apk-version.ts";
import { apkDependency } from "./dependency.ts";
import { hasControlCharacter } from "./entry-path.ts";
import type { DependencyKind, PackageSpec, ScriptName } from "./package.ts";
import { formatScripts } from "./package-script.ts";

export const apkInfoName = ".PKGINFO";

/** On an upgrade apk runs the upgrade scripts of the new package and no other: what an installation does stands in both where it is wanted in both. */
export const apkScripts = {
  preinstall: ".pre-install",
  postinstall: ".post-install",
  preupgrade: ".pre-upgrade",
  postupgrade: ".post-upgrade",
  preremove: ".pre-deinstall",
  postremove: ".post-deinstall",
  trigger: ".trigger",
} as const satisfies Partial<Record<ScriptName, string>>;

/** A conflict is a dependency with `!`. apk has no weak dependencies: recommends and suggests are advice that it does not hear. */
const relationKeys: readonly (readonly [DependencyKind, string])[] = [
  ["depends", "depend"],
  ["conflicts", "depend"],
  ["provides", "provides"],
  ["replaces", "replaces"],
];

/** What an interpreter is provided as; only the shell's path is a name that Alpine's packages provide. */
const providedInterpreters: ReadonlySet<string> = new Set(["/bin/sh"]);

/** The architecture: `noarch` or apk's own word. */
export function apkArchitecture(arch: PackageSpec["arch"]): string {
  return arch === "all" ? "noarch" : architectureWord(arch, "apk");
}

/** Members of the control segment, `.PKGINFO` first. Throws `recipe_invalid`, `name_invalid`, `version_invalid` for what an apk cannot say. */
export function apkControlMembers(spec: PackageSpec, dataSha256: string): readonly SegmentMember[] {
  const info = { name: apkInfoName, content: Buffer.from(apkInfo(spec, dataSha256)), mode: 0o644 };
  const scripts = new Map(formatScripts("apk", spec.scripts, apkScripts).map(({ name, body }) => [name, body]));
  const members = (Object.entries(apkScripts) as [keyof typeof apkScripts, string][]).flatMap(([script, name]): readonly SegmentMember[] => {
    const body = scripts.get(script);
    return body === undefined ? [] : [{ name, content: Buffer.from(body), mode: 0o755 }];
  });
  return [info, ...members];
}

function apkInfo(spec: PackageSpec, dataSha256: string): string {
  if (!/^[a-z0-9][a-z0-9+._-]*$/.test(spec.name)) throw new SlipwayError("name_invalid", `"${spec.name}" is not an apk package name`);
  const lines = [
    field("pkgname", spec.name),
    field("pkgver", apkFullVersion(spec)),
    field("pkgdesc", spec.summary),
    // apk 2 reads the length of url without asking whether there is one.
    spec.homepage === undefined ? "url = " : field("url", spec.homepage),
    field("builddate", String(spec.epochSeconds)),
    field("packager", spec.maintainer),
    field("size", String(apkInstalledBytes(spec))),
    field("arch", apkArchitecture(spec.arch)),
    field("origin", spec.name),
    field("maintainer", spec.maintainer),
    field("license", spec.license),
    ...relations(spec).map(([key, value]) => field(key, value)),
    ...extras(spec),
    field("datahash", dataSha256),
  ];
  return `${lines.join("\n")}\n`;
}

/** Bytes of all files and link targets, and never 0: apk unpacks nothing of a package of size 0, runs no script of it, and reports success. */
export function apkInstalledBytes(spec: Pick<PackageSpec, "entries">): number {
  const sizes = spec.entries.map((entry) => {
    if (entry.kind === "file") return entry.source.size;
    return entry.kind === "symlink" ? Buffer.byteLength(entry.target) : 0;
  });
  return Math.max(
    1,
    sizes.reduce((sum, size) => sum + size, 0),
  );
}

/** Sorted and each once, as abuild writes them. */
function relations(spec: PackageSpec): readonly (readonly [string, string])[] {
  const interpreters = formatScripts("apk", spec.scripts, apkScripts).map(({ interpreter }) => interpreter[0]);
  const lines = relationKeys.flatMap(([kind, key]) => (spec.dependencies[kind] ?? []).map((dependency) => [key, apkDependency(dependency, kind)] as const));
  const shells = interpreters.filter((program) => providedInterpreters.has(program)).map((program) => ["depend", program] as const);
  const byText = new Map([...lines, ...shells].map((line) => [line.join(" "), line]));
  return [...byText].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, line]) => line);
}

/** apk splits `install_if` and `triggers` at spaces. */
function extras({ apk = {}, scripts }: PackageSpec): readonly string[] {
  const { installIf = [], triggers = [], providerPriority, replacesPriority } = apk;
  if (triggers.length > 0 !== (scripts.trigger !== undefined)) {
    throw new SlipwayError("recipe_invalid", "an apk has folders that trigger its script, and the script, or neither");
  }
  return [
    ...(installIf.length === 0 ? [] : [field("install_if", installIf.map((one) => apkDependency(one, "installIf")).join(" "))]),
    ...(triggers.length === 0 ? [] : [field("triggers", triggers.join(" "))]),
    ...(providerPriority === undefined ? [] : [field("provider_priority", String(providerPriority))]),
    ...(replacesPriority === undefined ? [] : [field("replaces_priority", String(replacesPriority))]),
  ];
}

function field(key: string, value: string): string {
  // A line feed would let a value write fields of its own.
  if (value.trim() === "" || hasControlCharacter(value)) throw new SlipwayError("recipe_invalid", `the ${key} of an apk must be one non-empty line`);
  return `${key} = ${value}`;
}
