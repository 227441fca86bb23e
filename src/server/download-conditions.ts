/** Which preconditions of a request for a file of a download tree mean what they say. */
import type { DownloadTree, ResolvedFile } from "../releases/resolve.ts";
import type { ConditionalHeaders } from "./conditional.ts";

type Dated = Pick<ResolvedFile, "artifact" | "isImmutable" | "modifiedAt">;

/** The conditions and the range that count. */
export function conditionsFor(tree: DownloadTree, file: Dated, headers: ConditionalHeaders): ConditionalHeaders {
  if (file.isImmutable) return headers;
  const isApkIndex = tree === "apk" && file.artifact === undefined;
  return isApkIndex ? apkIndexConditions(headers) : exactDate(headers, file.modifiedAt);
}

/**
 * Once its copy of an index is four hours old, apk asks with the second in which it fetched it, by its own clock (seen with 2.14.10 and
 * 3.0.6): a publication in that very second, or one that a fast clock was ahead of, would hide behind a 304. So that date does not count.
 */
function apkIndexConditions(headers: ConditionalHeaders): ConditionalHeaders {
  const { "if-modified-since": _itsOwnClock, ...others } = headers;
  return others;
}

/**
 * Which files a reader sees may change back to ones that are older: only the very date that he was given says that he has them
 * (RFC 9110 13.1.3 lets a server compare exactly; nginx does so too).
 */
function exactDate(headers: ConditionalHeaders, modifiedAt: Date): ConditionalHeaders {
  const since = headers["if-modified-since"];
  if (since === undefined || Math.floor(Date.parse(since) / 1000) === Math.floor(modifiedAt.getTime() / 1000)) return headers;
  return apkIndexConditions(headers);
}
