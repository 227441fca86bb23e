/**
 * Publishing: a checked draft becomes visible in every view at once, or not at all.
 *
 *   checked    everything of check-release.ts holds                            reads only
 *   imported   its image archives in the registry (oci-import.ts)              tags of a draft, which customers do not see
 *   prepared   all views rendered aside (snapshot.ts)                          blobs that nothing names yet
 *   switched   snapshot, head, release state, paths and audit event together   one transaction
 *
 * A publish that is killed leaves a draft; the same call again does what is missing. Done twice, it changes nothing the second time.
 */
import type { Transaction } from "kysely";
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import type { KeySet } from "../model/key-set.ts";
import type { Manifest } from "../model/manifest.ts";
import { parseVersion } from "../model/version.ts";
import { isOutOfReach } from "../policy/upgrade-need.ts";
import { stableChannel } from "../policy/visibility.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import { isUniqueViolation } from "../store/database.ts";
import type { Database } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { insertMembership, newMembership } from "./channels.ts";
import { adoptKeySet } from "./adopt-keys.ts";
import { checkRelease } from "./check-release.ts";
import { parseDescribedPackage } from "./describe-package.ts";
import { importImages } from "./oci-import.ts";
import { type Product, readReleaseKeys, requireProduct } from "./products.ts";
import { allReleases, findRelease, listedIn, type Release, readRelease, type ReleaseWithArtifacts, requireRelease } from "./releases.ts";
import { noticeRelease } from "./release-notices.ts";
import { readKnownReleases } from "./retention-facts.ts";
import type { RepositoryKey } from "./repository-key.ts";
import { type SnapshotChange, switchSnapshot } from "./snapshot.ts";
import type { ListedPackage } from "./snapshot-views.ts";
import { publishTuf, requireTufPublication, type TufPublication } from "./tuf-publish.ts";

export type Publication = { readonly release: Release /** False where it was published before. */; readonly isNew: boolean };

/**
 * Publishes the draft. `sums` is the digest of its sums file; `keep`, from the recipe, becomes the product's retention.
 *
 * Throws what checkRelease and importImages throw; `release_incomplete` (`out_of_reach`) where no published version could be upgraded to it; `immutable` where the version was published with other sums, withdrawn or retired; `conflict` where the
 * draft changed meanwhile or others publish all the time; `not_found`. After a failure nothing is visible and the draft is as it was.
 */
export async function publishRelease(
  store: Store,
  input: {
    readonly product: string;
    readonly version: string;
    readonly sums: Digest;
    readonly keep?: number | undefined;
    /** Who sees it at first, in hundredths of a percent of the customers; everybody by default. */
    readonly share?: number | undefined;
    /** How many of their machines are offered it at first, in hundredths of a percent. */
    readonly machines?: number | undefined;
    /** For security releases: no percentage holds it back. */
    readonly isBypass?: boolean | undefined;
    readonly repositoryKey: RepositoryKey;
    /** The channel's next TUF metadata; demanded of products that have TUF keys (tuf-publish.ts). */
    readonly tuf?: TufPublication | undefined;
    readonly actor: AuditActor;
  },
): Promise<Publication> {
  const product = await requireProduct(store, input.product);
  const release = await requireRelease(store, product, input.version);
  if (release.state !== "draft") return alreadyPublished(store, { product, release, sums: input.sums });
  await requireTufPublication(store, product, input.tuf);
  const draft = await readRelease(store, product.name, release.version);
  const manifest = await checkRelease(store, { release: draft, sums: input.sums, keys: await readReleaseKeys(store, product.name) });
  await requireReachable(store, product, draft, manifest);
  await importImages(store, { release: draft, manifest, actor: input.actor });
  const isSwitched = await switchSnapshot(store, {
    product,
    repositoryKey: input.repositoryKey,
    decide: async () => {
      const present = await findRelease(store, product, release.version);
      if (present?.state !== "draft") return undefined; // another request published it in between
      const publishedAt = store.clock.now();
      const membership = newMembership({
        channel: draft.channel,
        promotedAt: publishedAt,
        share: input.share,
        isBypass: input.isBypass,
        machines: input.machines,
      });
      const published: Release = { ...draft, state: "published", sequence: manifest.sequence, publishedAt, channels: [membership], compat: manifest.compat };
      return {
        change: await publicationOf(store, product, published),
        apply: async (transaction) => {
          await applyPublication(store, transaction, { ...input, product, draft, published, keySet: manifest.trust });
          if (input.tuf !== undefined) await publishTuf(transaction, store, { product, release: draft, publication: input.tuf });
        },
      };
    },
  });
  if (!isSwitched) return alreadyPublished(store, { product, release: await requireRelease(store, product, release.version), sums: input.sums });
  return { release: await requireRelease(store, product, release.version), isNew: true };
}

