/**
 * Image rows that nothing needs any more: what retired releases alone were made of, blobs that never became part of a manifest, sessions
 * that ended. The rows say what is needed; the bytes follow with the store's sweep (sweep.ts), quarantine first.
 */
import type { OciDigest } from "../formats/oci-digest.ts";
import type { Store } from "../store/store.ts";
import { reachedFrom, removeManifest, storedTags, taggedReleases } from "./oci-manifests.ts";
import { changeRepository, type OciRepository } from "./oci-repositories.ts";
import { releaseOfTag } from "./oci-tags.ts";

/** A push uploads its blobs before the manifest that names them, perhaps over a slow line. */
export const unusedBlobMs = 48 * 3_600_000;

/** One transaction per repository. An image that was never part of a release stays until it is deleted. */
export async function sweepImages(store: Store): Promise<void> {
  const rows = await store.db
    .selectFrom("oci_repositories")
    .innerJoin("products", "products.id", "oci_repositories.product_id")
    .select(["oci_repositories.id", "oci_repositories.name", "oci_repositories.product_id", "products.name as product"])
    .execute();
  for (const row of rows) await sweepRepository(store, { id: row.id, name: row.name, productId: row.product_id, product: row.product });
  const uploads = await store.db.selectFrom("oci_uploads").select("id").execute();
  for (const { id } of uploads) {
    if ((await store.blobs.sessions.offset(id)) === undefined) await store.db.deleteFrom("oci_uploads").where("id", "=", id).execute();
  }
}

async function sweepRepository(store: Store, repository: OciRepository): Promise<void> {
  await changeRepository(store, repository, async (transaction) => {
    const releases = await taggedReleases(transaction, repository);
    const tags = [...(await storedTags(transaction, repository))];
    const isRetired = (tag: string): boolean => releaseOfTag(releases, tag)?.state === "retired";
    const leaving = tags.filter(([tag]) => isRetired(tag)).map(([, digest]) => digest);
    const staying = await reachedFrom(
      transaction,
      repository,
      tags.filter(([tag]) => !isRetired(tag)).map(([, digest]) => digest),
    );
    const reached = await reachedFrom(transaction, repository, leaving);
    for (const [tag, digest] of tags) {
      if (isRetired(tag) && staying.has(digest)) await transaction.deleteFrom("oci_tags").where("repository_id", "=", repository.id).where("tag", "=", tag).execute();
    }
    const gone: OciDigest[] = [...reached].filter((digest) => !staying.has(digest));
    for (const digest of gone) {
      // An index may list what is not there; a manifest that an index outside lists stays for that one.
      const isThere = await transaction
        .selectFrom("oci_manifests")
        .select("digest")
        .where("repository_id", "=", repository.id)
        .where("digest", "=", digest)
        .executeTakeFirst();
      if (isThere !== undefined) await removeManifest(transaction, repository, digest);
    }
    await transaction
      .deleteFrom("oci_blobs")
      .where("repository_id", "=", repository.id)
      .where("created_at", "<", store.clock.now().getTime() - unusedBlobMs)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom("oci_edges")
              .select("oci_edges.child")
              .whereRef("oci_edges.repository_id", "=", "oci_blobs.repository_id")
              .whereRef("oci_edges.child", "=", "oci_blobs.digest"),
          ),
        ),
      )
      .execute();
  });
}
