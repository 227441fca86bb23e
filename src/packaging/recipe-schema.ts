/** The form of `slipway.yaml`: every key with its type, its meaning and its default; the JSON Schema for editors comes from here. */
import { z } from "zod";
import { apkDependency, debDependency, parseDependency, rpmDependency } from "../formats/dependency.ts";
import { parseOciDestination } from "../formats/oci-reference.ts";
import type { Dependency, DependencyKind } from "../formats/package.ts";
import { defaultSumsName } from "../model/manifest.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseFileName, parseProductName, parseWord } from "../model/names.ts";
import { parseTarget } from "../model/target.ts";
import { parseKeyReference } from "../trust/key-reference.ts";
import { splitCommandLine } from "./command-line.ts";
import { parseFileMode } from "./file-mode.ts";
import { imageSchema } from "./image-schema.ts";
import { type IssueParams, line, nameWords, reading, releaseWords, sourceWords, template } from "./recipe-fields.ts";
import { sbomSchema } from "./sbom-schema.ts";
import { servicesSchema, undeclaredUsers } from "./service-schema.ts";
import { type Placeholder, parseTemplate, usesPlaceholder } from "./templates.ts";
import { usersSchema } from "./users-schema.ts";

export const packageFormats = ["deb", "rpm", "apk"] as const;
export type PackageFormat = (typeof packageFormats)[number];

const binaryWords: readonly Placeholder[] = [...sourceWords, "bin"];

/** Every word of the command line is a template of its own: a value with a space in it never becomes two arguments. */
const commandLine = line(10_000).transform(reading((text: string) => splitCommandLine(text).map((word) => parseTemplate(word, [...binaryWords, "out"]))));

const artifactName = template(nameWords);
const binaryArtifactName = template([...nameWords, "bin"]);

const programName = line(100).regex(/^[A-Za-z0-9_][A-Za-z0-9._+-]*$/, "must be a plain program name without a folder");

/** Where a secret is; never the secret itself. */
const keyReference = z.string().superRefine((text, context) => {
  reading((one: string) => parseKeyReference(one))(text, context);
});

const accountName = z.string().regex(/^[a-z_][a-z0-9_-]{0,30}$/, "must be the name of a user or group");
const fileMode = z.string('must be a file mode in quotes, as "0755" (0755 without quotes is the number 755 in YAML 1.2)').transform(reading(parseFileMode));

const sources = z.union([template(sourceWords), z.array(template(sourceWords)).min(1, "must name a file")]);

const fileObject = z
  .strictObject({
    from: sources.optional().describe("The file, folder or pattern to ship, relative to the recipe; the name of a binary means the built one"),
    link: line(1_000).optional().describe("Ship a symbolic link to this target instead of a file"),
    directory: z.literal(true).optional().describe("Ship an empty directory that the package owns"),
    config: z
      .enum(["noreplace", "replace"])
      .optional()
      .describe("A configuration file: an operator's edit survives the upgrade (noreplace) or is set aside (replace, rpm only)"),
    mode: fileMode.optional().describe('Permission bits in quotes, as "0640"; by default 0755 for programs and scripts, 0644 otherwise'),
    owner: accountName.default("root").describe("The user that owns it"),
    group: accountName.default("root").describe("The group that owns it"),
  })
  .superRefine((value, context) => {
    const kinds = (["from", "link", "directory"] as const).filter((key) => value[key] !== undefined);
    if (kinds.length !== 1) context.addIssue({ code: "custom", message: "needs exactly one of from, link and directory" });
    if (value.config !== undefined && value.from === undefined) context.addIssue({ code: "custom", message: "is a file only with from", path: ["config"] });
    if (value.mode !== undefined && value.link !== undefined) context.addIssue({ code: "custom", message: "a link has no mode of its own", path: ["mode"] });
  });

const fileValue = z.union([template(sourceWords), z.array(template(sourceWords)).min(1, "must name a file"), fileObject]);

/** An absolute path in its one spelling; a slash at the end means "into this folder". */
const destinationPattern = /^(?:\/[^/\p{Cc}]+)+\/?$/u;

function checkKeys<Value>(problem: (key: string, value: Value) => string | undefined) {
  return (record: Readonly<Record<string, Value>>, context: z.RefinementCtx): void => {
    for (const [key, value] of Object.entries(record)) {
      const message = problem(key, value);
      if (message !== undefined) context.addIssue({ code: "custom", message, path: [key], params: { isAtKey: true } satisfies IssueParams });
    }
  };
}

