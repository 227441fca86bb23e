/** Advisories as they stand in the store. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { compareVersions, type Version } from "../model/version.ts";
import type { Advisory, AdvisoryWithVersions, Revision } from "../repositories/advisory.ts";
import { isAffected, parseAffectedRange } from "../repositories/affected-range.ts";
import type { AdvisoryTable } from "../store/notice-tables.ts";
import type { Store } from "../store/store.ts";
import { advisoryFileSchema } from "./advisory-file.ts";

const revisionsSchema = z.array(z.strictObject({ number: z.int(), at: z.iso.datetime(), summary: z.string() })).min(1);

/** The stored form of what `advisoryOf` reads back. */
export function formatRevisions(revisions: readonly Revision[]): string {
  return JSON.stringify(revisions.map(({ number, at, summary }) => ({ number, at: at.toISOString(), summary })));
}

/** Throws `internal` for a damaged row. */
export function advisoryOf(product: string, row: AdvisoryTable): Advisory {
  const file = advisoryFileSchema.safeParse(JSON.parse(row.document));
  const revisions = revisionsSchema.safeParse(JSON.parse(row.revisions));
  if (!file.success || !revisions.success) throw new SlipwayError("internal", `the stored advisory ${row.id} is damaged`);
  const [first, ...later] = revisions.data.map(({ number, at, summary }) => ({ number, at: new Date(at), summary }));
  if (first === undefined) throw new SlipwayError("internal", `the stored advisory ${row.id} has no revision`);
  const { fixed_in: fixedIn, workaround, ...rest } = file.data;
  return {
    ...rest,
    product,
    fixedIn,
    workaround,
    range: parseAffectedRange(file.data.affected),
    state: row.state,
    publishedAt: new Date(row.published_at),
    updatedAt: new Date(row.updated_at),
    revisions: [first, ...later],
  };
}

/** Newest change first, withdrawn ones included; of one product, or of all. */
export async function listAdvisories(store: Store, productId?: string): Promise<readonly Advisory[]> {
  let query = store.db
    .selectFrom("advisories")
    .innerJoin("products", "products.id", "advisories.product_id")
    .selectAll("advisories")
    .select("products.name as product")
    .orderBy("advisories.updated_at", "desc")
    .orderBy("advisories.id");
  if (productId !== undefined) query = query.where("advisories.product_id", "=", productId);
  return (await query.execute()).map(({ product, ...row }) => advisoryOf(product, row));
}

/** Throws `not_found`. */
export async function requireAdvisory(store: Store, id: string): Promise<Advisory> {
  const row = await store.db
    .selectFrom("advisories")
    .innerJoin("products", "products.id", "advisories.product_id")
    .selectAll("advisories")
    .select("products.name as product")
    .where("advisories.id", "=", id)
    .executeTakeFirst();
  if (row === undefined) {
    throw new SlipwayError("not_found", `there is no advisory "${id.slice(0, 80)}"`, { hint: "`slipway advisory list` shows all" });
  }
  const { product, ...stored } = row;
  return advisoryOf(product, stored);
}

/** Versions that a published advisory of the product names as its fix: retention must keep them. In no order, each once. */
export async function fixedVersions(store: Store, productId: string): Promise<readonly Version[]> {
  const rows = await store.db
    .selectFrom("advisories")
    .select("fixed_in")
    .distinct()
    .where("product_id", "=", productId)
    .where("state", "=", "published")
    .execute();
  return rows.map((row) => row.fixed_in);
}

/** Out of versions in any order those that the advisory is about, oldest first. */
export function affectedAmong(advisory: Advisory, versions: readonly Version[]): readonly Version[] {
  return versions.filter((version) => isAffected(advisory.range, version)).sort(compareVersions);
}

/** Every version of the product that was ever published, gone ones included: installations live longer than releases. */
export async function everPublished(store: Store, productId: string): Promise<readonly Version[]> {
  const rows = await store.db.selectFrom("releases").select("version").where("product_id", "=", productId).where("state", "!=", "draft").execute();
  return rows.map((row) => row.version);
}

/** The product's advisories as the feeds show them. */
export async function listAdvisoriesWithVersions(store: Store, productId: string): Promise<readonly AdvisoryWithVersions[]> {
  const advisories = await listAdvisories(store, productId);
  if (advisories.length === 0) return [];
  const versions = await everPublished(store, productId);
  return advisories.map((advisory) => ({ ...advisory, affectedVersions: affectedAmong(advisory, versions) }));
}
