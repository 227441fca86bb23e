/**
 * Releases as TUF metadata lists them: the plain source, with nothing in it that the metadata does not know.
 *
 * The index of releases is unsigned; here it loses what is not listed, so that nobody can offer an old list as the newest, and gains nothing. A
 * release's files must be the listed bytes, its sequence the listed one. What a release is worth besides is still proven by its own signatures.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { z } from "zod";
import { acquireLock } from "../io/lock.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { fetchBounded } from "../io/download.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { manifestName } from "../model/manifest.ts";
import type { Version } from "../model/version.ts";
import { signatureSuffixes } from "../trust/release-signature.ts";
import { tufLimits, type TufTarget } from "../trust/tuf-metadata.ts";
import { type Installation, readCredentials } from "./installation.ts";
import type { Machine } from "./machine.ts";
import { type ReleaseFiles, type ReleaseIndex, type ReleaseSource, releaseSource } from "./release-source.ts";
import { ensurePrivate, findStateDirectory } from "./state-directory.ts";
import { readTufMemory, requireTrustedClock, writeTufMemory } from "./tuf-memory.ts";
import { openTufSession, type TufSession, type TufSource } from "./tuf-session.ts";

const lockWaitMs = 10_000;

export type TufTrustSection = { readonly root: string; readonly offline_root?: string | undefined; readonly url?: string | undefined };

/** The source of an installation; with `trust.tuf`, one that TUF metadata vouches for. */
export function trustedSource(installation: Installation, machine: Machine): ReleaseSource {
  const source = releaseSource(installation, machine);
  const { tuf } = installation.trust;
  return tuf === undefined ? source : listedSource({ installation, machine, source, tuf });
}

type Listing = { readonly installation: Installation; readonly machine: Machine; readonly source: ReleaseSource; readonly tuf: TufTrustSection };

function listedSource(listing: Listing): ReleaseSource {
  const { installation, source } = listing;
  return {
    ...source,
    index: async (signal, options) => {
      const index = await source.index(signal, options);
      return withTuf(listing, signal, (session) => listedIndex(session, index));
    },
    files: async (version, signal) => {
      const files = await source.files(version, signal);
      await withTuf(listing, signal, (session) =>
        requireListed(session, { product: installation.product, version, channel: installation.channel, files, sumsName: installation.source.sums }),
      );
      return files;
    },
  };
}

/**
 * Brings the metadata up to date and looks into it. Where the updater has a folder on this machine, what was learned is kept, under a lock of its
 * own; before the first installation nothing is written. Throws `clock_untrusted` and what TufSession.refresh throws.
 */
async function withTuf<T>({ installation, machine, tuf }: Listing, signal: AbortSignal, look: (session: TufSession) => Promise<T>): Promise<T> {
  const directory = await findStateDirectory(installation.stateDir);
  const now = machine.clock.now();
  // What is carried has its own repository: other keys for snapshot and timestamp, which last longer.
  const repository = installation.bundle === undefined ? "online" : "offline";
  const open = async (kept: { readonly folder: string; readonly memory: string } | undefined): Promise<T> => {
    const memory = kept === undefined ? undefined : await readTufMemory(kept.memory);
    requireTrustedClock(memory, now);
    const session = await openTufSession({
      folder: kept?.folder,
      pinnedRoot: await readPinnedRoot(installation, tuf),
      floor: memory?.[repository],
      now,
      source: remoteMetadata(installation, machine, { url: repository === "online" ? tuf.url : undefined, repository, signal }),
      onRepair: (text) => machine.observe({ event: "warning", text }),
    });
    let isFresh = false;
    try {
      await session.refresh();
      isFresh = true;
      return await look(session);
    } finally {
      if (kept !== undefined)
        await writeTufMemory(kept.memory, { ...memory, [repository]: session.floor(), ...(isFresh ? { refreshedAt: now.getTime() } : {}) });
    }
  };
  if (directory === undefined) return open(undefined);
  const trust = join(directory.path, "trust");
  await ensurePrivate(trust);
  const lock = await acquireLock(trust, "tuf", { waitMs: lockWaitMs });
  try {
    return await open({ folder: join(trust, repository), memory: join(directory.path, "tuf.json") });
  } finally {
    await lock.release();
  }
}

async function readPinnedRoot(installation: Installation, tuf: TufTrustSection): Promise<Uint8Array> {
  const root = installation.bundle === undefined ? tuf.root : tuf.offline_root;
  if (root === undefined) {
    throw new SlipwayError("installation_invalid", "trust.tuf demands metadata, and names no offline_root for what is carried over an air gap", {
      place: installation.place,
      hint: "add offline_root: the root of the vendor's offline repository, `/tuf/<product>/offline/metadata/1.root.json`",
    });
  }
  try {
    return await readFileBounded(root, tufLimits.root);
  } catch (error) {
    throw new SlipwayError("installation_invalid", `cannot read ${root}, the TUF root`, { place: installation.place, cause: error });
  }
}

