/** Drafts: a release being put together, readable by nobody but the vendor; every step may be repeated. */
import type { Transaction } from "kysely";
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseFileName, parseWord } from "../model/names.ts";
import { isStable, parseVersion } from "../model/version.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import { isUniqueViolation } from "../store/database.ts";
import { newId } from "../store/id.ts";
import type { Database, ReleaseTable } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { describePackage } from "./describe-package.ts";
import { type Product, requireProduct } from "./products.ts";
import { findRelease, type Release, releaseOf, requireRelease } from "./releases.ts";

/**
 * The draft of this version, made where there is none. A published release is returned as it is, so that a repeated `slipway publish`
 * finds that nothing is left to do. Throws `version_invalid`, `name_invalid`, `not_found` (product), `conflict` where the version is there
 * in another channel, and `immutable` where it was withdrawn or retired: a version number is used once.
 */
export async function createDraft(
  store: Store,
  input: { readonly product: string; readonly version: string; readonly channel: string; readonly actor: AuditActor },
): Promise<Release> {
  const product = await requireProduct(store, input.product);
  const version = parseVersion(input.version);
  const channel = parseWord("channel", input.channel);
  if (channel === "stable" && !isStable(version)) {
    throw new SlipwayError("version_invalid", `${version} is a preview and cannot go to the channel stable`, { hint: "publish it to the channel preview" });
  }
  const present = await findRelease(store, product, version);
  if (present !== undefined) return checkPresent(present, channel);
  const now = store.clock.now();
  const row: ReleaseTable = {
    id: newId(now),
    product_id: product.id,
    version,
    channel,
    state: "draft",
    sequence: null,
    sums_digest: null,
    created_at: now.getTime(),
    published_at: null,
    ended_at: null,
    replacement: null,
    reason: null,
    compat: null,
  };
  try {
    await store.db.transaction().execute(async (transaction) => {
      await transaction.insertInto("releases").values(row).execute();
      await appendAuditEvent(transaction, store, { actor: input.actor, action: "release.draft", result: "complete", product: product.name, version });
    });
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    const other = await findRelease(store, product, version); // another request made it in between
    if (other === undefined) throw error;
    return checkPresent(other, channel);
  }
  return releaseOf(product, row);
}

function checkPresent(release: Release, channel: string): Release {
  if (release.state === "withdrawn" || release.state === "retired") {
    throw new SlipwayError("immutable", `${release.product} ${release.version} was published before and is ${release.state} now`);
  }
  if (release.channel !== channel) {
    throw new SlipwayError("conflict", `${release.product} ${release.version} is in the channel ${release.channel}, not ${channel}`);
  }
  return release;
}

export type Attached = { readonly outcome: "attached" | "replaced" | "unchanged"; readonly kind: "deb" | "rpm" | "apk" | "file" };

/**
 * Puts an uploaded blob into a draft under a name; a `.deb`, `.rpm` or `.apk` is read and described for the indexes here, once.
 *
 * The same bytes again change nothing; other bytes replace what the draft had, and are refused with `immutable` once the release is
 * published. Throws `release_incomplete` where the blob is not uploaded, `upload_invalid` where its size is another, `format_invalid`
 * for a package that is none, `conflict` where another release already has a package at the same place of a repository, `name_invalid`,
 * `not_found`.
 */
