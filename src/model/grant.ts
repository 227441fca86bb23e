/** A grant: what one customer may read of one product. Each limit is optional; without any the customer reads everything that is published. */
import semver from "semver";
import { SlipwayError } from "./errors.ts";
import type { Version } from "./version.ts";

/** What a customer's tools read: packages, images, plain files under /releases, and the bucket API. */
export const grantFormats = ["deb", "rpm", "apk", "oci", "files", "s3"] as const;
export type GrantFormat = (typeof grantFormats)[number];

/** After the end of an entitlement: `keep` what was published before it, or `cut` everything off. */
export const lapseModes = ["keep", "cut"] as const;
export type LapseMode = (typeof lapseModes)[number];

export type Grant = {
  /** The least stable channel that he reads; undefined: all. */
  readonly channel: string | undefined;
  /** Undefined: all. */
  readonly formats: readonly GrantFormat[] | undefined;
  /** Versions he may have, as a range of SemVer (`>=1.0.0 <3.0.0`); undefined: all. */
  readonly versions: string | undefined;
  readonly entitledUntil: Date | undefined;
  readonly lapse: LapseMode;
  /** Nothing newer than this version, until then or without an end. */
  readonly pin: { readonly version: Version; readonly until: Date | undefined } | undefined;
  /** The last time that somebody changed it, or made it. */
  readonly changedAt: Date;
  /** As it was made: its customer has seen no other view of the product because of it. */
  readonly isOriginal: boolean;
};

/** Whose grant it is: the stable bucket of a rollout hangs on the customer. */
export type GrantHolder = { readonly customerId: string; readonly grant: Grant };

const rangeLimit = 200;

/** Throws `version_invalid` for what is no range. */
export function parseVersionRange(text: string): string {
  const range = text.length > rangeLimit ? null : semver.validRange(text, { includePrerelease: true });
  if (range === null)
    throw new SlipwayError("version_invalid", `"${text.slice(0, 80)}" is not a range of versions`, { hint: 'write it like ">=1.0.0 <3.0.0"' });
  return text;
}

/** Previews count where their order puts them: `<2.0.0` has 2.0.0-rc.1, and `<2.0` has not (node-semver, includePrerelease). */
export function isInRange(version: Version, range: string): boolean {
  return semver.satisfies(version, range, { includePrerelease: true });
}

export function mayUse(grant: Grant, format: GrantFormat): boolean {
  return grant.formats === undefined || grant.formats.includes(format);
}