/** `tuf/<product>/online/metadata/` (offline: of a bundle) of the source and its mirrors, or the address that the installation file names. */
function remoteMetadata(
  installation: Installation,
  machine: Machine,
  { url, repository, signal }: { readonly url: string | undefined; readonly repository: "online" | "offline"; readonly signal: AbortSignal },
): TufSource {
  const sources = [installation.source, ...(url === undefined ? installation.source.mirrors : [])];
  return {
    metadata: async (name, limit) => {
      let failure: SlipwayError | undefined;
      for (const source of sources) {
        const base = new URL(url ?? `${source.url.replace(/\/+$/, "")}/tuf/${encodeURIComponent(installation.product)}/${repository}/metadata/`);
        // The pair is for the vendor's server alone.
        const credentials = base.origin === new URL(source.url).origin ? await readCredentials(source, installation, machine.env) : undefined;
        const at = new URL(name, base.href.endsWith("/") ? base : `${base.href}/`);
        try {
          return await fetchBounded({ fetch: machine.fetch, url: at, signal, ...(credentials === undefined ? {} : { credentials }) }, limit);
        } catch (error) {
          const refusal = asSlipwayError(error);
          // Withheld is as good as absent: for a root it only lasts until the timestamp expires (specification 5.3.3).
          if (refusal.code === "not_found" || refusal.code === "forbidden") return undefined;
          failure ??= refusal;
        }
      }
      throw failure ?? new SlipwayError("internal", "no source was asked for metadata");
    },
  };
}

const listedRelease = z.looseObject({ version: z.string(), sequence: z.int().nonnegative() });

/** The index without what its channel's role does not list. A channel that nobody vouches for offers nothing. */
async function listedIndex(session: TufSession, index: ReleaseIndex): Promise<ReleaseIndex> {
  const roles = new Map<string, Readonly<Record<string, TufTarget>>>();
  for (const channel of new Set(index.releases.map((release) => release.channel))) {
    roles.set(channel, (await session.role(`${index.product}-${channel}`)) ?? {});
  }
  const releases = index.releases.filter(({ channel, version, sequence }) => {
    const targets = roles.get(channel) ?? {};
    const path = `${index.product}/${channel}/${version}/${manifestName}`;
    const listed = listedRelease.safeParse(Object.hasOwn(targets, path) ? targets[path]?.custom : undefined);
    return listed.success && listed.data.version === version && listed.data.sequence === sequence;
  });
  return { ...index, releases };
}

const describedRelease = z.looseObject({
  channel: z.string().max(200),
  sequence: z.int(),
  artifacts: z.array(z.looseObject({ name: z.string(), size: z.int(), sha256: z.string() })).max(20_000),
});

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return undefined; // the schema refuses it, with the same words as any other that is no manifest
  }
}

type Described = {
  readonly product: string;
  readonly version: Version /** Of the installation. */;
  readonly channel: string;
  readonly files: ReleaseFiles;
  readonly sumsName: string;
};

/** The first channel that lists the release: a promoted one stands in the installation's channel, and its manifest names the one it came from. */
async function listingChannel(
  session: TufSession,
  at: { readonly product: string; readonly version: Version; readonly channels: readonly string[] },
): Promise<string> {
  for (const channel of at.channels) if ((await session.find(`${at.product}/${channel}/${at.version}/${manifestName}`)) !== undefined) return channel;
  const text = `the metadata lists no ${at.product} ${at.version} in ${at.channels.join(" or ")}`;
  throw new SlipwayError("upgrade_verification_failed", text, { detail: "target_not_listed" });
}

/** Every byte of a release's description, and each artifact that it names, as listed. Throws `upgrade_verification_failed`. */
async function requireListed(session: TufSession, { product, version, channel: own, files, sumsName }: Described): Promise<void> {
  const parsed = describedRelease.safeParse(jsonOf(files.manifest));
  if (!parsed.success)
    throw new SlipwayError("upgrade_verification_failed", `${manifestName} cannot be read`, { detail: "release_json_mismatch", cause: parsed.error });
  const { artifacts, sequence } = parsed.data;
  const channel = await listingChannel(session, { product, version, channels: [...new Set([own, parsed.data.channel])] });
  const require = async (name: string, seen: { readonly size: number; readonly sha256: string }): Promise<TufTarget> => {
    const path = `${product}/${channel}/${version}/${name}`;
    const found = await session.find(path);
    if (found === undefined) throw new SlipwayError("upgrade_verification_failed", `the metadata does not list ${path}`, { detail: "target_not_listed" });
    const { length, hashes } = found.target;
    if (length !== seen.size || hashes["sha256"] !== seen.sha256) {
      throw new SlipwayError("upgrade_verification_failed", `${path} is not what the metadata of ${found.role} lists`, { detail: "hash_mismatch" });
    }
    return found.target;
  };
  const bytes = (content: Uint8Array) => ({ size: content.length, sha256: createHash("sha256").update(content).digest("hex") });
  const target = await require(manifestName, bytes(files.manifest));
  const custom = listedRelease.safeParse(target.custom);
  if (!custom.success || custom.data.version !== version || custom.data.sequence !== sequence) {
    throw new SlipwayError("upgrade_verification_failed", `the metadata lists ${version} with another version or sequence`, {
      detail: "release_json_mismatch",
    });
  }
  await require(sumsName, bytes(files.sums));
  for (const kind of ["minisign", "openpgp"] as const) {
    const signature = files[kind];
    if (signature !== undefined) await require(`${sumsName}${signatureSuffixes[kind]}`, bytes(signature));
  }
  for (const { name, size, sha256 } of artifacts) await require(name, { size, sha256 });
}
