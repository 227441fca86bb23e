/**
 * What a channel lists, signed where the key is: in CI, never on the server.
 *
 * The server hands out the present list, and might lie. So entries are taken over only from a file that our own key (or one named with --trust)
 * signed, and a release's entries are made from files that were just downloaded and verified.
 */
import { resolve } from "node:path";
import { z } from "zod";
import { readFileBounded } from "../io/bounded-read.ts";
import { systemClock } from "../io/clock.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import type { Recipe } from "../packaging/recipe.ts";
import { channelRole, releaseTargets, tufChannel, tufTargetsWith } from "../repositories/tuf.ts";
import { releaseSummarySchema, type WireRelease } from "../server/wire.ts";
import { tufStateSchema, type WireTufState } from "../server/tuf-wire.ts";
import { digestOf } from "../trust/checksums.ts";
import { parseTrustedRoot, requireWholeInstance, sigstoreRootTarget, trustedRootSizeLimit } from "../trust/sigstore-policy.ts";
import type { TufPublicKey, TufSigningKey } from "../trust/tuf-key.ts";
import { signTuf, type TufFile } from "../trust/tuf-metadata.ts";
import { goodSignatures } from "../trust/tuf-signatures.ts";
import type { ApiClient } from "./api-client.ts";
import type { CheckedDraft } from "./check-by-download.ts";
import type { Reach } from "./reach-option.ts";
import { type CommandRun, flagOption, type Invocation, listOption, textOption } from "./command.ts";
import { loadKeyOption } from "./tuf-ceremony.ts";
import { type Listed, nextTargets, type Targets, versionsOf } from "./next-targets.ts";
import { changedRollouts, nextRollout, type RolloutWord } from "./signed-rollouts.ts";
import { channelsOf, fetchTufState, openTufPlace, readTufPublicKeys, tufFileOf } from "./tuf.ts";

type Place = { readonly api: ApiClient; readonly product: string };
type Channel = { readonly state: WireTufState; readonly channel: string };

/** The channel's present entries, believed for the signature of one of `trusted` alone. Throws `metadata_threshold`. */
function trustedEntries({ state, channel }: Channel, trusted: readonly TufPublicKey[]): { readonly version: number; readonly targets: Targets } {
  const role = channelRole(state.product, channel);
  const file = tufFileOf(state, "targets", { repository: "both", role });
  if (file === undefined) return { version: 0, targets: {} };
  requireSignedBy(file, trusted, role);
  return { version: file.signed.version, targets: file.signed.targets };
}

function requireSignedBy(file: TufFile<"targets">, trusted: readonly TufPublicKey[], role: string): void {
  const keys = Object.fromEntries(trusted.map((key) => [key.keyId, key.json]));
  if (goodSignatures(file, { keyids: Object.keys(keys), threshold: 1 }, keys).length > 0) return;
  throw new SlipwayError("metadata_threshold", `what the server has as ${role}, version ${file.signed.version}, was not signed by this key`, {
    hint: "sign with the key that signed it, or run `slipway tuf targets --trust PUBLIC-KEY` once when it is the vendor's other key",
  });
}

/** The next version of the draft's channel with the draft in it; undefined for a product without TUF metadata. */
export async function signPublication(
  invocation: Invocation,
  input: {
    readonly api: ApiClient;
    readonly release: WireRelease;
    readonly checked: Pick<CheckedDraft, "sequence" | "isWaypoint">;
    readonly reference: string | undefined;
    readonly reach: Reach;
  },
): Promise<string | undefined> {
  const { api, release, reference, reach } = input;
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
  const rollout = nextRollout(undefined, everybody, reach);
  const added = releaseTargets({ product, channel, version, ...input.checked, files: release.artifacts, rollout });
  const targets = { ...before.targets, ...added };
  return Buffer.from(signTuf(tufChannel({ version: before.version + 1, now: systemClock.now(), targets }), [key])).toString("utf8");
}

const everybody = { percent: 100, machines: 100, bypass: false };

/** A rollout that the operator has just typed: signed as he said it, not as the server repeats it. */
export type TypedRollout = { readonly version: string; readonly channel: string; readonly reach: Reach };

/**
 * After a change of what channels list, of a product with TUF metadata: signs what they list now with the key of the recipe or --tuf-key, or says
 * who may, since the server cannot. Until then a promoted release is not offered; a withdrawn one is gone all the same, and so is a halted one.
 */
export async function settleTargets(
  invocation: Invocation,
  place: { readonly api: ApiClient; readonly product: string; readonly recipe: Recipe | undefined },
  typed?: TypedRollout,
): Promise<void> {
  const { output, options } = invocation;
  const state = await fetchTufState(place);
  if (state.files.length === 0) return;
  const reference = textOption(options, "tufKey") ?? place.recipe?.sign.tuf;
  const again = `sign it with: slipway tuf targets --product ${place.product} --key KEY${typed === undefined ? "" : " --raise-rollouts"}`;
  if (reference === undefined) {
    output.note(`the TUF metadata of ${place.product} lists channels as before; ${again}`);
    return;
  }
  try {
    const key = await loadKeyOption(invocation, reference);
    const changes = await signTargets(place, { state, key, trusted: [key], wordOn: (at) => (isSame(at, typed) ? typed?.reach : undefined) });
    output.note(`signed what ${changes.map(({ channel }) => channel).join(" and ")} of ${place.product} list now`);
  } catch (error) {
    const { code, message } = asSlipwayError(error);
    throw new SlipwayError(code, `the change is made, and the TUF metadata still lists channels as before: ${message}`, { hint: again, cause: error });
  }
}

