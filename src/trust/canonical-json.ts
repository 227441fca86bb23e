/** The canonical JSON that TUF signs (OLPC): keys sorted by code point, no white space, only `"` and `\` escaped, integers only. */
import { SlipwayError } from "../model/errors.ts";

/** Deeper than any metadata; a hostile file must not exhaust the stack. */
const depthLimit = 64;

/** Throws `format_invalid` for what canonical JSON cannot hold: fractions, undefined, too deep a nesting. */
export function canonicalJson(value: unknown): string {
  return write(value, 0);
}

function write(value: unknown, depth: number): string {
  if (depth > depthLimit) throw new SlipwayError("format_invalid", `JSON nested deeper than ${depthLimit}`);
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") return quote(value);
  if (typeof value === "number" && Number.isSafeInteger(value)) return String(value);
  if (Array.isArray(value)) return `[${value.map((item) => write(item, depth + 1)).join(",")}]`;
  if (typeof value === "object") {
    const entries = Object.entries(value).sort(([left], [right]) => Buffer.compare(Buffer.from(left), Buffer.from(right)));
    return `{${entries.map(([key, item]) => `${quote(key)}:${write(item, depth + 1)}`).join(",")}}`;
  }
  throw new SlipwayError("format_invalid", `canonical JSON cannot hold ${typeof value === "number" ? String(value) : typeof value}`);
}

function quote(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
