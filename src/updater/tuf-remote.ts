/** Where TUF metadata and targets come from: the source and its mirrors, a bundle, or the address that the installation file names. */
import { fetchBounded } from "../io/download.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { type Installation, readCredentials } from "./installation.ts";
import type { Machine } from "./machine.ts";
import type { TufSource } from "./tuf-session.ts";

export type TufRemote = TufSource & {
  /** The bytes of a target under its consistent name, never more than `limit`; undefined where the source has none. */
  readonly target: (path: string, limit: number) => Promise<Uint8Array | undefined>;
};

/** `tuf/<product>/online/` (offline: of a bundle) of the source and its mirrors, or `url`, which ends in `metadata/` with `targets/` beside it. */
export function tufRemote(
  installation: Installation,
  machine: Machine,
  { url, repository, signal }: { readonly url: string | undefined; readonly repository: "online" | "offline"; readonly signal: AbortSignal },
): TufRemote {
  const sources = [installation.source, ...(url === undefined ? installation.source.mirrors : [])];
  const ask = async (path: string, limit: number): Promise<Uint8Array | undefined> => {
    let failure: SlipwayError | undefined;
    for (const source of sources) {
      const metadata = url ?? `${source.url.replace(/\/+$/, "")}/tuf/${encodeURIComponent(installation.product)}/${repository}/metadata/`;
      const base = new URL(metadata.endsWith("/") ? metadata : `${metadata}/`);
      // The pair is for the vendor's server alone.
      const credentials = base.origin === new URL(source.url).origin ? await readCredentials(source, installation, machine.env) : undefined;
      try {
        return await fetchBounded({ fetch: machine.fetch, url: new URL(path, base), signal, ...(credentials === undefined ? {} : { credentials }) }, limit);
      } catch (error) {
        const refusal = asSlipwayError(error);
        // Withheld is as good as absent: for a root it only lasts until the timestamp expires (specification 5.3.3).
        if (refusal.code === "not_found" || refusal.code === "forbidden") return undefined;
        failure ??= refusal;
      }
    }
    throw failure ?? new SlipwayError("internal", "no source was asked for metadata");
  };
  return { metadata: ask, target: (path, limit) => ask(`../targets/${path}`, limit) };
}
