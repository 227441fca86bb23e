/** The range of versions that an advisory speaks of: `>=1.2.0 <1.4.2`, `<=1.3.9`, several of them with `||` between. */
import { SlipwayError } from "../model/errors.ts";
import { compareVersions, parseVersion, type Version } from "../model/version.ts";

/** One stretch of versions; without `from` it starts with the first one, with neither end it would have no fix and is not made. */
export type Stretch = {
  readonly from: Version | undefined;
  readonly end: { readonly version: Version /** `<=` rather than `<`. */; readonly isIncluded: boolean };
};

/** In the order written; they may overlap. */
export type AffectedRange = readonly [Stretch, ...Stretch[]];

/** Longest text of a range; the longest sensible one names a stretch for each of some dozen lines. */
const textLimit = 1_000;

/**
 * Reads a range. Each stretch has an end, because what is not fixed yet has nothing to upgrade to. Throws `advisory_invalid` for another
 * form and for a stretch that ends before it begins, `version_invalid` for what is no version.
 */
export function parseAffectedRange(text: string): AffectedRange {
  if (text.length > textLimit) throw invalid(text.slice(0, 80), `is longer than ${textLimit} characters`);
  const [first, ...others] = text.split("||").map(parseStretch);
  if (first === undefined) throw invalid(text, "is empty");
  return [first, ...others];
}

function parseStretch(text: string): Stretch {
  const words = text.trim().split(/\s+/);
  let from: Version | undefined;
  let end: Stretch["end"] | undefined;
  for (const word of words) {
    const [, operator, versionText] = /^(>=|<=|<|=)(.+)$/.exec(word) ?? [];
    if (operator === undefined || versionText === undefined) throw invalid(text.trim(), "is not made of >=VERSION, <VERSION, <=VERSION or =VERSION");
    const version = parseVersion(versionText);
    if (operator === ">=" || operator === "=") {
      if (from !== undefined) throw invalid(text.trim(), "begins twice");
      from = version;
    }
    if (operator !== ">=") {
      if (end !== undefined) throw invalid(text.trim(), "ends twice");
      end = { version, isIncluded: operator !== "<" };
    }
  }
  if (end === undefined) throw invalid(text.trim(), "has no end: name the fixed version with <");
  if (from !== undefined && compareVersions(from, end.version) > (end.isIncluded ? 0 : -1)) throw invalid(text.trim(), "ends before it begins");
  return { from, end };
}

function invalid(text: string, what: string): SlipwayError {
  return new SlipwayError("advisory_invalid", `the range "${text}" ${what}`, { hint: "write it as >=1.2.0 <1.4.2, several with || between" });
}

export function isAffected(range: AffectedRange, version: Version): boolean {
  return range.some(({ from, end }) => {
    if (from !== undefined && compareVersions(version, from) < 0) return false;
    return compareVersions(version, end.version) < (end.isIncluded ? 1 : 0);
  });
}
