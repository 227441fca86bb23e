/** The form of `packages.deb`, `packages.rpm` and `packages.apk` in a recipe: what one format alone can say. */
import { z } from "zod";
import { debFieldProblem } from "../formats/deb-control.ts";
import { rpmRequireMoments } from "../formats/package.ts";
import { dependenciesOf, dependencyFor, type PackageFormat } from "./dependency-schema.ts";
import { checkKeys, line, packageWords, template } from "./recipe-fields.ts";

const file = template(packageWords);

const folder = line(300).regex(/^(?:\/[A-Za-z0-9._+-]+)+$/, "must be an absolute path of letters, digits and . _ + -");

const deb = z.strictObject({
  predepends: dependenciesOf("deb", "predepends", "Packages that must be set up before this one is unpacked"),
  breaks: dependenciesOf("deb", "breaks", "Packages that may stay unpacked beside it and do not work with it"),
  enhances: dependenciesOf("deb", "enhances", "Packages that it makes more useful"),
  priority: z.enum(["required", "important", "standard", "optional", "extra"]).optional().describe("Debian priority; optional by default"),
  fields: z
    .record(z.string(), line(1_000))
    .superRefine(checkKeys((name) => debFieldProblem(name)))
    .optional()
    .describe("Further fields of the control file, as Bugs: https://…"),
  config: file.optional().describe("Script of debconf that asks before the package is unpacked"),
  templates: file.optional().describe("What debconf asks (debconf-devel(7))"),
});

const rpm = z.strictObject({
  supplements: dependenciesOf("rpm", "supplements", "Packages with which it is installed by itself"),
  enhances: dependenciesOf("rpm", "enhances", "Packages that it makes more useful"),
  requires: z
    .partialRecord(z.enum(rpmRequireMoments), z.array(dependencyFor("depends", ["rpm"])))
    .optional()
    .describe("What its scripts need, as Requires(post): pre, post, preun, postun, pretrans, posttrans, verify"),
  group: line(100).optional().describe("Group; Applications/System by default, and nobody reads it any more"),
  prefixes: z.array(folder).min(1, "must name a folder").optional().describe("Folders whose files `rpm --prefix` and `--relocate` may put elsewhere"),
  scripts: z
    .strictObject({ pretrans: file.optional(), posttrans: file.optional(), verify: file.optional() })
    .default({})
    .describe("Scripts before and after the whole transaction, and for `rpm --verify`"),
});

const priority = z.int().min(1).max(65_535).optional();

const apk = z.strictObject({
  installIf: dependenciesOf("apk", "installIf", "It is installed by itself once all of these are"),
  providerPriority: priority.describe("Among packages that provide one name without a version, the highest is taken"),
  replacesPriority: priority.describe("Which of two packages that replace each other's files wins"),
  triggers: z
    .array(folder)
    .min(1, "must name a folder")
    .optional()
    .describe("Folders whose changes run scripts.trigger, which gets the changed ones as arguments"),
  scripts: z
    .strictObject({ preupgrade: file.optional(), postupgrade: file.optional(), trigger: file.optional() })
    .default({})
    .describe("Scripts of an upgrade, in place of preinstall and postinstall, and of triggers"),
});

/** What the writers take beside the specification that all formats share. */
export const formatExtras = {
  deb: deb.optional().describe("What only a deb can say"),
  rpm: rpm.optional().describe("What only an rpm can say"),
  apk: apk.optional().describe("What only an apk can say"),
} as const;

type Extras = { readonly [Format in PackageFormat]?: z.output<(typeof formatExtras)[Format]> };

/** A problem of what one format alone has, with its key; undefined where there is none. */
export function extrasProblem(extras: Extras): { readonly path: readonly string[]; readonly message: string } | undefined {
  const { deb: ofDeb, apk: ofApk } = extras;
  if (ofDeb?.config !== undefined && ofDeb.templates === undefined) return { path: ["deb", "config"], message: "asks nothing without templates" };
  const hasScript = ofApk?.scripts.trigger !== undefined;
  if (hasScript && ofApk.triggers === undefined)
    return { path: ["apk", "scripts", "trigger"], message: "is never run without triggers, the folders that it watches" };
  if (!hasScript && ofApk?.triggers !== undefined) return { path: ["apk", "triggers"], message: "run nothing without scripts.trigger" };
  return undefined;
}