/** A stable release that no published version can be upgraded to would leave every customer where he is. */
async function requireReachable(store: Store, product: Product, draft: Release, { version, compat }: Manifest): Promise<void> {
  if (draft.channel !== stableChannel || compat === undefined) return;
  const known = parseVersion(version);
  if (!isOutOfReach({ version: known, compat }, await readKnownReleases(store, product))) return;
  const from = compat.upgradeFrom === undefined ? "by the formats that it reads" : `from ${compat.upgradeFrom}`;
  throw new SlipwayError("release_incomplete", `${product.name} ${version} can be reached ${from}, and no published version is that`, {
    detail: "out_of_reach",
    hint: "publish the release on the way first, or mend `upgrade:` in the recipe",
  });
}

async function alreadyPublished(store: Store, input: { readonly product: Product; readonly release: Release; readonly sums: Digest }): Promise<Publication> {
  const { release } = input;
  const row = await store.db.selectFrom("releases").select("sums_digest").where("id", "=", release.id).executeTakeFirstOrThrow();
  if (release.state === "published" && row.sums_digest === input.sums) return { release, isNew: false };
  const what = release.state === "published" ? `published with the sums ${row.sums_digest}` : release.state;
  throw new SlipwayError("immutable", `${input.product.name} ${release.version} is ${what}`);
}

/** The release's packages as they are listed in each of its channels, in the order of their paths: the same release gives the same index. */
export async function listPackages(store: Store, release: Pick<Release, "id">, channels: readonly string[]): Promise<readonly ListedPackage[]> {
  const rows = await store.db.selectFrom("artifacts").select("package").where("release_id", "=", release.id).where("package", "is not", null).execute();
  const packages = rows.map((row) => parseDescribedPackage(row.package ?? "")).sort((left, right) => (left.path < right.path ? -1 : 1));
  return channels.flatMap((channel) => packages.map((described) => ({ channel, described })));
}

async function publicationOf(store: Store, product: Product, published: Release): Promise<SnapshotChange> {
  const others = (await allReleases(store, product)).filter((other) => other.id !== published.id);
  return { add: await listPackages(store, published, listedIn(published)), remove: [], releases: [...others, published] };
}

type Applied = {
  /** Which keys sign from now on, where the release says so. */
  readonly keySet: KeySet | undefined;
  readonly product: Product;
  readonly draft: ReleaseWithArtifacts;
  readonly published: Release;
  readonly sums: Digest;
  readonly keep?: number | undefined;
  readonly actor: AuditActor;
};

async function applyPublication(store: Store, transaction: Transaction<Database>, applied: Applied): Promise<void> {
  const { product, draft, published } = applied;
  const updated = await transaction
    .updateTable("releases")
    .set({
      state: "published",
      sequence: published.sequence ?? null,
      sums_digest: applied.sums,
      published_at: published.publishedAt?.getTime() ?? null,
      compat: published.compat === undefined ? null : JSON.stringify(published.compat),
    })
    .where("id", "=", draft.id)
    .where("state", "=", "draft")
    .executeTakeFirst();
  // The row is ours until the commit: whoever attaches an artifact now waits. What was attached after the check must not slip through.
  const artifacts = await transaction.selectFrom("artifacts").selectAll().where("release_id", "=", draft.id).execute();
  const isAsChecked =
    artifacts.length === draft.artifacts.length && draft.artifacts.every((one) => artifacts.some((row) => row.name === one.name && row.digest === one.digest));
  if (updated.numUpdatedRows !== 1n || !isAsChecked) {
    throw new SlipwayError("conflict", `${product.name} ${draft.version} changed while it was published`, { hint: "publish it again" });
  }
  const paths = artifacts.flatMap((row) =>
    row.package === null ? [] : [{ product_id: product.id, path: parseDescribedPackage(row.package).path, artifact_id: row.id }],
  );
  for (const membership of published.channels) await insertMembership(transaction, draft.id, membership);
  if (paths.length > 0) {
    try {
      await transaction.insertInto("artifact_paths").values(paths).execute();
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      throw new SlipwayError("conflict", `a package of ${product.name} ${draft.version} has the file name of one in another release`, {
        hint: "put the version into the package's file name",
        cause: error,
      });
    }
  }
  if (applied.keySet !== undefined) {
    await adoptKeySet(transaction, store, { product, set: applied.keySet, actor: applied.actor, version: draft.version });
  }
  if (applied.keep !== undefined) await transaction.updateTable("products").set({ keep: applied.keep }).where("id", "=", product.id).execute();
  await appendAuditEvent(transaction, store, {
    actor: applied.actor,
    action: "release.publish",
    result: "complete",
    product: product.name,
    version: draft.version,
    detail: applied.sums,
  });
  await noticeRelease(transaction, store, { product: product.name, version: draft.version, channel: draft.channel });
}
