/** `slipway tuf init|rotate|upload|status|export`: what the server has, and what the next ceremony signs. */
import { resolve } from "node:path";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { systemClock } from "../io/clock.ts";
import { keyFolderPath, readKey } from "../io/key-folder.ts";
import { SlipwayError } from "../model/errors.ts";
import { parseWord } from "../model/names.ts";
import { channelRole, type TufRepository, tufChannel, tufRepositories, tufRoot, tufTargets } from "../repositories/tuf.ts";
import { productSchema } from "../server/wire.ts";
import { tufStateSchema, type WireTufState } from "../server/tuf-wire.ts";
import { readTufPublicKey, tufKeySizeLimit, type TufPublicKey } from "../trust/tuf-key.ts";
import { readTufFile, signTuf, type TufFile, type TufKeys, type TufRole } from "../trust/tuf-metadata.ts";
import { type ApiClient, openApi } from "./api-client.ts";
import { readRecipeIfPresent } from "./built-release.ts";
import { type CommandRun, flagOption, type Invocation, listOption, textOption } from "./command.ts";
import { printStand, readCeremony, writeCeremony } from "./tuf-ceremony.ts";

type Place = { readonly api: ApiClient; readonly product: string };

/** The server, and the product: --product, else the recipe's. */
export async function openTufPlace(invocation: Invocation): Promise<Place> {
  const recipe = await readRecipeIfPresent(invocation);
  const product = textOption(invocation.options, "product") ?? recipe?.name;
  if (product === undefined) throw new SlipwayError("usage", "which product?", { hint: "name it with --product, or run where its recipe lies" });
  return { api: await openApi(invocation, recipe?.publish.server), product };
}

export function fetchTufState({ api, product }: Place): Promise<WireTufState> {
  return api.call({ method: "GET", path: ["products", product, "tuf"], schema: tufStateSchema });
}

/** One file of the state, read; undefined where the product has none of that role. */
export function tufFileOf<K extends "root" | "targets">(
  state: WireTufState,
  kind: K,
  at: { readonly repository: string; readonly role: string },
): TufFile<K> | undefined {
  const found = state.files.find((file) => file.repository === at.repository && file.role === at.role);
  return found === undefined ? undefined : readTufFile(kind, Buffer.from(found.content));
}

/** `key:NAME` of the key folder, or a file that holds the public half. */
export async function readTufPublicKeys(invocation: Invocation, names: readonly string[]): Promise<readonly TufPublicKey[]> {
  const { env, cwd } = invocation;
  return Promise.all(
    names.map(async (name) => {
      const bytes = name.startsWith("key:")
        ? await readKey(keyFolderPath(env), { name: parseWord("key", name.slice(4)), type: "tuf" }, "pub")
        : await readFileBounded(resolve(cwd, name), tufKeySizeLimit);
      return readTufPublicKey(bytes.toString("utf8"));
    }),
  );
}

async function keysOption(invocation: Invocation, name: "rootKeys" | "targetsKeys"): Promise<readonly TufPublicKey[] | undefined> {
  const names = listOption(invocation.options, name);
  return names === undefined ? undefined : readTufPublicKeys(invocation, names);
}

function thresholdOption({ options }: Invocation): number | undefined {
  const text = textOption(options, "threshold");
  if (text === undefined) return undefined;
  if (!/^[1-9]\d?$/.test(text)) throw new SlipwayError("usage", `--threshold ${text} is not a number of keys`);
  return Number(text);
}

