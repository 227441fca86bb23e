/**
 * What a channel lists, signed where the key is: in CI, never on the server.
 *
 * The server hands out the present list, and might lie. So entries are taken over only from a file that our own key (or one named with --trust)
 * signed, and a release's entries are made from files that were just downloaded and verified.
 */
import { z } from "zod";
import { systemClock } from "../io/clock.ts";
import { SlipwayError } from "../model/errors.ts";
import { channelRole, releaseTargets, tufChannel } from "../repositories/tuf.ts";
import { releaseSummarySchema, type WireRelease } from "../server/wire.ts";
import { tufStateSchema, type WireTufState } from "../server/tuf-wire.ts";
import type { TufPublicKey } from "../trust/tuf-key.ts";
import { signTuf, type TufTarget } from "../trust/tuf-metadata.ts";
import { goodSignatures } from "../trust/tuf-signatures.ts";
import type { ApiClient } from "./api-client.ts";
import { type CommandRun, flagOption, type Invocation, listOption, textOption } from "./command.ts";
import { loadKeyOption } from "./tuf-ceremony.ts";
import { channelsOf, fetchTufState, openTufPlace, readTufPublicKeys, tufFileOf } from "./tuf.ts";

type Targets = Readonly<Record<string, TufTarget>>;
type Channel = { readonly state: WireTufState; readonly channel: string };

/** The channel's present entries, believed for the signature of one of `trusted` alone. Throws `metadata_threshold`. */
function trustedEntries({ state, channel }: Channel, trusted: readonly TufPublicKey[]): { readonly version: number; readonly targets: Targets } {
  const role = channelRole(state.product, channel);
  const file = tufFileOf(state, "targets", { repository: "both", role });
  if (file === undefined) return { version: 0, targets: {} };
  const keys = Object.fromEntries(trusted.map((key) => [key.keyId, key.json]));
  if (goodSignatures(file, { keyids: Object.keys(keys), threshold: 1 }, keys).length === 0) {
    throw new SlipwayError("metadata_threshold", `what the server has as ${role}, version ${file.signed.version}, was not signed by this key`, {
      hint: "sign with the key that signed it, or run `slipway tuf targets --trust PUBLIC-KEY` once when it is the vendor's other key",
    });
  }
  return { version: file.signed.version, targets: file.signed.targets };
}

/** The next version of the draft's channel with the draft in it; undefined for a product without TUF metadata. */
export async function signPublication(
  invocation: Invocation,
  input: { readonly api: ApiClient; readonly release: WireRelease; readonly sequence: number; readonly reference: string | undefined },
): Promise<string | undefined> {
  const { api, release, reference } = input;
  const { product, channel, version } = release;
  const state = await fetchTufState({ api, product });
  if (state.files.length === 0) return undefined;
  if (reference === undefined) {
    throw new SlipwayError("key_missing", `${product} is published with TUF metadata, and no key for it is named`, {
      hint: "name it in the recipe as sign.tuf, or with --tuf-key",
    });
  }
  const key = await loadKeyOption(invocation, reference);
  const before = trustedEntries({ state, channel }, [key]);
  const added = releaseTargets({ product, channel, version, sequence: input.sequence, files: release.artifacts });
  const targets = { ...before.targets, ...added };
  return Buffer.from(signTuf(tufChannel({ version: before.version + 1, now: systemClock.now(), targets }), [key])).toString("utf8");
}

/**
 * After a change of what channels list, of a product with TUF metadata: who may sign says so, since the server cannot. Updaters offer only what
 * index and metadata both list, so that until then a promoted release is not offered, and a withdrawn one is gone all the same.
 */
export async function noteUnsignedTargets(invocation: Invocation, place: { readonly api: ApiClient; readonly product: string }): Promise<void> {
  const { files } = await fetchTufState(place);
  if (files.length === 0) return;
  invocation.output.note(
    `the TUF metadata of ${place.product} lists channels as before; sign it with: slipway tuf targets --product ${place.product} --key KEY`,
  );
}

