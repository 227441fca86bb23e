/** Manifests and tags of image repositories: stored byte for byte, with what they refer to as rows (OCI distribution-spec 1.1, end-7, end-9). */
import { createHash } from "node:crypto";
import type { Transaction } from "kysely";
import { algorithmOf, type OciDigest } from "../formats/oci-digest.ts";
import { type OciChild, type PushedManifest, readPushedManifest } from "../formats/oci-pushed-manifest.ts";
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import type { Database, OciManifestTable } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { changeRepository, type OciRepository } from "./oci-repositories.ts";
import { isClosedTag, latestTag, tagMeaning, type TaggedRelease } from "./oci-tags.ts";

export type OciStoredManifest = {
  readonly digest: OciDigest;
  /** Where the bytes are. */
  readonly blob: Digest;
  readonly size: number;
  readonly mediaType: string;
  readonly createdAt: Date;
};

export type ManifestPush = {
  readonly bytes: Buffer;
  /** The request's Content-Type; without one the document says what it is. */
  readonly mediaType: string | undefined;
  /** Of the address, where the manifest is pushed by digest; it must be right. */
  readonly digest: OciDigest | undefined;
  readonly tags: readonly string[];
  readonly actor: AuditActor;
};

export type PushedResult = { readonly digest: OciDigest; readonly subject: OciDigest | undefined };

/** Rows of one statement: SQLite takes 32,766 parameters. */
const rowsAtOnce = 1_000;

export const manifestUnknown = (reference: string): SlipwayError =>
  new SlipwayError("not_found", `there is no manifest ${reference} in this repository`, { detail: "MANIFEST_UNKNOWN" });

export async function findManifest(store: Store, repository: OciRepository, digest: OciDigest): Promise<OciStoredManifest | undefined> {
  const row = await store.db
    .selectFrom("oci_manifests")
    .select(["blob", "size", "media_type", "created_at"])
    .where("repository_id", "=", repository.id)
    .where("digest", "=", digest)
    .executeTakeFirst();
  return row === undefined ? undefined : storedManifest({ ...row, digest });
}

/** Digests in this table were parsed before they were written. */
export function storedManifest(row: Pick<OciManifestTable, "digest" | "blob" | "size" | "media_type" | "created_at">): OciStoredManifest {
  return { digest: row.digest as OciDigest, blob: row.blob, size: row.size, mediaType: row.media_type, createdAt: new Date(row.created_at) };
}

/**
 * Stores the manifest and sets its tags, all or nothing. Throws `format_invalid`, `format_limit`, `upload_invalid` (DIGEST_INVALID) where
 * the bytes have another digest than the address, `release_incomplete` (MANIFEST_BLOB_UNKNOWN) where something it is made of is not in the
 * repository, and `immutable` (DENIED) for a tag of a published release and for a `latest` that such a release decides. A subject need
 * not be there.
 */
export async function putManifest(store: Store, repository: OciRepository, push: ManifestPush): Promise<PushedResult> {
  const pushed = readPushedManifest(push.bytes, push.mediaType);
  const digest = digestOfPush(push);
  const stored = await store.blobs.put(push.bytes);
  await changeRepository(store, repository, async (transaction) => {
    await requireOpenTags(transaction, repository, { tags: push.tags, digest });
    await requireChildren(transaction, repository, pushed.children);
    await insertManifest(transaction, repository, { pushed, digest, blob: stored.digest, size: push.bytes.length, now: store.clock.now() });
    const tagRow = { digest, updated_at: store.clock.now().getTime() };
    for (const tag of push.tags) {
      await transaction
        .insertInto("oci_tags")
        .values({ repository_id: repository.id, tag, ...tagRow })
        .onConflict((conflict) => conflict.columns(["repository_id", "tag"]).doUpdateSet(tagRow))
        .execute();
    }
    await appendAuditEvent(transaction, store, {
      actor: push.actor,
      action: "image.push",
      result: "complete",
      product: repository.product,
      protocol: "oci",
      artifact: push.tags.length === 0 ? `${repository.name}@${digest}` : push.tags.map((tag) => `${repository.name}:${tag}`).join(" "),
      bytes: push.bytes.length,
      detail: digest,
    });
  });
  // As with every reference: the row is in place, so the sweep either left the bytes or gives them back.
  if ((await store.blobs.stat(stored.digest)) === undefined) await store.blobs.restore(stored.digest);
  return { digest, subject: pushed.subject };
}

