/**
 * Advisories in the Open Source Vulnerability format, for scanners and scripts: https://ossf.github.io/osv-schema/, version 1.6.
 *
 * `affected[].package` stays out: it needs one of the public ecosystems, and a product that is delivered privately is in none. The package
 * URL of the product stands under database_specific instead, and the versions under `versions` and as a SEMVER range.
 */
import { type AdvisoryWithVersions, feedInstant, type FeedPlace } from "./advisory.ts";
import type { Stretch } from "./affected-range.ts";

type OsvEvent = { readonly introduced: string } | { readonly fixed: string } | { readonly last_affected: string };

export type OsvRecord = {
  readonly schema_version: "1.6.0";
  readonly id: string;
  readonly modified: string;
  readonly published: string;
  readonly withdrawn?: string;
  readonly aliases: readonly string[];
  readonly summary: string;
  readonly details: string;
  readonly affected: readonly [
    {
      readonly ranges: readonly { readonly type: "SEMVER"; readonly events: readonly OsvEvent[] }[];
      readonly versions: readonly string[];
      readonly database_specific: { readonly purl: string; readonly fixed: string };
    },
  ];
  readonly references: readonly { readonly type: "ADVISORY" | "WEB"; readonly url: string }[];
  readonly credits: readonly { readonly name: string }[];
  readonly database_specific: { readonly severity: string; readonly product: string };
};

export function osvRecord(advisory: AdvisoryWithVersions, place: FeedPlace): OsvRecord {
  const withdrawn = advisory.state === "withdrawn" ? { withdrawn: feedInstant(advisory.updatedAt) } : {};
  const workaround = advisory.workaround === undefined ? "" : `\n\nUntil the upgrade: ${advisory.workaround.trim()}`;
  return {
    schema_version: "1.6.0",
    id: advisory.id,
    modified: feedInstant(advisory.updatedAt),
    published: feedInstant(advisory.publishedAt),
    ...withdrawn,
    aliases: advisory.cves,
    summary: advisory.title,
    details: advisory.text.trim() + workaround,
    affected: [
      {
        // One range for each stretch: in a single one overlapping stretches would contradict each other.
        ranges: advisory.range.map((stretch) => ({ type: "SEMVER", events: eventsOf(stretch) })),
        versions: advisory.affectedVersions,
        database_specific: { purl: `pkg:generic/${place.product}`, fixed: advisory.fixedIn },
      },
    ],
    references: [
      { type: "ADVISORY", url: `${place.baseUrl}/feed/${place.product}/osv/${advisory.id}.json` },
      ...advisory.references.map((url) => ({ type: "WEB" as const, url })),
    ],
    credits: advisory.credits.map((name) => ({ name })),
    database_specific: { severity: advisory.severity.toUpperCase(), product: advisory.product },
  };
}

/** "0" stands for the very first version (OSV 1.6, affected[].ranges[].events). */
function eventsOf({ from, end }: Stretch): readonly OsvEvent[] {
  return [{ introduced: from ?? "0" }, end.isIncluded ? { last_affected: end.version } : { fixed: end.version }];
}
