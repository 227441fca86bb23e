/** Turns what YAML and zod say about a recipe into `file:line:column message`, with the nearest known word. */
import { type Document, isCollection, isMap, isPair, isScalar, isSeq, type LineCounter, type YAMLMap } from "yaml";
import type { z } from "zod";
import { nearestWord } from "../model/names.ts";
import type { RecipeProblem } from "./recipe-error.ts";
import type { IssueParams } from "./recipe-fields.ts";
import { laterKeys, recipeJsonSchema } from "./recipe-schema.ts";

export type RecipePath = readonly (string | number)[];
type Issue = z.core.$ZodIssue;

/** A parsed file with what is needed to say where something stands in it. */
export type LocatedDocument = { readonly fileName: string; readonly text: string; readonly document: Document; readonly lines: LineCounter };

/** `slipway.yaml:14:5`: the value at `path`, the piece of text inside it, its key, or the nearest parent that is there. */
export function placeOf(located: LocatedDocument, path: RecipePath, params: IssueParams = {}): string {
  return placeAt(located, offsetOf(located, path, params));
}

export function placeAt(located: LocatedDocument, offset: number): string {
  const { line, col } = located.lines.linePos(offset);
  return `${located.fileName}:${Math.max(1, line)}:${Math.max(1, col)}`;
}

function offsetOf(located: LocatedDocument, path: RecipePath, params: IssueParams): number {
  let offset = 0;
  /** Of the innermost key on the way: the place of what is missing below it. */
  let keyOffset = 0;
  let node: unknown = located.document.contents;
  for (const [depth, segment] of path.entries()) {
    const pair = isMap(node) ? pairOf(node, segment) : undefined;
    const next: unknown = pair === undefined ? (isSeq(node) ? node.items[Number(segment)] : undefined) : pair.value;
    if (pair !== undefined) keyOffset = startOf(pair.key) ?? keyOffset;
    if (next === undefined || next === null) return keyOffset;
    const isKeyWanted = pair !== undefined && depth === path.length - 1 && params.isAtKey === true;
    offset = isKeyWanted ? keyOffset : (startOf(next) ?? keyOffset);
    node = next;
  }
  return pieceOffset(located.text, node, params.piece) ?? offset;
}

function pairOf(map: YAMLMap, segment: string | number) {
  return map.items.find((pair) => isPair(pair) && isScalar(pair.key) && String(pair.key.value) === String(segment));
}

function startOf(node: unknown): number | undefined {
  return isScalar(node) || isCollection(node) ? node.range?.[0] : undefined;
}

/** The piece where it stands in the scalar's own text; folded and escaped texts may not show it, then the scalar's start serves. */
function pieceOffset(text: string, node: unknown, piece: string | undefined): number | undefined {
  const range = isScalar(node) ? node.range : undefined;
  if (piece === undefined || range === null || range === undefined) return undefined;
  const found = text.slice(range[0], range[1]).indexOf(piece);
  return found < 0 ? undefined : range[0] + found;
}

/** `packages.files /etc/x`, `targets[2]`: as a person would name it. */
export function spellPath(path: RecipePath): string {
  let text = "";
  let separator = "";
  for (const segment of path) {
    if (typeof segment === "number") {
      text += `[${segment}]`;
    } else {
      const isWord = /^[A-Za-z_][A-Za-z0-9_-]*$/.test(segment);
      text += `${isWord || text === "" ? separator : " "}${segment}`;
      separator = isWord ? "." : " ";
    }
  }
  return text;
}

/** All problems of a file that zod refused, in the order of the file; `schema` names the known keys, by default the recipe's. */
export function problemsOf(located: LocatedDocument, issues: readonly Issue[], schema: JsonSchema = recipeJsonSchema()): readonly RecipeProblem[] {
  const found = issues.flatMap((issue) => explain(located, schema, issue));
  return found.sort((left, right) => left.offset - right.offset).map(({ offset, message }) => ({ place: placeAt(located, offset), message }));
}

type Found = { readonly offset: number; readonly message: string };

function explain(located: LocatedDocument, schema: JsonSchema, issue: Issue): readonly Found[] {
  const path = issue.path.filter((segment) => typeof segment !== "symbol") as RecipePath;
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({
      offset: offsetOf(located, [...path, key], { isAtKey: true }),
      message: unknownKey(key, path, knownKeys(schema, path)),
    }));
  }
  if (issue.code === "invalid_union") {
    const branch = chosenBranch(issue.errors);
    if (branch !== undefined) return branch.flatMap((inner) => explain(located, schema, { ...inner, path: [...path, ...inner.path] }));
  }
  const params: IssueParams = issue.code === "custom" ? ((issue.params ?? {}) as IssueParams) : { isAtKey: issue.code === "invalid_key" };
  return [{ offset: offsetOf(located, path, params), message: messageOf(located, path, issue) }];
}

