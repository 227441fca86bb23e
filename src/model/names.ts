/** Names from outside and what they may look like; everything else is refused before it reaches a path, a URL or an index. */
import { SlipwayError } from "./errors.ts";
import { windowsNameProblem } from "./windows-name.ts";

/** Product and package names: dpkg's rule (deb-control(5)), the narrowest of the three package formats. */
const productPattern = /^[a-z0-9][a-z0-9+.-]{1,62}$/;
/** Channels and customers become path segments and Suite fields. */
const wordPattern = /^[a-z0-9][a-z0-9-]{0,62}$/;
/** Artifact names: one path segment, no `~` (proxies and browsers disagree on its encoding), no leading dot or dash. */
const filePattern = /^[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}$/;

/** First path segments of the server that a product may not take. */
export const reservedNames = [
  "api",
  "apt",
  "yum",
  "apk",
  "v2",
  "token",
  "keys",
  "setup",
  "feed",
  "releases",
  "portal",
  "console",
  "metrics",
  "healthz",
  "readyz",
] as const;

export function parseProductName(text: string): string {
  if (!productPattern.test(text)) throw new SlipwayError("name_invalid", `"${text.slice(0, 80)}" is not a product name`);
  if ((reservedNames as readonly string[]).includes(text)) throw new SlipwayError("name_invalid", `"${text}" is reserved; choose another product name`);
  return text;
}

export function parseWord(kind: "channel" | "customer" | "key", text: string): string {
  if (!wordPattern.test(text)) throw new SlipwayError("name_invalid", `"${text.slice(0, 80)}" is not a ${kind} name`);
  return text;
}

/** One safe file name on every system: no separator, no `..`, no control characters, no device of Windows. */
export function parseFileName(text: string): string {
  if (!filePattern.test(text) || text.includes("..")) {
    throw new SlipwayError("name_invalid", `"${text.slice(0, 80)}" is not an artifact name`, {
      hint: "use letters, digits, dot, dash, plus and underscore, at most 200; a package may be renamed, apt and dnf go by what is in it",
    });
  }
  const problem = windowsNameProblem(text);
  if (problem !== undefined) throw new SlipwayError("name_invalid", `"${text}" is not an artifact name: it ${problem}`, { hint: "choose another name" });
  return text;
}

/** The nearest of the known words, for "did you mean"; undefined where none is near (more than a third of the letters differ). */
export function nearestWord(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein distance; both words are short (keys and commands). */
function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let i = 1; i <= left.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= right.length; j += 1) {
      const substitution = (row[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1);
      next.push(Math.min((next[j - 1] ?? 0) + 1, (row[j] ?? 0) + 1, substitution));
    }
    row = next;
  }
  return row[right.length] ?? 0;
}
