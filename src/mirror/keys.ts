/** Whom a mirror trusts for one product: keys that the operator pinned, by file or by fingerprint, and the files with them in the tree. */
import { resolve } from "node:path";
import { readNamedFile } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { type ApkPublicKey, apkKeySizeLimit, readApkPublicKey } from "../trust/apk-signature.ts";
import { createTrustPolicy, kindOfPublicKey, type TrustPolicy } from "../trust/keyring.ts";
import { formatMinisignPublicKey, parseMinisignPublicKey } from "../trust/minisign-key.ts";
import { exportPublicKeys, fingerprintOf, openpgpKeySizeLimit } from "../trust/openpgp.ts";
import { type OpenpgpKeyring, pinKeys } from "../trust/openpgp-verify.ts";
import { hasOwnIndexes, type KeySettings, type MirrorFormat, type ProductSelection } from "./settings.ts";
import { tufLimits } from "../trust/tuf-metadata.ts";
import type { MirrorSource } from "./source.ts";

export type ProductTrust = {
  /** May sign the indexes of apt and yum; undefined where no OpenPGP key is pinned. */
  readonly repository: OpenpgpKeyring | undefined;
  /** Signs the sums of releases; undefined where no key is pinned for it. */
  readonly release: TrustPolicy | undefined;
  /** May sign the apk indexes. */
  readonly apk: readonly ApkPublicKey[];
  /** A root of the offline TUF repository. */
  readonly tufRoot?: Uint8Array | undefined;
  /** What clients of the mirror need, by path in the tree. */
  readonly files: readonly { readonly path: string; readonly bytes: Uint8Array }[];
  /** Fingerprints, key ids and names, for people to compare. */
  readonly names: readonly string[];
};

const minisignLimit = 4_096;

/**
 * Reads the pinned keys. Relative files start at `folder`. Throws `policy_invalid` where a wanted format has no key that could prove it (the
 * one for apk is asked for with the first index), `source_missing` for a file that is not there and `key_invalid` for an unreadable one.
 */
export async function loadTrust(request: {
  readonly product: string;
  readonly keys: KeySettings;
  readonly selection: ProductSelection;
  readonly folder: string;
  readonly source: MirrorSource;
  readonly signal: AbortSignal;
}): Promise<ProductTrust> {
  const { product, keys, selection, folder } = request;
  const pinned = [...(keys.repository ?? []), ...(keys.release ?? [])];
  const keyring = keys.openpgp === undefined ? await fetchKeyring(request, pinned) : await readNamedFile(resolve(folder, keys.openpgp), openpgpKeySizeLimit);
  const minisign = keys.minisign === undefined ? undefined : await readMinisign(keys.minisign, folder);
  const apk = keys.apk === undefined ? [] : [readApkPublicKey((await readNamedFile(resolve(folder, keys.apk), apkKeySizeLimit)).toString("utf8"))];
  const repository = keyring === undefined ? undefined : await pinKeys(keyring, keys.repository);
  const trust: ProductTrust = {
    repository,
    release: await releasePolicy(keyring, keys, minisign),
    apk,
    tufRoot: keys.tuf === undefined ? undefined : await readNamedFile(resolve(folder, keys.tuf), tufLimits.root),
    files: [],
    names: [...(repository?.keys.map(fingerprintOf) ?? []), ...(minisign === undefined ? [] : [`minisign ${minisign}`]), ...apk.map(({ keyFile }) => keyFile)],
  };
  requireKeys(product, selection, trust);
  return { ...trust, files: await keyFiles(product, { keyring, pinned, minisign, apk }) };
}

/** By fingerprint alone: the keys come from the source, and only those that were pinned are taken. */
async function fetchKeyring(
  request: { readonly product: string; readonly source: MirrorSource; readonly signal: AbortSignal },
  pinned: readonly string[],
): Promise<Buffer | undefined> {
  if (pinned.length === 0) return undefined;
  const path = `keys/${request.product}.asc`;
  const bytes = await request.source.read(path, { limit: openpgpKeySizeLimit, signal: request.signal });
  if (bytes === undefined)
    throw new SlipwayError("not_found", `${request.source.name} has no ${path}`, { hint: "name a file with the vendor's keys under keys.openpgp" });
  return bytes;
}

