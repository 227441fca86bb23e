/** What to answer to a conditional or ranged GET: RFC 9110 sections 13.2.2 (order of preconditions) and 14 (ranges), as a pure decision. */

export type Representation = {
  /** Quoted, strong: `"<sha256 hex>"`. */
  readonly entityTag: string;
  readonly lastModified: Date;
  /** Bytes. */
  readonly size: number;
};

export type ConditionalHeaders = {
  readonly "if-match"?: string | undefined;
  readonly "if-none-match"?: string | undefined;
  readonly "if-modified-since"?: string | undefined;
  readonly "if-unmodified-since"?: string | undefined;
  readonly "if-range"?: string | undefined;
  readonly range?: string | undefined;
};

export type Answer =
  | { readonly kind: "whole" }
  /** Both ends inclusive, as in Content-Range. */
  | { readonly kind: "part"; readonly first: number; readonly last: number }
  | { readonly kind: "not-modified" }
  | { readonly kind: "precondition-failed" }
  | { readonly kind: "range-not-satisfiable" };

/** Ranges are for GET only (RFC 9110 14.2); a list of several ranges is answered whole, which the RFC allows and no package manager minds. */
export function answerFor(method: string, headers: ConditionalHeaders, representation: Representation): Answer {
  const failed = preconditionOutcome(headers, representation);
  if (failed !== undefined) return failed;
  if (method !== "GET" || headers.range === undefined || !isRangeFresh(headers["if-range"], representation)) return { kind: "whole" };
  return rangeAnswer(headers.range, representation.size);
}

function preconditionOutcome(headers: ConditionalHeaders, representation: Representation): Answer | undefined {
  const wanted = headers["if-match"];
  if (wanted !== undefined) {
    if (!matchesTag(wanted, representation.entityTag, "strong")) return { kind: "precondition-failed" };
  } else if (isModifiedSince(headers["if-unmodified-since"], representation) === true) {
    return { kind: "precondition-failed" };
  }
  const known = headers["if-none-match"];
  if (known !== undefined) return matchesTag(known, representation.entityTag, "weak") ? { kind: "not-modified" } : undefined;
  return isModifiedSince(headers["if-modified-since"], representation) === false ? { kind: "not-modified" } : undefined;
}

/** HTTP dates have whole seconds. */
export function wholeSeconds(date: Date): number {
  return Math.floor(date.getTime() / 1000);
}

/** Undefined where the header is missing or no date: it is ignored then (RFC 9110 13.1.3). */
function isModifiedSince(header: string | undefined, representation: Representation): boolean | undefined {
  const since = header === undefined ? Number.NaN : Date.parse(header);
  return Number.isNaN(since) ? undefined : wholeSeconds(representation.lastModified) > Math.floor(since / 1000);
}

function matchesTag(list: string, entityTag: string, comparison: "strong" | "weak"): boolean {
  if (list.trim() === "*") return true;
  return list
    .split(",")
    .map((piece) => piece.trim())
    .some((piece) => (comparison === "weak" ? piece.replace(/^W\//, "") : piece) === entityTag);
}

/** If-Range: the strong tag or the very date that we gave out; anything else means "send it whole" (RFC 9110 13.1.5). */
function isRangeFresh(header: string | undefined, representation: Representation): boolean {
  if (header === undefined) return true;
  if (header.startsWith('"') || header.startsWith("W/")) return header === representation.entityTag;
  const date = Date.parse(header);
  return !Number.isNaN(date) && Math.floor(date / 1000) === wholeSeconds(representation.lastModified);
}

function rangeAnswer(header: string, size: number): Answer {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header.trim());
  if (match === null || (match[1] === "" && match[2] === "")) return { kind: "whole" };
  if (match[1] === "") {
    const suffix = Math.min(Number(match[2]), size);
    return suffix === 0 ? { kind: "range-not-satisfiable" } : { kind: "part", first: size - suffix, last: size - 1 };
  }
  const first = Number(match[1]);
  const last = match[2] === "" ? size - 1 : Math.min(Number(match[2]), size - 1);
  if (match[2] !== "" && Number(match[2]) < first) return { kind: "whole" }; // not a range at all: ignored
  return first >= size ? { kind: "range-not-satisfiable" } : { kind: "part", first, last };
}
