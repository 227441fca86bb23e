/** The annotations that OCI defines in advance, from what a release knows of itself (image-spec 1.1 annotations.md). */
import type { Digest } from "../model/digest.ts";
import { ociTime } from "./oci-config.ts";
import type { OciAnnotations } from "./oci-descriptor.ts";

export type OciRelease = {
  readonly title: string;
  readonly description?: string;
  readonly version: string;
  /** The commit. */
  readonly revision?: string;
  /** Where the source is, as an address. */
  readonly source?: string;
  readonly url?: string;
  /** SPDX expression. */
  readonly licenses?: string;
  readonly vendor?: string;
  readonly epochSeconds: number;
  /** The digest is that of the document that the base's name led to: the index where there is one. */
  readonly base?: { readonly name: string; readonly digest: Digest };
};

const prefix = "org.opencontainers.image";

/** The same map goes into manifests and indexes as annotations and into the configuration as labels, where `docker inspect` shows it. */
export function releaseAnnotations(release: OciRelease): OciAnnotations {
  const { base } = release;
  const values: Readonly<Record<string, string | undefined>> = {
    "base.digest": base?.digest,
    "base.name": base?.name,
    created: ociTime(release.epochSeconds),
    description: release.description,
    licenses: release.licenses,
    revision: release.revision,
    source: release.source,
    title: release.title,
    url: release.url,
    vendor: release.vendor,
    version: release.version,
  };
  return Object.fromEntries(Object.entries(values).flatMap(([name, value]) => (value === undefined || value === "" ? [] : [[`${prefix}.${name}`, value]])));
}
