/**
 * Dependencies, parsed once and printed per format: `docker.io (>= 20) | docker-ce`.
 *
 * deb (deb-control(5)): the same form. rpm: `docker.io >= 20`; alternatives are a rich dependency `(a >= 20 or b)`, which needs
 * rpm 4.13 and says so through rpmlib(RichDependencies). apk (apk-package(5)): `docker>=20`, one name, no alternatives.
 */
import { SlipwayError } from "../model/errors.ts";
import { isApkVersion } from "./apk-version.ts";
import type { Dependency, DependencyKind, RelationKind } from "./package.ts";

type Alternative = Dependency[number];
type Operator = NonNullable<Alternative["operator"]>;

/** Package names of all formats, files (`/usr/bin/docker`) and rpm's capabilities (`perl(Foo::Bar)`). */
const namePattern = "[A-Za-z0-9/_][A-Za-z0-9/_.+:-]*(?:\\([A-Za-z0-9_.:+-]+\\))?";
const versionPattern = "[A-Za-z0-9.+~:^_-]+";
const alternativePattern = new RegExp(
  `^(?<name>${namePattern})(?: *\\( *(?<operator><<|<=|=|>=|>>) *(?<version>${versionPattern}) *\\)| *(?<bareOperator><=|>=|<|=|>) *(?<bareVersion>${versionPattern}))?$`,
);
const bareOperators: Readonly<Record<string, Operator>> = { "<": "<<", "<=": "<=", "=": "=", ">=": ">=", ">": ">>" };

/** Reads `a (>= 1) | b`, or rpm's and apk's spelling `a >= 1`, `a>=1`; throws `recipe_invalid`. */
export function parseDependency(text: string): Dependency {
  const alternatives = text.split("|").map((part): Alternative => {
    const groups = alternativePattern.exec(part.trim())?.groups;
    const name = groups?.["name"];
    if (groups === undefined || name === undefined) {
      throw new SlipwayError("recipe_invalid", `"${text.slice(0, 200)}" is not a dependency`, {
        hint: "write name, name (>= version), or alternatives with |",
      });
    }
    const operator = groups["operator"] ?? bareOperators[groups["bareOperator"] ?? ""];
    const version = groups["version"] ?? groups["bareVersion"];
    return operator === undefined || version === undefined ? { name } : { name, operator: operator as Operator, version };
  });
  return alternatives;
}

/** One relation of deb's Depends, Conflicts…; throws `recipe_invalid` for what deb cannot say. */
export function debDependency(dependency: Dependency, kind: RelationKind): string {
  const printed = dependency.map(({ name, operator, version }) => {
    if (!/^[a-z0-9][a-z0-9+.-]+(?::[a-z0-9]+)?$/.test(name)) throw impossible("deb", kind, `the name ${name}`);
    if (kind === "provides" && operator !== undefined && operator !== "=") throw impossible("deb", kind, `${operator} (only = is allowed)`);
    return operator === undefined ? name : `${name} (${operator} ${version})`;
  });
  if (printed.length > 1 && !takesAlternatives(kind)) throw impossible("deb", kind, "alternatives");
  return printed.join(" | ");
}

export type RpmRelation = { readonly name: string; readonly operator?: "<" | "<=" | "=" | ">=" | ">"; readonly version?: string };

const rpmOperators: Readonly<Record<Operator, NonNullable<RpmRelation["operator"]>>> = { "<<": "<", "<=": "<=", "=": "=", ">=": ">=", ">>": ">" };

/** One relation of an rpm header: alternatives become one rich dependency, whose name is the whole expression. */
export function rpmDependency(dependency: Dependency, kind: RelationKind): RpmRelation {
  const relations = dependency.map(({ name, operator, version }): RpmRelation => {
    return operator === undefined || version === undefined ? { name } : { name, operator: rpmOperators[operator], version };
  });
  const [only, ...others] = relations;
  if (only === undefined) throw impossible("rpm", kind, "an empty dependency");
  if (others.length === 0) return only;
  if (!takesAlternatives(kind)) throw impossible("rpm", kind, "alternatives");
  const expression = relations.map(({ name, operator, version }) => (operator === undefined ? name : `${name} ${operator} ${version}`)).join(" or ");
  return { name: `(${expression})` };
}

/** One word of apk's depend, provides, replaces. `!` before a name is a conflict. */
export function apkDependency(dependency: Dependency, kind: RelationKind): string {
  const [only, ...others] = dependency;
  if (only === undefined || others.length > 0) throw impossible("apk", kind, "alternatives");
  const operator = only.operator === undefined ? "" : rpmOperators[only.operator];
  // rpm's capabilities would be split at the parenthesis into something else.
  if (only.name.includes("(")) throw impossible("apk", kind, `the name ${only.name}`);
  if (kind === "provides" && only.operator !== undefined && only.operator !== "=") throw impossible("apk", kind, `${only.operator} (only = is allowed)`);
  // An invalid version inside a dependency makes apk refuse the whole package ("package file format error").
  if (only.version !== undefined && !isApkVersion(only.version)) throw impossible("apk", kind, `the version ${only.version}`);
  return `${kind === "conflicts" ? "!" : ""}${only.name}${operator}${only.version ?? ""}`;
}

function takesAlternatives(kind: RelationKind): boolean {
  return kind === "depends" || kind === "predepends" || kind === "recommends" || kind === "suggests" || kind === "supplements";
}

/** A recipe has one list of these for all formats, or one for each. */
function isShared(kind: RelationKind): kind is DependencyKind {
  return kind !== "predepends" && kind !== "breaks" && kind !== "enhances" && kind !== "supplements" && kind !== "installIf";
}

function impossible(format: string, kind: RelationKind, what: string): SlipwayError {
  const options = isShared(kind) ? { hint: `give ${format} its own list: a map with the key ${format}` } : {};
  return new SlipwayError("recipe_invalid", `${format} packages cannot have ${what} under "${kind}"`, options);
}