async function readMinisign(text: string, folder: string): Promise<string> {
  const isBare = kindOfPublicKey(Buffer.from(text)) === "minisign";
  return isBare ? text : (await readNamedFile(resolve(folder, text), minisignLimit)).toString("utf8");
}

async function releasePolicy(keyring: Uint8Array | undefined, keys: KeySettings, minisign: string | undefined): Promise<TrustPolicy | undefined> {
  if (keyring === undefined && minisign === undefined) return undefined;
  return createTrustPolicy({
    ...(minisign === undefined ? {} : { minisign: [minisign] }),
    ...(keyring === undefined ? {} : { openpgp: { keyring, ...(keys.release === undefined ? {} : { fingerprints: keys.release }) } }),
    // minisign's comment binds product and version; where only OpenPGP is pinned, release.json does.
    require: [minisign === undefined ? "openpgp" : "minisign"],
  });
}

/** What a missing key is answered with; `proven` are the formats that it is needed for. */
function unpinned(
  { product, selection }: { readonly product: string; readonly selection: ProductSelection },
  { what, key, proven }: { readonly what: string; readonly key: string; readonly proven: readonly MirrorFormat[] },
): SlipwayError {
  const others = selection.formats.filter((format) => !proven.includes(format));
  const without = others.length === 0 ? "" : `; or leave it out with formats: [${others.join(", ")}]`;
  return new SlipwayError("policy_invalid", `${product}: nothing is pinned that could prove ${what}`, {
    hint: `name ${key} under products.${product}.keys, from a place that you trust${without}`,
  });
}

/** Asked once an apk index is there: a product without apks needs no key for them. Throws `policy_invalid`. */
export function requireApkKey(wanted: { readonly product: string; readonly selection: ProductSelection; readonly trust: ProductTrust }): void {
  if (wanted.trust.apk.length === 0) throw unpinned(wanted, { what: "its apk indexes", key: "apk", proven: ["apk"] });
}

function requireKeys(product: string, selection: ProductSelection, trust: ProductTrust): void {
  const { formats } = selection;
  if ((formats.includes("apt") || formats.includes("yum")) && trust.repository === undefined)
    throw unpinned({ product, selection }, { what: "its package indexes", key: "openpgp, or repository with the fingerprint", proven: ["apt", "yum"] });
  if ((formats.includes("files") || formats.includes("images") || hasOwnIndexes(selection)) && trust.release === undefined)
    throw unpinned({ product, selection }, { what: "its releases", key: "minisign or openpgp", proven: ["files", "images"] });
}

type LoadedKeys = {
  readonly keyring: Uint8Array | undefined;
  readonly pinned: readonly string[];
  readonly minisign: string | undefined;
  readonly apk: readonly ApkPublicKey[];
};

async function keyFiles(product: string, { keyring, pinned, minisign, apk }: LoadedKeys): Promise<ProductTrust["files"]> {
  const files: { path: string; bytes: Uint8Array }[] = [];
  if (keyring !== undefined) {
    const { keys } = await pinKeys(keyring, pinned.length === 0 ? undefined : [...new Set(pinned.map((text) => text.replaceAll(" ", "").toUpperCase()))]);
    const each = keys.map((key) => key.write());
    files.push({ path: `keys/${product}.asc`, bytes: await exportPublicKeys(each, "asc-blocks") });
    files.push({ path: `keys/${product}.gpg`, bytes: await exportPublicKeys(each, "gpg") });
  }
  if (minisign !== undefined)
    files.push({ path: `keys/${product}.minisign.pub`, bytes: Buffer.from(formatMinisignPublicKey(parseMinisignPublicKey(minisign))) });
  for (const { keyFile, publicText } of apk) files.push({ path: `keys/apk/${keyFile}`, bytes: Buffer.from(publicText) });
  return files;
}
