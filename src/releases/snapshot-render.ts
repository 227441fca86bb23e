/** The files of a snapshot from its views: signed indexes of every channel, and the release index. */
import { replacementFor } from "../policy/retention.ts";
import { everybody } from "../policy/visibility.ts";
import type { Advisory } from "../repositories/advisory.ts";
import { renderApk } from "../repositories/apk.ts";
import { renderApt } from "../repositories/apt.ts";
import { type MachineRollout, releaseIndex } from "../repositories/release-index.ts";
import { fileOfBytes, type RepositoryFile } from "../repositories/repository-file.ts";
import { renderYum } from "../repositories/yum.ts";
import type { Store } from "../store/store.ts";
import { signApkMember } from "../trust/apk-signature.ts";
import { clearsign, exportPublicKeys, signDetachedArmored } from "../trust/openpgp.ts";
import { listAdvisories } from "./advisories.ts";
import { yumUpdates } from "./advisory-updates.ts";
import { type Product, readReleaseKeys } from "./products.ts";
import { listedIn, offeredVersions, type Release } from "./releases.ts";
import type { RepositoryKey } from "./repository-key.ts";
import type { Views } from "./snapshot-views.ts";

/** A signed index is good for this long; refreshSnapshots renews it well before. */
export const validUntilDays = 7;

export type Rendering = {
  readonly product: Product;
  /** Every release of the product as it will stand, in any order. */
  readonly releases: readonly Release[];
  /** Every advisory as it will stand; without them as they stand now. */
  readonly advisories?: readonly Advisory[] | undefined;
  readonly repositoryKey: RepositoryKey;
  /** An apk index that stands as in these is not made again. */
  readonly before: Pick<Views, "apk">;
  readonly views: Views;
  readonly now: Date;
  /** Of the indexes that these replace. */
  readonly previousDate?: Date | undefined;
};

/** Every file that is made anew, with its path from the tree's name on: `apt/dists/stable/InRelease`. */
export async function renderIndexes(store: Store, input: Rendering): Promise<readonly RepositoryFile[]> {
  const { product, views, now } = input;
  const { signingKey, publicText, apkKey, overlap } = input.repositoryKey;
  const signingKeys = overlap === undefined ? [signingKey] : [signingKey, overlap.signingKey];
  const apkKeys = overlap === undefined ? [apkKey] : [apkKey, overlap.apkKey];
  const seconds = Math.floor(now.getTime() / 1000);
  const sign = {
    clearsign: (text: string) => clearsign(text, signingKeys, seconds),
    detach: (bytes: Uint8Array) => signDetachedArmored(bytes, signingKeys, seconds),
  };
  const signedBy = signingKeys.map(({ fingerprint }) => fingerprint);
  const previousDate = input.previousDate === undefined ? {} : { previousDate: input.previousDate };
  const { openpgp } = await readReleaseKeys(store, product.name);
  // rpm reads only the first key of an armored block: one block for each key.
  const keyrings = [publicText, ...(openpgp === undefined ? [] : [openpgp])].map((text) => Buffer.from(text));
  const publicKey = Buffer.from(await exportPublicKeys(keyrings, "asc-blocks")).toString("utf8");
  const files: RepositoryFile[] = [];
  for (const [channel, state] of Object.entries(views.apt)) {
    const view = { state, product: product.name, channel, now, ...previousDate, validUntilDays, sign, signedBy };
    for (const file of await renderApt(view)) files.push({ ...file, path: `apt/${file.path}` });
  }
  const advisories = input.advisories ?? (await listAdvisories(store, product.id));
  const updates = await yumUpdates(store, { advisories, releases: input.releases });
  for (const [channel, state] of Object.entries(views.yum)) {
    const fixes = { product: product.name, channel, list: updates.get(channel) ?? [] };
    for (const file of await renderYum({ state, now, ...previousDate, sign, publicKey, updates: fixes }))
      files.push({ ...file, path: `yum/${channel}/${file.path}` });
  }
  const signIndex = async (index: Uint8Array) => apkKeys.flatMap((key) => signApkMember(index, key));
  for (const [channel, state] of Object.entries(views.apk)) {
    if (state === input.before.apk[channel]) continue;
    const rendered = await renderApk({ state, product: product.name, channel, now, sign: signIndex });
    for (const file of rendered) files.push({ ...file, path: `apk/${channel}/${file.path}` });
  }
  files.push(indexFile(product, input.releases));
  return files;
}

function indexFile(product: Product, releases: readonly Release[]): RepositoryFile {
  const visible = releases.flatMap((release) => {
    const { version, sequence, publishedAt } = release;
    const channels = listedIn(release);
    return publishedAt === undefined || channels.length === 0
      ? []
      : [{ version, channels, sequence: sequence ?? 0, publishedAt, retiresAt: release.retiresAt, rollouts: machineRollouts(release) }];
  });
  const staying = offeredVersions(releases);
  const gone = releases.flatMap(({ version, replacement, reason, state, stage, compat }) => {
    if (state !== "withdrawn" && state !== "retired" && stage !== "unlisted") return [];
    // What it was replaced by may have left since, or be hidden from this view's readers.
    const instead = replacement !== undefined && staying.includes(replacement) ? replacement : replacementFor(version, staying);
    const isWithdrawn = state === "withdrawn";
    return [{ version, state: isWithdrawn ? state : ("retired" as const), replacement: instead, reason, isWaypoint: compat?.waypoint }];
  });
  const text = `${JSON.stringify(releaseIndex(product.name, visible, gone), undefined, 2)}\n`;
  return fileOfBytes("releases/index.json", Buffer.from(text), "application/json");
}

/** Who sees it at all is decided by the view; what is left for the updater is which machines wait, and a halt for who keeps seeing it. */
function machineRollouts(release: Release): Readonly<Record<string, MachineRollout>> {
  const listed = new Set(listedIn(release));
  const staged = release.channels.filter(({ channel, share, machines, isBypass }) => listed.has(channel) && !isBypass && (share === 0 || machines < everybody));
  return Object.fromEntries(
    staged.map(({ channel, share, salt, machines }) => [channel, { salt, percent: machines / 100, ...(share === 0 ? { halted: true as const } : {}) }]),
  );
}
