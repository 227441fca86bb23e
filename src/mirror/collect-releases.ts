/**
 * Reads the releases of one product: the list (which nobody signs, so that it only says where to look), and of each wanted version the sums by
 * their signatures, release.json by the sums, every file by release.json.
 */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { manifestName, manifestSizeLimit } from "../model/manifest.ts";
import { parseFileName } from "../model/names.ts";
import { compareVersions, newestStable, tryParseVersion, type Version } from "../model/version.ts";
import { sumsSizeLimit } from "../trust/checksums.ts";
import { minisigSizeLimit } from "../trust/minisign.ts";
import { openpgpSignatureSizeLimit } from "../trust/openpgp-verify.ts";
import { signatureSuffixes } from "../trust/release-signature.ts";
import { bundleSizeLimit } from "../trust/sigstore-bundle.ts";
import type { Verified } from "../trust/verified.ts";
import { type ReleaseDescription, verifyRelease } from "../trust/verify-release.ts";
import { addDocument, addFile, type Collected, type Collecting, movedError, readDocument, readKeptDocument, sha256Hex } from "./collect.ts";
import { goneReleaseSchema } from "./gone.ts";
import type { ProductSelection } from "./settings.ts";

const listLimit = 8 * 1024 * 1024;
/** Files that the sums list and release.json does not describe: records, small. */
const recordLimit = 64 * 1024 * 1024;

const listSchema = z.looseObject({
  schema: z.literal(1),
  product: z.string().max(63),
  channels: z.record(z.string(), z.string()).default({}),
  releases: z
    .array(
      z.looseObject({
        version: z.string().max(128),
        channel: z.string().max(63),
        /** Servers before 0.3 name one channel only. */
        channels: z.array(z.string().max(63)).max(20).optional(),
        sequence: z.int().nonnegative(),
        state: z.string().max(32),
      }),
    )
    .max(10_000),
  supported: z.array(z.string().max(128)).max(10_000).optional(),
  retired: z.array(z.looseObject(goneReleaseSchema.shape)).max(10_000).default([]),
});

export type ReleaseList = z.output<typeof listSchema>;
export type ListedRelease = ReleaseList["releases"][number] & { readonly version: Version };

/** The list, its wanted releases newest first, and the bytes as they came. Undefined where the product has no list. */
export type WantedReleases = { readonly list: ReleaseList; readonly wanted: readonly ListedRelease[]; readonly bytes: Buffer };

/** Throws `server_error` for a list that cannot be read or is of another product. */
export async function readReleaseList(collecting: Collecting, collected: Collected): Promise<WantedReleases | undefined> {
  const { product, selection } = collecting;
  const read = await readList(collecting);
  if (read === undefined) return undefined;
  const { list, bytes } = read;
  collected.openers.set(listPath(product), sha256Hex(bytes));
  const wanted = chooseReleases(list, selection);
  for (const channel of selection.channels) {
    const newest = Math.max(0, ...wanted.filter((release) => channelsOf(release).includes(channel)).map(({ sequence }) => sequence));
    collected.marks.set(`releases/${product}/${channel}`, newest);
  }
  return { list, wanted, bytes };
}

/** What left, for a mirror that takes nothing else of the list; every pair may read it, whatever its formats. Throws as readReleaseList. */
export async function readRetired(collecting: Collecting): Promise<ReleaseList["retired"] | undefined> {
  return (await readList(collecting))?.list.retired;
}

const listPath = (product: string): string => `releases/${product}/index.json`;

async function readList(collecting: Collecting): Promise<{ readonly list: ReleaseList; readonly bytes: Buffer } | undefined> {
  const path = listPath(collecting.product);
  const bytes = await readDocument(collecting, path, listLimit);
  if (bytes === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw new SlipwayError("server_error", `${path} is not JSON`, { cause: error });
  }
  const parsed = listSchema.safeParse(value);
  if (!parsed.success) throw new SlipwayError("server_error", `${path} cannot be read: ${z.prettifyError(parsed.error).split("\n")[0] ?? ""}`);
  if (parsed.data.product !== collecting.product) throw new SlipwayError("server_error", `${path} is of the product ${JSON.stringify(parsed.data.product)}`);
  return { list: parsed.data, bytes };
}

function chooseReleases(list: ReleaseList, selection: ProductSelection): readonly ListedRelease[] {
  const published = list.releases.flatMap((release) => {
    const version = tryParseVersion(release.version);
    return version === release.version && release.state === "published" ? [{ ...release, version }] : [];
  });
  const newestFirst = published.toSorted((left, right) => compareVersions(right.version, left.version));
  const inChannels = selection.channels.map((name) => newestFirst.filter((release) => channelsOf(release).includes(name)).slice(0, selection.last));
  const chosen = new Set(inChannels.flat());
  return newestFirst.filter((release) => chosen.has(release));
}

function channelsOf({ channel, channels }: ReleaseList["releases"][number]): readonly string[] {
  return channels ?? [channel];
}

