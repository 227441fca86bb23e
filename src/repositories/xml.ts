/** XML text for the indexes of rpm-md: escaping, and refusing what XML 1.0 cannot hold. */
import { SlipwayError } from "../model/errors.ts";

/** XML 1.0 2.11: a parser turns a bare carriage return into a line end. */
const textEscapes: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;" };
/** XML 1.0 3.3.3: a parser turns a bare tab or line end of an attribute into a blank. */
const attributeEscapes: Readonly<Record<string, string>> = { ...textEscapes, '"': "&quot;", "\t": "&#9;", "\n": "&#10;" };

/** The text of an element. Throws `format_invalid` for what XML 1.0 cannot hold (2.2): no escape can carry it, and one such character spoils the whole index. */
function xmlText(value: string): string {
  return checked(value).replaceAll(/[&<>\r]/g, (char) => textEscapes[char] ?? char);
}

/** `<name a="b">text</name>`, or `<name a="b"/>` without a text. Attributes that are undefined are left out. Throws as xmlText. */
export function xmlElement(name: string, attributes: Readonly<Record<string, string | number | undefined>>, text?: string): string {
  const head = `<${name}${xmlAttributes(attributes)}`;
  return text === undefined ? `${head}/>` : `${head}>${xmlText(text)}</${name}>`;
}

/** ` a="b" c="d"`, with a blank before each; for an element that is closed elsewhere. */
export function xmlAttributes(attributes: Readonly<Record<string, string | number | undefined>>): string {
  return Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${checked(String(value)).replaceAll(/[&<>"\t\n\r]/g, (char) => attributeEscapes[char] ?? char)}"`)
    .join("");
}

function checked(value: string): string {
  if (!value.isWellFormed()) throw new SlipwayError("format_invalid", "the package's texts hold half a surrogate pair, which XML cannot");
  for (const char of value) {
    const code = char.codePointAt(0) ?? 0;
    const isAllowed = code >= 32 ? code !== 0xfffe && code !== 0xffff && code !== 127 : char === "\t" || char === "\n" || char === "\r";
    if (!isAllowed)
      throw new SlipwayError("format_invalid", `the package's texts hold the control character U+${code.toString(16).padStart(4, "0")}, which XML cannot`);
  }
  return value;
}