const hasDotSegment = (path: string): boolean => path.split("/").some((segment) => segment === "." || segment === "..");

const packageFiles = z.record(z.string(), fileValue).superRefine(
  checkKeys((path, value) => {
    if (!destinationPattern.test(path) || hasDotSegment(path)) return "must be an absolute path without . and .., as /usr/bin/ or /etc/product/file";
    const isMany = Array.isArray(value) || (typeof value === "object" && "from" in value && Array.isArray(value.from));
    if (isMany && !path.endsWith("/")) return "several files need a folder to go into: end the path with a slash";
    return undefined;
  }),
);

const archiveFile = template(sourceWords);

const archive = z.strictObject({
  name: artifactName
    .optional()
    .describe("Name template; .tar.gz or .zip at its end decides the format, without either windows gets .zip and the others .tar.gz"),
  files: z.array(archiveFile).default([]).describe("Files beside the binaries, relative to the recipe; each goes to the top of the archive"),
});

/** Printing it is the proof that the format can say it: each has other names, versions and places for alternatives. */
const printers = { deb: debDependency, rpm: rpmDependency, apk: apkDependency } as const;

const dependencyFor = (kind: DependencyKind, formats: readonly PackageFormat[]) =>
  line(500).transform(
    reading((text: string): Dependency => {
      const dependency = parseDependency(text);
      for (const format of formats) printers[format](dependency, kind);
      return dependency;
    }),
  );

const listsPerFormat = (kind: DependencyKind) => ({
  deb: z.array(dependencyFor(kind, ["deb"])).default([]),
  rpm: z.array(dependencyFor(kind, ["rpm"])).default([]),
});

/** Whether apk can say a list for all formats is asked where apk is among them (packages): it has no alternatives, which deb's lists are full of. */
const dependencies = (kind: DependencyKind, meaning: string) =>
  z
    .union([z.array(dependencyFor(kind, ["deb", "rpm"])), z.strictObject({ ...listsPerFormat(kind), apk: z.array(dependencyFor(kind, ["apk"])).default([]) })])
    .transform((value) => (Array.isArray(value) ? { deb: value, rpm: value, apk: value } : value))
    .optional()
    .describe(`${meaning}: a list for all formats, or one list per format`);

const weakDependencies = (kind: DependencyKind, meaning: string) =>
  z
    .union([z.array(dependencyFor(kind, ["deb", "rpm"])), z.strictObject(listsPerFormat(kind))])
    .transform((value) => ({ ...(Array.isArray(value) ? { deb: value, rpm: value } : value), apk: [] }))
    .optional()
    .describe(`${meaning} (apk has no such advice and goes without): a list for all formats, or one list per format`);

const compression = z
  .string()
  .regex(/^(gzip(:[1-9])?|zstd(:(1?[0-9]))?|none)$/, "must be gzip, gzip:1 to gzip:9, zstd, zstd:1 to zstd:19, or none")
  .transform((text) => {
    const [codec, level] = text.split(":") as ["gzip" | "zstd" | "none", string | undefined];
    return { codec, level: level === undefined ? defaultLevels[codec] : Number(level) };
  });

const defaultLevels = { gzip: 6, zstd: 9, none: 0 } as const;

const scripts = z.strictObject({
  preinstall: template(sourceWords).optional(),
  postinstall: template(sourceWords).optional(),
  preremove: template(sourceWords).optional(),
  postremove: template(sourceWords).optional(),
});