const releasesSchema = z.object({ releases: z.array(releaseSummarySchema) });

export const run: CommandRun = async (invocation) => {
  const { options, output } = invocation;
  const place = await openTufPlace(invocation);
  const { api, product } = place;
  const state = await fetchTufState(place);
  const all = tufFileOf(state, "targets", { repository: "both", role: "targets" });
  if (all === undefined) throw new SlipwayError("not_found", `${product} has no TUF metadata yet`, { hint: "begin with `slipway tuf init`" });
  const key = await loadKeyOption(invocation, textOption(options, "key") ?? "");
  const trusted = [key, ...(await readTufPublicKeys(invocation, listOption(options, "trust") ?? []))];
  const named = textOption(options, "channel");
  const channels = channelsOf(all, product);
  if (named !== undefined && !channels.includes(named))
    throw new SlipwayError("not_found", `the targets role knows no channel ${named}: ${channels.join(", ")}`);
  const { releases } = await api.call({ method: "GET", path: ["products", product, "releases"], schema: releasesSchema });
  const entries = new Map(channels.map((channel) => [channel, trustedEntries({ state, channel }, trusted)]));
  const signed: Record<string, string> = {};
  const changes: { readonly channel: string; readonly version: number; readonly added: readonly string[]; readonly dropped: readonly string[] }[] = [];
  for (const channel of channels.filter((one) => named === undefined || one === named)) {
    const before = entries.get(channel) ?? { version: 0, targets: {} };
    const next = nextTargets({ product, channel, entries, releases: releases.filter(({ state: is }) => is === "published") });
    signed[channel] = Buffer.from(signTuf(tufChannel({ version: before.version + 1, now: systemClock.now(), targets: next }), [key])).toString("utf8");
    const [old, fresh] = [versionsOf(before.targets), versionsOf(next)];
    changes.push({
      channel,
      version: before.version + 1,
      added: [...fresh].filter((version) => !old.has(version)),
      dropped: [...old].filter((version) => !fresh.has(version)),
    });
  }
  const isDry = flagOption(options, "dryRun");
  if (!isDry) await api.call({ method: "PUT", path: ["products", product, "tuf"], body: { channels: signed }, schema: tufStateSchema });
  output.result({ product, changes, done: !isDry });
  output.table(
    ["CHANNEL", "VERSION", "ADDED", "DROPPED"],
    changes.map(({ channel, version, added, dropped }) => [channel, String(version), added.join(" ") || "-", dropped.join(" ") || "-"]),
  );
  return 0;
};

type Summary = z.output<typeof releaseSummarySchema>;

/** Entries of releases that are published now. One that was promoted is listed with what its other channel says about it. */
function nextTargets(at: {
  readonly product: string;
  readonly channel: string;
  readonly entries: ReadonlyMap<string, { readonly targets: Targets }>;
  readonly releases: readonly Summary[];
}): Targets {
  const { product, channel, entries, releases } = at;
  const own = entries.get(channel)?.targets ?? {};
  const next: Record<string, TufTarget> = {};
  for (const release of releases) {
    const isHere = release.channels.some(({ name }) => name === channel);
    if (!isHere) continue;
    const kept = Object.entries(own).filter(([path]) => versionOf(path) === release.version);
    for (const [path, target] of kept) next[path] = target;
    if (kept.length > 0) continue;
    for (const { targets } of entries.values()) {
      for (const [path, target] of Object.entries(targets)) {
        if (versionOf(path) === release.version) next[`${product}/${channel}/${release.version}/${path.split("/").at(-1) ?? ""}`] = target;
      }
    }
  }
  return next;
}

/** `acme/stable/1.4.2/release.json`: the third part. */
function versionOf(path: string): string | undefined {
  return path.split("/")[2];
}

function versionsOf(targets: Targets): ReadonlySet<string> {
  return new Set(Object.keys(targets).flatMap((path) => versionOf(path) ?? []));
}
