/** What the portal shows one customer, as a value: products, what is about to go, advisories that concern what was pulled, its own pairs. */
import { type AccessKey, listAccessKeys } from "../access/access-keys.ts";
import { type CustomerPrincipal, grantHolderOf } from "../access/principal.ts";
import type { Grant } from "../model/grant.ts";
import { compareVersions, newestStable, type Version } from "../model/version.ts";
import { type ListedNotice, listNotices } from "../notices/list-notices.ts";
import { stableChannel } from "../policy/visibility.ts";
import { listAdvisories } from "../releases/advisories.ts";
import { exposureOf, type Pull, pulledVersions } from "../releases/advisory-customers.ts";
import { offeredFormats } from "../releases/offered-formats.ts";
import { findProduct } from "../releases/products.ts";
import { allReleases, type Release } from "../releases/releases.ts";
import type { Advisory, FeedPlace } from "../repositories/advisory.ts";
import { askForSecret, clientsFor, secretVariable, type SetupBlock, setupBlocks } from "../repositories/setup-clients.ts";
import { feedPlace } from "./feed-place.ts";
import { type ProductKey, productKeys } from "./product-keys.ts";
import type { Call } from "./route.ts";
import { channelsSeenBy } from "./seen-versions.ts";

export type PortalRelease = {
  readonly version: Version;
  /** Those in which he sees it, the most stable first. */
  readonly channels: readonly string[];
  readonly publishedAt: Date | undefined;
  /** When it leaves, where that was announced. */
  readonly retiresAt: Date | undefined;
  /** When this customer last pulled it. */
  readonly pulledAt: Date | undefined;
};

export type PortalAdvisory = {
  readonly advisory: Advisory;
  /** Of what this customer pulled. */
  readonly hits: readonly Version[];
  /** It pulled the fix, or something newer that is not affected, since. */
  readonly isMended: boolean;
};

export type PortalGone = Pick<Release, "version" | "replacement" | "reason"> & { readonly isWithdrawn: boolean };

export type PortalProduct = {
  readonly name: string;
  readonly grant: Grant | undefined;
  readonly place: FeedPlace;
  readonly newest: Version | undefined;
  /** Newest first. */
  readonly releases: readonly PortalRelease[];
  /** Gone, and nothing else was pulled since; newest first. */
  readonly gone: readonly PortalGone[];
  readonly advisories: readonly PortalAdvisory[];
  readonly keys: readonly ProductKey[];
  readonly ask: string;
  readonly setup: readonly SetupBlock[];
  readonly channel: string;
};

export type PortalView = {
  readonly vendor: string;
  readonly customer: string;
  readonly keyId: string;
  readonly now: Date;
  readonly products: readonly PortalProduct[];
  readonly pairs: readonly AccessKey[];
  readonly notices: readonly ListedNotice[];
};

const noticeLimit = 20;

export async function portalView(call: Call, principal: CustomerPrincipal): Promise<PortalView> {
  const { store } = call.context;
  const products: PortalProduct[] = [];
  for (const name of [...principal.products].sort()) {
    const made = await portalProduct(call, principal, name);
    if (made !== undefined) products.push(made);
  }
  return {
    vendor: feedPlace(call, "").vendor,
    customer: principal.customerName,
    keyId: principal.keyId,
    now: store.clock.now(),
    products,
    pairs: (await listAccessKeys(store, principal.customerName)).filter((key) => key.revokedAt === undefined),
    notices: await listNotices(store, { limit: noticeLimit, customer: principal.customerName }),
  };
}

async function portalProduct(call: Call, principal: CustomerPrincipal, name: string): Promise<PortalProduct | undefined> {
  const { store, repositoryKey } = call.context;
  const product = await findProduct(store, name);
  if (product === undefined) return undefined;
  const pulls = await pulledVersions(store, name, { name: principal.customerName });
  const seen = await channelsSeenBy(call, principal, name);
  const channelsOf = (version: Version): readonly string[] => [...seen].flatMap(([channel, versions]) => (versions.includes(version) ? [channel] : []));
  const all = await allReleases(store, product);
  const releases = all
    .filter((release) => channelsOf(release.version).length > 0)
    .sort((left, right) => compareVersions(right.version, left.version))
    .map(({ version, publishedAt, retiresAt }) => ({
      version,
      channels: channelsOf(version),
      publishedAt,
      retiresAt,
      pulledAt: pulls.find((pull) => pull.version === version)?.at,
    }));
  // Whoever has fetched another version since has left it, as far as downloads can tell.
  const movedAt = Math.max(0, ...pulls.filter((pull) => channelsOf(pull.version).length > 0).map((pull) => pull.at.getTime()));
  const isStillUsed = (version: Version): boolean => pulls.some((pull) => pull.version === version && pull.at.getTime() > movedAt);
  const gone = all
    .filter((release) => (release.state === "withdrawn" || release.state === "retired") && isStillUsed(release.version))
    .sort((left, right) => compareVersions(right.version, left.version))
    .map(({ version, replacement, reason, state }) => ({ version, replacement, reason, isWithdrawn: state === "withdrawn" }));
  // The set-up leads to the most stable channel that has something for him: stable, wherever else its newest release may be too (C3).
  const [channel, versions] = [...seen][0] ?? [stableChannel, []];
  const newest = newestStable(versions) ?? versions.toSorted(compareVersions).at(-1);
  const grant = grantHolderOf(principal, name)?.grant;
  const formats = await offeredFormats(store, product.id, grant);
  const place = feedPlace(call, name);
  return {
    name,
    grant,
    place,
    newest,
    releases,
    gone,
    advisories: (await listAdvisories(store, product.id)).flatMap((advisory) => concerning(advisory, pulls)),
    keys: await productKeys(call.context, name),
    ask: askForSecret,
    setup: setupBlocks(
      {
        place: { baseUrl: place.baseUrl, product: name, channel },
        pair: { keyId: principal.keyId, secret: `$${secretVariable}` },
        apkKey: repositoryKey.apkKey,
        armoredKey: repositoryKey.publicText,
        version: newest,
      },
      clientsFor(formats),
    ),
    channel,
  };
}

function concerning(advisory: Advisory, pulls: readonly Pull[]): readonly PortalAdvisory[] {
  const exposure = advisory.state === "published" ? exposureOf(advisory, pulls) : undefined;
  return exposure === undefined ? [] : [{ advisory, hits: exposure.versions, isMended: exposure.hasFix }];
}
