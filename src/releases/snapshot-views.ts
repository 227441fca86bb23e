/** What a snapshot's indexes grow from: the state of each format in each channel, kept as JSON with the snapshot. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { type ApkState, apkStateSchema, emptyApk, updateApk } from "../repositories/apk.ts";
import { type AptState, aptStateSchema, updateApt } from "../repositories/apt.ts";
import type { IndexFiles } from "../repositories/index-files.ts";
import { updateYum, type YumState, yumStateSchema } from "../repositories/yum.ts";
import type { BlobStore } from "../store/blobs.ts";
import type { SnapshotTable } from "../store/schema.ts";
import type { DescribedPackage } from "./describe-package.ts";

/** apk's indexes are served for these from a channel's first apk on, also where all of its packages are of no architecture; others join with a package. */
const apkArchitectures = ["aarch64", "x86_64"] as const;

const viewsSchema = z.strictObject({
  apt: z.record(z.string(), aptStateSchema),
  yum: z.record(z.string(), yumStateSchema),
  /** Snapshots of before APK was served have none. */
  apk: z.record(z.string(), apkStateSchema).default({}),
});
/** By channel: what the next snapshot grows from. */
export type Views = {
  readonly apt: Readonly<Record<string, AptState>>;
  readonly yum: Readonly<Record<string, YumState>>;
  readonly apk: Readonly<Record<string, ApkState>>;
};

/** Packages that come or go, with a channel of their release. */
export type ListedPackage = { readonly channel: string; readonly described: DescribedPackage };

/** Throws `internal` where they are damaged. */
export function parseViews(snapshot: SnapshotTable | undefined): Views {
  if (snapshot === undefined) return { apt: {}, yum: {}, apk: {} };
  const parsed = viewsSchema.safeParse(JSON.parse(snapshot.views));
  if (!parsed.success) throw new SlipwayError("internal", `the views of snapshot ${snapshot.id} are damaged: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** Package indexes among the blobs. A snapshot's rows name every index file that its views grow from, so they stay as long as it. */
function indexFilesIn(blobs: BlobStore): IndexFiles {
  return {
    readInto: (file, start, into) => blobs.readInto(file, start, into),
    put: async (content) => (await blobs.put(content)).digest,
  };
}

export type PackageChange = {
  readonly add: readonly ListedPackage[];
  readonly remove: readonly ListedPackage[];
  /** By channel, the SHA-256 (hex) of debs and rpms that leave indexes which are not grown from: cheaper than their texts. */
  readonly without?: ReadonlyMap<string, Without>;
};
export type Without = { readonly deb: ReadonlySet<string>; readonly rpm: ReadonlySet<string> };

/** The views after a change; the new index files are stored when it returns, before anything names them. Throws `disk_full`, `internal` for damage. */
export async function growViews(before: Views, change: PackageChange, blobs: BlobStore): Promise<Views> {
  const files = indexFilesIn(blobs);
  const apt: Record<string, AptState> = { ...before.apt };
  const yum: Record<string, YumState> = { ...before.yum };
  const apk: Record<string, ApkState> = { ...before.apk };
  const channels = new Set([...change.add, ...change.remove].map((listed) => listed.channel));
  for (const channel of change.without?.keys() ?? []) channels.add(channel);
  const grow = async (channel: string): Promise<void> => {
    const inChannel = (listed: readonly ListedPackage[]) => listed.filter((one) => one.channel === channel).map((one) => one.described);
    const [come, go] = [inChannel(change.add), inChannel(change.remove)];
    const debs = (list: readonly DescribedPackage[]) => list.flatMap((one) => (one.kind === "deb" ? [one.entry] : []));
    const rpms = (list: readonly DescribedPackage[]) => list.flatMap((one) => (one.kind === "rpm" ? [one.fragments] : []));
    const apks = (list: readonly DescribedPackage[]) => list.flatMap((one) => (one.kind === "apk" ? [one.entry] : []));
    const { deb, rpm } = change.without?.get(channel) ?? {};
    if (debs(come).length + debs(go).length + (deb?.size ?? 0) > 0)
      apt[channel] = await updateApt(apt[channel], { add: debs(come), remove: debs(go), without: deb }, files);
    if (rpms(come).length + rpms(go).length + (rpm?.size ?? 0) > 0)
      yum[channel] = await updateYum(yum[channel], { add: rpms(come), remove: rpms(go), without: rpm }, files);
    if (apks(come).length + apks(go).length > 0) apk[channel] = updateApk(apk[channel] ?? emptyApk(apkArchitectures), { add: apks(come), remove: apks(go) });
  };
  for (const channel of [...channels].sort()) await grow(channel);
  return { apt, yum, apk };
}
