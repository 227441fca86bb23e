/** The form of `slipway.yaml`: every key with its type, its meaning and its default; the JSON Schema for editors comes from here. */
import { z } from "zod";
import { parseOciDestination } from "../formats/oci-reference.ts";
import { defaultSumsName } from "../model/manifest.ts";
import { parseFileName, parseProductName, parseWord } from "../model/names.ts";
import { parseTarget } from "../model/target.ts";
import { parseKeyReference } from "../trust/key-reference.ts";
import { splitCommandLine } from "./command-line.ts";
import { imageFiles } from "./file-schema.ts";
import { imageSchema } from "./image-schema.ts";
import { packagesSchema } from "./package-schema.ts";
import { artifactName, checkKeys, line, nameWords, reading, refusalOf, releaseWords, sourceWords, template } from "./recipe-fields.ts";
import { sbomSchema } from "./sbom-schema.ts";
import { servicesSchema, undeclaredUsers } from "./service-schema.ts";
import { type Placeholder, parseTemplate, usesPlaceholder } from "./templates.ts";
import { sigstoreSigningSchema } from "./sigstore-schema.ts";
import { upgradeSchema } from "./upgrade-schema.ts";
import { usersSchema } from "./users-schema.ts";

const binaryWords: readonly Placeholder[] = [...sourceWords, "bin"];

/** Every word of the command line is a template of its own: a value with a space in it never becomes two arguments. */
const commandLine = (words: readonly Placeholder[]) =>
  line(10_000).transform(reading((text: string) => splitCommandLine(text).map((word) => parseTemplate(word, words))));

const binaryArtifactName = template([...nameWords, "bin"]);

const programName = line(100).regex(/^[A-Za-z0-9_][A-Za-z0-9._+-]*$/, "must be a plain program name without a folder");

/** Where a secret is; never the secret itself. */
const keyReference = z.string().superRefine((text, context) => {
  reading((one: string) => parseKeyReference(one))(text, context);
});

const archiveFile = template(sourceWords);

/** A place in an archive. */
const archivePath = z
  .string()
  .regex(/^(?:[^/\p{Cc}]+\/)*[^/\p{Cc}]*$/u, "must be a path inside the archive, as doc/ or doc/GUIDE.md")
  .refine(
    (path) => path !== "" && !path.split("/").some((segment) => segment === "." || segment === ".."),
    "must be a path inside the archive without . and ..",
  );

const archive = z.strictObject({
  name: artifactName
    .optional()
    .describe("Name template; .tar.gz, .tar.zst, .tar.xz or .zip at its end decides the format, without one windows gets .zip and the others .tar.gz"),
  folder: artifactName.optional().describe("Everything lies in this folder of the archive, as {name}-{version}; by default at the top"),
  binaries: z.array(programName).min(1, "must name a binary").optional().describe("Only these of build.binaries; by default all"),
  files: z
    .union([z.array(archiveFile), z.record(archivePath, archiveFile)])
    .optional()
    .describe(
      "Files beside the binaries, relative to the recipe: a list for the top of the archive, or path -> source, where a path that ends in / takes the source's own name. By default LICENSE, README and INSTALL where they are",
    ),
  units: z.boolean().default(true).describe("Put the systemd units of service: into archives for linux, unless files brings them"),
});

