/** From a path to what the store has there, whoever asks: a release's artifact, a package in a pool, an index named by its own checksum. */
import type { Digest } from "../model/digest.ts";
import { newestStable, type Version } from "../model/version.ts";
import { apkStoredPaths } from "../repositories/apk.ts";
import type { Store } from "../store/store.ts";
import { channelOfPath } from "./channel-path.ts";
import type { Listing, Scope } from "./listing.ts";
import { type ServedFile, servedArtifact, servedIndex } from "./served-file.ts";

export type ResolvedFile = ServedFile & { readonly kind: "file" };

export type ResolvedGone = {
  readonly kind: "gone";
  readonly version: Version;
  readonly state: "withdrawn" | "retired";
  readonly replacement: Version | undefined;
  /** Why the vendor took it back, where he said so. */
  readonly reason?: string | undefined;
};

/** `releaseId` and, where the path names one, the channel: what a reader must be allowed to fetch. */
export type Located =
  | { readonly found: ResolvedFile; readonly releaseId?: string; readonly channel?: string | undefined }
  | { readonly found: ResolvedGone }
  | { readonly found: { readonly kind: "absent" } };

const absent: Located = { found: { kind: "absent" } };

type ReleaseRow = {
  readonly id: string;
  readonly version: Version;
  readonly state: "draft" | "published" | "withdrawn" | "retired";
  readonly replacement: Version | null;
  readonly published_at: number | null;
  readonly reason: string | null;
};

function goneOf(release: ReleaseRow & { readonly state: "withdrawn" | "retired" }): ResolvedGone {
  const { version, state, replacement, reason } = release;
  return { kind: "gone", version, state, replacement: replacement ?? undefined, ...(reason === null ? {} : { reason }) };
}

function artifactFile(release: ReleaseRow, artifact: { readonly name: string; readonly digest: Digest; readonly size: number }): ResolvedFile {
  return { kind: "file", ...servedArtifact(release.version, artifact, new Date(release.published_at ?? 0)) };
}

/** `<version>/<file>` under /releases. */
export async function locateRelease(store: Store, productId: string, path: string): Promise<Located> {
  const [version, name, ...rest] = path.split("/");
  if (version === undefined || name === undefined || rest.length > 0) return absent;
  const release = await store.db
    .selectFrom("releases")
    .select(["id", "version", "state", "replacement", "published_at", "reason"])
    .where("product_id", "=", productId)
    .where("version", "=", version as Version)
    .executeTakeFirst();
  if (release === undefined || release.state === "draft") return absent;
  if (release.state !== "published") return { found: goneOf({ ...release, state: release.state }) };
  const artifact = await store.db
    .selectFrom("artifacts")
    .select(["name", "digest", "size"])
    .where("release_id", "=", release.id)
    .where("name", "=", name)
    .executeTakeFirst();
  return artifact === undefined ? absent : { found: artifactFile(release, artifact), releaseId: release.id };
}

/** Of the views, only apk's asks for one package at several places. */
function storedPaths(path: string): readonly string[] {
  const [, root, rest] = /^(apk\/[^/]+\/)(.*)$/.exec(path) ?? [];
  return root === undefined || rest === undefined ? [path] : apkStoredPaths(rest).map((stored) => root + stored);
}

/**
 * A package in a pool, or an index file of an older snapshot that its own checksum names. Whoever knows such a checksum has read it in a
 * signed index, so it is given to any reader of the product.
 */
export async function locateListed(store: Store, productId: string, path: string): Promise<Located> {
  const listed = await store.db
    .selectFrom("artifact_paths")
    .innerJoin("artifacts", "artifacts.id", "artifact_paths.artifact_id")
    .innerJoin("releases", "releases.id", "artifacts.release_id")
    .select(["artifacts.name", "artifacts.digest", "artifacts.size"])
    .select(["releases.id", "releases.version", "releases.state", "releases.replacement", "releases.published_at", "releases.reason"])
    .where("artifact_paths.product_id", "=", productId)
    .where("artifact_paths.path", "in", storedPaths(path))
    .executeTakeFirst();
  if (listed !== undefined) {
    if (listed.state === "draft") return absent;
    if (listed.state !== "published") return { found: goneOf({ ...listed, state: listed.state }) };
    return { found: artifactFile(listed, listed), releaseId: listed.id, channel: channelOfPath(path) };
  }
  const older = await store.db
    .selectFrom("snapshot_files")
    .selectAll()
    .where("product_id", "=", productId)
    .where("path", "=", path)
    .where("is_immutable", "=", 1)
    .limit(1)
    .executeTakeFirst();
  return older === undefined ? absent : { found: { kind: "file", ...servedIndex(older) } };
}

/** A snapshot's index files, and the names under `latest/`: the newest stable version of the channel stable that the reader sees (C3). */
export async function loadFiles(
  store: Store,
  at: { readonly listing: Listing; readonly scope: Scope; readonly snapshotId: string },
): Promise<ReadonlyMap<string, ResolvedFile>> {
  const { listing, scope, snapshotId } = at;
  const files = new Map<string, ResolvedFile>();
  const rows = await store.db.selectFrom("snapshot_files").selectAll().where("snapshot_id", "=", snapshotId).execute();
  for (const row of rows) files.set(row.path, { kind: "file", ...servedIndex(row) });
  const latest = newestStable(scope.versionsIn("stable"));
  const release = listing.releases.find((one) => one.version === latest && one.channel === "stable");
  if (release === undefined || latest === undefined) return files;
  const artifacts = await store.db.selectFrom("artifacts").select(["name", "digest", "size"]).where("release_id", "=", release.releaseId).execute();
  const since = new Date(Math.max(release.promotedAt.getTime(), await lastEnd(store, listing.productId)));
  for (const artifact of artifacts) {
    const file: ResolvedFile = { kind: "file", ...servedArtifact(latest, artifact, since), isImmutable: false }; // the next release takes the name over
    files.set(`releases/latest/${artifact.name}`, file);
    const alias = `releases/latest/${artifact.name.replace(latest, "latest")}`;
    if (!files.has(alias)) files.set(alias, file);
  }
  return files;
}

/** When the newest was withdrawn, the one before comes back with a new time: else If-Modified-Since would keep the withdrawn bytes. */
async function lastEnd(store: Store, productId: string): Promise<number> {
  const row = await store.db
    .selectFrom("releases")
    .select((expression) => expression.fn.max("ended_at").as("at"))
    .where("product_id", "=", productId)
    .executeTakeFirst();
  return row?.at ?? 0;
}
