/** What retention decides from, as it stands in the store: releases, stages, the policy, and what keeps a version that would leave. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { manifestName, manifestSchema, manifestSizeLimit } from "../model/manifest.ts";
import type { Compat } from "../model/upgrade-contract.ts";
import type { Version } from "../model/version.ts";
import { atOnce, type Blocker, planRetention, type PublishedRelease, type RetentionFacts, type RetentionPolicy } from "../policy/retention.ts";
import { everybody, stableChannel } from "../policy/visibility.ts";
import { neededByUpgrades, type PathFacts } from "../policy/upgrade-need.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import type { RetentionPolicyTable } from "../store/channel-tables.ts";
import type { Store } from "../store/store.ts";
import { fixedVersions } from "./advisories.ts";
import { pulledVersions } from "./advisory-customers.ts";
import { readListing } from "./channels.ts";
import { type Product, requireProduct } from "./products.ts";
import { allReleases } from "./releases.ts";

export type ProductRetention = RetentionPolicy & { /** The server applies what is due by itself. */ readonly isAutomatic: boolean };

const dayMs = 86_400_000;
/** Ten years; a longer promise is no policy. */
const dayLimit = 3_650;

function policyOf(row: RetentionPolicyTable | undefined): ProductRetention {
  if (row === undefined) return { ...atOnce, isAutomatic: false };
  return {
    announceDays: row.announce_days,
    unlistDays: row.unlist_days,
    graceDays: row.grace_days,
    keepIfPulledDays: row.keep_if_pulled_days ?? undefined,
    isAutomatic: row.is_automatic === 1,
  };
}

export async function readRetention(store: Store, product: Product): Promise<ProductRetention> {
  return policyOf(await store.db.selectFrom("retention_policies").selectAll().where("product_id", "=", product.id).executeTakeFirst());
}

/** What is given changes; `keep` is the product's. Throws `not_found`, `usage`. */
export async function setRetention(
  store: Store,
  input: {
    readonly product: string;
    readonly keep?: number | undefined;
    readonly change: { readonly [K in keyof ProductRetention]?: ProductRetention[K] | null | undefined };
    readonly actor: AuditActor;
  },
): Promise<ProductRetention & { readonly keep: number }> {
  const product = await requireProduct(store, input.product);
  const given = Object.fromEntries(Object.entries(input.change).filter(([, value]) => value !== undefined));
  const policy = { ...(await readRetention(store, product)), ...given } as { readonly [K in keyof ProductRetention]: ProductRetention[K] | null };
  const keep = input.keep ?? product.keep;
  for (const days of [policy.announceDays, policy.unlistDays, policy.graceDays, policy.keepIfPulledDays ?? 0, keep]) {
    if (days === null || !Number.isInteger(days) || days < 0 || days > dayLimit)
      throw new SlipwayError("usage", `expected whole numbers from 0 to ${dayLimit}`);
  }
  if (keep < 1) throw new SlipwayError("usage", "at least one version stays");
  const row = {
    announce_days: policy.announceDays ?? 0,
    unlist_days: policy.unlistDays ?? 0,
    grace_days: policy.graceDays ?? 0,
    keep_if_pulled_days: policy.keepIfPulledDays ?? null,
    is_automatic: policy.isAutomatic === true ? 1 : 0,
  };
  await store.db.transaction().execute(async (transaction) => {
    await transaction
      .insertInto("retention_policies")
      .values({ product_id: product.id, ...row })
      .onConflict((conflict) => conflict.column("product_id").doUpdateSet(row))
      .execute();
    await transaction.updateTable("products").set({ keep }).where("id", "=", product.id).execute();
    const detail = JSON.stringify({ keep, ...row });
    await appendAuditEvent(transaction, store, { actor: input.actor, action: "retention.policy", result: "complete", product: product.name, detail });
  });
  return { ...(await readRetention(store, product)), keep };
}

/** Everything that the plan of this moment is made from. */
export async function readRetentionFacts(store: Store, product: Product): Promise<RetentionFacts> {
  const policy = await readRetention(store, product);
  const now = store.clock.now();
  const facts: RetentionFacts = { product: product.name, keep: product.keep, published: await readPublished(store, product), policy, now };
  const surplus = planRetention(facts).steps.map(({ version }) => version);
  if (surplus.length === 0) return facts;
  const kept = new Map((await blockersOf(store, { product, policy, now })).map(([version, blockers]) => [version, [...blockers]]));
  const leaving = surplus.filter((version) => !kept.has(version));
  for (const [version, blocker] of neededByUpgrades({ ...(await readKnownReleases(store, product)), leaving })) kept.set(version, [blocker]);
  return { ...facts, published: facts.published.map((release) => ({ ...release, blockedBy: kept.get(release.version) ?? [] })) };
}

