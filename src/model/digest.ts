/** Content digests: `sha256:<64 hex>`, the only algorithm that names blobs. */
import { SlipwayError } from "./errors.ts";

export type Digest = `sha256:${string}` & { readonly __brand: "Digest" };

const pattern = /^sha256:[0-9a-f]{64}$/;

export function isDigest(text: unknown): text is Digest {
  return typeof text === "string" && pattern.test(text);
}

/** Throws `upload_invalid` where the text is no digest. */
export function parseDigest(text: string): Digest {
  if (!isDigest(text)) throw new SlipwayError("upload_invalid", `"${text.slice(0, 80)}" is not a digest of the form sha256:<64 hex>`);
  return text;
}

export function digestFromHex(hex: string): Digest {
  return parseDigest(`sha256:${hex}`);
}

/** The 64 hex digits, which are also the blob's file name: names from outside never become paths. */
export function digestHex(digest: Digest): string {
  return digest.slice("sha256:".length);
}
