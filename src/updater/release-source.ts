/** Where releases come from: the vendor's server and its mirrors, over HTTP, behind the access pair. Nothing that comes from here is believed yet. */
import { z } from "zod";
import { displayUrl, fetchBounded, type Remote, requestedDelayMs } from "../io/download.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { lazyObject } from "../model/lazy-object.ts";
import { manifestName, manifestSizeLimit } from "../model/manifest.ts";
import { readOnce } from "../model/read-once.ts";
import { tryParseVersion, type Version } from "../model/version.ts";
import { sumsSizeLimit } from "../trust/checksums.ts";
import { minisigSizeLimit } from "../trust/minisign.ts";
import { openpgpSignatureSizeLimit } from "../trust/openpgp-verify.ts";
import { bundleSuffixes, signatureSuffixes } from "../trust/release-signature.ts";
import { bundleSizeLimit } from "../trust/sigstore-bundle.ts";
import { rolloutSchema } from "./cohort.ts";
import { type Installation, readCredentials, type Source } from "./installation.ts";
import type { Machine } from "./machine.ts";

const indexLimitBytes = 4 * 1024 * 1024;
const delaysMs = [5_000, 15_000, 45_000] as const;
/** Small files are asked for while somebody waits: an unreachable source is said after seconds, and a timer comes back anyway. */
const shortDelaysMs = [1_000, 3_000] as const;

const foreignAnswer = "nothing was changed; something else answers at source.url (a proxy, a login page, another path): look with curl, or correct the address";

const indexSchema = lazyObject(() => ({
  schema: z.literal(1),
  product: z.string(),
  channels: z.record(z.string(), z.string()).default({}),
  releases: z
    .array(
      lazyObject(() => ({
        version: z.string(),
        channel: z.string(),
        /** All of them; servers of before name one. */
        channels: z.array(z.string()).optional(),
        sequence: z.int().nonnegative(),
        publishedAt: z.string().optional(),
        state: z.string(),
        retiresAt: z.iso.datetime().optional(),
        /** By channel. */
        rollouts: z.record(z.string(), rolloutSchema).optional(),
      })),
    )
    .max(10_000),
  retired: z
    .array(
      lazyObject(() => ({
        version: z.string(),
        state: z.enum(["withdrawn", "retired"]).default("retired"),
        replacement: z.string().optional(),
        reason: z.string().max(2_000).optional(),
        waypoint: z.boolean().optional(),
      })),
    )
    .max(10_000)
    .default([]),
}));

export type ReleaseIndex = z.infer<typeof indexSchema>;
export type GoneRelease = ReleaseIndex["retired"][number];

/** What the index says of a version that is not offered any more; undefined for one that is, or never was. */
export function goneRelease(index: ReleaseIndex, version: Version): GoneRelease | undefined {
  return index.retired.find((release) => tryParseVersion(release.version) === version);
}

/** The bytes of a release's description; a signature that is not there is undefined. */
export type ReleaseFiles = {
  readonly sums: Uint8Array;
  readonly manifest: Uint8Array;
  readonly minisign: Uint8Array | undefined;
  readonly openpgp: Uint8Array | undefined;
  readonly sigstore: Uint8Array | undefined;
};

export type ReleaseSource = {
  /** `isOnce`: without a second round where no source answers. */
  readonly index: (signal: AbortSignal, options?: { readonly isOnce: boolean }) => Promise<ReleaseIndex>;
  readonly files: (version: Version, signal: AbortSignal) => Promise<ReleaseFiles>;
  /** The Sigstore bundle of an artifact, where there is one. */
  readonly bundle: (version: Version, name: string, signal: AbortSignal) => Promise<Uint8Array | undefined>;
  /** Runs `download` against one source after the other until one succeeds or fails for good. */
  readonly artifact: <T>(
    at: { readonly version: Version; readonly name: string; readonly signal: AbortSignal },
    download: (remote: Remote) => Promise<T>,
  ) => Promise<T>;
  /** Of the first source, without credentials. */
  readonly displayUrl: string;
};

type Asked = {
  readonly what: string;
  readonly segments: readonly string[];
  readonly signal: AbortSignal;
  /** Pauses between rounds over all sources. */
  readonly delays: readonly number[];
};

