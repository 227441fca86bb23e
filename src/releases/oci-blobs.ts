/** Blobs of image repositories: which repository may be asked for which bytes. The bytes themselves are the store's, once for all. */
import { type OciDigest, algorithmOf } from "../formats/oci-digest.ts";
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Store } from "../store/store.ts";
import { changeRepository, type OciRepository } from "./oci-repositories.ts";

export type OciBlob = { readonly digest: OciDigest /** Where the bytes are. */; readonly blob: Digest; readonly size: number; readonly createdAt: Date };

export const blobUnknown = (digest: OciDigest): SlipwayError =>
  new SlipwayError("not_found", `there is no blob ${digest} in this repository`, { detail: "BLOB_UNKNOWN" });

export async function findBlob(store: Store, repository: OciRepository, digest: OciDigest): Promise<OciBlob | undefined> {
  const row = await store.db
    .selectFrom("oci_blobs")
    .select(["blob", "size", "created_at"])
    .where("repository_id", "=", repository.id)
    .where("digest", "=", digest)
    .executeTakeFirst();
  return row === undefined ? undefined : { digest, blob: row.blob, size: row.size, createdAt: new Date(row.created_at) };
}

/** Adds live bytes of the store to the repository; again is no error. Throws `not_found` where the bytes are not live any more. */
export async function addBlob(store: Store, repository: OciRepository, added: Pick<OciBlob, "digest" | "blob" | "size">): Promise<void> {
  const row = { blob: added.blob, size: added.size, created_at: store.clock.now().getTime() };
  await store.db
    .insertInto("oci_blobs")
    .values({ repository_id: repository.id, digest: added.digest, ...row })
    .onConflict((conflict) => conflict.columns(["repository_id", "digest"]).doUpdateSet(row))
    .execute();
  // The sweep of unreferenced blobs may have taken it between the caller's look and the row: with the row in place it stays.
  if ((await store.blobs.stat(added.blob)) === undefined && !(await store.blobs.restore(added.blob))) {
    await store.db.deleteFrom("oci_blobs").where("repository_id", "=", repository.id).where("digest", "=", added.digest).execute();
    throw blobUnknown(added.digest);
  }
}

/**
 * Takes a blob over from another repository, from any one where `from` is not given (distribution-spec end-11). False where there is none:
 * a blob of the store that no repository has is somebody's artifact and stays where it is.
 */
export async function mountBlob(
  store: Store,
  into: OciRepository,
  wanted: { readonly digest: OciDigest; readonly from: OciRepository | undefined },
): Promise<boolean> {
  let found = store.db.selectFrom("oci_blobs").select(["blob", "size"]).where("digest", "=", wanted.digest);
  if (wanted.from !== undefined) found = found.where("repository_id", "=", wanted.from.id);
  const row = await found.limit(1).executeTakeFirst();
  if (row === undefined) return false;
  await addBlob(store, into, { digest: wanted.digest, ...row });
  return true;
}

/** Throws `not_found` (BLOB_UNKNOWN), and `conflict` (UNSUPPORTED) while a manifest of the repository is made of it. */
export async function deleteBlob(store: Store, repository: OciRepository, digest: OciDigest): Promise<void> {
  await changeRepository(store, repository, async (transaction) => {
    const user = await transaction
      .selectFrom("oci_edges")
      .select("parent")
      .where("repository_id", "=", repository.id)
      .where("child", "=", digest)
      .where("kind", "=", "blob")
      .limit(1)
      .executeTakeFirst();
    const there = transaction.deleteFrom("oci_blobs").where("repository_id", "=", repository.id).where("digest", "=", digest);
    if (user !== undefined) {
      throw new SlipwayError("conflict", `${digest} is part of ${user.parent}`, { detail: "UNSUPPORTED", hint: "delete the manifest first" });
    }
    const { numDeletedRows } = await there.executeTakeFirst();
    if (numDeletedRows === 0n) throw blobUnknown(digest);
  });
}

const uploadUnknown = (): SlipwayError => new SlipwayError("not_found", "there is no such upload in this repository", { detail: "BLOB_UPLOAD_UNKNOWN" });

/** Starts an upload session (end-4a) and returns its id. */
export async function beginUpload(store: Store, repository: OciRepository): Promise<string> {
  const id = await store.blobs.sessions.begin();
  await store.db.insertInto("oci_uploads").values({ id, repository_id: repository.id, started_at: store.clock.now().getTime() }).execute();
  return id;
}

/** How many bytes an upload of this repository has (end-13). Throws `not_found` (BLOB_UPLOAD_UNKNOWN). */
export async function uploadOffset(store: Store, repository: OciRepository, id: string): Promise<number> {
  const row = await store.db.selectFrom("oci_uploads").select("id").where("id", "=", id).where("repository_id", "=", repository.id).executeTakeFirst();
  const offset = row === undefined ? undefined : await store.blobs.sessions.offset(id);
  if (offset === undefined) throw uploadUnknown();
  return offset;
}

/**
 * Ends the session: its bytes become a blob of the repository (end-6). Throws `not_found` (BLOB_UPLOAD_UNKNOWN), and `upload_invalid`
 * (DIGEST_INVALID) for bytes with another digest, which are then gone.
 */
export async function finishUpload(store: Store, repository: OciRepository, upload: { readonly id: string; readonly digest: OciDigest }): Promise<OciBlob> {
  await uploadOffset(store, repository, upload.id);
  const [, hex = ""] = upload.digest.split(":");
  try {
    const { digest: blob, size, storedAt } = await store.blobs.sessions.finish(upload.id, { algorithm: algorithmOf(upload.digest), hex });
    await addBlob(store, repository, { digest: upload.digest, blob, size });
    return { digest: upload.digest, blob, size, createdAt: storedAt };
  } catch (error) {
    if (error instanceof SlipwayError && error.detail === "digest_mismatch") {
      throw new SlipwayError("upload_invalid", `${error.message}, announced was ${upload.digest}`, { detail: "DIGEST_INVALID", cause: error });
    }
    throw error;
  } finally {
    if ((await store.blobs.sessions.offset(upload.id)) === undefined) await forgetUpload(store, upload.id);
  }
}

/** Ends the session and drops its bytes (end-14). Throws `not_found` (BLOB_UPLOAD_UNKNOWN). */
export async function cancelUpload(store: Store, repository: OciRepository, id: string): Promise<void> {
  await uploadOffset(store, repository, id);
  await store.blobs.sessions.cancel(id);
  await forgetUpload(store, id);
}

async function forgetUpload(store: Store, id: string): Promise<void> {
  await store.db.deleteFrom("oci_uploads").where("id", "=", id).execute();
}
