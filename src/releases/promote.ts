/**
 * Promotion and rollout: a published release enters a channel, leaves one, or reaches more customers.
 *
 * Each is one switch over all formats and images. The artifacts stay as they are: only the indexes that list them change.
 */
import type { Transaction } from "kysely";
import { SlipwayError } from "../model/errors.ts";
import { parseWord } from "../model/names.ts";
import { isStable } from "../model/version.ts";
import { everybody, stableChannel } from "../policy/visibility.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import { requireChannel } from "../store/known-channel.ts";
import type { Database } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { type ChannelMembership, insertMembership, newMembership } from "./channels.ts";
import { type Product, requireProduct } from "./products.ts";
import { listPackages } from "./publish.ts";
import { allReleases, type Release, requireRelease } from "./releases.ts";
import type { RepositoryKey } from "./repository-key.ts";
import { switchSnapshot } from "./snapshot.ts";
import type { ListedPackage } from "./snapshot-views.ts";

type Change = {
  readonly product: string;
  readonly version: string;
  readonly channel: string;
  readonly repositoryKey: RepositoryKey;
  readonly actor: AuditActor;
};

/** How far a release in a channel reaches; what is absent is everybody when it comes, and stays as it is later. */
type Reach = {
  /** Of the customers. */
  readonly percent?: number | undefined;
  /** Percent of each of these customers' machines, for their updaters alone: a package manager knows no machine. */
  readonly machines?: number | undefined;
  readonly isBypass?: boolean | undefined;
};

/** Hundredths of a percent. Throws `usage`. */
export function shareOf(percent: number): number {
  const share = Math.round(percent * 100);
  if (!Number.isFinite(percent) || percent < 0 || percent > 100) throw new SlipwayError("usage", "a percentage is a number from 0 to 100");
  return share;
}

/** Throws `not_found`, and `conflict` for what is not published. */
async function requirePublished(store: Store, product: Product, version: string): Promise<Release> {
  const release = await requireRelease(store, product, version);
  if (release.state === "published") return release;
  throw new SlipwayError("conflict", `${product.name} ${release.version} is ${release.state}, not published`);
}

/**
 * Puts the release into the channel as well, for `percent` of the customers (100 by default) or with `isBypass` for all of them; one that
 * is in it already gets that share. Throws `not_found`, `name_invalid`, `usage`, `version_invalid` for a preview on the way to stable, and
 * `conflict` for what is not published, is leaving, or has a package whose place in the channel is taken.
 */
export async function promoteRelease(store: Store, input: Change & Reach): Promise<Release> {
  const product = await requireProduct(store, input.product);
  const channel = parseWord("channel", input.channel);
  const share = input.percent === undefined ? undefined : shareOf(input.percent);
  const machines = input.machines === undefined ? undefined : shareOf(input.machines);
  await requireChannel(store, product, channel);
  const release = await requirePublished(store, product, input.version);
  if (channel === stableChannel && !isStable(release.version)) {
    throw new SlipwayError("version_invalid", `${release.version} is a preview and cannot go to the channel stable`, {
      hint: `tag and publish ${release.version.split("-")[0] ?? ""}`,
    });
  }
  if (release.channels.some((one) => one.channel === channel)) {
    if (share === undefined && machines === undefined && input.isBypass !== true) return release;
    return changeRollout(store, { ...input, channel, ...(share === undefined && machines === undefined ? { percent: 100 } : {}) });
  }
  await switchSnapshot(store, {
    product,
    repositoryKey: input.repositoryKey,
    decide: async () => {
      const present = await requirePublished(store, product, input.version);
      if (present.stage === "unlisted") throw new SlipwayError("conflict", `${product.name} ${present.version} is leaving and listed nowhere`);
      if (present.channels.some((one) => one.channel === channel)) return undefined; // another request did it in between
      const membership = newMembership({ channel, promotedAt: store.clock.now(), share, isBypass: input.isBypass, machines });
      const add = await listPackages(store, present, [channel]);
      return {
        change: { add, remove: [], releases: await withChannels(store, product, present, [...present.channels, membership]), isRestamped: true },
        apply: async (transaction) => {
          await insertMembership(transaction, present.id, membership);
          await insertPaths(transaction, { product, release: present, add });
          await record(transaction, store, { ...input, release: present, action: "release.promote", detail: `${channel}${shareText(membership)}` });
        },
      };
    },
  });
  return requireRelease(store, product, input.version);
}