const isSame = (left: Listed, right: Listed | undefined): boolean => left.version === right?.version && left.channel === right.channel;

const releasesSchema = z.object({ releases: z.array(releaseSummarySchema) });

type ChannelChange = {
  readonly channel: string;
  readonly version: number;
  readonly added: readonly string[];
  readonly dropped: readonly string[];
  /** `1.5.0 10 % of the machines`, where it is another than before. */
  readonly rollouts: readonly string[];
};

type Signing = {
  readonly state: WireTufState;
  readonly key: TufSigningKey;
  readonly trusted: readonly TufPublicKey[];
  /** Only this channel. */
  readonly channel?: string | undefined;
  /** What the operator says about a release in a channel; undefined: nothing. */
  readonly wordOn: (at: Listed) => RolloutWord | undefined;
  readonly sigstoreRoot?: Uint8Array | undefined;
  readonly isDry?: boolean;
};

/** Signs the next version of each channel's role, and of the targets role where it is to list a trusted root; nothing is sent on a dry run. */
async function signTargets({ api, product }: Place, signing: Signing): Promise<readonly ChannelChange[]> {
  const { state, key, trusted, channel: named, sigstoreRoot, wordOn, isDry = false } = signing;
  const all = tufFileOf(state, "targets", { repository: "both", role: "targets" });
  if (all === undefined) throw new SlipwayError("not_found", `${product} has no TUF metadata yet`, { hint: "begin with `slipway tuf init`" });
  const channels = channelsOf(all, product);
  if (named !== undefined && !channels.includes(named))
    throw new SlipwayError("not_found", `the targets role knows no channel ${named}: ${channels.join(", ")}`);
  const { releases } = await api.call({ method: "GET", path: ["products", product, "releases"], schema: releasesSchema });
  const entries = new Map(channels.map((channel) => [channel, trustedEntries({ state, channel }, trusted)]));
  const now = systemClock.now();
  const signed: Record<string, string> = {};
  const changes: ChannelChange[] = [];
  for (const channel of channels.filter((one) => named === undefined || one === named)) {
    const before = entries.get(channel) ?? { version: 0, targets: {} };
    const next = nextTargets({ product, channel, entries, releases, wordOn });
    const version = before.version + 1;
    signed[channel] = Buffer.from(signTuf(tufChannel({ version, now, targets: next }), [key])).toString("utf8");
    const [old, fresh] = [versionsOf(before.targets), versionsOf(next)];
    changes.push({
      channel,
      version,
      added: [...fresh].filter((one) => !old.has(one)),
      dropped: [...old].filter((one) => !fresh.has(one)),
      rollouts: changedRollouts(before.targets, next),
    });
  }
  const body = { channels: signed, ...(sigstoreRoot === undefined ? {} : signRoot(all, { now, key, trusted, bytes: sigstoreRoot })) };
  if (!isDry) await api.call({ method: "PUT", path: ["products", product, "tuf"], body, schema: tufStateSchema });
  return changes;
}

function signRoot(
  before: TufFile<"targets">,
  { now, key, trusted, bytes }: { readonly now: Date; readonly key: TufSigningKey; readonly trusted: readonly TufPublicKey[]; readonly bytes: Uint8Array },
): { readonly targets: string; readonly sigstoreRoot: string } {
  requireSignedBy(before, trusted, "targets");
  const next = tufTargetsWith(before.signed, { now, path: sigstoreRootTarget, bytes });
  return { targets: Buffer.from(signTuf(next, [key])).toString("utf8"), sigstoreRoot: Buffer.from(bytes).toString("utf8") };
}

export const run: CommandRun = async (invocation) => {
  const { options, output, cwd } = invocation;
  const place = await openTufPlace(invocation);
  const { product } = place;
  const state = await fetchTufState(place);
  const rootFile = textOption(options, "sigstoreTrustedRoot");
  const sigstoreRoot = rootFile === undefined ? undefined : await readFileBounded(resolve(cwd, rootFile), trustedRootSizeLimit);
  if (sigstoreRoot !== undefined) requireWholeInstance(await parseTrustedRoot(sigstoreRoot));
  const key = await loadKeyOption(invocation, textOption(options, "key") ?? "");
  const trusted = [key, ...(await readTufPublicKeys(invocation, listOption(options, "trust") ?? []))];
  const isDry = flagOption(options, "dryRun");
  const wordOn = () => (flagOption(options, "raiseRollouts") ? ("any" as const) : undefined);
  const changes = await signTargets(place, { state, key, trusted, channel: textOption(options, "channel"), sigstoreRoot, wordOn, isDry });
  output.result({ product, changes, sigstoreRoot: sigstoreRoot === undefined ? null : digestOf(sigstoreRoot), done: !isDry });
  output.table(
    ["CHANNEL", "VERSION", "ADDED", "DROPPED", "ROLLOUTS"],
    changes.map(({ channel, version, added, dropped, rollouts }) => [
      channel,
      String(version),
      added.join(" ") || "-",
      dropped.join(" ") || "-",
      rollouts.join(", ") || "-",
    ]),
  );
  if (sigstoreRoot !== undefined) output.line(`the targets role lists ${sigstoreRootTarget}; installations with a Sigstore policy follow it`);
  return 0;
};
