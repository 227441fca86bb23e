/**
 * Advisories as CSAF 2.0 documents of the profile "Security Advisory", and the files that make their folder a CSAF provider's directory.
 *
 *   provider-metadata.json   who speaks, with which key, where the documents lie                       7.1.7, 7.1.8
 *   index.txt, changes.csv   every document; when each changed, newest first                           7.1.12, 7.1.13
 *   <year>/<id>.json         one document, its name made of the tracking id                            5.1, 7.1.11
 *   … .sha256 .sha512 .asc   its sums and its OpenPGP signature                                        7.1.18 to 7.1.20
 *
 * Source: OASIS Common Security Advisory Framework Version 2.0, sections as above; 4.4 for the profile.
 */
import { compareVersions, type Version } from "../model/version.ts";
import { type AdvisoryWithVersions, feedInstant, type FeedPlace } from "./advisory.ts";

/** `<year>/<file>.json`, below the folder of the provider. */
export function csafPath(advisory: Pick<AdvisoryWithVersions, "id" | "publishedAt">): string {
  return `${advisory.publishedAt.getUTCFullYear()}/${advisory.id.toLowerCase().replaceAll(/[^+\-a-z0-9]+/g, "_")}.json`;
}

export function csafFolder(place: FeedPlace): string {
  return `${place.baseUrl}/feed/${place.product}/csaf`;
}

/** The document as JSON: the same bytes for the same advisory, since it is signed. */
export function csafDocument(advisory: AdvisoryWithVersions, place: FeedPlace): string {
  const { product, fixedIn } = advisory;
  const versions = [...new Set<Version>([...advisory.affectedVersions, fixedIn])].sort(compareVersions);
  const affected = advisory.affectedVersions.map((version) => productId(product, version));
  const document = {
    document: {
      aggregate_severity: { text: advisory.severity },
      category: "csaf_security_advisory",
      csaf_version: "2.0",
      distribution: { tlp: { label: place.isPublic ? "WHITE" : "AMBER" } },
      lang: "en",
      notes: [{ category: "summary", text: advisory.title, title: "Summary" }],
      publisher: publisherOf(place),
      references: [{ category: "self", summary: "This document", url: `${csafFolder(place)}/${csafPath(advisory)}` }],
      title: `${advisory.id}: ${advisory.title}`,
      tracking: {
        current_release_date: feedInstant(advisory.updatedAt),
        generator: { engine: { name: "Slipway" } },
        id: advisory.id,
        initial_release_date: feedInstant(advisory.publishedAt),
        revision_history: advisory.revisions.map(({ number, at, summary }) => ({ date: feedInstant(at), number: String(number), summary })),
        status: "final",
        version: String(advisory.revisions.length),
      },
    },
    product_tree: {
      branches: [
        {
          category: "vendor",
          name: place.vendor,
          branches: [
            {
              category: "product_name",
              name: product,
              branches: versions.map((version) => ({
                category: "product_version",
                name: version,
                product: { name: `${product} ${version}`, product_id: productId(product, version) },
              })),
            },
          ],
        },
      ],
    },
    vulnerabilities: vulnerabilitiesOf(advisory, affected),
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

function productId(product: string, version: Version): string {
  return `${product}:${version}`;
}

function vulnerabilitiesOf(advisory: AdvisoryWithVersions, affected: readonly string[]): readonly unknown[] {
  const { product, fixedIn } = advisory;
  const isWithdrawn = advisory.state === "withdrawn";
  const common = {
    ...(advisory.credits.length === 0 ? {} : { acknowledgments: [{ names: advisory.credits }] }),
    notes: [
      { category: "description", text: advisory.text.trim(), title: "Description" },
      ...(isWithdrawn ? [{ category: "general", text: advisory.revisions.at(-1)?.summary ?? "Withdrawn", title: "Withdrawn" }] : []),
    ],
    // What was withdrawn says nothing of its versions any more; 4.4 still asks for a status.
    product_status: isWithdrawn ? { under_investigation: affected } : { fixed: [productId(product, fixedIn)], known_affected: affected },
    ...(advisory.references.length === 0 ? {} : { references: advisory.references.map((url) => ({ category: "external", summary: url, url })) }),
    ...(isWithdrawn ? {} : { remediations: remediationsOf(advisory, affected) }),
    title: advisory.title,
  };
  if (advisory.cves.length === 0) return [{ ids: [{ system_name: `${product} advisories`, text: advisory.id }], ...common }];
  return advisory.cves.map((cve) => ({ cve, ...common }));
}

function remediationsOf(advisory: AdvisoryWithVersions, affected: readonly string[]): readonly unknown[] {
  const fix = { category: "vendor_fix", details: `Upgrade to ${advisory.product} ${advisory.fixedIn} or later.`, product_ids: affected };
  if (advisory.workaround === undefined) return [fix];
  return [fix, { category: "workaround", details: advisory.workaround.trim(), product_ids: affected }];
}

function publisherOf(place: FeedPlace): Readonly<Record<string, string>> {
  return { category: "vendor", name: place.vendor, namespace: place.baseUrl };
}

/** `fingerprint` is of the key that signs the documents, in hex; `changedAt` the newest change of any of them. */
export function csafProvider(place: FeedPlace, key: { readonly fingerprint: string; readonly url: string }, changedAt: Date): string {
  const metadata = {
    canonical_url: `${csafFolder(place)}/provider-metadata.json`,
    distributions: [{ directory_url: `${csafFolder(place)}/` }],
    last_updated: feedInstant(changedAt),
    list_on_CSAF_aggregators: place.isPublic,
    metadata_version: "2.0",
    mirror_on_CSAF_aggregators: false,
    public_openpgp_keys: [{ fingerprint: key.fingerprint.toUpperCase(), url: key.url }],
    publisher: publisherOf(place),
    role: "csaf_provider",
  };
  return `${JSON.stringify(metadata, undefined, 2)}\n`;
}

export function csafIndex(advisories: readonly AdvisoryWithVersions[]): string {
  return advisories.map((advisory) => `${csafPath(advisory)}\n`).join("");
}

export function csafChanges(advisories: readonly AdvisoryWithVersions[]): string {
  return advisories
    .toSorted((left, right) => right.updatedAt.getTime() - left.updatedAt.getTime())
    .map((advisory) => `"${csafPath(advisory)}","${feedInstant(advisory.updatedAt)}"\n`)
    .join("");
}
