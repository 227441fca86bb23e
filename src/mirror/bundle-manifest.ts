/** What a bundle says of itself: the set that it carries, and the set that its reader must have already. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { parseSetManifest, type SetFile, type SetManifest, setManifestLimit, setManifestSchema } from "./file-set.ts";

export const bundleManifestName = "manifest.json";
export const bundleSumsName = "SHA256SUMS";
export const bundleScriptName = "verify.sh";
export const bundleTree = "tree/";

const bundleManifestSchema = z.strictObject({
  schema: z.literal(1),
  kind: z.literal("slipway-mirror-bundle"),
  /** An addition: id of the set whose files are left out here. */
  since: setManifestSchema.shape.id.optional(),
  set: z.unknown(),
});

export type BundleManifest = { readonly schema: 1; readonly kind: "slipway-mirror-bundle"; readonly since?: string; readonly set: SetManifest };

export const bundleManifestLimit = setManifestLimit;

export function renderBundleManifest(manifest: BundleManifest): Buffer {
  return Buffer.from(`${JSON.stringify(manifest)}\n`);
}

/** Throws `format_invalid`, `path_unsafe`. */
export function parseBundleManifest(bytes: Uint8Array, place: string): BundleManifest {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (error) {
    throw new SlipwayError("format_invalid", `${place}: ${bundleManifestName} is not JSON`, { place, cause: error });
  }
  const parsed = bundleManifestSchema.safeParse(value);
  if (!parsed.success) throw new SlipwayError("format_invalid", `${place} is no bundle that this Slipway reads`, { place });
  const { since } = parsed.data;
  const set = parseSetManifest(Buffer.from(JSON.stringify(parsed.data.set)), `${place}: ${bundleManifestName}`);
  return { schema: 1, kind: "slipway-mirror-bundle", ...(since === undefined ? {} : { since }), set };
}

/** The files that a bundle carries: those that readers of the set may ask for, without what left it and without what `since` has. */
export function bundledFiles(set: SetManifest, since: SetManifest | undefined): readonly SetFile[] {
  const known = new Map((since?.files ?? []).map((file) => [file.path, file.sha256]));
  return set.files.filter((file) => file.until === undefined && !(file.immutable && known.get(file.path) === file.sha256));
}
