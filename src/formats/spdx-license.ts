/** Declared licences as SPDX understands them (SPDX 2.3 annex D): one identifier, an expression, or words that are neither. */
import { SPDX } from "@cyclonedx/cyclonedx-library";

export type DeclaredLicense =
  | { readonly kind: "identifier"; readonly id: string }
  | { readonly kind: "expression"; readonly expression: string }
  | { readonly kind: "words"; readonly words: string };

const expressionSizeLimit = 1_000;
const depthLimit = 20;
const referencePattern = /^(?:DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+$/;

/** Never throws: what is no SPDX expression is kept as words, because a wrong identifier would be worse than none. */
export function declaredLicense(text: string): DeclaredLicense {
  const words = text.trim();
  const id = SPDX.fixupSpdxId(words);
  if (id !== undefined) return { kind: "identifier", id };
  const expression = words.length > expressionSizeLimit ? undefined : printedExpression(words);
  return expression === undefined ? { kind: "words", words } : { kind: "expression", expression };
}

type Tokens = { readonly words: readonly string[]; at: number };

/** The expression in its one spelling, or undefined where it is none or uses references that nobody here could define. */
function printedExpression(text: string): string | undefined {
  const tokens: Tokens = { words: text.match(/[()]|[^\s()]+/g) ?? [], at: 0 };
  const printed = either(tokens, 0);
  return tokens.at === tokens.words.length ? printed : undefined;
}

/** AND binds more than OR; operators may be in small letters in practice and are printed in capitals. */
function either(tokens: Tokens, depth: number): string | undefined {
  return chain(tokens, "OR", () => chain(tokens, "AND", () => term(tokens, depth)));
}

function chain(tokens: Tokens, operator: string, part: () => string | undefined): string | undefined {
  let printed = part();
  while (printed !== undefined && tokens.words[tokens.at]?.toUpperCase() === operator) {
    tokens.at += 1;
    const next = part();
    printed = next === undefined ? undefined : `${printed} ${operator} ${next}`;
  }
  return printed;
}

function term(tokens: Tokens, depth: number): string | undefined {
  const word = tokens.words[tokens.at];
  if (word === undefined || depth > depthLimit) return undefined;
  tokens.at += 1;
  if (word === "(") {
    const inner = either(tokens, depth + 1);
    if (inner === undefined || tokens.words[tokens.at] !== ")") return undefined;
    tokens.at += 1;
    return `(${inner})`;
  }
  const license = SPDX.fixupSpdxId(word) ?? orLater(word);
  if (license === undefined) return undefined;
  if (tokens.words[tokens.at]?.toUpperCase() !== "WITH") return license;
  const exception = SPDX.fixupSpdxId(tokens.words[tokens.at + 1]);
  if (exception === undefined) return undefined;
  tokens.at += 2;
  return `${license} WITH ${exception}`;
}

function orLater(word: string): string | undefined {
  const id = word.endsWith("+") ? SPDX.fixupSpdxId(word.slice(0, -1)) : undefined;
  return id === undefined ? undefined : `${id}+`;
}

/** The name for words in an SPDX document, where they must be defined: `LicenseRef-Proprietary`. */
export function licenseReference(words: string): string {
  if (referencePattern.test(words) && !words.startsWith("DocumentRef-")) return words;
  return `LicenseRef-${
    words
      .replaceAll(/[^A-Za-z0-9.-]+/g, "-")
      .replaceAll(/^-+|-+$/g, "")
      .slice(0, 100) || "unnamed"
  }`;
}
