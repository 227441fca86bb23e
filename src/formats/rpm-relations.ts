/** The dependency tags of an rpm: what the spec says, and what rpm itself demands of a package that uses its features. */
import { architectures } from "../model/target.ts";
import { type RpmRelation, rpmDependency } from "./dependency.ts";
import {
  type CommonScriptName,
  type Dependency,
  type DependencyKind,
  type PackageCompression,
  type PackageSpec,
  type RelationKind,
  type RpmRequireMoment,
  rpmRequireMoments,
} from "./package.ts";
import { formatScripts } from "./package-script.ts";
import type { RpmValue } from "./rpm-header.ts";
import { rpmSense, rpmTag } from "./rpm-tags.ts";

/** The scripts that rpm runs. */
export type RpmScriptName = CommonScriptName | "pretransaction" | "posttransaction" | "verify";

type Relation = { readonly name: string; readonly flags: number; readonly version: string };

/** rpm's `%{_isa}`, the suffix that tells a library of one architecture from another's (rpm's platform macros). */
const isaNames: Readonly<Record<keyof typeof architectures, string>> = {
  amd64: "x86-64",
  arm64: "aarch-64",
  "386": "x86-32",
  armv7: "armv7hl-32",
  riscv64: "riscv-64",
  ppc64le: "ppc-64",
  s390x: "s390-64",
  loong64: "loongarch64-64",
};

const scriptSense: Readonly<Record<RpmScriptName, number>> = {
  preinstall: rpmSense.SCRIPT_PRE,
  postinstall: rpmSense.SCRIPT_POST,
  preremove: rpmSense.SCRIPT_PREUN,
  postremove: rpmSense.SCRIPT_POSTUN,
  pretransaction: rpmSense.SCRIPT_PRETRANS,
  posttransaction: rpmSense.SCRIPT_POSTTRANS,
  verify: rpmSense.SCRIPT_VERIFY,
};

/** `Requires(post):` and its like (rpm-spec(5)). */
const momentSense: Readonly<Record<RpmRequireMoment, number>> = {
  pre: rpmSense.SCRIPT_PRE,
  post: rpmSense.SCRIPT_POST,
  preun: rpmSense.SCRIPT_PREUN,
  postun: rpmSense.SCRIPT_POSTUN,
  pretrans: rpmSense.SCRIPT_PRETRANS,
  posttrans: rpmSense.SCRIPT_POSTTRANS,
  verify: rpmSense.SCRIPT_VERIFY,
};

const operatorSense = {
  "<": rpmSense.LESS,
  "<=": rpmSense.LESS | rpmSense.EQUAL,
  "=": rpmSense.EQUAL,
  ">=": rpmSense.GREATER | rpmSense.EQUAL,
  ">": rpmSense.GREATER,
} as const;

type RelationTags = { readonly name: number; readonly flags: number; readonly version: number };
const tags = {
  provides: { name: rpmTag.PROVIDENAME, flags: rpmTag.PROVIDEFLAGS, version: rpmTag.PROVIDEVERSION },
  depends: { name: rpmTag.REQUIRENAME, flags: rpmTag.REQUIREFLAGS, version: rpmTag.REQUIREVERSION },
  conflicts: { name: rpmTag.CONFLICTNAME, flags: rpmTag.CONFLICTFLAGS, version: rpmTag.CONFLICTVERSION },
  replaces: { name: rpmTag.OBSOLETENAME, flags: rpmTag.OBSOLETEFLAGS, version: rpmTag.OBSOLETEVERSION },
  recommends: { name: rpmTag.RECOMMENDNAME, flags: rpmTag.RECOMMENDFLAGS, version: rpmTag.RECOMMENDVERSION },
  suggests: { name: rpmTag.SUGGESTNAME, flags: rpmTag.SUGGESTFLAGS, version: rpmTag.SUGGESTVERSION },
  supplements: { name: rpmTag.SUPPLEMENTNAME, flags: rpmTag.SUPPLEMENTFLAGS, version: rpmTag.SUPPLEMENTVERSION },
  enhances: { name: rpmTag.ENHANCENAME, flags: rpmTag.ENHANCEFLAGS, version: rpmTag.ENHANCEVERSION },
} as const satisfies Partial<Record<RelationKind, RelationTags>>;
type RpmRelationKind = keyof typeof tags;

