/** Releases as they stand in the store: what the vendor's side lists and looks at. */
import type { Digest } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { type Compat, compatSchema } from "../model/upgrade-contract.ts";
import { compareVersions, parseVersion, type Version } from "../model/version.ts";
import { rankOf, stableChannel } from "../policy/visibility.ts";
import type { ReleaseState, ReleaseTable } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { type ChannelMembership, membershipOf, readMemberships } from "./channels.ts";
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
  /** Where it was published first; its manifest names it. */
  readonly channel: string;
  /** Every channel that it is in; none for a draft. */
  readonly channels: readonly ChannelMembership[];
  /** Where retention stands with it. */
  readonly stage: "announced" | "unlisted" | undefined;
  /** When an announced one leaves the indexes, as far as its policy says now. */
  readonly retiresAt: Date | undefined;
  readonly state: ReleaseState;
  /** From the manifest; undefined for a draft. */
  readonly sequence: number | undefined;
  readonly createdAt: Date;
  readonly publishedAt: Date | undefined;
  /** When it was withdrawn or retired. */
  readonly endedAt: Date | undefined;
  readonly replacement: Version | undefined;
  /** Why it was withdrawn. */
  readonly reason: string | undefined;
  /** What it promises about upgrades, where it was published since that is kept. */
  readonly compat: Compat | undefined;
};

type Standing = Pick<Release, "channels" | "stage" | "retiresAt">;

const noStanding: Standing = { channels: [], stage: undefined, retiresAt: undefined };

export type ReleaseWithArtifacts = Release & { /** Sorted by name. */ readonly artifacts: readonly Artifact[] };

const noRanks: ReadonlyMap<string, number> = new Map();

function dateOf(time: number | null): Date | undefined {
  return time === null ? undefined : new Date(time);
}

export function releaseOf(product: Product, row: ReleaseTable, standing: Standing = noStanding): Release {
  return {
    ...standing,
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
    reason: row.reason ?? undefined,
    compat: row.compat === null ? undefined : compatSchema.parse(JSON.parse(row.compat)),
  };
}

/** Every release of the product, in no order. */
export async function allReleases(store: Store, product: Product): Promise<readonly Release[]> {
  const rows = await store.db.selectFrom("releases").selectAll().where("product_id", "=", product.id).execute();
  const memberships = await readMemberships(store, product);
  const stages = await readStages(store, product);
  return rows.map((row) => releaseOf(product, row, { ...noStanding, channels: memberships.get(row.id) ?? [], ...stages.get(row.id) }));
}

/** Newest version first, every state. Throws `not_found` for an unknown product. */
export async function listReleases(store: Store, productName: string): Promise<readonly Release[]> {
  const releases = await allReleases(store, await requireProduct(store, productName));
  return releases.toSorted((left, right) => compareVersions(right.version, left.version));
}

export async function findRelease(store: Store, product: Product, version: Version): Promise<Release | undefined> {
  const row = await store.db.selectFrom("releases").selectAll().where("product_id", "=", product.id).where("version", "=", version).executeTakeFirst();
  if (row === undefined) return undefined;
  const channels = await store.db.selectFrom("release_channels").selectAll().where("release_id", "=", row.id).orderBy("promoted_at").execute();
  const staged = (await readStages(store, product)).get(row.id);
  return releaseOf(product, row, { ...noStanding, channels: channels.map(membershipOf), ...staged });
}

/** What a reader of a version that left is led to: what the channel stable lists, else what any does. */
export function offeredVersions(releases: readonly Release[]): readonly Version[] {
  const listed = releases.filter((release) => listedIn(release).length > 0);
  const stable = listed.filter((release) => listedIn(release).includes(stableChannel));
  return (stable.length > 0 ? stable : listed).map(({ version }) => version);
}

async function readStages(store: Store, product: Product): Promise<ReadonlyMap<string, Pick<Release, "stage" | "retiresAt">>> {
  const rows = await store.db
    .selectFrom("retention_stages")
    .innerJoin("releases", "releases.id", "retention_stages.release_id")
    .leftJoin("retention_policies", "retention_policies.product_id", "releases.product_id")
    .select(["retention_stages.release_id", "retention_stages.stage", "retention_stages.announced_at", "retention_policies.announce_days"])
    .where("releases.product_id", "=", product.id)
    .execute();
  return new Map(rows.map((row) => [row.release_id, { stage: row.stage, retiresAt: new Date(row.announced_at + (row.announce_days ?? 0) * 86_400_000) }]));
}

/** The channels whose indexes list the release, the most stable first; none unless it is published. */
export function listedIn(release: Release): readonly string[] {
  if (release.state !== "published" || release.stage === "unlisted") return [];
  const names = release.channels.map(({ channel }) => channel);
  return names.toSorted((left, right) => rankOf(right, noRanks) - rankOf(left, noRanks) || (left < right ? -1 : 1));
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