export const runInit: CommandRun = async (invocation) => {
  const place = await openTufPlace(invocation);
  const { api, product } = place;
  const root = await keysOption(invocation, "rootKeys");
  const targets = await keysOption(invocation, "targetsKeys");
  if (root === undefined || targets === undefined) {
    throw new SlipwayError("usage", "name the public keys with --root-keys and --targets-keys", {
      hint: "each holder makes one with: slipway keys new NAME --type tuf",
    });
  }
  await api.call({ method: "POST", path: ["products"], body: { name: product }, schema: productSchema });
  const before = await fetchTufState(place);
  if (before.files.length > 0)
    throw new SlipwayError("conflict", `${product} has TUF metadata already`, { hint: "prepare its next version with `slipway tuf rotate`" });
  const state = before.serverKeys === null ? await makeServerKeys(place) : before;
  const channels = (listOption(invocation.options, "channels") ?? []).map((name) => parseWord("channel", name));
  const made = { version: 1, now: systemClock.now() };
  const files = new Map<string, Uint8Array>();
  for (const repository of tufRepositories) {
    const keys = { root, rootThreshold: thresholdOption(invocation) ?? 2, targets, online: serverKey(state, repository) };
    files.set(`${repository}.root.json`, signTuf(tufRoot({ ...made, product, repository, keys }), []));
  }
  files.set("targets.json", signTuf(tufTargets({ ...made, product, channels, keys: targets }), []));
  for (const channel of channels) files.set(`channel.${channel}.json`, signTuf(tufChannel({ ...made, targets: {} }), []));
  return begin(invocation, product, files);
};

export const runRotate: CommandRun = async (invocation) => {
  const place = await openTufPlace(invocation);
  const { product } = place;
  const before = await fetchTufState(place);
  const targetsBefore = tufFileOf(before, "targets", { repository: "both", role: "targets" });
  if (targetsBefore === undefined) throw new SlipwayError("not_found", `${product} has no TUF metadata yet`, { hint: "begin with `slipway tuf init`" });
  const isFresh = flagOption(invocation.options, "serverKeys");
  const state = isFresh ? await makeServerKeys(place) : before;
  const newRoot = await keysOption(invocation, "rootKeys");
  const newTargets = await keysOption(invocation, "targetsKeys");
  const now = systemClock.now();
  const files = new Map<string, Uint8Array>();
  let targets: readonly TufPublicKey[] = newTargets ?? [];
  for (const repository of tufRepositories) {
    const present = tufFileOf(state, "root", { repository, role: "root" });
    if (present === undefined) throw new SlipwayError("not_found", `${product} has no ${repository} root`);
    const { roles, keys, version } = present.signed;
    targets = newTargets ?? keysOf(roles.targets, keys);
    const [online] = isFresh ? [serverKey(state, repository)] : keysOf(roles.timestamp, keys);
    if (online === undefined) throw new SlipwayError("metadata_invalid", `the ${repository} root names no timestamp key`);
    const named = { root: newRoot ?? keysOf(roles.root, keys), rootThreshold: thresholdOption(invocation) ?? roles.root.threshold, targets, online };
    files.set(`${repository}.root.json`, signTuf(tufRoot({ version: version + 1, now, product, repository, keys: named }), []));
    files.set(`${repository}.present.json`, present.bytes);
  }
  const channels = listOption(invocation.options, "channels")?.map((name) => parseWord("channel", name)) ?? channelsOf(targetsBefore, product);
  const renewed = { version: targetsBefore.signed.version + 1, now, product, channels, keys: targets, targets: targetsBefore.signed.targets };
  files.set("targets.json", signTuf(tufTargets(renewed), []));
  for (const channel of channels) {
    const file = tufFileOf(state, "targets", { repository: "both", role: channelRole(product, channel) });
    files.set(`channel.${channel}.json`, signTuf(tufChannel({ version: (file?.signed.version ?? 0) + 1, now, targets: file?.signed.targets ?? {} }), []));
  }
  return begin(invocation, product, files);
};

async function makeServerKeys({ api, product }: Place): Promise<WireTufState> {
  return api.call({ method: "POST", path: ["products", product, "tuf", "keys"], schema: tufStateSchema, isRepeatable: false });
}

function serverKey(state: WireTufState, repository: TufRepository): TufPublicKey {
  const key = state.serverKeys?.[repository];
  if (key === undefined) throw new SlipwayError("server_error", "the server made no TUF keys");
  return key;
}

function keysOf(role: TufRole, keys: TufKeys): readonly TufPublicKey[] {
  return role.keyids.flatMap((keyId) => {
    const json = keys[keyId];
    return json === undefined ? [] : [{ keyId, json }];
  });
}

/** From the names of the delegated roles, `<product>-<channel>`. */
export function channelsOf(targets: TufFile<"targets">, product: string): readonly string[] {
  return (targets.signed.delegations?.roles ?? []).flatMap(({ name }) => (name.startsWith(`${product}-`) ? [name.slice(product.length + 1)] : []));
}

