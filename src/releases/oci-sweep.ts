/**
 * Image rows that nothing needs any more: what retired releases alone were made of, blobs that never became part of a manifest, sessions
 * that ended. The rows say what is needed; the bytes follow with the store's sweep (sweep.ts), quarantine first.
 */
import type { Transaction } from "kysely";
import { type OciDigest, referrersTag } from "../formats/oci-digest.ts";
import type { Version } from "../model/version.ts";
import type { Database } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { reachedFrom, removeManifest, storedTags, taggedReleases } from "./oci-manifests.ts";
import { changeRepository, type OciRepository } from "./oci-repositories.ts";
import { attachedTo, releaseOfTag } from "./oci-tags.ts";

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
    const ended = await endedVersions(transaction, repository, store.clock.now());
    const isRetired = (tag: string): boolean => {
      const release = releaseOfTag(releases, tag);
      return release !== undefined && ended.has(release.version);
    };
    const leaving = tags.filter(([tag]) => isRetired(tag)).map(([, digest]) => digest);
    // A signature's own tag keeps nothing: it goes with what it signs.
    const kept = tags.filter(([tag]) => !isRetired(tag) && attachedTo(tag) === undefined).map(([, digest]) => digest);
    const staying = await reachedFrom(transaction, repository, kept);
    const reached = await reachedFrom(transaction, repository, leaving);
    for (const [tag] of tags) {
      if (isRetired(tag)) await transaction.deleteFrom("oci_tags").where("repository_id", "=", repository.id).where("tag", "=", tag).execute();
    }
    for (const digest of await withReferrers(transaction, { repository, tags, leaving: reached, staying })) {
      // An index that nobody tagged may list it as well, and stays until it is deleted.
      const isListed = await isListedElsewhere(transaction, { repository, digest, leaving: reached });
      if (!isListed && (await isStored(transaction, repository, digest))) await removeManifest(transaction, repository, digest);
    }
    await transaction
      .deleteFrom("oci_blobs")
      .where("repository_id", "=", repository.id)
      .where("created_at", "<", store.clock.now().getTime() - unusedBlobMs)
      .where((expression) =>
        expression.not(
          expression.exists(
            expression
              .selectFrom("oci_edges")
              .select("oci_edges.child")
              .whereRef("oci_edges.repository_id", "=", "oci_blobs.repository_id")
              .whereRef("oci_edges.child", "=", "oci_blobs.digest"),
          ),
        ),
      )
      .execute();
  });
}

/** Retired, and the grace of their bytes is over. */
async function endedVersions(transaction: Transaction<Database>, repository: OciRepository, now: Date): Promise<ReadonlySet<Version>> {
  const rows = await transaction
    .selectFrom("releases")
    .leftJoin("retention_policies", "retention_policies.product_id", "releases.product_id")
    .select(["releases.version", "releases.ended_at", "retention_policies.grace_days"])
    .where("releases.product_id", "=", repository.productId)
    .where("releases.state", "=", "retired")
    .execute();
  const ended = rows.filter((row) => (row.ended_at ?? 0) + (row.grace_days ?? 0) * 86_400_000 <= now.getTime());
  return new Set(ended.map((row) => row.version));
}

type Leaving = {
  readonly repository: OciRepository;
  readonly tags: readonly (readonly [tag: string, digest: OciDigest])[];
  readonly leaving: ReadonlySet<OciDigest>;
  readonly staying: ReadonlySet<OciDigest>;
};

/** What leaves, and what only says something about it: signatures and documents, by their subject or by the fallback tag. */
async function withReferrers(transaction: Transaction<Database>, { repository, tags, leaving, staying }: Leaving): Promise<ReadonlySet<OciDigest>> {
  const gone = new Set<OciDigest>();
  const open = [...leaving];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (gone.has(next) || staying.has(next)) continue;
    gone.add(next);
    const subject = next;
    const rows = await transaction
      .selectFrom("oci_manifests")
      .select("digest")
      .where("repository_id", "=", repository.id)
      .where("subject", "=", subject)
      .execute();
    const attached = tags.filter(([tag]) => attachedTo(tag) === referrersTag(subject)).map(([, digest]) => digest);
    open.push(...rows.map((row) => row.digest as OciDigest), ...attached); // parsed before they were written
  }
  return gone;
}

async function isListedElsewhere(
  transaction: Transaction<Database>,
  { repository, digest, leaving }: { readonly repository: OciRepository; readonly digest: OciDigest; readonly leaving: ReadonlySet<OciDigest> },
): Promise<boolean> {
  const parents = await transaction
    .selectFrom("oci_edges")
    .select("parent")
    .where("repository_id", "=", repository.id)
    .where("child", "=", digest)
    .where("kind", "=", "manifest")
    .execute();
  return parents.some((row) => !leaving.has(row.parent as OciDigest));
}

async function isStored(transaction: Transaction<Database>, repository: OciRepository, digest: OciDigest): Promise<boolean> {
  const row = await transaction
    .selectFrom("oci_manifests")
    .select("digest")
    .where("repository_id", "=", repository.id)
    .where("digest", "=", digest)
    .executeTakeFirst();
  return row !== undefined;
}
