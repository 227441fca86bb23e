/** Releases as they stand in the store: what the vendor's side lists and looks at. */
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { compareVersions, parseVersion, type Version } from "../model/version.ts";
import type { ReleaseState, ReleaseTable } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { type Product, requireProduct } from "./products.ts";

export type Artifact = {
  readonly name: string;
  readonly digest: Digest;
  readonly size: number;
  readonly kind: "deb" | "rpm" | "apk" | "file";
};

export type Release = {
  readonly id: string;
  readonly product: string;
  readonly version: Version;
  readonly channel: string;
  readonly state: ReleaseState;
  /** From the manifest; undefined for a draft. */
  readonly sequence: number | undefined;
  readonly createdAt: Date;
  readonly publishedAt: Date | undefined;
  /** When it was withdrawn or retired. */
  readonly endedAt: Date | undefined;
  readonly replacement: Version | undefined;
};

export type ReleaseWithArtifacts = Release & { /** Sorted by name. */ readonly artifacts: readonly Artifact[] };

function dateOf(time: number | null): Date | undefined {
  return time === null ? undefined : new Date(time);
}

export function releaseOf(product: Product, row: ReleaseTable): Release {
  return {
    id: row.id,
    product: product.name,
    version: row.version,
    channel: row.channel,
    state: row.state,
    sequence: row.sequence ?? undefined,
    createdAt: new Date(row.created_at),
    publishedAt: dateOf(row.published_at),
    endedAt: dateOf(row.ended_at),
    replacement: row.replacement ?? undefined,
  };
}

/** Every release of the product, in no order. */
export async function allReleases(store: Store, product: Product): Promise<readonly Release[]> {
  const rows = await store.db.selectFrom("releases").selectAll().where("product_id", "=", product.id).execute();
  return rows.map((row) => releaseOf(product, row));
}

/** Newest version first, every state. Throws `not_found` for an unknown product. */
export async function listReleases(store: Store, productName: string): Promise<readonly Release[]> {
  const releases = await allReleases(store, await requireProduct(store, productName));
  return releases.toSorted((left, right) => compareVersions(right.version, left.version));
}

export async function findRelease(store: Store, product: Product, version: Version): Promise<Release | undefined> {
  const row = await store.db.selectFrom("releases").selectAll().where("product_id", "=", product.id).where("version", "=", version).executeTakeFirst();
  return row === undefined ? undefined : releaseOf(product, row);
}

/** Throws `not_found`, `version_invalid`. */
export async function requireRelease(store: Store, product: Product, versionText: string): Promise<Release> {
  const version = parseVersion(versionText);
  const release = await findRelease(store, product, version);
  if (release === undefined) throw new SlipwayError("not_found", `${product.name} has no release ${version}`);
  return release;
}

export async function listArtifacts(store: Store, releaseId: string): Promise<readonly Artifact[]> {
  return store.db.selectFrom("artifacts").select(["name", "digest", "size", "kind"]).where("release_id", "=", releaseId).orderBy("name").execute();
}

/** One release with its artifacts, also of a draft: for the vendor's side only. Throws `not_found`, `version_invalid`. */
export async function readRelease(store: Store, productName: string, version: string): Promise<ReleaseWithArtifacts> {
  const product = await requireProduct(store, productName);
  const release = await requireRelease(store, product, version);
  return { ...release, artifacts: await listArtifacts(store, release.id) };
}
