/**
 * Indexes over a part of what the vendor listed, signed by this mirror's own key (decision 7): only packages whose bytes the vendor's release
 * keys signed, and only of the wanted versions. The vendor's entries are taken as they stand; nothing is written about a package here.
 */
import { describeApkEntry, readApkIndex } from "../formats/apk-index-read.ts";
import { readFileBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { apkVersion, type Version } from "../model/version.ts";
import { emptyApk, renderApk, updateApk } from "../repositories/apk.ts";
import { type AptEntry, emptyApt, renderApt, updateApt } from "../repositories/apt.ts";
import { memoryIndexFiles } from "../repositories/index-files.ts";
import type { RepositoryFile } from "../repositories/repository-file.ts";
import { renderYum, updateYum } from "../repositories/yum.ts";
import type { YumFragments } from "../repositories/yum-fragments.ts";
import { type ApkSigningKey, signApkMember } from "../trust/apk-signature.ts";
import { clearsign, exportPublicKeys, type OpenpgpSigningKey, signDetachedArmored } from "../trust/openpgp.ts";
import { addDocument, addFile, type Collected, type Collecting, type PlannedFile } from "./collect.ts";
import { describeStanza, readStanzas } from "./collect-apt.ts";
import { describeRpm, readFragments, type YumIndex } from "./collect-yum.ts";

/** How long a release file of ours is good: a mirror behind an air gap is renewed when somebody carries a bundle in. */
const validUntilDays = 400;

/** Our keys; each with its public half for clients. */
export type MirrorKeys = { readonly openpgp?: OpenpgpSigningKey; readonly apk?: ApkSigningKey };

/** What of the vendor's lists is wanted. */
export type WantedPackages = {
  /** SHA-256 in hex of every artifact of the wanted releases: what the release keys signed. */
  readonly digests: ReadonlySet<string>;
  readonly versions: readonly Version[];
};

export type OwnIndexing = {
  readonly collecting: Collecting;
  readonly channel: string;
  readonly wanted: WantedPackages;
  readonly keys: MirrorKeys;
};

/** Takes the vendor's files of one channel (collectApt) and adds ours to `collected`. */
export async function ownApt({ collecting, channel, wanted, keys }: OwnIndexing, upstream: Collected, collected: Collected): Promise<void> {
  const { product, pool, now } = collecting;
  const root = `apt/${product}`;
  if (!upstream.files.has(`${root}/dists/${channel}/InRelease`)) return;
  const entries: AptEntry[] = [];
  const architectures: string[] = [];
  const files = new Map<string, PlannedFile>();
  for (const file of upstream.files.values()) {
    const [, arch] = /\/binary-([a-z0-9-]+)\/Packages\.gz$/.exec(file.path) ?? [];
    if (arch === undefined || file.proof.kind !== "sha256" || !file.path.startsWith(`${root}/dists/${channel}/`)) continue;
    architectures.push(arch);
    for await (const stanza of readStanzas(pool.pathOf(file.proof.hex), { size: file.size, codec: "gzip", path: file.path })) {
      const { filename, sha256 } = describeStanza(stanza, file.path);
      const planned = upstream.files.get(`${root}/${filename}`);
      if (!wanted.digests.has(sha256) || planned === undefined) continue;
      entries.push({ arch, stanza });
      files.set(planned.path, planned);
    }
  }
  const indexes = memoryIndexFiles();
  const state = await updateApt(await emptyApt(indexes, architectures), { add: entries }, indexes);
  const key = requireKey(keys.openpgp, "gpg");
  const seconds = Math.floor(now.getTime() / 1000);
  const sign = { clearsign: (text: string) => clearsign(text, key, seconds), detach: (bytes: Uint8Array) => signDetachedArmored(bytes, key, seconds) };
  const rendered = await renderApt({ state, product, channel, now, validUntilDays, signedBy: [key.fingerprint], sign });
  await addRendered(collecting, collected, { root, rendered, bytesOf: indexes.bytesOf });
  for (const file of files.values()) addFile(collected, file);
  collected.marks.set(`apt/${product}/${channel}`, upstream.marks.get(`apt/${product}/${channel}`) ?? 0);
}

/** The same for YUM; `indexes` as collectYum returned them. */
export async function ownYum(
  { collecting, channel, wanted, keys }: OwnIndexing,
  indexes: readonly YumIndex[],
  upstream: Collected,
  collected: Collected,
): Promise<void> {
  if (indexes.length === 0) return;
  const { product, pool, now } = collecting;
  const root = `yum/${product}/${channel}`;
  const byPackage = new Map<string, Partial<Record<"primary" | "filelists" | "other", string>>>();
  for (const index of [...indexes].sort((left, right) => (left.type === "primary" ? -1 : right.type === "primary" ? 1 : 0))) {
    const { type } = index;
    if (type !== "primary" && type !== "filelists" && type !== "other") continue;
    for await (const fragment of readFragments(pool.pathOf(index.hex), index)) {
      const id = type === "primary" ? describeRpm(fragment, root).sha256 : (/pkgid="([0-9a-f]{64})"/.exec(fragment)?.[1] ?? "");
      const planned = type === "primary" && wanted.digests.has(id) && upstream.files.has(`${root}/${describeRpm(fragment, root).href}`);
      const known = byPackage.get(id) ?? (planned ? {} : undefined);
      if (known !== undefined) byPackage.set(id, { ...known, [type]: fragment });
    }
  }
  const fragments: YumFragments[] = [];
  for (const [id, { primary, filelists, other }] of byPackage) {
    if (primary === undefined || filelists === undefined || other === undefined)
      throw new SlipwayError("upgrade_verification_failed", `${root} lists package ${id} in some of its indexes only`, { detail: "release_json_mismatch" });
    fragments.push({ primary, filelists, other });
    const planned = upstream.files.get(`${root}/${describeRpm(primary, root).href}`);
    if (planned !== undefined) addFile(collected, planned);
  }
  const made = memoryIndexFiles();
  const state = await updateYum(undefined, { add: fragments }, made);
  const key = requireKey(keys.openpgp, "gpg");
  const seconds = Math.floor(now.getTime() / 1000);
  const publicKey = await publicKeysOf(collecting, key);
  const rendered = await renderYum({
    state,
    now,
    sign: { detach: (bytes) => signDetachedArmored(bytes, key, seconds) },
    publicKey: Buffer.from(publicKey).toString("utf8"),
  });
  await addRendered(collecting, collected, { root, rendered, bytesOf: made.bytesOf });
  collected.marks.set(root, upstream.marks.get(root) ?? 0);
}

/** The same for APK: by version, because its index names a package by something else than the SHA-256 of the file. */
export async function ownApk({ collecting, channel, wanted, keys }: OwnIndexing, upstream: Collected, collected: Collected): Promise<void> {
  const { product, pool, now } = collecting;
  const root = `apk/${product}/${channel}`;
  const key = requireKey(keys.apk, "apk");
  const versions = new Set(wanted.versions.map(apkVersion));
  let state = emptyApk();
  for (const file of upstream.files.values()) {
    const [, arch] = /^apk\/[^/]+\/[^/]+\/([^/]+)\/APKINDEX\.tar\.gz$/.exec(file.path) ?? [];
    if (arch === undefined || !file.path.startsWith(`${root}/`) || file.proof.kind !== "sha256") continue;
    const index = await readApkIndex(await readFileBounded(pool.pathOf(file.proof.hex), file.size));
    const stanzas = index.stanzas.filter((stanza) => versions.has(describeApkEntry(stanza).version.replace(/-r\d+$/, "")));
    state = updateApk({ schema: 1, indexes: { ...state.indexes, [arch]: [] } }, { add: stanzas.map((stanza) => ({ arch, stanza })) });
    for (const stanza of stanzas) {
      const { name, version } = describeApkEntry(stanza);
      const planned = upstream.files.get(`${root}/${arch}/${name}-${version}.apk`);
      if (planned !== undefined) addFile(collected, planned);
    }
    collected.marks.set(`${root}/${arch}`, upstream.marks.get(`${root}/${arch}`) ?? 0);
  }
  if (Object.keys(state.indexes).length === 0) return;
  const rendered = await renderApk({ state, product, channel, now, sign: async (bytes) => signApkMember(bytes, key) });
  await addRendered(collecting, collected, { root, rendered, bytesOf: memoryIndexFiles().bytesOf });
  await addDocument(collecting, collected, { path: `keys/apk/${key.keyFile}`, bytes: Buffer.from(key.publicText) });
}

/** The key files of a product whose indexes are ours: our key first, because apt reads the first block of an `.asc` only. */
export async function ownKeyFiles(collecting: Collecting, collected: Collected, keys: MirrorKeys): Promise<void> {
  if (keys.openpgp === undefined) return;
  const vendor = collecting.trust.files.find(({ path }) => path === `keys/${collecting.product}.asc`)?.bytes;
  const own = keys.openpgp.privateKey.toPublic().write();
  const keyrings = [own, ...(vendor === undefined ? [] : [vendor])];
  await addDocument(collecting, collected, { path: `keys/${collecting.product}.asc`, bytes: await exportPublicKeys(keyrings, "asc-blocks") });
  await addDocument(collecting, collected, { path: `keys/${collecting.product}.gpg`, bytes: await exportPublicKeys(keyrings, "gpg") });
}

async function publicKeysOf(collecting: Collecting, key: OpenpgpSigningKey): Promise<Uint8Array> {
  const vendor = collecting.trust.files.find(({ path }) => path === `keys/${collecting.product}.asc`)?.bytes;
  return exportPublicKeys([key.privateKey.toPublic().write(), ...(vendor === undefined ? [] : [vendor])], "asc-blocks");
}

type Rendered = {
  readonly root: string;
  readonly rendered: readonly RepositoryFile[];
  /** Where the indexes among them are. */
  readonly bytesOf: ReturnType<typeof memoryIndexFiles>["bytesOf"];
};

async function addRendered(collecting: Collecting, collected: Collected, { root, rendered, bytesOf }: Rendered): Promise<void> {
  for (const file of rendered) {
    const bytes = file.bytes ?? bytesOf(file.digest);
    await addDocument(collecting, collected, { path: `${root}/${file.path}`, bytes, immutable: file.isImmutable });
  }
}

function requireKey<K>(key: K | undefined, name: string): K {
  if (key === undefined) throw new SlipwayError("key_missing", `indexes of this mirror's own need sign.${name}`);
  return key;
}
