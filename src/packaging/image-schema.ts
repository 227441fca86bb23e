/** The form of one entry of `images:` in a recipe. The form of `files` is the packages' own and is passed in. */
import { z } from "zod";
import { parseOciReference, parseRepository, parseTag } from "../formats/oci-reference.ts";
import { parseTarget } from "../model/target.ts";
import { RecipeTextError } from "./recipe-error.ts";
import { line, lineOrNothing, reading, releaseWords, template } from "./recipe-fields.ts";
import { expandTemplate, parseTemplate, type Template } from "./templates.ts";

const word = line(4_096);
const path = word
  .regex(/^\/(?:[^/]+(?:\/[^/]+)*)?$/, "must be an absolute path")
  .refine((text) => !/\/\.{1,2}(?:\/|$)/.test(text), "must not have . and .. in it");

/** A tag is checked with a version in its place, so that a mistake is found before a release is. */
function tagTemplate(text: string): Template {
  const parsed = parseTemplate(text, releaseWords);
  parseTag(expandTemplate(parsed, { name: "name", version: "1.0.0", tag: "v1.0.0" }));
  return parsed;
}

export type ImageBaseReference =
  | { readonly kind: "scratch" }
  /** A folder with an image layout, relative to the recipe. */
  | { readonly kind: "layout"; readonly path: string; readonly tag?: string }
  /** Always with a digest: a tag that moves would make tomorrow's image of today's tag another one. */
  | { readonly kind: "registry"; readonly reference: string };

function parseBase(text: string): ImageBaseReference {
  if (text === "scratch") return { kind: "scratch" };
  const layout = /^oci:([^:]+)(?::([^:]+))?$/.exec(text);
  if (layout !== null) {
    const [, folder = "", tag] = layout;
    if (folder.startsWith("/") || folder.split("/").includes(".."))
      throw new RecipeTextError(`${JSON.stringify(folder)} leads out of the recipe's folder`, folder);
    return { kind: "layout", path: folder, ...(tag === undefined ? {} : { tag }) };
  }
  const reference = parseOciReference(text);
  if (reference.digest === undefined) throw new RecipeTextError(`${text} may mean another image tomorrow: add @sha256:… of the one that you mean`, text);
  return { kind: "registry", reference: text };
}

/** Linux has room for more, a layer's tar for 2097151. */
const id = z.int().min(0).max(2_097_151);
const accountName = z.string().regex(/^[a-z_][a-z0-9_-]{0,30}$/, "must be the name of a user");

const account = z.strictObject({
  uid: id.describe("Number of the user"),
  gid: id.optional().describe("Number of the group of the same name; by default the user's"),
  home: path.default("/").describe("Home directory"),
  shell: path.default("/sbin/nologin").describe("Login shell"),
});

const fromBuildMachine = z.union([
  z.literal("system").describe("The build machine's own"),
  word.refine((text) => !text.startsWith("/") && !text.split("/").includes(".."), "must be a path inside the recipe's folder"),
]);

const codecLevels = { gzip: 6, zstd: 9, none: 0 } as const;

/** One image; `files` is the schema of `packages.files`, so that both are written alike. */
export function imageSchema<Files extends z.ZodType>(files: Files) {
  return z.strictObject({
    name: z.string().transform(reading(parseRepository)).optional().describe("Repository in the registry, as team/product; by default the product's name"),
    tags: z
      .array(line(128).transform(reading(tagTemplate)))
      .min(1, "must name a tag")
      .prefault(["{version}"])
      .describe('Tag templates; "{version}" by default'),
    archive: template(releaseWords).optional().describe("Name of the artifact, an OCI layout in a tar; {name}-{version}-oci.tar by default"),
    base: line(512)
      .transform(reading(parseBase))
      .prefault("scratch")
      .describe("scratch, oci:FOLDER[:TAG] for an image layout, or HOST/REPOSITORY[:TAG]@sha256:… in a registry"),
    targets: z
      .array(z.string().transform(reading(parseTarget)))
      .min(1, "must name a target")
      .optional()
      .describe("Platforms; by default all linux targets of the recipe"),
    files: files.optional().describe("Where each file goes, as in packages.files; by default every binary into /usr/bin/"),
    users: z.record(accountName, account).default({}).describe("Users of the image, written to /etc/passwd and /etc/group; only on scratch"),
    user: z
      .union([
        z.int().min(0).transform(String),
        z.string().regex(/^(?:\d{1,10}|[a-z_][a-z0-9_-]{0,30})(?::(?:\d{1,10}|[a-z_][a-z0-9_-]{0,30}))?$/, "must be a user or uid:gid"),
      ])
      .optional()
      .describe("Who runs it: a name of users, a number, or uid:gid; by default root on scratch, and the base's user otherwise"),
    entrypoint: z.array(word).min(1, "must name a program").optional().describe("Program and first arguments; by default the one binary"),
    cmd: z.array(lineOrNothing(4_096)).optional().describe("Arguments where none are given to `run`"),
    env: z
      .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), lineOrNothing(32_768))
      .default({})
      .describe("Environment variables"),
    workingDir: path.optional().describe("Working directory"),
    ports: z
      .array(
        z.union([
          z
            .int()
            .min(1)
            .max(65_535)
            .transform((port) => `${port}/tcp`),
          z
            .string()
            .regex(/^[1-9]\d{0,4}(?:\/(?:tcp|udp))?$/, "must be a port, as 8080, 8080/tcp or 53/udp")
            .transform((text) => (text.includes("/") ? text : `${text}/tcp`)),
        ]),
      )
      .default([])
      .describe("Ports that it listens on"),
    volumes: z.array(path).default([]).describe("Folders that hold data"),
    stopSignal: z
      .string()
      .regex(/^SIG[A-Z0-9+-]{2,12}$/, "must be a signal, as SIGTERM")
      .optional()
      .describe("Signal that stops it"),
    labels: z.record(word, lineOrNothing(4_096)).default({}).describe("Labels beside the standard ones"),
    annotations: z.record(word, lineOrNothing(4_096)).default({}).describe("Annotations of the manifests and the index, beside the standard ones"),
    caBundle: fromBuildMachine.optional().describe("CA certificates at /etc/ssl/certs/ca-certificates.crt: a file of yours, or system for the build machine's"),
    timeZones: fromBuildMachine.optional().describe("Time zones at /usr/share/zoneinfo: a folder of yours, or system for the build machine's"),
    nsswitch: z.boolean().default(false).describe("Write /etc/nsswitch.conf with `hosts: files dns`; only on scratch"),
    compression: z
      .string()
      .regex(/^(?:gzip(?::[1-9])?|zstd(?::(?:[1-9]|1[0-9]))?|none)$/, "must be gzip, gzip:1 to gzip:9, zstd, zstd:1 to zstd:19, or none")
      .transform((text) => {
        const [codec, level] = text.split(":") as [keyof typeof codecLevels, string | undefined];
        return { codec, level: level === undefined ? codecLevels[codec] : Number(level) };
      })
      .prefault("gzip")
      .describe("gzip (read everywhere), zstd (Docker 23, containerd 1.5, podman) or none"),
  });
}

export type ImageRecipe = Omit<z.output<ReturnType<typeof imageSchema<z.ZodType>>>, "files">;
