/** The form of `files` of packages and images: where each file comes from, and as whose with which rights it is installed. */
import { z } from "zod";
import { packageFormats } from "./dependency-schema.ts";
import { parseFileMode } from "./file-mode.ts";
import { checkKeys, line, packageWords, reading, sourceWords, template } from "./recipe-fields.ts";
import type { Placeholder } from "./templates.ts";

const accountName = z.string().regex(/^[a-z_][a-z0-9_-]{0,30}$/, "must be the name of a user or group");
const fileMode = z.string('must be a file mode in quotes, as "0755" (0755 without quotes is the number 755 in YAML 1.2)').transform(reading(parseFileMode));

const sources = (words: readonly Placeholder[]) => z.union([template(words), z.array(template(words)).min(1, "must name a file")]);

const fileObject = (words: readonly Placeholder[]) =>
  z
    .strictObject({
      from: sources(words).optional().describe("The file, folder or pattern to ship, relative to the recipe; the name of a binary means the built one"),
      link: line(1_000).optional().describe("Ship a symbolic link to this target instead of a file"),
      directory: z.literal(true).optional().describe("Ship an empty directory that the package owns"),
      ghost: z.literal(true).optional().describe("A file that is made at run time and belongs to the package (rpm's %ghost); nothing is shipped"),
      config: z
        .enum(["noreplace", "replace", "missingok"])
        .optional()
        .describe(
          "A configuration file: an operator's edit survives the upgrade (noreplace), is set aside (replace, rpm only), or the file may be gone (missingok, rpm only)",
        ),
      doc: z.literal(true).optional().describe("Documentation (rpm's %doc); what goes to /usr/share/doc and /usr/share/man is that anyway"),
      license: z.literal(true).optional().describe("The text of a licence (rpm's %license)"),
      mode: fileMode.optional().describe('Permission bits in quotes, as "0640"; by default 0755 for programs and scripts, 0644 otherwise'),
      owner: accountName.default("root").describe("The user that owns it"),
      group: accountName.default("root").describe("The group that owns it"),
      formats: z
        .array(z.enum(packageFormats))
        .min(1, "must name a format")
        .optional()
        .describe("Only in packages of these formats: /etc/sysconfig for rpm, /etc/default for deb"),
    })
    .superRefine((value, context) => {
      const kinds = (["from", "link", "directory", "ghost"] as const).filter((key) => value[key] !== undefined);
      if (kinds.length !== 1) context.addIssue({ code: "custom", message: "needs exactly one of from, link, directory and ghost" });
      for (const key of ["config", "doc", "license"] as const) {
        if (value[key] !== undefined && value.from === undefined) context.addIssue({ code: "custom", message: "is a file only with from", path: [key] });
      }
      if (value.mode !== undefined && value.link !== undefined) {
        context.addIssue({ code: "custom", message: "a link has no mode of its own", path: ["mode"] });
      }
    });

const fileValue = (words: readonly Placeholder[]) => z.union([template(words), z.array(template(words)).min(1, "must name a file"), fileObject(words)]);

/** An absolute path in its one spelling; a slash at the end means "into this folder". */
const destinationPattern = /^(?:\/[^/\p{Cc}]+)+\/?$/u;

const hasDotSegment = (path: string): boolean => path.split("/").some((segment) => segment === "." || segment === "..");

/** Destination -> what goes there. */
const files = (words: readonly Placeholder[]) =>
  z.record(z.string(), fileValue(words)).superRefine(
    checkKeys((path, value) => {
      if (!destinationPattern.test(path) || hasDotSegment(path)) return "must be an absolute path without . and .., as /usr/bin/ or /etc/product/file";
      const isMany = Array.isArray(value) || (typeof value === "object" && "from" in value && Array.isArray(value.from));
      if (isMany && !path.endsWith("/")) return "several files need a folder to go into: end the path with a slash";
      return undefined;
    }),
  );

export const packageFiles = files(packageWords);
export const imageFiles = files(sourceWords);

export type FileValue = z.output<ReturnType<typeof fileValue>>;
