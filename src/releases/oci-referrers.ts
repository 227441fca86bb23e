/** The referrers of a manifest: signatures, bills of materials, attestations (OCI distribution-spec 1.1, end-12). */
import { z } from "zod";
import { annotationsSchema, type OciAnnotations, ociDocumentLimit, ociMediaTypes, parseOciJson } from "../formats/oci-descriptor.ts";
import { isOciDigest, type OciDigest, referrersTag } from "../formats/oci-digest.ts";
import type { Store } from "../store/store.ts";
import { findManifest } from "./oci-manifests.ts";
import type { OciRepository } from "./oci-repositories.ts";

export type OciReferrer = {
  readonly mediaType: string;
  readonly digest: OciDigest;
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations?: OciAnnotations;
};

/** `next`: the digest to go on after; undefined on the last page. */
export type ReferrersPage = { readonly referrers: readonly OciReferrer[]; readonly next: OciDigest | undefined };

export type ReferrersRequest = {
  readonly subject: OciDigest;
  readonly artifactType: string | undefined;
  /** Left out where it is false: what a customer may not see. */
  readonly isVisible: (digest: OciDigest) => boolean;
  /** `next` of the page before. */
  readonly after: OciDigest | undefined;
};

/** A page is a document that clients read like a manifest, and so no larger. */
const pageBytes = ociDocumentLimit - 64 * 1024;

const fallbackSchema = z.object({
  manifests: z.array(
    z.object({
      mediaType: z.string(),
      digest: z.custom<OciDigest>(isOciDigest),
      size: z.int().nonnegative(),
      artifactType: z.string().optional(),
      annotations: annotationsSchema.nullish(),
    }),
  ),
});

const storedAnnotationsSchema = z.record(z.string(), z.string());

/** In the order of their digests, one page. What clients without this API left under the fallback tag is listed too. */
export async function listReferrers(store: Store, repository: OciRepository, request: ReferrersRequest): Promise<ReferrersPage> {
  const found = new Map([...(await fallbackReferrers(store, repository, request.subject)), ...(await storedReferrers(store, repository, request.subject))]);
  const listed = [...found.values()]
    .filter((one) => (request.artifactType === undefined || one.artifactType === request.artifactType) && request.isVisible(one.digest))
    .filter((one) => request.after === undefined || one.digest > request.after)
    .sort((left, right) => (left.digest < right.digest ? -1 : 1));
  const page: OciReferrer[] = [];
  let bytes = 0;
  for (const one of listed) {
    bytes += Buffer.byteLength(JSON.stringify(one)) + 1;
    if (bytes > pageBytes && page.length > 0) return { referrers: page, next: page.at(-1)?.digest };
    page.push(one);
  }
  return { referrers: page, next: undefined };
}

async function storedReferrers(store: Store, repository: OciRepository, subject: OciDigest): Promise<readonly (readonly [OciDigest, OciReferrer])[]> {
  const rows = await store.db
    .selectFrom("oci_manifests")
    .select(["digest", "size", "media_type", "artifact_type", "annotations"])
    .where("repository_id", "=", repository.id)
    .where("subject", "=", subject)
    .execute();
  return rows.map((row) => {
    const annotations = storedAnnotationsSchema.parse(JSON.parse(row.annotations ?? "{}"));
    const digest = row.digest as OciDigest; // written by putManifest alone
    return [digest, referrer({ mediaType: row.media_type, digest, size: row.size, artifactType: row.artifact_type ?? undefined, annotations })] as const;
  });
}

/** What the fallback tag lists and the repository really has. The tag is the client's: where it names something else, it lists nothing. */
async function fallbackReferrers(store: Store, repository: OciRepository, subject: OciDigest): Promise<readonly (readonly [OciDigest, OciReferrer])[]> {
  const tagged = await store.db
    .selectFrom("oci_tags")
    .select("digest")
    .where("repository_id", "=", repository.id)
    .where("tag", "=", referrersTag(subject))
    .executeTakeFirst();
  const index = tagged === undefined ? undefined : await findManifest(store, repository, tagged.digest as OciDigest);
  if (index?.mediaType !== ociMediaTypes.index) return [];
  const { manifests } = parseOciJson(await store.blobs.read(index.blob, ociDocumentLimit), fallbackSchema, "referrers index");
  const there = await Promise.all(manifests.map((one) => findManifest(store, repository, one.digest)));
  return manifests.flatMap((one, position) =>
    there[position] === undefined ? [] : [[one.digest, referrer({ ...one, artifactType: one.artifactType, annotations: one.annotations ?? {} })] as const],
  );
}

function referrer(one: {
  readonly mediaType: string;
  readonly digest: OciDigest;
  readonly size: number;
  readonly artifactType: string | undefined;
  readonly annotations: OciAnnotations;
}): OciReferrer {
  const { mediaType, digest, size, artifactType, annotations } = one;
  return {
    mediaType,
    digest,
    size,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
}
