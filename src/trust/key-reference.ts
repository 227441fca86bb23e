/** How recipes and flags name a key without holding it: `env:NAME`, `file:PATH`, `key:NAME`, `agent:gpg:FINGERPRINT`, `command:PATH`. */
import { SlipwayError } from "../model/errors.ts";
import { parseWord } from "../model/names.ts";

export type KeyReference =
  /** The variable holds the key itself. */
  | { readonly kind: "env"; readonly name: string }
  | { readonly kind: "file"; readonly path: string }
  /** A key of the key folder, made by `slipway keys new`. */
  | { readonly kind: "key"; readonly name: string }
  /** A key of gpg's agent, or on a card behind it. */
  | { readonly kind: "agent"; readonly fingerprint: string }
  /** An executable that signs: the way to a KMS or HSM. */
  | { readonly kind: "command"; readonly path: string };

/** Throws `key_invalid` for any other form: a key pasted in place of its name must not travel further, so the message does not repeat it. */
export function parseKeyReference(text: string): KeyReference {
  const separator = text.indexOf(":");
  const scheme = text.slice(0, Math.max(0, separator));
  const rest = text.slice(separator + 1);
  if (scheme === "env" && /^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(rest)) return { kind: "env", name: rest };
  if (scheme === "file" && rest !== "" && !rest.includes("\0")) return { kind: "file", path: rest };
  if (scheme === "key") return { kind: "key", name: parseWord("key", rest) };
  if (scheme === "command" && rest !== "" && !rest.includes("\0")) return { kind: "command", path: rest };
  const fingerprint = /^gpg:((?:[0-9A-Fa-f] ?){40})$/.exec(rest)?.[1];
  if (scheme === "agent" && fingerprint !== undefined) return { kind: "agent", fingerprint: fingerprint.replaceAll(" ", "").toUpperCase() };
  throw new SlipwayError("key_invalid", "a key is named as env:NAME, file:PATH, key:NAME, agent:gpg:FINGERPRINT or command:PATH", {
    hint: "`slipway keys list` shows the names in the key folder; a key itself never stands in a recipe or on a command line",
  });
}