function shareText({ share, isBypass, machines }: Pick<ChannelMembership, "share" | "isBypass" | "machines">): string {
  if (isBypass) return ", past every rollout";
  return `${share === everybody ? "" : `, ${share / 100} % of the customers`}${machines === everybody ? "" : `, ${machines / 100} % of their machines`}`;
}

/** Where the packages of the channel are fetched; they stay there when the release leaves it and comes back. */
async function insertPaths(
  transaction: Transaction<Database>,
  { product, release, add }: { readonly product: Product; readonly release: Release; readonly add: readonly ListedPackage[] },
): Promise<void> {
  const rows = await transaction
    .selectFrom("artifacts")
    .innerJoin("artifact_paths", "artifact_paths.artifact_id", "artifacts.id")
    .select(["artifacts.id", "artifact_paths.path"])
    .where("release_id", "=", release.id)
    .execute();
  const artifactAt = new Map(rows.map((row) => [row.path, row.id]));
  for (const { channel, described } of add) {
    const path = channelPath(described.path, channel);
    const artifact_id = artifactAt.get(described.path);
    if (artifact_id === undefined) throw new SlipwayError("internal", `${described.path} of ${product.name} ${release.version} has no artifact`);
    await transaction
      .insertInto("artifact_paths")
      .values({ product_id: product.id, path, artifact_id })
      .onConflict((conflict) => conflict.columns(["product_id", "path"]).doNothing())
      .execute();
    const owner = await transaction
      .selectFrom("artifact_paths")
      .select("artifact_id")
      .where("product_id", "=", product.id)
      .where("path", "=", path)
      .executeTakeFirst();
    if (owner?.artifact_id !== artifact_id) {
      throw new SlipwayError("conflict", `another release has a package at ${path}`, { hint: "put the version into the package's file name" });
    }
  }
}

