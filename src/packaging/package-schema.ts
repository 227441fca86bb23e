/** The form of `packages:` in a recipe: what the deb, rpm and apk packages hold, need and say. */
import { z } from "zod";
import { isDebTriggerName } from "../formats/deb-control.ts";
import { apkDependency } from "../formats/dependency.ts";
import { type DebTriggerDirective, debTriggerDirectives, type PackageCompression } from "../formats/package.ts";
import { parseProductName } from "../model/names.ts";
import { dependencies, packageFormats, weakDependencies } from "./dependency-schema.ts";
import { packageFiles } from "./file-schema.ts";
import { extrasProblem, formatExtras } from "./format-extras-schema.ts";
import { artifactName, type IssueParams, line, packageWords, reading, refusalOf, releaseWords, template } from "./recipe-fields.ts";

const compression = z
  .string()
  .regex(/^(gzip(:[1-9])?|zstd(:(1?[0-9]))?|xz(:[0-9])?|none)$/, "must be gzip, gzip:1 to gzip:9, zstd, zstd:1 to zstd:19, xz, xz:0 to xz:9, or none")
  .transform((text) => {
    const [codec, level] = text.split(":") as [PackageCompression["codec"], string | undefined];
    return { codec, level: level === undefined ? defaultLevels[codec] : Number(level) };
  });

const defaultLevels = { gzip: 6, zstd: 9, xz: 6, none: 0 } as const;

const scripts = z.strictObject({
  preinstall: template(packageWords).optional(),
  postinstall: template(packageWords).optional(),
  preremove: template(packageWords).optional(),
  postremove: template(packageWords).optional(),
});

const triggerNames = z.array(
  line(1_000).refine(isDebTriggerName, "must be a trigger of dpkg: an absolute path, or a word of letters, digits and punctuation without a space"),
);

const triggers = z
  .strictObject(
    Object.fromEntries(debTriggerDirectives.map((directive) => [directive, triggerNames.optional()])) as Record<
      DebTriggerDirective,
      z.ZodOptional<typeof triggerNames>
    >,
  )
  .optional()
  .describe("Triggers of the deb (deb-triggers(5)): interest, activate, and both with -await and -noawait");

const packageKeys = z.strictObject({
  formats: z.array(z.enum(packageFormats)).min(1, "must name a format").describe("Package formats to build for the linux targets"),
  name: z.string().transform(reading(parseProductName)).optional().describe("Name of the package; by default the product's"),
  arch: z
    .literal("all")
    .optional()
    .describe("One package for all processors (all in deb, noarch in rpm and apk), for scripts and data; by default one for each linux target"),
  files: packageFiles.default({}).describe("Where each file goes: destination -> source; a destination ending in / takes the source's own name"),
  scripts: scripts.default({}).describe("Script files run by the package manager, each beginning with #!"),
  depends: dependencies("depends", "Packages that must be there"),
  recommends: weakDependencies("recommends", "Packages installed along by default"),
  suggests: weakDependencies("suggests", "Packages that go well with it"),
  conflicts: dependencies("conflicts", "Packages that must not be there"),
  provides: dependencies("provides", "Names that this package stands for"),
  replaces: dependencies("replaces", "Packages whose files it takes over (obsoletes in rpm)"),
  triggers,
  ...formatExtras,
  changelog: z
    .union([
      z.enum(["notes", "git"]),
      z.strictObject({ file: template(releaseWords).describe("As CHANGELOG.md: a heading for each version, ## [1.4.2] - 2026-01-31") }),
    ])
    .optional()
    .describe(
      "What deb and rpm say of this release: the list items of its notes (notes, where the recipe has notes:), the commits of this and earlier tags (git), or the list items of this and earlier versions in a file",
    ),
  debsigs: z
    .literal(true)
    .optional()
    .describe("Sign each deb itself too (_gpgorigin of debsigs) with sign.gpg; apt and dpkg trust the signed index and do not look"),
  section: line(60)
    .regex(/^[a-z0-9-]+(\/[a-z0-9-]+)?$/, "must be a Debian section, as utils or net")
    .default("misc")
    .describe("Debian section"),
  compression: compression
    .default({ codec: "gzip", level: 6 })
    .describe("gzip (default, read everywhere), zstd (dpkg 1.21.18, rpm 4.14 and newer) xz (where the program xz is) or none; apk is always gzip"),
  names: z
    .strictObject({ deb: artifactName.optional(), rpm: artifactName.optional(), apk: artifactName.optional() })
    .default({})
    .describe("Name templates that replace the conventional names"),
  release: z
    .union([z.int().positive().transform(String), z.string().regex(/^[A-Za-z0-9][A-Za-z0-9.+]*$/, "must be letters, digits, dots and plus")])
    .optional()
    .describe("Package release: rpm's Release (1 by default), Debian's revision (none by default), apk's -r (0 by default, a number)"),
});

const formatKeys = [
  ["triggers", "deb"],
  ["debsigs", "deb"],
  ["deb", "deb"],
  ["rpm", "rpm"],
  ["apk", "apk"],
] as const;

/** What only apk cannot say, asked where apk is among the formats; and what only deb can. */
export const packagesSchema = packageKeys.superRefine((value, context) => {
  for (const [key, format] of formatKeys) {
    if (value[key] === undefined || value.formats.includes(format)) continue;
    const message = `is for ${format}, which is not among the formats`;
    context.addIssue({ code: "custom", message, path: [key], params: { isAtKey: true } satisfies IssueParams });
  }
  const problem = extrasProblem(value);
  if (problem !== undefined)
    context.addIssue({ code: "custom", message: problem.message, path: [...problem.path], params: { isAtKey: true } satisfies IssueParams });
  if (!value.formats.includes("apk")) return;
  for (const kind of ["depends", "conflicts", "provides", "replaces"] as const) {
    const lists = value[kind];
    // One list for all formats is the same array in each; a list of apk's own was read as apk's.
    for (const [index, dependency] of lists === undefined || lists.apk !== lists.deb ? [] : lists.apk.entries()) {
      const message = refusalOf(() => apkDependency(dependency, kind));
      if (message !== undefined) context.addIssue({ code: "custom", message, path: [kind, index] });
    }
  }
  if (value.release !== undefined && !/^\d{1,9}$/.test(value.release)) {
    context.addIssue({ code: "custom", message: `"${value.release}" has no apk form: apk counts releases 1, 2, 3`, path: ["release"] });
  }
});
