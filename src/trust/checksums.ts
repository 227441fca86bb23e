/**
 * SHA256SUMS: `<64 lower-case hex>  <name>` and LF per file, sorted by the bytes of the name, each name once (also where case
 * does not count: on Windows and macOS two such names are one file), nothing else.
 *
 * coreutils reads much more than that (comments, CRLF, `*`, escaped names, upper case) and busybox reads less, so one signed file could
 * mean different things to different readers. This grammar is what both read alike (updater facts, row 11).
 */
import { createHash } from "node:crypto";
import { type Digest, digestFromHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseFileName } from "../model/names.ts";

/** Name to 64 hex digits, in the order of the file. */
export type Checksums = ReadonlyMap<string, string>;

/** A manifest names at most 1,000 artifacts; sums also list SBOMs and notes. 5,000 lines of at most 267 bytes stay below 2 MiB. */
export const sumsSizeLimit = 2 * 1024 * 1024;
const lineLimit = 5_000;

const linePattern = /^([0-9a-f]{64}) {2}(.+)$/;

/** The file for these entries, whatever their order; throws `name_invalid`, and `sums_invalid` for a name given twice or a digest of another form. */
export function formatChecksums(entries: Iterable<readonly [name: string, sha256: string]>): string {
  const lines = new Map<string, string>();
  const folded = new Set<string>();
  for (const [name, sha256] of entries) {
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new SlipwayError("sums_invalid", `the SHA-256 of ${name} is not 64 lower-case hex digits`);
    if (folded.has(name.toLowerCase())) throw new SlipwayError("sums_invalid", `${name} is listed twice`, { detail: "sums_entry_duplicate" });
    folded.add(name.toLowerCase());
    lines.set(parseFileName(name), sha256);
  }
  const names = [...lines.keys()].sort(compareBytes);
  return names.map((name) => `${lines.get(name) ?? ""}  ${name}\n`).join("");
}

/**
 * Reads the strict grammar; throws `sums_invalid` with the line's number and detail `sums_malformed` or `sums_entry_duplicate`.
 * `place` is the file's name for the message.
 */
export function parseChecksums(bytes: Uint8Array, place = "SHA256SUMS"): Checksums {
  const refuse = (line: number, why: string, detail = "sums_malformed"): never => {
    throw new SlipwayError("sums_invalid", why, { detail, place: `${place}:${line}` });
  };
  if (bytes.length > sumsSizeLimit) refuse(1, `the file has ${bytes.length} bytes; the limit is ${sumsSizeLimit}`);
  if (bytes.length === 0) refuse(1, "the file is empty");
  const foreign = bytes.findIndex((byte) => byte !== 0x0a && (byte < 0x20 || byte > 0x7e));
  if (foreign !== -1) {
    const line = bytes.subarray(0, foreign).reduce((count, byte) => count + (byte === 0x0a ? 1 : 0), 1);
    refuse(
      line,
      bytes[foreign] === 0x0d ? "CRLF line endings: busybox reads them as part of the name" : `byte 0x${(bytes[foreign] ?? 0).toString(16)} is not allowed`,
    );
  }
  const lines = Buffer.from(bytes).toString("latin1").split("\n");
  if (lines.pop() !== "") refuse(lines.length + 1, "the last line has no line feed");
  if (lines.length > lineLimit) refuse(lineLimit + 1, `more than ${lineLimit} lines`);
  const sums = new Map<string, string>();
  const folded = new Set<string>();
  let previous = "";
  for (const [index, line] of lines.entries()) {
    const match = linePattern.exec(line);
    const [, sha256 = "", name = ""] = match ?? [];
    if (match === null || !isFileName(name)) refuse(index + 1, `expected "<64 lower-case hex>  <name>", got ${JSON.stringify(line.slice(0, 100))}`);
    if (folded.has(name.toLowerCase())) refuse(index + 1, `${name} is listed twice`, "sums_entry_duplicate");
    if (previous !== "" && compareBytes(previous, name) > 0) refuse(index + 1, `${name} comes after ${previous}: the lines are not sorted`);
    sums.set(name, sha256);
    folded.add(name.toLowerCase());
    previous = name;
  }
  return sums;
}

/** SHA-256 of bytes in memory, for the small files that are signed; files on disk go through io/hash-file.ts. */
export function digestOf(bytes: Uint8Array): Digest {
  return digestFromHex(createHash("sha256").update(bytes).digest("hex"));
}

function isFileName(name: string): boolean {
  try {
    return parseFileName(name) === name;
  } catch {
    return false; // the caller reports it with the line
  }
}

/** Names are ASCII (parseFileName), so code units are bytes; localeCompare would sort differently from machine to machine. */
function compareBytes(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
