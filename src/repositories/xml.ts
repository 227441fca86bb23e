/** XML text for the indexes of rpm-md: escaping, and refusing what XML 1.0 cannot hold. */
import { SlipwayError } from "../model/errors.ts";

const escapes: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** A text or attribute value. Throws `format_invalid` for characters outside XML 1.0's Char (2.2): no escape can carry them, and one spoils the whole index. */
export function xmlText(value: string): string {
  if (!value.isWellFormed()) throw new SlipwayError("format_invalid", "the package's texts hold half a surrogate pair, which XML cannot");
  for (const char of value) {
    const code = char.codePointAt(0) ?? 0;
    const isAllowed = code >= 32 ? code !== 0xfffe && code !== 0xffff && code !== 127 : char === "\t" || char === "\n";
    if (!isAllowed)
      throw new SlipwayError("format_invalid", `the package's texts hold the control character U+${code.toString(16).padStart(4, "0")}, which XML cannot`);
  }
  return value.replaceAll(/[&<>"]/g, (char) => escapes[char] ?? char);
}

/** `<name a="b">text</name>`, or `<name a="b"/>` without a text. Attributes that are undefined are left out. */
export function xmlElement(name: string, attributes: Readonly<Record<string, string | number | undefined>>, text?: string): string {
  const shown = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${xmlText(String(value))}"`)
    .join("");
  return text === undefined ? `<${name}${shown}/>` : `<${name}${shown}>${xmlText(text)}</${name}>`;
}