/** `yum/preview/x86_64/…` in the channel stable is `yum/stable/x86_64/…`; APT's pool is one for all channels. */
export function channelPath(path: string, channel: string): string {
  return path.replace(/^(yum|apk)\/[^/]+\//, `$1/${channel}/`);
}

/** Takes the release out of the channel; out of its last one it is withdrawn instead. Throws `not_found` and `conflict`. */
export async function demoteRelease(store: Store, input: Change): Promise<Release> {
  const product = await requireProduct(store, input.product);
  await requireChannel(store, product, input.channel);
  await switchSnapshot(store, {
    product,
    repositoryKey: input.repositoryKey,
    decide: async () => {
      const release = await requirePublished(store, product, input.version);
      const left = release.channels.filter(({ channel }) => channel !== input.channel);
      if (left.length === release.channels.length) return undefined;
      if (left.length === 0) {
        throw new SlipwayError("conflict", `${product.name} ${release.version} is in no other channel than ${input.channel}`, {
          hint: `take it back with: slipway release withdraw ${release.version}`,
        });
      }
      const remove = release.stage === "unlisted" ? [] : await listPackages(store, release, [input.channel]);
      return {
        change: { add: [], remove, releases: await withChannels(store, product, release, left), isRestamped: true },
        apply: async (transaction) => {
          for (const table of ["rollout_members", "release_channels"] as const) {
            await transaction.deleteFrom(table).where("release_id", "=", release.id).where("channel", "=", input.channel).execute();
          }
          await record(transaction, store, { ...input, release, action: "release.demote", detail: input.channel });
        },
      };
    },
  });
  return requireRelease(store, product, input.version);
}

/**
 * Says how many customers see the release in the channel, and how many of their machines are offered it. Who sees it keeps it while the share rises; when it is lowered, those keep it who
 * have it already (a complete download), and 0 halts it for all others. Throws `not_found`, `usage`, and `conflict` where the release is not in the channel.
 */
export async function changeRollout(store: Store, input: Change & Reach): Promise<Release> {
  const product = await requireProduct(store, input.product);
  const wanted = {
    share: input.percent === undefined ? undefined : shareOf(input.percent),
    machines: input.machines === undefined ? undefined : shareOf(input.machines),
  };
  await switchSnapshot(store, {
    product,
    repositoryKey: input.repositoryKey,
    decide: async () => {
      const release = await requirePublished(store, product, input.version);
      const membership = release.channels.find(({ channel }) => channel === input.channel);
      if (membership === undefined) {
        throw new SlipwayError("conflict", `${product.name} ${release.version} is not in the channel ${input.channel}`, {
          hint: `put it there with: slipway release promote ${release.version} --to ${input.channel} --percent ${input.percent ?? 100}`,
        });
      }
      const isBypass = input.isBypass ?? (input.percent === undefined && membership.isBypass);
      const share = wanted.share ?? membership.share;
      const machines = wanted.machines ?? membership.machines;
      if (membership.share === share && membership.isBypass === isBypass && membership.machines === machines) return undefined;
      const changed = { ...membership, share, isBypass, machines };
      const channels = release.channels.map((one) => (one === membership ? changed : one));
      const isLower = share < membership.share || membership.isBypass;
      const keepers = isLower ? await customersWith(store, product, release) : [];
      return {
        change: { add: [], remove: [], releases: await withChannels(store, product, release, channels), isRestamped: true },
        apply: async (transaction) => {
          await transaction
            .updateTable("release_channels")
            .set({ rollout: share, is_bypass: isBypass ? 1 : 0, machines })
            .where("release_id", "=", release.id)
            .where("channel", "=", input.channel)
            .execute();
          for (const customer_id of keepers) {
            await transaction
              .insertInto("rollout_members")
              .values({ release_id: release.id, channel: input.channel, customer_id })
              .onConflict((conflict) => conflict.columns(["release_id", "channel", "customer_id"]).doNothing())
              .execute();
          }
          await record(transaction, store, {
            ...input,
            release,
            action: "release.rollout",
            detail: `${input.channel}${share === everybody && machines === everybody ? ", everybody" : shareText(changed)}`,
          });
        },
      };
    },
  });
  return requireRelease(store, product, input.version);
}

/** Customers who pulled a file of this release since it is published. */
async function customersWith(store: Store, product: Product, release: Release): Promise<readonly string[]> {
  const rows = await store.db
    .selectFrom("audit_events")
    .innerJoin("customers", "customers.name", "audit_events.customer")
    .select("customers.id")
    .distinct()
    .where("audit_events.product", "=", product.name)
    .where("audit_events.version", "=", release.version)
    .where("audit_events.action", "=", "download")
    .where("audit_events.result", "=", "complete")
    .where("audit_events.at", ">=", release.publishedAt?.getTime() ?? 0)
    .execute();
  return rows.map((row) => row.id);
}

async function withChannels(store: Store, product: Product, release: Release, channels: readonly ChannelMembership[]): Promise<readonly Release[]> {
  const all = await allReleases(store, product);
  return all.map((other) => (other.id === release.id ? { ...other, channels } : other));
}

async function record(
  transaction: Transaction<Database>,
  store: Store,
  done: {
    readonly actor: AuditActor;
    readonly release: Release;
    readonly action: "release.promote" | "release.demote" | "release.rollout";
    readonly detail: string;
  },
): Promise<void> {
  const { actor, release, action, detail } = done;
  await appendAuditEvent(transaction, store, { actor, action, result: "complete", product: release.product, version: release.version, detail });
}
