/** An advisory as the feeds show it: what the vendor wrote once, with what the server knows of its history and of the product's versions. */
import type { Version } from "../model/version.ts";
import type { AffectedRange } from "./affected-range.ts";

/** Worst first. */
export const severities = ["critical", "high", "medium", "low"] as const;
export type Severity = (typeof severities)[number];

export type Revision = { /** From 1. */ readonly number: number; readonly at: Date; readonly summary: string };

export type Advisory = {
  readonly id: string;
  readonly product: string;
  readonly state: "published" | "withdrawn";
  readonly title: string;
  readonly severity: Severity;
  readonly cves: readonly string[];
  /** As written. */
  readonly affected: string;
  readonly range: AffectedRange;
  readonly fixedIn: Version;
  /** Plain text. */
  readonly text: string;
  /** What helps until the upgrade; plain text. */
  readonly workaround: string | undefined;
  readonly references: readonly string[];
  readonly credits: readonly string[];
  readonly publishedAt: Date;
  readonly updatedAt: Date;
  /** Oldest first. */
  readonly revisions: readonly [Revision, ...Revision[]];
};

/** An advisory with the versions of the product that were ever published and lie in its range, oldest first. */
export type AdvisoryWithVersions = Advisory & { readonly affectedVersions: readonly Version[] };

/** Who speaks in a feed, and where. */
export type FeedPlace = {
  /** Scheme, host and port, perhaps a path; no trailing slash. */
  readonly baseUrl: string;
  readonly product: string;
  /** The vendor's name. */
  readonly vendor: string;
  /** Strangers may read the product's advisories. */
  readonly isPublic: boolean;
};

/** ISO 8601 in UTC without a fraction: what every feed's date type takes. */
export function feedInstant(date: Date): string {
  return `${date.toISOString().slice(0, 19)}Z`;
}
