/** The recipe's `sbom:`, and the names of the files that come of it. */
import { z } from "zod";
import { nearestWord } from "../model/names.ts";
import { isLockFileName, lockFileEcosystems } from "./lock-file-names.ts";
import { line } from "./recipe-fields.ts";

export const sbomFormats = ["cyclonedx", "spdx"] as const;
export type SbomFormat = (typeof sbomFormats)[number];

/** The endings by which scanners know the formats (CycloneDX's "Recognized file patterns"; SPDX 2.3 annex "File extensions"). */
const suffixes: Readonly<Record<SbomFormat, string>> = { cyclonedx: ".cdx.json", spdx: ".spdx.json" };

export function sbomName(artifactName: string, format: SbomFormat): string {
  return `${artifactName}${suffixes[format]}`;
}

const lockFile = line(1_000).superRefine((path, context) => {
  const message = lockFileProblem(path);
  if (message !== undefined) context.addIssue({ code: "custom", message });
});

function lockFileProblem(path: string): string | undefined {
  const segments = path.split("/");
  if (path.startsWith("/") || path.includes("\\") || segments.includes("..")) return `${JSON.stringify(path)} leads out of the recipe's folder`;
  const name = segments.at(-1) ?? "";
  if (isLockFileName(name)) return undefined;
  const known = Object.keys(lockFileEcosystems);
  const near = nearestWord(name, known);
  return `${name} is no lock file that is known here${near === undefined ? `; known: ${known.join(", ")}` : ` - did you mean "${near}"?`}`;
}

const sbomKeys = z.strictObject({
  formats: z
    .array(z.enum(sbomFormats))
    .min(1, "must name a format")
    .refine((formats) => new Set(formats).size === formats.length, "names a format twice")
    .default([...sbomFormats])
    .describe("cyclonedx (1.6, NAME.cdx.json), spdx (2.3, NAME.spdx.json); both by default"),
  lockFiles: z.array(lockFile).optional().describe("Lock files that say what went in, relative to the recipe; by default those beside it"),
});

/** Read as undefined where no SBOMs are wanted. */
export const sbomSchema = z
  .union([z.boolean(), sbomKeys])
  .default(false)
  .transform((value) => (value === true ? sbomKeys.parse({}) : value === false ? undefined : value))
  .describe("true, or more precisely: an SBOM for each package, archive, binary and image, per format");