function digestOfPush(push: ManifestPush): OciDigest {
  const algorithm = push.digest === undefined ? "sha256" : algorithmOf(push.digest);
  const actual = `${algorithm}:${createHash(algorithm).update(push.bytes).digest("hex")}` as OciDigest; // hex of that very algorithm
  if (push.digest !== undefined && push.digest !== actual) {
    throw new SlipwayError("upload_invalid", `the manifest has the digest ${actual}, not ${push.digest}`, { detail: "DIGEST_INVALID" });
  }
  return actual;
}

/** The product's releases as tags see them. */
export async function taggedReleases(db: Transaction<Database> | Store["db"], repository: OciRepository): Promise<readonly TaggedRelease[]> {
  const rows = await db
    .selectFrom("releases")
    .leftJoin("retention_stages", "retention_stages.release_id", "releases.id")
    .select(["releases.id", "releases.version", "releases.state", "releases.replacement", "releases.reason", "retention_stages.stage"])
    .where("releases.product_id", "=", repository.productId)
    .execute();
  const memberships = await db
    .selectFrom("release_channels")
    .innerJoin("releases", "releases.id", "release_channels.release_id")
    .select(["release_channels.release_id", "release_channels.channel"])
    .where("releases.product_id", "=", repository.productId)
    .execute();
  return rows.map(({ id, version, state, replacement, reason, stage }) => ({
    version,
    state,
    replacement: replacement ?? undefined,
    reason: reason ?? undefined,
    channels: stage === "unlisted" ? [] : memberships.filter((one) => one.release_id === id).map((one) => one.channel),
  }));
}

export async function storedTags(db: Transaction<Database> | Store["db"], repository: OciRepository): Promise<ReadonlyMap<string, OciDigest>> {
  const rows = await db.selectFrom("oci_tags").select(["tag", "digest"]).where("repository_id", "=", repository.id).execute();
  return new Map(rows.map((row) => [row.tag, row.digest as OciDigest])); // written by putManifest alone
}

async function requireOpenTags(
  transaction: Transaction<Database>,
  repository: OciRepository,
  wanted: { readonly tags: readonly string[]; readonly digest: OciDigest },
): Promise<void> {
  if (wanted.tags.length === 0) return;
  const releases = await taggedReleases(transaction, repository);
  const present = await storedTags(transaction, repository);
  for (const tag of wanted.tags) {
    if (present.get(tag) === wanted.digest) continue; // the same again
    if (isClosedTag(releases, tag)) throw closed(repository, tag);
    const followed = tagMeaning(present, releases).following.get(tag);
    if (followed !== undefined && followed !== wanted.digest) {
      const what = tag === latestTag ? "the newest stable release" : `the newest release of the channel ${tag}`;
      throw new SlipwayError("immutable", `${repository.name}:${tag} follows ${what} by itself`, { detail: "DENIED" });
    }
  }
}

function closed(repository: OciRepository, tag: string): SlipwayError {
  return new SlipwayError("immutable", `${repository.name}:${tag} belongs to a release that was published: its tags never change`, {
    detail: "DENIED",
    hint: "push a release's images before it is published; publish a new patch version otherwise",
  });
}

async function requireChildren(transaction: Transaction<Database>, repository: OciRepository, children: readonly OciChild[]): Promise<void> {
  const required = children.filter((child) => child.isRequired).map((child) => child.digest);
  const present = new Set<string>();
  for (let start = 0; start < required.length; start += rowsAtOnce) {
    const batch = required.slice(start, start + rowsAtOnce);
    const blobs = transaction.selectFrom("oci_blobs").select("digest").where("repository_id", "=", repository.id).where("digest", "in", batch);
    const manifests = transaction.selectFrom("oci_manifests").select("digest").where("repository_id", "=", repository.id).where("digest", "in", batch);
    for (const row of await blobs.union(manifests).execute()) present.add(row.digest);
  }
  const missing = required.filter((digest) => !present.has(digest));
  if (missing.length > 0) {
    throw new SlipwayError("release_incomplete", `the manifest refers to ${missing.slice(0, 5).join(", ")}, which is not in ${repository.name}`, {
      detail: "MANIFEST_BLOB_UNKNOWN",
      hint: "push everything that a manifest is made of before the manifest",
    });
  }
}

