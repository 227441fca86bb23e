/** Reads a Sigstore bundle: one JSON object of at most 64 KiB in a media type of version 0.1 to 0.3, complete as its version demands. */
import type { Bundle } from "@sigstore/bundle";
import { loadSigstore } from "./sigstore-library.ts";

/** A bundle with certificate, log entry with proof, and timestamp has 4 to 10 KB. */
export const bundleSizeLimit = 64 * 1024;
/** Of log entries and of timestamps; real bundles have one of each. */
const entryLimit = 8;

export type BundleReading = { readonly kind: "bundle"; readonly bundle: Bundle } | { readonly kind: "malformed"; readonly message: string };

/** Never throws for bad input. The JSON that `cosign sign-blob` wrote before bundles (`base64Signature`) is told apart, to be named. */
export async function readSigstoreBundle(bytes: Uint8Array): Promise<BundleReading> {
  const { bundle: library } = await loadSigstore();
  const malformed = (message: string): BundleReading => ({ kind: "malformed", message });
  if (bytes.length > bundleSizeLimit) return malformed(`the bundle has ${bytes.length} bytes; the limit is ${bundleSizeLimit}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return malformed("the bundle is not JSON");
  }
  if (typeof value !== "object" || value === null) return malformed("the bundle is not a JSON object");
  if ("base64Signature" in value) return malformed("this is cosign's old form; sign again with a new bundle (`cosign sign-blob --new-bundle-format`)");
  const mediaType = (value as { mediaType?: unknown }).mediaType;
  if (!mediaTypes(library).some((known) => known === mediaType))
    return malformed(`the bundle's media type is ${JSON.stringify(mediaType)?.slice(0, 120) ?? "missing"}`);
  try {
    const bundle = library.bundleFromJSON(value);
    const { tlogEntries, timestampVerificationData } = bundle.verificationMaterial;
    if (tlogEntries.length > entryLimit || (timestampVerificationData?.rfc3161Timestamps.length ?? 0) > entryLimit) {
      return malformed(`the bundle has more than ${entryLimit} log entries or timestamps`);
    }
    return { kind: "bundle", bundle };
  } catch (error) {
    // Whatever the library's reader stumbles over came from outside: the bundle is refused, with what it said.
    return malformed(`the bundle is not complete: ${error instanceof Error ? error.message.slice(0, 300) : "unreadable"}`);
  }
}

function mediaTypes(library: typeof import("@sigstore/bundle")): readonly string[] {
  return [library.BUNDLE_V01_MEDIA_TYPE, library.BUNDLE_V02_MEDIA_TYPE, library.BUNDLE_V03_LEGACY_MEDIA_TYPE, library.BUNDLE_V03_MEDIA_TYPE];
}