const packageKeys = z.strictObject({
  formats: z.array(z.enum(packageFormats)).min(1, "must name a format").describe("Package formats to build for the linux targets"),
  name: z.string().transform(reading(parseProductName)).optional().describe("Name of the package; by default the product's"),
  files: packageFiles.default({}).describe("Where each file goes: destination -> source; a destination ending in / takes the source's own name"),
  scripts: scripts.default({}).describe("Script files run by the package manager, each beginning with #!"),
  depends: dependencies("depends", "Packages that must be there"),
  recommends: weakDependencies("recommends", "Packages installed along by default"),
  suggests: weakDependencies("suggests", "Packages that go well with it"),
  conflicts: dependencies("conflicts", "Packages that must not be there"),
  provides: dependencies("provides", "Names that this package stands for"),
  replaces: dependencies("replaces", "Packages whose files it takes over (obsoletes in rpm)"),
  section: line(60)
    .regex(/^[a-z0-9-]+(\/[a-z0-9-]+)?$/, "must be a Debian section, as utils or net")
    .default("misc")
    .describe("Debian section"),
  compression: compression
    .default({ codec: "gzip", level: 6 })
    .describe("gzip (default, read everywhere), zstd (dpkg 1.21.18, rpm 4.14 and newer) or none; apk is always gzip"),
  names: z
    .strictObject({ deb: artifactName.optional(), rpm: artifactName.optional(), apk: artifactName.optional() })
    .default({})
    .describe("Name templates that replace the conventional names"),
  release: z
    .union([z.int().positive().transform(String), z.string().regex(/^[A-Za-z0-9][A-Za-z0-9.+]*$/, "must be letters, digits, dots and plus")])
    .optional()
    .describe("Package release: rpm's Release (1 by default), Debian's revision (none by default), apk's -r (0 by default, a number)"),
});

/** The message of what a parser or printer of ours refuses; undefined where it does not. */
function refusalOf(attempt: () => unknown): string | undefined {
  try {
    attempt();
    return undefined;
  } catch (error) {
    if (error instanceof SlipwayError) return error.message;
    throw error;
  }
}

/** What only apk cannot say, asked where apk is among the formats. */
const packages = packageKeys.superRefine((value, context) => {
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

const build = z
  .strictObject({
    run: commandLine
      .optional()
      .describe("Build command without a shell, run for each target, and for each binary where it names {bin} or {out}; GOOS, GOARCH and SLIPWAY_* are set"),
    env: z
      .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), template(binaryWords))
      .default({})
      .describe("Environment of the build command"),
    prebuilt: template(binaryWords).optional().describe("Path of each binary, where they are built already or the build command leaves them"),
    binaries: z.array(programName).min(1, "must name a binary").describe("Programs of the product, without .exe"),
  })
  .superRefine((value, context) => {
    const writesOut = value.run?.some((word) => usesPlaceholder(word, "out")) === true;
    if (value.run === undefined && value.prebuilt === undefined) {
      context.addIssue({ code: "custom", message: "needs run (a command) or prebuilt (a path)" });
    } else if (value.run !== undefined && !writesOut && value.prebuilt === undefined) {
      context.addIssue({ code: "custom", message: "must say where the result goes: use {out} in it, or add prebuilt with the path it writes", path: ["run"] });
    } else if (writesOut && value.prebuilt !== undefined) {
      context.addIssue({ code: "custom", message: "run writes {out}, so a prebuilt path would never be read; keep one of the two", path: ["prebuilt"] });
    }
    if (value.prebuilt !== undefined && value.binaries.length > 1 && !usesPlaceholder(value.prebuilt, "bin")) {
      context.addIssue({ code: "custom", message: "needs {bin}: there is more than one binary", path: ["prebuilt"] });
    }
  });

const channelPattern = line(100).regex(/^[A-Za-z0-9.*?+-]+$/, "must be a tag pattern with * and ?");

const channels = z
  .record(z.string(), channelPattern)
  .superRefine(checkKeys((name) => refusalOf(() => parseWord("channel", name))))
  .default({ stable: "v*.*.*", preview: "v*-*" });

const notes = z.strictObject({
  file: template(releaseWords).describe("The notes of one release, as docs/releases/{tag}.md; they become an artifact"),
  sections: z.array(line(100)).default([]).describe("Headings that the notes must have (## Heading)"),
});

const publish = z.strictObject({
  server: z
    .url({ protocol: /^https?$/, error: "must be an http or https address" })
    .optional()
    .describe("Address of the Slipway server"),
  oci: line(300)
    .transform(reading(parseOciDestination))
    .optional()
    .describe("Registry that `slipway image push` pushes to: HOST or HOST/NAMESPACE, before the images' names"),
  retention: z
    .strictObject({ keep: z.int().min(1).max(1_000).describe("How many versions stay published") })
    .optional()
    .describe("How long versions stay published"),
});

