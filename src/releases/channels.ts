/** Channels of a product: their ranks, the releases in each, and how far each is rolled out. */
import { randomBytes } from "node:crypto";
import type { Transaction } from "kysely";
import { SlipwayError } from "../model/errors.ts";
import { parseWord } from "../model/names.ts";
import type { Version } from "../model/version.ts";
import { defaultRanks, everybody, type ListedRelease, rankOf } from "../policy/visibility.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import type { ReleaseChannelTable } from "../store/channel-tables.ts";
import type { Database } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { type Product, requireProduct } from "./products.ts";

export type ChannelMembership = {
  readonly channel: string;
  readonly promotedAt: Date;
  /** Hundredths of a percent of the customers. */
  readonly share: number;
  readonly salt: string;
  readonly isBypass: boolean;
  /** Hundredths of a percent of the machines of each customer who sees it. */
  readonly machines: number;
};

export type Channel = { readonly name: string; readonly rank: number; readonly versions: readonly Version[] };

const rankLimit = 1_000;

export function membershipOf(row: ReleaseChannelTable): ChannelMembership {
  return {
    channel: row.channel,
    promotedAt: new Date(row.promoted_at),
    share: row.rollout,
    salt: row.salt,
    isBypass: row.is_bypass === 1,
    machines: row.machines,
  };
}

export async function readRanks(store: Store, productId: string): Promise<ReadonlyMap<string, number>> {
  const rows = await store.db.selectFrom("channels").select(["name", "rank"]).where("product_id", "=", productId).execute();
  return new Map([...Object.entries(defaultRanks), ...rows.map((row) => [row.name, row.rank] as const)]);
}

/** The published releases in their channels, in no order. What retention has taken out of the indexes is told by `isUnlisted`. */
export async function readListing(store: Store, productId: string): Promise<readonly (ListedRelease & { readonly isUnlisted: boolean })[]> {
  const rows = await store.db
    .selectFrom("release_channels")
    .innerJoin("releases", "releases.id", "release_channels.release_id")
    .leftJoin("retention_stages", "retention_stages.release_id", "releases.id")
    .selectAll("release_channels")
    .select(["releases.version", "retention_stages.stage"])
    .where("releases.product_id", "=", productId)
    .where("releases.state", "=", "published")
    .execute();
  const members = await store.db
    .selectFrom("rollout_members")
    .innerJoin("releases", "releases.id", "rollout_members.release_id")
    .selectAll("rollout_members")
    .where("releases.product_id", "=", productId)
    .where("releases.state", "=", "published")
    .execute();
  return rows.map((row) => ({
    releaseId: row.release_id,
    version: row.version,
    channel: row.channel,
    promotedAt: new Date(row.promoted_at),
    rollout: {
      share: row.rollout,
      salt: row.salt,
      isBypass: row.is_bypass === 1,
      members: new Set(members.filter((one) => one.release_id === row.release_id && one.channel === row.channel).map((one) => one.customer_id)),
    },
    isUnlisted: row.stage === "unlisted",
  }));
}

/** Every channel that has a rank or a release, the most stable first; versions in no order. Throws `not_found`. */
export async function listChannels(store: Store, productName: string): Promise<readonly Channel[]> {
  const product = await requireProduct(store, productName);
  const ranks = await readRanks(store, product.id);
  const listing = await readListing(store, product.id);
  const names = new Set([...ranks.keys(), ...listing.map((one) => one.channel)]);
  return [...names]
    .map((name) => ({ name, rank: rankOf(name, ranks), versions: listing.filter((one) => one.channel === name && !one.isUnlisted).map((one) => one.version) }))
    .sort((left, right) => right.rank - left.rank || (left.name < right.name ? -1 : 1));
}

/** Says how stable a channel is; grants compare it. Throws `not_found`, `name_invalid`, `usage`. */
export async function rankChannel(
  store: Store,
  input: { readonly product: string; readonly channel: string; readonly rank: number; readonly actor: AuditActor },
): Promise<void> {
  const product = await requireProduct(store, input.product);
  const name = parseWord("channel", input.channel);
  const { rank } = input;
  if (!Number.isInteger(rank) || rank < 0 || rank > rankLimit) throw new SlipwayError("usage", `a rank is a whole number from 0 to ${rankLimit}`);
  await store.db.transaction().execute(async (transaction) => {
    await transaction
      .insertInto("channels")
      .values({ product_id: product.id, name, rank })
      .onConflict((conflict) => conflict.columns(["product_id", "name"]).doUpdateSet({ rank }))
      .execute();
    // Readers compare this with what they have: the snapshot stays, what customers see of it does not.
    await transaction
      .updateTable("heads")
      .set((expression) => ({ revision: expression("revision", "+", 1) }))
      .where("product_id", "=", product.id)
      .execute();
    await appendAuditEvent(transaction, store, {
      actor: input.actor,
      action: "channel.rank",
      result: "complete",
      product: product.name,
      detail: `${name} ${rank}`,
    });
  });
  store.changes.emit("head", product.name);
}

/** With a salt of its own, which says which customers come first. */
export function newMembership(
  input: Pick<ChannelMembership, "channel" | "promotedAt"> & { readonly [K in "share" | "isBypass" | "machines"]?: ChannelMembership[K] | undefined },
): ChannelMembership {
  const { channel, promotedAt, share = everybody, isBypass = false, machines = everybody } = input;
  return { channel, promotedAt, share, salt: randomBytes(16).toString("hex"), isBypass, machines };
}

/** Puts a release into a channel, inside the switch. */
export async function insertMembership(transaction: Transaction<Database>, releaseId: string, membership: ChannelMembership): Promise<void> {
  const { channel, promotedAt, share, salt, isBypass, machines } = membership;
  await transaction
    .insertInto("release_channels")
    .values({ release_id: releaseId, channel, promoted_at: promotedAt.getTime(), rollout: share, salt, is_bypass: isBypass ? 1 : 0, machines })
    .execute();
}

/** Memberships by release id, of all releases of the product. */
export async function readMemberships(store: Store, product: Product): Promise<ReadonlyMap<string, readonly ChannelMembership[]>> {
  const rows = await store.db
    .selectFrom("release_channels")
    .innerJoin("releases", "releases.id", "release_channels.release_id")
    .selectAll("release_channels")
    .where("releases.product_id", "=", product.id)
    .execute();
  const byRelease = new Map<string, ChannelMembership[]>();
  for (const row of rows) byRelease.set(row.release_id, [...(byRelease.get(row.release_id) ?? []), membershipOf(row)]);
  return byRelease;
}
