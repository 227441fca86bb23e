/** The file that an advisory is written in: YAML with strict keys, read with line and column for what is wrong. */
import { LineCounter, parseDocument } from "yaml";
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { tryParseVersion, type Version } from "../model/version.ts";
import { type LocatedDocument, placeAt, problemsOf } from "../packaging/recipe-problems.ts";
import { severities } from "../repositories/advisory.ts";
import { parseAffectedRange } from "../repositories/affected-range.ts";

/** Largest file that is read; real ones have some kilobytes. */
export const advisorySizeLimit = 256 * 1024;

/** Text that every feed can hold: XML knows no control characters. */
const plain = (limit: number) =>
  z
    .string()
    .min(1)
    .max(limit)
    .refine((text) => text.isWellFormed() && !/[^\P{Cc}\n\t]|[\ufffe\uffff]/u.test(text), "holds a control character");
const line = (limit: number) => plain(limit).refine((text) => !/[\n\t]/.test(text), "must be one line");

const range = z.string().superRefine((text, context) => {
  try {
    parseAffectedRange(text);
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    context.addIssue({ code: "custom", message: error.message });
  }
});

const version = z.string().transform((text, context): Version => {
  const parsed = tryParseVersion(text);
  if (parsed !== undefined) return parsed;
  context.addIssue({ code: "custom", message: `"${text.slice(0, 80)}" is not a version` });
  return z.NEVER;
});

export const advisoryFileSchema = z.strictObject({
  /** Also a file name in the feeds. */
  id: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9-]{2,63}$/, "expected letters, digits and dashes, as in ACME-2026-001"),
  product: z.string().min(1).max(64),
  title: line(200),
  severity: z.enum(severities),
  cves: z
    .array(z.string().regex(/^CVE-\d{4}-\d{4,19}$/, "expected CVE-YEAR-NUMBER"))
    .max(50)
    .default([]),
  affected: range,
  fixed_in: version,
  text: plain(20_000),
  workaround: plain(5_000).optional(),
  references: z
    .array(z.url({ protocol: /^https?$/, error: "expected an http or https address" }).max(1_000))
    .max(50)
    .default([]),
  credits: z.array(line(200)).max(50).default([]),
});

export type AdvisoryFile = z.output<typeof advisoryFileSchema>;

/** Checks an advisory that came as JSON. Throws `advisory_invalid`. */
export function parseAdvisory(value: unknown): AdvisoryFile {
  const parsed = advisoryFileSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new SlipwayError("advisory_invalid", `advisory.${(issue?.path ?? []).join(".")}: ${issue?.message ?? "not as expected"}`);
}

/** Throws `advisory_invalid` with file:line:column of the first problem; the others stand in the hint. */
export function readAdvisoryFile(text: string, fileName: string): AdvisoryFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, version: "1.2", merge: false });
  const located: LocatedDocument = { fileName, text, document, lines };
  const fault = document.errors[0] ?? document.warnings[0];
  if (fault !== undefined) {
    throw new SlipwayError("advisory_invalid", fault.message.split("\n")[0] ?? "not YAML", { place: placeAt(located, fault.pos[0]) });
  }
  const parsed = advisoryFileSchema.safeParse(document.toJS({ maxAliasCount: 0 }));
  if (parsed.success) return parsed.data;
  const knownKeys = { properties: Object.fromEntries(Object.keys(advisoryFileSchema.shape).map((key) => [key, {}])) };
  const [first, ...others] = problemsOf(located, parsed.error.issues, knownKeys);
  throw new SlipwayError("advisory_invalid", first?.message ?? "not an advisory", {
    place: first?.place ?? fileName,
    ...(others.length === 0 ? {} : { hint: others.map((problem) => `also ${problem.place} ${problem.message}`).join("\n  ") }),
  });
}