/** The form of a union that the writer meant: the only one whose type fits. */
function chosenBranch(branches: readonly (readonly Issue[])[]): readonly Issue[] | undefined {
  const fitting = branches.filter((branch) => !branch.some((issue) => issue.code === "invalid_type" && issue.path.length === 0));
  return fitting.length === 1 ? fitting[0] : undefined;
}

function unknownKey(key: string, path: RecipePath, known: readonly string[]): string {
  const where = path.length === 0 ? "at the top" : `under ${spellPath(path)}`;
  if (laterKeys.includes([...path, key].join("."))) {
    return `"${key}" ${where} is not supported by this version and is refused instead of ignored; supported: ${known.join(", ")}`;
  }
  const near = nearestWord(key, known);
  return `unknown key "${key}" ${where} - ${near === undefined ? `known: ${known.join(", ")}` : `did you mean "${near}"?`}`;
}

function messageOf(located: LocatedDocument, path: RecipePath, issue: Issue): string {
  const value: unknown = located.document.getIn(path);
  const subject = path.length === 0 ? "" : `${spellPath(path)}: `;
  if (value === undefined && path.length > 0 && issue.code === "invalid_type") return `"${spellPath(path)}" is missing`;
  switch (issue.code) {
    case "invalid_type":
      if (!issue.message.startsWith("Invalid input")) return `${subject}${issue.message}`;
      return `${subject}expected ${typeWord(issue.expected)}, got ${describe(value)}${issue.expected === "string" && typeof value !== "object" ? "; put it in quotes" : ""}`;
    case "invalid_value":
      return `${subject}${enumMessage(value, issue.values.map(String), path)}`;
    case "invalid_union":
      return `${subject}got ${describe(value)}, which has no meaning here`;
    case "invalid_key":
      return `${subject}${issue.issues.map(({ message }) => message).join("; ")}`;
    case "too_big":
    case "too_small":
      return `${subject}${issue.message.startsWith("Too ") ? limitMessage(issue) : issue.message}`;
    default:
      return `${subject}${issue.message}`;
  }
}

const limitUnits: Readonly<Record<string, string>> = { string: " characters", array: " values" };

function limitMessage(issue: z.core.$ZodIssueTooBig | z.core.$ZodIssueTooSmall): string {
  const limit = issue.code === "too_big" ? `at most ${issue.maximum}` : `at least ${issue.minimum}`;
  return `must be ${limit}${limitUnits[issue.origin] ?? ""}`;
}

function enumMessage(value: unknown, values: readonly string[], path: RecipePath): string {
  const text = typeof value === "string" ? value : describe(value);
  if (laterKeys.includes([...path.filter((segment) => typeof segment === "string" && segment !== "formats"), text].join("."))) {
    return `"${text}" is not supported by this version; supported: ${values.join(", ")}`;
  }
  const near = nearestWord(text, values);
  return `"${text}" is not one of ${values.join(", ")}${near === undefined ? "" : ` - did you mean "${near}"?`}`;
}

const typeWords: Readonly<Record<string, string>> = {
  string: "a text",
  array: "a list",
  object: "keys with values",
  record: "keys with values",
  int: "a whole number",
  number: "a number",
};

function typeWord(expected: string): string {
  return typeWords[expected] ?? expected;
}

function describe(value: unknown): string {
  if (isMap(value)) return "keys with values";
  if (isSeq(value)) return "a list";
  if (value === null || value === undefined) return "nothing";
  return typeof value === "string" ? "a text" : `the ${typeof value} ${JSON.stringify(value)}`;
}

type JsonSchema = { readonly [key: string]: unknown };

const isSchema = (value: unknown): value is JsonSchema => typeof value === "object" && value !== null && !Array.isArray(value);

/** The keys that may stand at `path`, read from the JSON Schema, through lists, records and alternatives. */
function knownKeys(schema: JsonSchema, path: RecipePath): readonly string[] {
  let layer: readonly JsonSchema[] = [schema];
  for (const segment of path) {
    layer = layer
      .flatMap((candidate) => candidate["anyOf"] ?? candidate)
      .flat()
      .filter(isSchema)
      .flatMap((candidate) => {
        const properties = isSchema(candidate["properties"]) ? candidate["properties"] : {};
        const next = typeof segment === "number" ? candidate["items"] : (properties[segment] ?? candidate["additionalProperties"]);
        return isSchema(next) ? [next] : [];
      });
  }
  const objects = layer.flatMap((candidate) => (Array.isArray(candidate["anyOf"]) ? (candidate["anyOf"] as unknown[]) : [candidate])).filter(isSchema);
  return [...new Set(objects.flatMap((candidate) => (isSchema(candidate["properties"]) ? Object.keys(candidate["properties"]) : [])))];
}