export async function attachArtifact(
  store: Store,
  input: {
    readonly product: string;
    readonly version: string;
    readonly name: string;
    readonly digest: Digest;
    readonly size: number;
    readonly actor: AuditActor;
  },
): Promise<Attached> {
  const name = parseFileName(input.name);
  const product = await requireProduct(store, input.product);
  const release = await requireRelease(store, product, input.version);
  const present = await store.db.selectFrom("artifacts").selectAll().where("release_id", "=", release.id).where("name", "=", name).executeTakeFirst();
  if (present?.digest === input.digest && present.size === input.size) return { outcome: "unchanged", kind: present.kind };
  requireDraft(release, `${name} cannot change`);
  const blob = await store.blobs.stat(input.digest);
  if (blob === undefined) throw new SlipwayError("release_incomplete", `the bytes of ${name} (${input.digest}) are not uploaded`);
  if (blob.size !== input.size) throw new SlipwayError("upload_invalid", `${name} has ${blob.size} bytes; announced were ${input.size}`);
  const described = await describePackage({
    name,
    channel: release.channel,
    digest: input.digest,
    size: input.size,
    now: store.clock.now(),
    blobs: store.blobs,
  });
  if (described !== undefined) await requireFreePath(store, { product, releaseId: release.id, path: described.path });
  const row = {
    digest: input.digest,
    size: input.size,
    kind: described?.kind ?? ("file" as const),
    package: described === undefined ? null : JSON.stringify(described),
    created_at: store.clock.now().getTime(),
  };
  await store.db.transaction().execute(async (transaction) => {
    const { numUpdatedRows } = await lockDraft(transaction, release);
    if (numUpdatedRows !== 1n) throw published(product, release, `${name} cannot change`);
    await transaction
      .insertInto("artifacts")
      .values({ id: newId(store.clock.now()), release_id: release.id, name, ...row })
      .onConflict((conflict) => conflict.columns(["release_id", "name"]).doUpdateSet(row))
      .execute();
    await appendAuditEvent(transaction, store, {
      actor: input.actor,
      action: "artifact.attach",
      result: "complete",
      product: product.name,
      version: release.version,
      artifact: name,
      bytes: input.size,
      detail: input.digest,
    });
  });
  // The sweep of unreferenced blobs may have taken it between the look above and the row: with the row in place it stays.
  if ((await store.blobs.stat(input.digest)) === undefined && !(await store.blobs.restore(input.digest))) {
    throw new SlipwayError("release_incomplete", `the bytes of ${name} (${input.digest}) are not uploaded`);
  }
  return { outcome: present === undefined ? "attached" : "replaced", kind: row.kind };
}

/**
 * Removes a draft with its list of artifacts: the way back when it holds a file that the release does not have any more. The uploaded bytes
 * stay for two days, so that putting it together again costs no upload. Throws `not_found`, and `immutable` for what was ever published.
 */
export async function discardDraft(store: Store, input: { readonly product: string; readonly version: string; readonly actor: AuditActor }): Promise<void> {
  const product = await requireProduct(store, input.product);
  const release = await requireRelease(store, product, input.version);
  requireDraft(release, "it cannot be discarded");
  await store.db.transaction().execute(async (transaction) => {
    const { numUpdatedRows } = await lockDraft(transaction, release);
    if (numUpdatedRows !== 1n) throw published(product, release, "it cannot be discarded");
    await transaction.deleteFrom("artifacts").where("release_id", "=", release.id).execute();
    await transaction.deleteFrom("releases").where("id", "=", release.id).execute();
    await appendAuditEvent(transaction, store, {
      actor: input.actor,
      action: "release.discard",
      result: "complete",
      product: product.name,
      version: release.version,
    });
  });
}

/** Touches the draft's row: a publish that switches at this moment waits, or has switched already and no row is updated; on either database. */
async function lockDraft(transaction: Transaction<Database>, release: Release) {
  return transaction.updateTable("releases").set({ channel: release.channel }).where("id", "=", release.id).where("state", "=", "draft").executeTakeFirst();
}

function published(product: Product, release: Release, what: string): SlipwayError {
  return new SlipwayError("immutable", `${product.name} ${release.version} is published: ${what}`);
}

function requireDraft(release: Release, what: string): void {
  if (release.state !== "draft") throw new SlipwayError("immutable", `${release.product} ${release.version} is ${release.state}: ${what}`);
}

/** A package's place in a repository is its file name: an older release that has it keeps it, also after it was retired. */
async function requireFreePath(store: Store, place: { readonly product: Product; readonly releaseId: string; readonly path: string }): Promise<void> {
  const taken = await store.db
    .selectFrom("artifact_paths")
    .innerJoin("artifacts", "artifacts.id", "artifact_paths.artifact_id")
    .innerJoin("releases", "releases.id", "artifacts.release_id")
    .select(["releases.version", "releases.id"])
    .where("artifact_paths.product_id", "=", place.product.id)
    .where("artifact_paths.path", "=", place.path)
    .executeTakeFirst();
  if (taken !== undefined && taken.id !== place.releaseId) {
    throw new SlipwayError("conflict", `${place.path} belongs to release ${taken.version} already`, { hint: "put the version into the package's file name" });
  }
}