async function insertManifest(
  transaction: Transaction<Database>,
  repository: OciRepository,
  stored: { readonly pushed: PushedManifest; readonly digest: OciDigest; readonly blob: Digest; readonly size: number; readonly now: Date },
): Promise<void> {
  const { pushed, digest } = stored;
  const row = {
    blob: stored.blob,
    size: stored.size,
    media_type: pushed.mediaType,
    artifact_type: pushed.artifactType ?? null,
    annotations: pushed.subject === undefined ? null : JSON.stringify(pushed.annotations),
    subject: pushed.subject ?? null,
  };
  await transaction
    .insertInto("oci_manifests")
    .values({ repository_id: repository.id, digest, ...row, created_at: stored.now.getTime() })
    .onConflict((conflict) => conflict.columns(["repository_id", "digest"]).doUpdateSet(row))
    .execute();
  const edges = pushed.children.map((child) => ({ repository_id: repository.id, parent: digest, child: child.digest, kind: child.kind }));
  for (let start = 0; start < edges.length; start += rowsAtOnce) {
    await transaction
      .insertInto("oci_edges")
      .values(edges.slice(start, start + rowsAtOnce))
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
}

/** Throws `not_found` (MANIFEST_UNKNOWN) and `immutable` (DENIED) for a tag of a published release. */
export async function deleteTag(store: Store, repository: OciRepository, deletion: { readonly tag: string; readonly actor: AuditActor }): Promise<void> {
  const { tag } = deletion;
  await changeRepository(store, repository, async (transaction) => {
    if (isClosedTag(await taggedReleases(transaction, repository), tag)) throw closed(repository, tag);
    const { numDeletedRows } = await transaction.deleteFrom("oci_tags").where("repository_id", "=", repository.id).where("tag", "=", tag).executeTakeFirst();
    if (numDeletedRows === 0n) throw manifestUnknown(tag);
    await appendAuditEvent(transaction, store, deletionEvent(repository, { ...deletion, name: `${repository.name}:${tag}` }));
  });
}

/**
 * Removes a manifest and every tag that names it. Throws `not_found` (MANIFEST_UNKNOWN), and `immutable` (DENIED) for what a published
 * release's image is made of.
 */
export async function deleteManifest(
  store: Store,
  repository: OciRepository,
  deletion: { readonly digest: OciDigest; readonly actor: AuditActor },
): Promise<void> {
  const { digest } = deletion;
  await changeRepository(store, repository, async (transaction) => {
    const releases = await taggedReleases(transaction, repository);
    const tags = await storedTags(transaction, repository);
    const names = [...tags].filter(([tag]) => isClosedTag(releases, tag)).map(([, named]) => named);
    if ((await reachedFrom(transaction, repository, names)).has(digest)) {
      throw new SlipwayError("immutable", `${digest} belongs to a release that was published`, { detail: "DENIED" });
    }
    await removeManifest(transaction, repository, digest);
    await appendAuditEvent(transaction, store, deletionEvent(repository, { ...deletion, name: `${repository.name}@${digest}` }));
  });
}

function deletionEvent(repository: OciRepository, deleted: { readonly name: string; readonly actor: AuditActor }) {
  return {
    actor: deleted.actor,
    action: "image.delete",
    result: "complete",
    product: repository.product,
    protocol: "oci",
    artifact: deleted.name,
  } as const;
}

/** Rows of one manifest, its tags first. Throws `not_found` (MANIFEST_UNKNOWN). */
export async function removeManifest(transaction: Transaction<Database>, repository: Pick<OciRepository, "id">, digest: OciDigest): Promise<void> {
  await transaction.deleteFrom("oci_tags").where("repository_id", "=", repository.id).where("digest", "=", digest).execute();
  await transaction.deleteFrom("oci_edges").where("repository_id", "=", repository.id).where("parent", "=", digest).execute();
  const { numDeletedRows } = await transaction
    .deleteFrom("oci_manifests")
    .where("repository_id", "=", repository.id)
    .where("digest", "=", digest)
    .executeTakeFirst();
  if (numDeletedRows === 0n) throw manifestUnknown(digest);
}

/** The manifests `from` and everything that the indexes among them list, to any depth. */
export async function reachedFrom(
  transaction: Transaction<Database>,
  repository: Pick<OciRepository, "id">,
  from: readonly OciDigest[],
): Promise<ReadonlySet<OciDigest>> {
  const reached = new Set<OciDigest>();
  let next: readonly OciDigest[] = from;
  while (next.length > 0) {
    const fresh = [...new Set(next)].filter((digest) => !reached.has(digest)).slice(0, rowsAtOnce);
    const rest = next.filter((digest) => !reached.has(digest) && !fresh.includes(digest));
    for (const digest of fresh) reached.add(digest);
    if (fresh.length === 0) break;
    const rows = await transaction
      .selectFrom("oci_edges")
      .select("child")
      .where("repository_id", "=", repository.id)
      .where("kind", "=", "manifest")
      .where("parent", "in", fresh)
      .execute();
    next = [...rest, ...rows.map((row) => row.child as OciDigest)]; // written from parsed digests alone
  }
  return reached;
}
