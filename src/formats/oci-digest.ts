/** Digests as OCI names content by them: SHA-256 and SHA-512 (image-spec 1.1 descriptor.md, "Registered algorithms"). */
import { SlipwayError } from "../model/errors.ts";

export const ociAlgorithms = ["sha256", "sha512"] as const;
export type OciAlgorithm = (typeof ociAlgorithms)[number];

/** `sha256:<64 hex>` or `sha512:<128 hex>`; blobs of ours are named by SHA-256 alone (model/digest.ts). */
export type OciDigest = `${OciAlgorithm}:${string}` & { readonly __brand: "OciDigest" };

const pattern = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

export function isOciDigest(text: unknown): text is OciDigest {
  return typeof text === "string" && pattern.test(text);
}

/** Throws `upload_invalid` with the registry's code for it, also for algorithms that nobody here computes. */
export function parseOciDigest(text: string): OciDigest {
  if (!isOciDigest(text)) throw new SlipwayError("upload_invalid", `"${text.slice(0, 160)}" is not a sha256 or sha512 digest`, { detail: "DIGEST_INVALID" });
  return text;
}

export function algorithmOf(digest: OciDigest): OciAlgorithm {
  return digest.startsWith("sha512:") ? "sha512" : "sha256";
}

/** The tag under which clients without the referrers API keep a manifest's referrers (distribution-spec 1.1, "Referrers Tag Schema"). */
export function referrersTag(digest: OciDigest): string {
  const [algorithm = "", encoded = ""] = digest.split(":");
  return `${algorithm.slice(0, 32)}-${encoded.slice(0, 64)}`;
}
