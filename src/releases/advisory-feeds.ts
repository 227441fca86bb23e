/** The files below `/feed/<product>/`: Atom feeds of releases and advisories, OSV records, and a signed CSAF provider's directory. */
import { createHash } from "node:crypto";
import type { AdvisoryWithVersions, FeedPlace } from "../repositories/advisory.ts";
import { advisoryFeed, releaseFeed } from "../repositories/atom.ts";
import { csafChanges, csafDocument, csafIndex, csafPath, csafProvider } from "../repositories/csaf.ts";
import { osvRecord } from "../repositories/osv.ts";
import type { Store } from "../store/store.ts";
import { signDetachedArmored } from "../trust/openpgp.ts";
import { listAdvisoriesWithVersions } from "./advisories.ts";
import type { Product } from "./products.ts";
import { allReleases, type Release } from "./releases.ts";
import type { RepositoryKey } from "./repository-key.ts";

export type FeedFile = { readonly text: string; readonly mediaType: string; readonly modifiedAt: Date };

export type FeedRequest = {
  readonly product: Product;
  /** Below `/feed/<product>/`, decoded. */
  readonly path: string;
  readonly place: FeedPlace;
  readonly repositoryKey: RepositoryKey;
  /** Which releases this reader may know of. */
  readonly maySee: (release: Release) => boolean;
};

const json = "application/json; charset=utf-8";
const atom = "application/atom+xml; charset=utf-8";
const plain = "text/plain; charset=utf-8";

/** Undefined for a path that is none of the feeds'. */
export async function readFeedFile(store: Store, request: FeedRequest): Promise<FeedFile | undefined> {
  const { product, path, place } = request;
  if (path === "releases.atom") return releasesFile(store, request);
  const advisories = await listAdvisoriesWithVersions(store, product.id);
  const modifiedAt = newest(advisories.map((advisory) => advisory.updatedAt)) ?? product.createdAt;
  if (path === "advisories.atom") return { text: advisoryFeed(advisories, place), mediaType: atom, modifiedAt };
  if (path === "osv.json") {
    const records = advisories.map((advisory) => osvRecord(advisory, place));
    return { text: `${JSON.stringify(records, undefined, 2)}\n`, mediaType: json, modifiedAt };
  }
  const osv = advisories.find((advisory) => path === `osv/${advisory.id}.json`);
  if (osv !== undefined) return { text: `${JSON.stringify(osvRecord(osv, place), undefined, 2)}\n`, mediaType: json, modifiedAt: osv.updatedAt };
  return path.startsWith("csaf/") ? csafFile({ ...request, path: path.slice("csaf/".length) }, advisories, modifiedAt) : undefined;
}

async function releasesFile(store: Store, request: FeedRequest): Promise<FeedFile> {
  const releases = await allReleases(store, request.product);
  const visible = releases.flatMap((release) =>
    release.state === "published" && release.publishedAt !== undefined && request.maySee(release) ? [{ ...release, publishedAt: release.publishedAt }] : [],
  );
  // What left is a change too: the feed gets shorter.
  const modifiedAt = newest(releases.flatMap(({ publishedAt, endedAt }) => [publishedAt, endedAt].filter((date) => date !== undefined)));
  return { text: releaseFeed(visible, request.place), mediaType: atom, modifiedAt: modifiedAt ?? request.product.createdAt };
}

function newest(dates: readonly Date[]): Date | undefined {
  return dates.length === 0 ? undefined : new Date(Math.max(...dates.map((date) => date.getTime())));
}

async function csafFile(request: FeedRequest, advisories: readonly AdvisoryWithVersions[], modifiedAt: Date): Promise<FeedFile | undefined> {
  const { path, place, product, repositoryKey } = request;
  const key = { fingerprint: repositoryKey.fingerprint, url: `${place.baseUrl}/keys/${product.name}.asc` };
  if (path === "provider-metadata.json") return { text: csafProvider(place, key, modifiedAt), mediaType: json, modifiedAt };
  if (path === "index.txt") return { text: csafIndex(advisories), mediaType: plain, modifiedAt };
  if (path === "changes.csv") return { text: csafChanges(advisories), mediaType: "text/csv; charset=utf-8", modifiedAt };
  const advisory = advisories.find((candidate) => path.startsWith(csafPath(candidate)));
  if (advisory === undefined) return undefined;
  const document = csafDocument(advisory, place);
  const name = csafPath(advisory).replace(/^\d+\//, "");
  const sum = (algorithm: "sha256" | "sha512"): string => `${createHash(algorithm).update(document).digest("hex")}  ${name}\n`;
  switch (path.slice(csafPath(advisory).length)) {
    case "":
      return { text: document, mediaType: json, modifiedAt: advisory.updatedAt };
    case ".sha256":
      return { text: sum("sha256"), mediaType: plain, modifiedAt: advisory.updatedAt };
    case ".sha512":
      return { text: sum("sha512"), mediaType: plain, modifiedAt: advisory.updatedAt };
    case ".asc":
      return { text: await signature(document, advisory, repositoryKey), mediaType: "application/pgp-signature", modifiedAt: advisory.updatedAt };
    default:
      return undefined;
  }
}

/** Signatures by the document's digest: a client asks for the same few again and again, and each costs some milliseconds. */
const signatures = new Map<string, Promise<string>>();
const signatureLimit = 500;

function signature(document: string, advisory: AdvisoryWithVersions, key: RepositoryKey): Promise<string> {
  const name = `${key.fingerprint} ${createHash("sha256").update(document).digest("hex")}`;
  const known = signatures.get(name);
  if (known !== undefined) return known;
  if (signatures.size >= signatureLimit) signatures.clear();
  const made = signDetachedArmored(Buffer.from(document), key.signingKey, Math.floor(advisory.updatedAt.getTime() / 1000));
  signatures.set(name, made);
  made.catch(() => signatures.delete(name));
  return made;
}
