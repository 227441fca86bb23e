/** The text of a lock file as a checked value, or an error that names the file, the line and what makes a good one. */
import { parse as parseToml, TomlError } from "smol-toml";
import { isNode, LineCounter, parseDocument } from "yaml";
import type { z } from "zod";
import type { Checksum, Component } from "../formats/bill-of-materials.ts";
import { SlipwayError } from "../model/errors.ts";

export type LockFile = {
  /** Relative to the recipe's folder, for messages and origins. */
  readonly name: string;
  readonly text: string;
};

export type LockReading = {
  readonly components: readonly Component[];
  /** What the file does not say, for a person: `requirements.txt:3: flask has no exact version`. */
  readonly warnings: readonly string[];
};

type Place = { readonly line: number; readonly column: number };

/** `source_unusable` with `file:line:column`. */
export function lockFileError(
  file: LockFile,
  message: string,
  options: { readonly at?: Place; readonly hint?: string; readonly cause?: unknown } = {},
): SlipwayError {
  const { at, hint, cause } = options;
  return new SlipwayError("source_unusable", `${file.name}: ${message}`, {
    place: at === undefined ? file.name : `${file.name}:${at.line}:${at.column}`,
    hint: hint ?? "make the lock file again with the tool that wrote it",
    ...(cause === undefined ? {} : { cause }),
  });
}

export function readLockJson<T extends z.ZodType>(file: LockFile, schema: T): z.output<T> {
  let value: unknown;
  try {
    value = JSON.parse(file.text);
  } catch (error) {
    const offset = /position (\d+)/.exec(error instanceof Error ? error.message : "")?.[1];
    throw lockFileError(file, "is not JSON", { at: placeOfOffset(file.text, offset === undefined ? file.text.length : Number(offset)), cause: error });
  }
  return checked(file, schema, { value, placeOf: (path) => placeInDocument(file.text, path) });
}

export function readLockYaml<T extends z.ZodType>(file: LockFile, schema: T): z.output<T> {
  const lines = new LineCounter();
  const document = parseDocument(file.text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  const [problem] = document.errors;
  if (problem !== undefined) {
    const { line, col } = lines.linePos(problem.pos[0]);
    throw lockFileError(file, `is not YAML: ${problem.message}`, { at: { line, column: col }, cause: problem });
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 0 }); // no lock file has aliases, and a few of them can stand for gigabytes
  } catch (error) {
    throw lockFileError(file, "holds YAML aliases, which no lock file has", { cause: error });
  }
  return checked(file, schema, { value, placeOf: (path) => placeInDocument(file.text, path) });
}

export function readLockToml<T extends z.ZodType>(file: LockFile, schema: T): z.output<T> {
  let value: unknown;
  try {
    value = parseToml(file.text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const reason = error.message.split("\n", 1)[0] ?? "";
    throw lockFileError(file, `is not TOML: ${reason.replace(/^Invalid TOML document: /, "")}`, {
      at: { line: error.line, column: error.column },
      cause: error,
    });
  }
  return checked(file, schema, { value, placeOf: (path) => placeInTables(file.text, path) });
}

type Parsed = { readonly value: unknown; readonly placeOf: (path: readonly PropertyKey[]) => Place };

function checked<T extends z.ZodType>(file: LockFile, schema: T, { value, placeOf }: Parsed): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = issue?.path ?? [];
  throw lockFileError(file, `${path.map(String).join(".") || "the file"}: ${issue?.message ?? "is not valid"}`, { at: placeOf(path), cause: parsed.error });
}

function placeOfOffset(text: string, offset: number): Place {
  const before = text.slice(0, offset);
  return { line: before.split("\n").length, column: before.length - before.lastIndexOf("\n") };
}

/** Only for messages, so the second parse costs nothing on good files. JSON is read as the YAML that it is. */
function placeInDocument(text: string, path: readonly PropertyKey[]): Place {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  for (let length = path.length; length > 0; length -= 1) {
    const node: unknown = document.getIn(path.slice(0, length), true);
    if (!isNode(node) || node.range === undefined || node.range === null) continue;
    const { line, col } = lines.linePos(node.range[0]);
    return { line, column: col };
  }
  return { line: 1, column: 1 };
}

/** The header of the table that a path leads through: `package.3.name` is in the fourth [[package]]. */
function placeInTables(text: string, [table, index]: readonly PropertyKey[]): Place {
  if (typeof table !== "string" || typeof index !== "number") return { line: 1, column: 1 };
  let left = index;
  for (const [line, content] of text.split("\n").entries()) {
    if (content.trim() !== `[[${table}]]`) continue;
    if (left === 0) return { line: line + 1, column: 1 };
    left -= 1;
  }
  return { line: 1, column: 1 };
}

const integrityAlgorithms = { sha512: ["SHA-512", 64], sha384: ["SHA-384", 48], sha256: ["SHA-256", 32], sha1: ["SHA-1", 20] } as const;

/** The strongest of the hashes of a Subresource Integrity text (`sha512-<base64>`, W3C SRI 3.3); none where it holds no whole hash. */
export function checksumsOfIntegrity(integrity: string | undefined): readonly Checksum[] {
  const words = (integrity ?? "").split(/\s+/);
  for (const [word, [algorithm, size]] of Object.entries(integrityAlgorithms)) {
    const found = words.find((candidate) => candidate.startsWith(`${word}-`));
    if (found === undefined) continue;
    const bytes = Buffer.from(found.slice(word.length + 1).replace(/\?.*$/, ""), "base64");
    if (bytes.length === size) return [{ algorithm, hex: bytes.toString("hex") }];
  }
  return [];
}

/** A SHA-256 in hex; none for anything else. */
export function sha256Checksum(hex: string | undefined): readonly Checksum[] {
  return hex !== undefined && /^[0-9a-f]{64}$/.test(hex) ? [{ algorithm: "SHA-256", hex }] : [];
}

/** Everything that can be reached from the roots, roots included. */
export function reachable(roots: Iterable<string>, next: (key: string) => Iterable<string>): ReadonlySet<string> {
  const seen = new Set<string>(roots);
  for (const key of seen) for (const other of next(key)) seen.add(other); // a Set's iteration visits what is added meanwhile
  return seen;
}
