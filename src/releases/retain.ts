/** Retention carried out: the plan that was shown is the plan that is applied (C6). */
import { SlipwayError } from "../model/errors.ts";
import { planRetention as decideRetention, type RetentionPlan } from "../policy/retention.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import type { Store } from "../store/store.ts";
import { type Product, requireProduct } from "./products.ts";
import { listPackages } from "./publish.ts";
import { allReleases, type Release } from "./releases.ts";
import type { RepositoryKey } from "./repository-key.ts";
import { switchSnapshot } from "./snapshot.ts";
import { quarantineUnreferenced } from "./sweep.ts";

/** What would leave now. Reads only; `basis` is what applyRetention asks for. Throws `not_found`. */
export async function planRetention(store: Store, productName: string): Promise<RetentionPlan> {
  return planFor(store, await requireProduct(store, productName));
}

async function planFor(store: Store, product: Product): Promise<RetentionPlan> {
  const rows = await store.db
    .selectFrom("releases")
    .innerJoin("artifacts", "artifacts.release_id", "releases.id")
    .select((expression) => [
      "releases.version",
      expression.fn.count<number | string>("artifacts.id").as("files"),
      expression.fn.sum<number | string>("artifacts.size").as("bytes"),
    ])
    .where("releases.product_id", "=", product.id)
    .where("releases.state", "=", "published")
    .groupBy("releases.version")
    .execute();
  // PostgreSQL's sum of bigint is numeric and comes as text.
  const published = rows.map((row) => ({ version: row.version, files: Number(row.files), bytes: Number(row.bytes) }));
  return decideRetention({ product: product.name, keep: product.keep, published });
}

export type RetentionOutcome = {
  readonly plan: RetentionPlan;
  /** Bytes of blobs that nothing names any more; they are purged after the quarantine. */
  readonly quarantinedBytes: number;
};

/**
 * Applies the plan with this `basis`: one switch takes all its releases from every view and marks them retired with their replacement, then
 * the blobs that nothing else needs leave. Throws `plan_stale` where the plan of now is another one, `not_found`.
 *
 * A crash after the switch leaves blobs that nothing names, which the sweep takes later.
 */
export async function applyRetention(
  store: Store,
  input: { readonly product: string; readonly basis: string; readonly repositoryKey: RepositoryKey; readonly actor: AuditActor },
): Promise<RetentionOutcome> {
  let applied: RetentionPlan | undefined;
  let retired: readonly Release[] = [];
  const product = await requireProduct(store, input.product);
  await switchSnapshot(store, {
    product,
    repositoryKey: input.repositoryKey,
    decide: async () => {
      const plan = await planFor(store, await requireProduct(store, input.product));
      if (plan.basis !== input.basis) {
        throw new SlipwayError("plan_stale", `the releases of ${product.name} or its retention changed since the plan ${input.basis.slice(0, 12)} was made`);
      }
      applied = plan;
      if (plan.retires.length === 0) return undefined;
      const endedAt = store.clock.now();
      const all = await allReleases(store, product);
      const after = all.map((release): Release => {
        const leaving = plan.retires.find((one) => one.version === release.version);
        return leaving === undefined ? release : { ...release, state: "retired", endedAt, replacement: leaving.replacement };
      });
      retired = after.filter((release) => plan.retires.some((one) => one.version === release.version));
      const remove = (await Promise.all(retired.map((release) => listPackages(store, release)))).flat();
      return {
        change: { add: [], remove, releases: after },
        apply: async (transaction) => {
          for (const release of retired) {
            await transaction
              .updateTable("releases")
              .set({ state: "retired", ended_at: endedAt.getTime(), replacement: release.replacement ?? null })
              .where("id", "=", release.id)
              .execute();
            await appendAuditEvent(transaction, store, {
              actor: input.actor,
              action: "release.retire",
              result: "complete",
              product: product.name,
              version: release.version,
              detail: release.replacement === undefined ? undefined : `replaced by ${release.replacement}`,
            });
          }
        },
      };
    },
  });
  if (applied === undefined) throw new SlipwayError("internal", "the retention was applied without a plan");
  const quarantinedBytes = await quarantineUnreferenced(store, await blobsOf(store, retired));
  return { plan: applied, quarantinedBytes };
}

async function blobsOf(store: Store, releases: readonly Release[]) {
  if (releases.length === 0) return [];
  const ids = releases.map((release) => release.id);
  const rows = await store.db.selectFrom("artifacts").select("digest").distinct().where("release_id", "in", ids).execute();
  return rows.map((row) => row.digest);
}