/** The list as the tree shows it: as it came where everything in it is here, otherwise without what is not. */
export function treeList({ list, wanted, bytes }: WantedReleases, product: string): Uint8Array {
  if (wanted.length === list.releases.length) return bytes;
  const versions = new Set<string>(wanted.map(({ version }) => version));
  const channels: Record<string, string> = {};
  for (const release of wanted) for (const name of channelsOf(release)) channels[name] ??= release.version;
  const stable = newestStable(wanted.filter((release) => channelsOf(release).includes("stable")).map(({ version }) => version));
  if (stable !== undefined) channels["stable"] = stable;
  const shown = {
    ...list,
    product,
    channels,
    releases: list.releases.filter(({ version }) => versions.has(version)),
    ...(list.supported === undefined ? {} : { supported: list.supported.filter((version) => versions.has(version)) }),
  };
  return Buffer.from(`${JSON.stringify(shown, undefined, 2)}\n`);
}

/** One release, proven; its documents and files are added where `isListed`. Throws `upgrade_verification_failed`. */
export async function collectRelease(
  collecting: Collecting,
  version: Version,
  options: { readonly collected: Collected; readonly isListed: boolean },
): Promise<Verified<ReleaseDescription>> {
  const { product, selection, trust, now } = collecting;
  const { collected, isListed } = options;
  const root = `releases/${product}/${version}`;
  if (trust.release === undefined) throw new Error("bug: releases without a pinned key");
  const sums = await readKeptDocument(collecting, `${root}/${selection.sums}`, sumsSizeLimit);
  const manifest = await readKeptDocument(collecting, `${root}/${manifestName}`, manifestSizeLimit);
  if (sums === undefined || manifest === undefined) throw movedError(root);
  const minisign = await readKeptDocument(collecting, `${root}/${selection.sums}${signatureSuffixes.minisign}`, minisigSizeLimit);
  const openpgp = await readKeptDocument(collecting, `${root}/${selection.sums}${signatureSuffixes.openpgp}`, openpgpSignatureSizeLimit);
  const release = await verifyRelease({ sums, manifest, signatures: { minisign, openpgp }, expected: { product, version }, policy: trust.release, now });
  if (!isListed) return release;
  // During a rotation the sums are signed by the next key as well, in a file named after it.
  const others = (release.manifest.trust?.keys ?? [])
    .filter(({ kind }) => kind === "minisign")
    .map(({ id }) => `${selection.sums}.${id}${signatureSuffixes.minisign}`);
  const byOthers: (readonly [string, Buffer | undefined])[] = [];
  for (const name of others) byOthers.push([name, await readKeptDocument(collecting, `${root}/${name}`, minisigSizeLimit)]);
  const documents: readonly (readonly [string, Buffer | undefined])[] = [
    [selection.sums, sums],
    [manifestName, manifest],
    [`${selection.sums}${signatureSuffixes.minisign}`, minisign],
    [`${selection.sums}${signatureSuffixes.openpgp}`, openpgp],
    ...byOthers,
  ];
  for (const [name, bytes] of documents) if (bytes !== undefined) await addDocument(collecting, collected, { path: `${root}/${name}`, bytes, immutable: true });
  await collectBundles(collecting, release, collected);
  const described = new Set<string>([manifestName]);
  for (const artifact of release.manifest.artifacts) {
    described.add(artifact.name);
    const isOfOther = artifact.arch !== undefined && selection.architectures !== undefined && !selection.architectures.includes(artifact.arch);
    if (isOfOther) continue;
    const path = `${root}/${parseFileName(artifact.name)}`;
    addFile(collected, { path, source: path, size: artifact.size, proof: { kind: "sha256", hex: artifact.sha256 }, immutable: true });
  }
  for (const [name, hex] of release.sums) {
    if (described.has(name)) continue;
    const path = `${root}/${parseFileName(name)}`;
    const bytes = await readKeptDocument(collecting, path, recordLimit);
    if (bytes === undefined || sha256Hex(bytes) !== hex)
      throw new SlipwayError("upgrade_verification_failed", `${path} ${bytes === undefined ? "is not there" : "is not what the sums list"}`, {
        detail: "hash_mismatch",
      });
    await addDocument(collecting, collected, { path, bytes, immutable: true });
  }
  return release;
}

/**
 * Sigstore bundles, where the vendor has them: over the sums, then over each file. They stand in no sums because they are made after them, and
 * prove themselves; they are copied, not judged here.
 */
async function collectBundles(collecting: Collecting, release: ReleaseDescription, collected: Collected): Promise<void> {
  const root = `releases/${release.product}/${release.version}`;
  const copy = async (name: string): Promise<boolean> => {
    const path = `${root}/${name}${signatureSuffixes.sigstore}`;
    const bytes = await readKeptDocument(collecting, path, bundleSizeLimit);
    if (bytes !== undefined) await addDocument(collecting, collected, { path, bytes, immutable: true });
    return bytes !== undefined;
  };
  if (!(await copy(collecting.selection.sums))) return;
  for (const name of release.sums.keys()) await copy(parseFileName(name));
}

/** `latest/`: the files of the newest stable version under their own name, and with `latest` in place of the version, as the server has them. */
export function addLatest(collected: Collected, product: string, versions: readonly Version[]): void {
  const version = newestStable(versions);
  if (version === undefined) return;
  const root = `releases/${product}/${version}/`;
  for (const file of [...collected.files.values()].filter(({ path }) => path.startsWith(root))) {
    const name = file.path.slice(root.length);
    for (const alias of new Set([name, name.replace(version, "latest")])) {
      const path = `releases/${product}/latest/${alias}`;
      if (!collected.files.has(path)) addFile(collected, { ...file, path, immutable: false });
    }
  }
}
