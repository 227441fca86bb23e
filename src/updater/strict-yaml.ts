/** Strict YAML: a text and a schema in, a value out, or an error that names `file:line:column` and the nearest known key. */
import { isMap, isNode, isScalar, LineCounter, parseDocument } from "yaml";
import { z } from "zod";
import { type ErrorCode, SlipwayError } from "../model/errors.ts";
import { nearestWord } from "../model/names.ts";
import { readOnce } from "../model/read-once.ts";

type Reading<T extends z.ZodType> = {
  readonly text: string;
  /** The file's name for messages. */
  readonly name: string;
  readonly schema: T;
  readonly code: ErrorCode;
};

type Path = readonly PropertyKey[];

/** Throws `code` with `place` for the first problem; the others stand in the hint. */
export function readStrictYaml<T extends z.ZodType>(reading: Reading<T>): z.output<T> {
  const { text, name, schema, code } = reading;
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, strict: true, uniqueKeys: true, prettyErrors: false });
  const placeAt = (offset: number | undefined): string => {
    const { line, col } = lines.linePos(offset ?? 0);
    return `${name}:${line}:${col}`;
  };
  const [broken] = [...document.errors, ...document.warnings];
  if (broken !== undefined) throw new SlipwayError(code, broken.message, { place: placeAt(broken.pos[0]) });
  const parsed = readOnce(schema, document.toJS({ maxAliasCount: 10 }));
  if (parsed.success) return parsed.data;
  /** Where a value stands, or, for an unknown key, where the key stands; the nearest known parent otherwise. */
  const placeOf = (path: Path, key?: string): string => {
    for (let length = path.length; length >= 0; length -= 1) {
      const node: unknown = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
      if (!isNode(node)) continue;
      if (key !== undefined && length === path.length && isMap(node)) {
        const pair = node.items.find((item) => isScalar(item.key) && item.key.value === key);
        if (pair !== undefined && isScalar(pair.key)) return placeAt(pair.key.range?.[0]);
      }
      return placeAt(node.range?.[0]);
    }
    return placeAt(0);
  };
  // A misspelt key first: that a key is missing is then only its echo.
  const isMisspelling = (issue: z.core.$ZodIssue): number => (issue.code === "unrecognized_keys" ? 0 : 1);
  const problems = parsed.error.issues
    .toSorted((left, right) => isMisspelling(left) - isMisspelling(right))
    .flatMap((issue) => describe(issue, { schema, placeOf, valueAt: (path) => document.getIn(path) }));
  const [first, ...others] = problems;
  throw new SlipwayError(code, first?.message ?? "is not valid", {
    place: first?.place ?? placeAt(0),
    ...(others.length === 0 ? {} : { hint: others.map((problem) => `also ${problem.place} ${problem.message}`).join("\n  ") }),
  });
}

type Problem = { readonly place: string; readonly message: string };

type Located = {
  readonly schema: z.ZodType;
  readonly placeOf: (path: Path, key?: string) => string;
  readonly valueAt: (path: Path) => unknown;
};

function describe(issue: z.core.$ZodIssue, { schema, placeOf, valueAt }: Located): readonly Problem[] {
  const where = issue.path.map(String).join(".");
  if (issue.code === "unrecognized_keys") {
    const known = keysAt(schema, issue.path);
    return issue.keys.map((key) => {
      const nearest = nearestWord(key, known);
      const under = where === "" ? "" : ` under ${where}`;
      return { place: placeOf(issue.path, key), message: `unknown key "${key}"${under}${nearest === undefined ? "" : ` - did you mean "${nearest}"?`}` };
    });
  }
  const value = issue.code === "invalid_value" ? valueAt(issue.path) : undefined;
  const meant = issue.code === "invalid_value" && typeof value === "string" ? nearestWord(value, issue.values.map(String)) : undefined;
  const suggestion = meant === undefined ? "" : ` - did you mean "${meant}"?`;
  return [{ place: placeOf(issue.path), message: `${where === "" ? "" : `${where}: `}${issue.message}${suggestion}` }];
}

/** The keys that the schema knows at a path; empty where it is no plain object. */
function keysAt(schema: z.ZodType, path: Path): readonly string[] {
  let current: unknown = schema;
  for (const part of path) {
    current = unwrap(current);
    if (current instanceof z.ZodObject) current = current.shape[String(part)];
    else if (current instanceof z.ZodArray) current = current.element;
    else if (current instanceof z.ZodRecord) current = current.valueType;
    else return [];
  }
  current = unwrap(current);
  return current instanceof z.ZodObject ? Object.keys(current.shape) : [];
}

function unwrap(schema: unknown): unknown {
  let current = schema;
  for (;;) {
    if (current instanceof z.ZodOptional || current instanceof z.ZodDefault || current instanceof z.ZodPrefault) current = current.unwrap();
    else if (current instanceof z.ZodPipe) current = current.in;
    else return current;
  }
}