async function begin(invocation: Invocation, product: string, files: ReadonlyMap<string, Uint8Array>): Promise<number> {
  const { args, output, cwd } = invocation;
  const folder = resolve(cwd, args[0] ?? "");
  await writeCeremony(folder, product, files);
  printStand(output, await readCeremony(folder));
  output.result({ product, folder, files: [...files.keys()] });
  output.line(`carry ${folder} to every key holder: slipway tuf sign ${args[0] ?? ""} --key key:NAME`);
  return 0;
}

export const runUpload: CommandRun = async (invocation) => {
  const { args, output, cwd } = invocation;
  const folder = resolve(cwd, args[0] ?? "");
  const ceremony = await readCeremony(folder);
  if (!printStand(output, ceremony))
    throw new SlipwayError("metadata_threshold", "signatures are missing", { hint: "see SIGNED BY above; sign with `slipway tuf sign`" });
  const textOf = (file: TufFile<"root" | "targets"> | undefined): string | undefined =>
    file === undefined ? undefined : Buffer.from(file.bytes).toString("utf8");
  const { api, product } = { api: await openApi(invocation), product: ceremony.product };
  const body = {
    roots: { online: textOf(ceremony.roots.online), offline: textOf(ceremony.roots.offline) },
    targets: textOf(ceremony.targets),
    channels: Object.fromEntries([...ceremony.channels].map(([channel, file]) => [channel, textOf(file)])),
  };
  const state = await api.call({ method: "PUT", path: ["products", product, "tuf"], body, schema: tufStateSchema });
  output.result(summaryOf(state));
  output.line(`${product} has its TUF metadata; customers find it at ${api.server}/tuf/${product}/online/metadata/`);
  return 0;
};

/** Below this, somebody should sign. */
const warnDays = { root: 60, both: 30 } as const;

type Summary = {
  readonly product: string;
  readonly files: readonly { readonly repository: string; readonly role: string; readonly version: number; readonly expires: string }[];
};

function summaryOf(state: WireTufState): Summary {
  return { product: state.product, files: state.files.map(({ repository, role, version, expires }) => ({ repository, role, version, expires })) };
}

export const runStatus: CommandRun = async (invocation) => {
  const { output } = invocation;
  const place = await openTufPlace(invocation);
  const summary = summaryOf(await fetchTufState(place));
  const now = systemClock.now().getTime();
  const files = summary.files.map((file) => {
    const days = Math.floor((Date.parse(file.expires) - now) / 86_400_000);
    const isOurs = file.role === "root" || file.repository === "both";
    const limit = file.role === "root" ? warnDays.root : warnDays.both;
    const next = file.role === "root" || file.role === "targets" ? "slipway tuf rotate" : "slipway tuf targets";
    const advice = isOurs && days < limit ? `sign again: ${next}` : Date.parse(file.expires) < now ? "expired: does the server run?" : "";
    return { ...file, days, advice };
  });
  output.result({ ...summary, files });
  if (files.length === 0) output.line(`${place.product} has no TUF metadata; begin with: slipway tuf init`);
  else
    output.table(
      ["REPOSITORY", "ROLE", "VERSION", "EXPIRES", "DAYS", ""],
      files.map(({ repository, role, version, expires, days, advice }) => [repository, role, String(version), expires, String(days), advice]),
    );
  return 0;
};

export const runExport: CommandRun = async (invocation) => {
  const { options, output, cwd } = invocation;
  const place = await openTufPlace(invocation);
  const repository = textOption(options, "repository") ?? "online";
  const root = tufFileOf(await fetchTufState(place), "root", { repository, role: "root" });
  if (root === undefined) throw new SlipwayError("not_found", `${place.product} has no ${repository} root`, { hint: "begin with `slipway tuf init`" });
  const out = textOption(options, "out") ?? "";
  await writeFileAtomic(resolve(cwd, out), root.bytes, { mode: 0o644 });
  output.result({ product: place.product, repository, version: root.signed.version, out });
  output.line(`wrote ${out}: the ${repository} root of ${place.product}, version ${root.signed.version}; compare its key ids with what the holders have`);
  return 0;
};