/** All dependency tags; `evr` is the package's own `version-release`. Throws `recipe_invalid`. */
export function rpmRelationTags(spec: PackageSpec, evr: string): readonly (readonly [number, RpmValue])[] {
  const read = (kind: RpmRelationKind, dependencies: readonly Dependency[] = []): readonly Relation[] =>
    dependencies.map((dependency) => relation(rpmDependency(dependency, kind)));
  const asked = (kind: DependencyKind): readonly Relation[] => read(kind, spec.dependencies[kind]);
  const forScripts = rpmRequireMoments.flatMap((moment) =>
    read("depends", spec.rpm?.requires?.[moment]).map((one) => ({ ...one, flags: one.flags | momentSense[moment] })),
  );
  const all: Readonly<Record<RpmRelationKind, readonly Relation[]>> = {
    provides: [...asked("provides"), ...ownProvides(spec, evr)],
    depends: [...asked("depends"), ...forScripts, ...scriptRequires(spec)],
    conflicts: asked("conflicts"),
    replaces: asked("replaces"),
    recommends: asked("recommends"),
    suggests: asked("suggests"),
    supplements: read("supplements", spec.rpm?.supplements),
    enhances: read("enhances", spec.rpm?.enhances),
  };
  const used = Object.values(all).flat();
  return (Object.keys(tags) as RpmRelationKind[]).flatMap((kind) =>
    relationTags(tags[kind], kind === "depends" ? [...all.depends, ...featureRequires(spec, evr, used)] : all[kind]),
  );
}

function relation({ name, operator, version }: RpmRelation): Relation {
  return operator === undefined || version === undefined ? { name, flags: 0, version: "" } : { name, flags: operatorSense[operator], version };
}

function ownProvides(spec: PackageSpec, evr: string): readonly Relation[] {
  const own: Relation = { name: spec.name, flags: rpmSense.EQUAL, version: evr };
  return spec.arch === "all" ? [own] : [own, { ...own, name: `${spec.name}(${isaNames[spec.arch]})` }];
}

function scriptRequires(spec: PackageSpec): readonly Relation[] {
  return formatScripts("rpm", spec.scripts, scriptSense).map(({ name, interpreter }) => ({
    name: interpreter[0],
    flags: rpmSense.INTERP | scriptSense[name],
    version: "",
  }));
}

const payloadFeature: Readonly<Partial<Record<PackageCompression["codec"], readonly [string, string]>>> = {
  zstd: ["PayloadIsZstd", "5.4.18-1"],
  xz: ["PayloadIsXz", "5.2-1"],
};

/** rpmlib(): features that an older rpm must not try to install without. */
function featureRequires(spec: PackageSpec, evr: string, used: readonly Relation[]): readonly Relation[] {
  const versions = [evr, ...used.map((one) => one.version)];
  const payload = payloadFeature[spec.compression.codec];
  const features: readonly (readonly [string, string])[] = [
    ...(spec.entries.length === 0
      ? []
      : ([
          ["CompressedFileNames", "3.0.4-1"],
          ["FileDigests", "4.6.0-1"],
        ] as const)),
    ["PayloadFilesHavePrefix", "4.0-1"],
    ...(payload === undefined ? [] : [payload]),
    ...(versions.some((version) => version.includes("~")) ? ([["TildeInVersions", "4.10.0-1"]] as const) : []),
    ...(versions.some((version) => version.includes("^")) ? ([["CaretInVersions", "4.15.0-1"]] as const) : []),
    ...(used.some((one) => one.name.startsWith("(")) ? ([["RichDependencies", "4.12.0-1"]] as const) : []),
  ];
  return features.map(([name, version]) => ({ name: `rpmlib(${name})`, flags: rpmSense.RPMLIB | rpmSense.LESS | rpmSense.EQUAL, version }));
}

/** Sorted and without repetition, as rpmbuild writes them; no tags for an empty list. */
function relationTags(own: RelationTags, relations: readonly Relation[]): readonly (readonly [number, RpmValue])[] {
  const unique = new Map(relations.map((one) => [`${one.name}\0${one.flags}\0${one.version}`, one]));
  const sorted = [...unique].sort(([left], [right]) => Buffer.compare(Buffer.from(left), Buffer.from(right))).map(([, one]) => one);
  if (sorted.length === 0) return [];
  return [
    [own.name, { kind: "strings", texts: sorted.map((one) => one.name) }],
    [own.flags, { kind: "int32", values: sorted.map((one) => one.flags) }],
    [own.version, { kind: "strings", texts: sorted.map((one) => one.version) }],
  ];
}
