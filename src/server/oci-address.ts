/** Addresses of the registry, told apart: `/v2/<name>/…`, where the name itself has slashes (OCI distribution-spec 1.1, "Endpoints"). */
import { isOciDigest, type OciDigest, parseOciDigest } from "../formats/oci-digest.ts";
import { parseRepository, parseTag } from "../formats/oci-reference.ts";
import { ociRefusal } from "./oci-errors.ts";

export type OciTarget =
  | { readonly kind: "manifest"; readonly name: string; readonly reference: string }
  | { readonly kind: "blob"; readonly name: string; readonly digest: string }
  /** Without an id: where uploads begin. */
  | { readonly kind: "upload"; readonly name: string; readonly id: string | undefined }
  | { readonly kind: "tags"; readonly name: string }
  | { readonly kind: "referrers"; readonly name: string; readonly digest: string };

/** In this order: `blobs/uploads/` is no digest. */
const forms: readonly (readonly [pattern: RegExp, make: (name: string, last: string) => OciTarget])[] = [
  [/^(.+)\/manifests\/([^/]+)$/, (name, reference) => ({ kind: "manifest", name, reference })],
  [/^(.+)\/blobs\/uploads(?:\/([^/]*))?$/, (name, id) => ({ kind: "upload", name, id: id === "" ? undefined : id })],
  [/^(.+)\/blobs\/([^/]+)$/, (name, digest) => ({ kind: "blob", name, digest })],
  [/^(.+)\/tags\/list()$/, (name) => ({ kind: "tags", name })],
  [/^(.+)\/referrers\/([^/]+)$/, (name, digest) => ({ kind: "referrers", name, digest })],
];

/** `path` is what follows `/v2/`, decoded. Undefined for what no endpoint has; the parts are not judged yet. */
export function readOciAddress(path: string): OciTarget | undefined {
  for (const [pattern, make] of forms) {
    const match = pattern.exec(path);
    if (match !== null) return make(match[1] ?? "", match[2] ?? "");
  }
  return undefined;
}

/** Throws `name_invalid` (NAME_INVALID). */
export function checkRepositoryName(name: string): string {
  return parseRepository(name);
}

export type OciReference = { readonly kind: "digest"; readonly digest: OciDigest } | { readonly kind: "tag"; readonly tag: string };

/** What stands after `manifests/`. Throws `upload_invalid` (DIGEST_INVALID) for a bad digest, and refuses a bad tag with MANIFEST_INVALID. */
export function readReference(reference: string): OciReference {
  if (isOciDigest(reference) || reference.includes(":")) return { kind: "digest", digest: parseOciDigest(reference) };
  return { kind: "tag", tag: readTag(reference) };
}

export function readTag(tag: string): string {
  try {
    return parseTag(tag);
  } catch (error) {
    throw ociRefusal("MANIFEST_INVALID", error instanceof Error ? error.message : "not an image tag");
  }
}