/** The whole recipe. `z.output` of it has templates, commands, targets, modes and dependencies already read. */
export const recipeSchema = z
  .strictObject({
    name: z.string().transform(reading(parseProductName)).describe("Product name: lower-case letters, digits, dot, plus, dash"),
    summary: line(200).describe("What it is, in one line"),
    description: z.string().max(10_000).default("").describe("What it is, in paragraphs; by default the summary"),
    maintainer: line(200)
      .regex(/^[^<>]+ <[^<>@\s]+@[^<>@\s]+>$/, "must be a name and an address, as Jo Doe <jo@example.com>")
      .describe("Who answers for it: Name <address>"),
    license: line(100).describe("SPDX expression, as Apache-2.0, or Proprietary"),
    homepage: z
      .url({ protocol: /^https?$/, error: "must be an http or https address" })
      .optional()
      .describe("Where to read more"),
    vendor: line(200).optional().describe("The organisation that ships it (rpm's Vendor)"),
    targets: z
      .array(z.string().transform(reading(parseTarget)))
      .min(1, "must name a target")
      .describe("os/arch pairs, as linux/amd64, darwin/arm64, windows/amd64"),
    build,
    binaries: binaryArtifactName.optional().describe("Ship each binary as a file of its own, named by this template"),
    archives: z.array(archive).default([]).describe("Archives of all binaries and some files, one per target"),
    packages: packages.optional().describe("deb, rpm and apk packages for the linux targets"),
    images: z.array(imageSchema(packageFiles)).default([]).describe("Container images of the linux targets, each an OCI layout in a tar"),
    service: servicesSchema,
    users: usersSchema,
    checksums: z.string().transform(reading(parseFileName)).default(defaultSumsName).describe("Name of the checksum file"),
    sign: z
      .strictObject({
        minisign: keyReference.optional().describe("minisign key for the checksum file"),
        gpg: keyReference.optional().describe("OpenPGP key for the checksum file and rpm headers"),
        apk: keyReference.optional().describe("RSA key for apk packages (slipway keys new --type apk)"),
      })
      .default({})
      .describe("Release keys, named by where they are: env:NAME, file:PATH, key:NAME"),
    sbom: sbomSchema,
    provenance: z.boolean().default(false).describe("Say in an in-toto statement (SLSA) from which commit and inputs every file of the release was made"),
    channels: channels.describe("Channel -> pattern of tags; a preview version is never on the channel stable"),
    notes: notes.optional().describe("Release notes"),
    publish: publish.default({}).describe("Where the release goes and how long it stays"),
  })
  .superRefine((recipe, context) => {
    if (recipe.archives.length === 0 && recipe.packages === undefined && recipe.images.length === 0 && recipe.binaries === undefined) {
      context.addIssue({ code: "custom", message: "the recipe makes nothing: add archives, packages, images or binaries" });
    }
    const seen = new Set<string>();
    for (const [index, target] of recipe.targets.entries()) {
      const name = `${target.os}/${target.arch}`;
      if (seen.has(name)) context.addIssue({ code: "custom", message: `${name} stands here twice`, path: ["targets", index] });
      seen.add(name);
    }
    if (recipe.packages !== undefined && !recipe.targets.some((target) => target.os === "linux")) {
      context.addIssue({ code: "custom", message: "packages need a linux target", path: ["packages", "formats"] });
    }
    for (const key of ["service", "users"] as const) {
      if (recipe[key].length > 0 && recipe.packages === undefined) {
        context.addIssue({ code: "custom", message: "is what packages install, and the recipe has no packages", path: [key], params: { isAtKey: true } });
      }
    }
    for (const { user, at } of undeclaredUsers(recipe.service, recipe.users)) {
      context.addIssue({ code: "custom", message: `the user ${user} is not declared: add it under users`, path: at });
    }
  });

export type RecipeBody = z.output<typeof recipeSchema>;
export type FileValue = NonNullable<RecipeBody["packages"]>["files"][string];

/** Keys that the documents know and this version does not act on: refused with a word, because ignoring one would be worse. */
export const laterKeys: readonly string[] = [
  "compatibility",
  "release",
  "upgrade",
  "sign.sigstore",
  "publish.bucket",
  "publish.apt",
  "publish.yum",
  "publish.github",
];

/** The JSON Schema (2020-12) that `slipway schema` prints. */
export function recipeJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(recipeSchema, { io: "input" });
  return { ...schema, title: "slipway.yaml", description: "The recipe of one product: what is built, packaged, signed and published." };
}
