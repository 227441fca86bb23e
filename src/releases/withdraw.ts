/** Withdrawing: a published release is taken back from every view; its bytes stay for the vendor, its address answers 410 with the reason. */
import { SlipwayError } from "../model/errors.ts";
import { replacementFor } from "../policy/retention.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import type { Store } from "../store/store.ts";
import { requireProduct } from "./products.ts";
import { listPackages } from "./publish.ts";
import { allReleases, listedIn, offeredVersions, type Release, requireRelease } from "./releases.ts";
import { noticeWithdrawal, pullersOf } from "./release-notices.ts";
import type { RepositoryKey } from "./repository-key.ts";
import { switchSnapshot } from "./snapshot.ts";

/** Idempotent. Throws `not_found`, and `conflict` for a draft or a retired release. */
export async function withdrawRelease(
  store: Store,
  input: {
    readonly product: string;
    readonly version: string;
    readonly reason?: string | undefined;
    readonly repositoryKey: RepositoryKey;
    readonly actor: AuditActor;
  },
): Promise<Release> {
  const product = await requireProduct(store, input.product);
  await switchSnapshot(store, {
    product,
    repositoryKey: input.repositoryKey,
    decide: async () => {
      const release = await requireRelease(store, product, input.version);
      if (release.state === "withdrawn") return undefined;
      if (release.state !== "published") throw new SlipwayError("conflict", `${product.name} ${release.version} is ${release.state}, not published`);
      const all = await allReleases(store, product);
      const staying = offeredVersions(all.filter((other) => other.id !== release.id));
      const endedAt = store.clock.now();
      const replacement = replacementFor(release.version, staying);
      const pullers = await pullersOf(store, product.name, release.version);
      const withdrawn: Release = { ...release, state: "withdrawn", endedAt, replacement, reason: input.reason };
      return {
        change: {
          add: [],
          remove: await listPackages(store, release, listedIn(release)),
          releases: all.map((other) => (other.id === release.id ? withdrawn : other)),
          isRestamped: true,
        },
        apply: async (transaction) => {
          await transaction
            .updateTable("releases")
            .set({ state: "withdrawn", ended_at: endedAt.getTime(), replacement: replacement ?? null, reason: input.reason ?? null })
            .where("id", "=", release.id)
            .execute();
          await appendAuditEvent(transaction, store, {
            actor: input.actor,
            action: "release.withdraw",
            result: "complete",
            product: product.name,
            version: release.version,
            detail: input.reason,
          });
          await noticeWithdrawal(transaction, store, { product: product.name, version: release.version, reason: input.reason, replacement, pullers });
        },
      };
    },
  });
  return requireRelease(store, product, input.version);
}
