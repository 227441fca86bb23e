/** Mail addresses as we take them: one plain address, in the form that every mail server takes without quoting. */
import { SlipwayError } from "./errors.ts";

/** RFC 5322's dot-atom: line ends, blanks and commas, which could add receivers or headers, have no place in it. */
export function isMailAddress(text: string): boolean {
  return text.length <= 254 && /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(text);
}

/** Throws `name_invalid`. */
export function parseMailAddress(text: string): string {
  if (isMailAddress(text)) return text;
  throw new SlipwayError("name_invalid", `"${text.slice(0, 80)}" is not one plain mail address`, { hint: "write it as ops@acme.example" });
}