const build = z
  .strictObject({
    before: z
      .array(commandLine(releaseWords))
      .default([])
      .describe("Commands that run once before all others, each without a shell, as `make man` or `npm run build`"),
    run: commandLine([...binaryWords, "out"])
      .optional()
      .describe("Build command without a shell, run for each target, and for each binary where it names {bin} or {out}; GOOS, GOARCH and SLIPWAY_* are set"),
    env: z
      .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), template(binaryWords))
      .default({})
      .describe("Environment of the build commands"),
    pass: z
      .array(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*\*?$/, "must be the name of a variable, or the beginning of several with a * behind it"))
      .default([])
      .describe("Variables that build commands get from yours. Those that say where tools and caches lie, and how the network is reached, they get anyway"),
    prebuilt: template(binaryWords).optional().describe("Path of each binary, where they are built already or the build command leaves them"),
    binaries: z.array(programName).min(1, "must name a binary").describe("Programs of the product, without .exe"),
    outputs: z
      .array(line(1_000))
      .default([])
      .describe("Files and folders besides the binaries that the build command makes, as man/acme.1.gz: `plan` does not look for them"),
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
    if (value.outputs.length > 0 && value.run === undefined && value.before.length === 0) {
      context.addIssue({ code: "custom", message: "are made by run or before, which are missing", path: ["outputs"] });
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
      .regex(/^[^\s\p{Cc}]*$/u, "must be an address without spaces")
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
    packages: packagesSchema.optional().describe("deb, rpm and apk packages for the linux targets"),
    images: z.array(imageSchema(imageFiles)).default([]).describe("Container images of the linux targets, each an OCI layout in a tar"),
    deltas: z
      .int()
      .min(0)
      .max(10)
      .default(0)
      .describe("From how many earlier releases deltas are made: updaters that have one of them fetch a delta instead of the whole archive or binary"),
    service: servicesSchema,
    users: usersSchema,
    checksums: z.string().transform(reading(parseFileName)).default(defaultSumsName).describe("Name of the checksum file"),
    sign: z
      .strictObject({
        minisign: keyReference.optional().describe("minisign key for the checksum file"),
        gpg: keyReference.optional().describe("OpenPGP key for the checksum file and rpm headers"),
        apk: keyReference.optional().describe("RSA key for apk packages (slipway keys new --type apk)"),
        tuf: keyReference.optional().describe("TUF key that signs what a channel lists (slipway keys new --type tuf)"),
        minisign_next: keyReference.optional().describe("The minisign key that follows: signs besides, during a rotation (slipway keys rotate)"),
        keys: line(1_000).optional().describe("The key set that the release carries: which keys count from now on (slipway keys rotate writes it)"),
        sigstore: sigstoreSigningSchema.optional(),
      })
      .default({})
      .describe("Release keys, named by where they are: env:NAME, file:PATH, key:NAME"),
    sbom: sbomSchema,
    provenance: z.boolean().default(false).describe("Say in an in-toto statement (SLSA) from which commit and inputs every file of the release was made"),
    channels: channels.describe("Channel -> pattern of tags; a preview version is never on the channel stable"),
    upgrade: upgradeSchema.optional(),
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
    if (recipe.packages?.debsigs === true && recipe.sign.gpg === undefined) {
      context.addIssue({ code: "custom", message: "needs an OpenPGP key: add sign.gpg", path: ["packages", "debsigs"] });
    }
    if (recipe.packages?.changelog === "notes" && recipe.notes === undefined) {
      context.addIssue({ code: "custom", message: "needs to know where notes are: add notes.file", path: ["packages", "changelog"] });
    }
    for (const [index, { binaries }] of recipe.archives.entries()) {
      const unknown = binaries?.findIndex((name) => !recipe.build.binaries.includes(name)) ?? -1;
      if (unknown >= 0) {
        context.addIssue({
          code: "custom",
          message: `is none of build.binaries: ${recipe.build.binaries.join(", ")}`,
          path: ["archives", index, "binaries", unknown],
        });
      }
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

/** Keys that the documents know and this version does not act on: refused with a word, because ignoring one would be worse. */
export const laterKeys: readonly string[] = ["compatibility", "release", "upgrade", "publish.bucket", "publish.apt", "publish.yum", "publish.github"];

/** The JSON Schema (2020-12) that `slipway schema` prints. */
export function recipeJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(recipeSchema, { io: "input" });
  return { ...schema, title: "slipway.yaml", description: "The recipe of one product: what is built, packaged, signed and published." };
}