/** Files that say something about the others are of no type of their own. */
const typeOf = (name: string, kind: string): readonly string[] => {
  if (kind !== "file") return [kind];
  if (name.endsWith("-oci.tar")) return ["image"];
  return name === manifestName || /sums|\.(?:sig|minisig|asc|json|bundle|txt|md)$/i.test(name) ? [] : ["file"];
};

async function readPublished(store: Store, product: Product): Promise<readonly PublishedRelease[]> {
  const rows = await store.db
    .selectFrom("releases")
    .innerJoin("artifacts", "artifacts.release_id", "releases.id")
    .leftJoin("retention_stages", "retention_stages.release_id", "releases.id")
    .select(["releases.version", "artifacts.name", "artifacts.kind", "artifacts.size"])
    .select(["retention_stages.stage", "retention_stages.announced_at", "retention_stages.unlisted_at"])
    .where("releases.product_id", "=", product.id)
    .where("releases.state", "=", "published")
    .execute();
  const listing = await readListing(store, product.id);
  return [...Map.groupBy(rows, (row) => row.version)].map(([version, files]) => {
    const offered = listing.find((one) => one.version === version && one.channel === stableChannel);
    const [first] = files;
    const since = first?.stage === "unlisted" ? first.unlisted_at : first?.announced_at;
    const types = [...new Set(files.flatMap((file) => typeOf(file.name, file.kind)))].sort();
    return {
      version,
      files: files.length,
      bytes: files.reduce((sum, file) => sum + file.size, 0),
      isOffered: offered !== undefined,
      isPartial: offered !== undefined && !offered.rollout.isBypass && offered.rollout.share < everybody,
      ...(types.length === 0 ? {} : { types }),
      stage: first?.stage === null || first?.stage === undefined ? undefined : { name: first.stage, since: new Date(since ?? 0) },
    };
  });
}

type Asked = { readonly product: Product; readonly policy: RetentionPolicy; readonly now: Date };

async function blockersOf(store: Store, { product, policy, now }: Asked): Promise<readonly (readonly [Version, readonly Blocker[]])[]> {
  const pins = await store.db
    .selectFrom("customer_grants")
    .innerJoin("customers", "customers.id", "customer_grants.customer_id")
    .select(["customers.name", "customer_grants.pin"])
    .where("customer_grants.product_id", "=", product.id)
    .where("customer_grants.pin", "is not", null)
    .where((expression) => expression.or([expression("pin_until", "is", null), expression("pin_until", ">", now.getTime())]))
    .orderBy("customers.name")
    .execute();
  const found: (readonly [Version, Blocker])[] = pins.flatMap(({ name, pin }) => (pin === null ? [] : [[pin, { kind: "pin", text: name }] as const]));
  for (const version of await fixedVersions(store, product.id)) found.push([version, { kind: "fix", text: "a published advisory names it" }]);
  if (policy.keepIfPulledDays !== undefined) {
    const since = now.getTime() - policy.keepIfPulledDays * dayMs;
    const pulls = (await pulledVersions(store, product.name)).filter((pull) => pull.at.getTime() >= since);
    for (const [version, of] of Map.groupBy(pulls, (pull) => pull.version)) {
      found.push([version, { kind: "pulled", text: [...new Set(of.map((pull) => pull.name))].sort().join(", ") }]);
    }
  }
  return [...Map.groupBy(found, ([version]) => version)].map(([version, of]) => [version, of.map(([, blocker]) => blocker)] as const);
}

const compatOnly = z.object({ compat: manifestSchema.shape.compat });

/**
 * What is published and what left by retention, with what each promises. The manifests of the published were checked when each was published: one
 * that cannot be read now stops the plan. What was withdrawn counts for nothing.
 */
export async function readKnownReleases(store: Store, product: Product): Promise<Pick<PathFacts, "published" | "retired">> {
  const releases = await allReleases(store, product);
  const compat = await readCompat(store, product);
  return {
    published: releases.filter(({ state }) => state === "published").map(({ version }) => ({ version, compat: compat.get(version) })),
    retired: releases.filter(({ state }) => state === "retired"),
  };
}

async function readCompat(store: Store, product: Product): Promise<ReadonlyMap<Version, Compat | undefined>> {
  const rows = await store.db
    .selectFrom("releases")
    .innerJoin("artifacts", "artifacts.release_id", "releases.id")
    .select(["releases.version", "artifacts.digest"])
    .where("releases.product_id", "=", product.id)
    .where("releases.state", "=", "published")
    .where("artifacts.name", "=", manifestName)
    .execute();
  const compat = new Map<Version, Compat | undefined>();
  for (const row of rows) {
    const bytes = await store.blobs.read(row.digest, manifestSizeLimit);
    compat.set(row.version, compatOnly.parse(JSON.parse(bytes.toString("utf8"))).compat);
  }
  return compat;
}