export function releaseSource(installation: Installation, machine: Machine): ReleaseSource {
  const sources: readonly Source[] = [installation.source, ...installation.source.mirrors];

  const remoteOf = async (source: Source, segments: readonly string[], signal: AbortSignal): Promise<Remote> => {
    const base = source.url.endsWith("/") ? source.url : `${source.url}/`;
    const credentials = await readCredentials(source, installation, machine.env);
    const url = new URL(["releases", installation.product, ...segments].map(encodeURIComponent).join("/"), base);
    return { fetch: machine.fetch, url, signal, ...(credentials === undefined ? {} : { credentials }) };
  };

  /** All sources in order, then a pause, then again: only for failures that may pass. The last failure is thrown. */
  const withSources = async <T>(asked: Asked, attempt: (remote: Remote) => Promise<T>): Promise<T> => {
    const { what, segments, signal, delays } = asked;
    for (let round = 0; ; round += 1) {
      let failure: SlipwayError | undefined;
      for (const source of sources) {
        try {
          return await attempt(await remoteOf(source, segments, signal));
        } catch (error) {
          failure ??= asSlipwayError(error); // the first source's answer is the one that decides and is reported
        }
        if (signal.aborted) throw failure;
      }
      const base = delays[round];
      if (failure === undefined || !failure.isRetryable || base === undefined) throw failure ?? new SlipwayError("internal", "no source was asked");
      const delayMs = requestedDelayMs(failure) ?? Math.round(base * (0.8 + 0.4 * machine.random()));
      machine.observe({ event: "retry", what, code: failure.detail ?? failure.code, message: failure.message, delayMs });
      await machine.sleep(delayMs, signal).catch(() => {
        throw new SlipwayError("interrupted", `${what}: interrupted while waiting to try again`);
      });
    }
  };

  const file = (version: Version, name: string, limit: number, signal: AbortSignal): Promise<Uint8Array> =>
    withSources({ what: name, segments: [version, name], signal, delays: shortDelaysMs }, (remote) => fetchBounded(remote, limit));

  /** Absent where the first source that answers says so; the trust policy then says whether it must be there. */
  const optionalFile = (version: Version, name: string, limit: number, signal: AbortSignal): Promise<Uint8Array | undefined> =>
    withSources({ what: name, segments: [version, name], signal, delays: shortDelaysMs }, async (remote) => {
      try {
        return await fetchBounded(remote, limit);
      } catch (error) {
        if (error instanceof SlipwayError && error.code === "not_found") return undefined;
        throw error;
      }
    });

  return {
    displayUrl: displayUrl(new URL(installation.source.url)),
    index: async (signal, { isOnce } = { isOnce: false }) => {
      const asked = { what: "index.json", segments: ["index.json"], signal, delays: isOnce ? [] : shortDelaysMs };
      const bytes = await withSources(asked, (remote) => fetchBounded(remote, indexLimitBytes));
      let value: unknown;
      try {
        value = JSON.parse(bytes.toString("utf8"));
      } catch (error) {
        throw new SlipwayError("server_error", "the release index is not JSON", { hint: foreignAnswer, cause: error });
      }
      const parsed = readOnce(indexSchema, value);
      if (!parsed.success)
        throw new SlipwayError("server_error", `the release index cannot be read: ${z.prettifyError(parsed.error).split("\n")[0] ?? ""}`, {
          hint: foreignAnswer,
        });
      if (parsed.data.product !== installation.product)
        throw new SlipwayError("server_error", `the release index is of ${JSON.stringify(parsed.data.product.slice(0, 80))}, not of ${installation.product}`, {
          hint: foreignAnswer,
        });
      return parsed.data;
    },
    files: async (version, signal) => {
      const name = installation.source.sums;
      const sums = await file(version, name, sumsSizeLimit, signal);
      const minisign = await optionalFile(version, `${name}${signatureSuffixes.minisign}`, minisigSizeLimit, signal);
      const openpgp = await optionalFile(version, `${name}${signatureSuffixes.openpgp}`, openpgpSignatureSizeLimit, signal);
      // Asked for only where somebody is trusted to have made it.
      const isBundled = installation.trust.sigstore !== undefined;
      const sigstore = isBundled ? await optionalFile(version, `${name}${signatureSuffixes.sigstore}`, bundleSizeLimit, signal) : undefined;
      const manifest = await optionalFile(version, manifestName, manifestSizeLimit, signal);
      if (manifest === undefined) throw new SlipwayError("upgrade_verification_failed", `${manifestName} is not there`, { detail: "sums_entry_missing" });
      return { sums, manifest, minisign, openpgp, sigstore };
    },
    bundle: (version, name, signal) => optionalFile(version, `${name}${bundleSuffixes.bundle}`, bundleSizeLimit, signal),
    artifact: (at, download) => withSources({ what: at.name, segments: [at.version, at.name], signal: at.signal, delays: delaysMs }, download),
  };
}
