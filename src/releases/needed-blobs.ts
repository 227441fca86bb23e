/**
 * Which blobs the database names, and for what: the artifacts of every release that is not retired (or whose grace lasts), the files of
 * every kept snapshot, the manifests and blobs of every image repository. The sweep leaves them, a check looks for them.
 */
import { sql } from "kysely";
import type { Digest } from "../model/digest.ts";
import type { Store } from "../store/store.ts";

/** A retired release's bytes stay for the grace that the product's policy gives, in case that it was a mistake. */
function graceEnd(alias: string) {
  return sql<number>`${sql.ref(`${alias}.ended_at`)} + coalesce(${sql.ref("retention_policies.grace_days")}, 0) * 86400000`;
}

function neededArtifacts(store: Store) {
  const now = store.clock.now().getTime();
  return store.db
    .selectFrom("artifacts")
    .innerJoin("releases", "releases.id", "artifacts.release_id")
    .leftJoin("retention_policies", "retention_policies.product_id", "releases.product_id")
    .where((expression) => expression.or([expression("releases.state", "!=", "retired"), expression(graceEnd("releases"), ">", now)]));
}

/** Those of `digests` that are needed. */
export async function neededOf(store: Store, digests: readonly Digest[]): Promise<ReadonlySet<Digest>> {
  if (digests.length === 0) return new Set();
  const rows = await neededArtifacts(store)
    .select("artifacts.digest")
    .where("artifacts.digest", "in", digests)
    .union(store.db.selectFrom("snapshot_files").select("digest").where("digest", "in", digests))
    .union(store.db.selectFrom("oci_manifests").select("blob as digest").where("blob", "in", digests))
    .union(store.db.selectFrom("oci_blobs").select("blob as digest").where("blob", "in", digests))
    .execute();
  return new Set(rows.map((row) => row.digest));
}

export type NeededBlob = { readonly digest: Digest /** Bytes, as the database says. */; readonly size: number };

/** A page of all that is needed, in the order of the digests; `after` is the last of the page before, or empty. */
export async function neededAfter(store: Store, after: string, limit: number): Promise<readonly NeededBlob[]> {
  const last = after as Digest; // compared as text: the empty one is before all
  const pages = await Promise.all([
    neededArtifacts(store)
      .select(["artifacts.digest", "artifacts.size"])
      .distinct()
      .where("artifacts.digest", ">", last)
      .orderBy("artifacts.digest")
      .limit(limit)
      .execute(),
    store.db.selectFrom("snapshot_files").select(["digest", "size"]).distinct().where("digest", ">", last).orderBy("digest").limit(limit).execute(),
    store.db.selectFrom("oci_manifests").select(["blob as digest", "size"]).distinct().where("blob", ">", last).orderBy("blob").limit(limit).execute(),
    store.db.selectFrom("oci_blobs").select(["blob as digest", "size"]).distinct().where("blob", ">", last).orderBy("blob").limit(limit).execute(),
  ]);
  const sizes = new Map(pages.flat().map(({ digest, size }) => [digest, size]));
  return [...sizes]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .slice(0, limit)
    .map(([digest, size]) => ({ digest, size }));
}

/** Users named at most; an index file is named by every snapshot that has it. */
const userLimit = 5;

export type BlobUsers = {
  /** In words, the first few: `coequal 1.4.0: coequal_1.4.0_amd64.deb`. */
  readonly words: readonly string[];
  /** Products of which it is an index file and nothing else: those can be made anew. */
  readonly indexesOf: readonly string[];
};

/** For what a blob is needed. */
export async function usersOf(store: Store, digest: Digest): Promise<BlobUsers> {
  const artifacts = await neededArtifacts(store)
    .innerJoin("products", "products.id", "releases.product_id")
    .select(["products.name as product", "releases.version", "artifacts.name"])
    .where("artifacts.digest", "=", digest)
    .limit(userLimit)
    .execute();
  const indexes = await store.db
    .selectFrom("snapshot_files")
    .innerJoin("products", "products.id", "snapshot_files.product_id")
    .select(["products.name as product", "snapshot_files.path"])
    .distinct()
    .where("snapshot_files.digest", "=", digest)
    .limit(userLimit)
    .execute();
  const parts = (table: "oci_manifests" | "oci_blobs") =>
    store.db
      .selectFrom(table)
      .innerJoin("oci_repositories", "oci_repositories.id", `${table}.repository_id`)
      .select(["oci_repositories.name", `${table}.digest`])
      .where(`${table}.blob`, "=", digest)
      .limit(userLimit)
      .execute();
  const images = [...(await parts("oci_manifests")), ...(await parts("oci_blobs"))];
  const words = [
    ...artifacts.map((row) => `${row.product} ${row.version}: ${row.name}`),
    ...indexes.map((row) => `index of ${row.product}: ${row.path}`),
    ...images.map((row) => `image ${row.name}@${row.digest}`),
  ];
  const isIndexOnly = artifacts.length + images.length === 0;
  return { words: words.slice(0, userLimit), indexesOf: isIndexOnly ? [...new Set(indexes.map(({ product }) => product))] : [] };
}
