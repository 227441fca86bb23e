/** Reads the repositories of one product as its clients do, and holds every byte against what signed it. */
import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { pinKeys, verifyDetached } from "../../src/trust/openpgp-verify.ts";
import { requireCleartext } from "../../src/trust/openpgp-cleartext.ts";
import { get, hexOf, type Pair, type RunningServer } from "../server/running-server.ts";

export type Reader = {
  readonly product: string;
  readonly pair: Pair;
  readonly channels: readonly string[];
  /** Channels that the grant leaves out: no index at all. */
  readonly hiddenChannels?: readonly string[];
  /** Whether a file of this version may answer 410 now. */
  readonly mayBeGone: (version: string) => Promise<boolean>;
  readonly mustNotSee: (version: string) => boolean;
  /** Every index that was given out so far, by its address, with its digest: it has to stay. */
  readonly served: Map<string, string>;
};

type Reading = { readonly running: RunningServer; readonly reader: Reader; readonly random: () => number; readonly keys: Awaited<ReturnType<typeof pinKeys>> };

/** The versions that each channel lists, the same in APT and YUM; throws for anything that does not fit. */
export async function checkIndexes(running: RunningServer, reader: Reader, random: () => number): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
  const { product, served, channels, hiddenChannels = [] } = reader;
  const key = await bytesAt({ running, reader }, `/keys/${product}.gpg`);
  assert.ok(key !== undefined);
  const reading: Reading = { running, reader, random, keys: await pinKeys(key) };
  const listed = new Map<string, ReadonlySet<string>>();
  for (const channel of channels) {
    listed.set(channel, await checkApt(reading, channel));
    await checkYum(reading, channel);
  }
  for (const channel of hiddenChannels) {
    assert.equal(await bytesAt(reading, `/apt/${product}/dists/${channel}/InRelease`), undefined, channel);
    assert.equal(await bytesAt(reading, `/yum/${product}/${channel}/repodata/repomd.xml`), undefined, channel);
  }
  await checkList(reading);
  for (const path of [...served.keys()].toSorted(() => random() - 0.5).slice(0, 4)) {
    const bytes = await bytesAt(reading, path);
    assert.equal(bytes === undefined ? undefined : hexOf(bytes), served.get(path), `${path} was served once`);
  }
  return listed;
}

/** Undefined for 404; any other refusal throws. */
async function bytesAt({ running, reader }: Pick<Reading, "running" | "reader">, path: string): Promise<Buffer | undefined> {
  const response = await get(running, path, reader.pair);
  const bytes = Buffer.from(await response.arrayBuffer());
  if (response.status === 404) return undefined;
  assert.equal(response.status, 200, `${path}: ${response.status} ${response.statusText}`);
  return bytes;
}

async function indexAt(reading: Reading, path: string, hex: string): Promise<Buffer> {
  const bytes = await bytesAt(reading, path);
  assert.ok(bytes !== undefined, `${path} is named by a signed file and not there`);
  assert.equal(hexOf(bytes), hex, `${path} is not what the signed file names`);
  return bytes;
}

/** The file that an index lists: whole, or 410 for a version that was taken back. */
async function checkListed(reading: Reading, path: string, version: string, expected: { readonly size: number; readonly hex: string }): Promise<void> {
  const { running, reader, random } = reading;
  const method = random() < 0.2 ? "GET" : "HEAD";
  const response = await fetch(running.url + path, { method, headers: { authorization: reader.pair.authorization } });
  const bytes = Buffer.from(await response.arrayBuffer());
  assert.ok(!reader.mustNotSee(version), `${path} is listed for somebody who may not see it`);
  if (response.status === 410 && (await reader.mayBeGone(version))) return;
  assert.equal(response.status, 200, `${path} is listed: ${response.status} ${response.statusText}`);
  assert.equal(response.headers.get("content-length"), String(expected.size), path);
  if (method === "GET") assert.equal(hexOf(bytes), expected.hex, path);
}

/** deb and rpm spell what comes before a release with a tilde. */
const plainVersion = (packaged: string): string => packaged.replace("~", "-");

async function checkApt(reading: Reading, channel: string): Promise<ReadonlySet<string>> {
  const { reader, keys } = reading;
  const root = `/apt/${reader.product}/dists/${channel}`;
  const inRelease = await bytesAt(reading, `${root}/InRelease`);
  const versions = new Set<string>();
  if (inRelease === undefined) return versions;
  const [, text = ""] = /\n\n([\s\S]*?\n)-----BEGIN PGP SIGNATURE/.exec(inRelease.toString()) ?? [];
  await requireCleartext({ signed: inRelease, plain: Buffer.from(text), keyring: keys });
  const listed = [...text.matchAll(/^ ([0-9a-f]{64}) +\d+ (\S+\/Packages\.gz)$/gm)];
  assert.ok(listed.length > 0, text);
  for (const [, hex = "", path = ""] of listed) {
    const byHash = `${root}/${path.replace("Packages.gz", `by-hash/SHA256/${hex}`)}`;
    const packages = gunzipSync(await indexAt(reading, byHash, hex)).toString();
    reader.served.set(byHash, hex);
    // An apt that knows no by-hash: the reader's lease holds the name to the snapshot of the signed file.
    await indexAt(reading, `${root}/${path}`, hex);
    for (const stanza of packages.split("\n\n").filter((one) => one !== "")) {
      const field = (name: string): string => new RegExp(`^${name}: (.*)$`, "m").exec(stanza)?.[1] ?? "";
      const version = plainVersion(field("Version"));
      versions.add(version);
      await checkListed(reading, `/apt/${reader.product}/${field("Filename")}`, version, { size: Number(field("Size")), hex: field("SHA256") });
    }
  }
  const release = await bytesAt(reading, `${root}/Release`);
  const signature = await bytesAt(reading, `${root}/Release.gpg`);
  assert.ok(release !== undefined && signature !== undefined, `${root} lost its release files`);
  assert.equal((await verifyDetached({ data: release, signature, keyring: keys, now: new Date() })).kind, "good", `${root}/Release.gpg`);
  return versions;
}

async function checkYum(reading: Reading, channel: string): Promise<void> {
  const { reader, keys } = reading;
  const root = `/yum/${reader.product}/${channel}`;
  const repomd = await bytesAt(reading, `${root}/repodata/repomd.xml`);
  if (repomd === undefined) return;
  const signature = await bytesAt(reading, `${root}/repodata/repomd.xml.asc`);
  assert.ok(signature !== undefined, `${root} lost its signature`);
  assert.equal((await verifyDetached({ data: repomd, signature, keyring: keys, now: new Date() })).kind, "good", `${root}/repodata/repomd.xml.asc`);
  const data = [...repomd.toString().matchAll(/<data type="(\w+)">\s*<checksum type="sha256">([0-9a-f]+)<\/checksum>[\s\S]*?<location href="([^"]+)"/g)];
  assert.ok(data.length >= 3, repomd.toString());
  for (const [, type, hex = "", href = ""] of data) {
    const index = gunzipSync(await indexAt(reading, `${root}/${href}`, hex)).toString();
    reader.served.set(`${root}/${href}`, hex);
    if (type !== "primary") continue;
    for (const [one] of index.matchAll(/<package [\s\S]*?<\/package>/g)) {
      const found = (pattern: RegExp): string => pattern.exec(one)?.[1] ?? "";
      const version = plainVersion(found(/ver="([^"]+)"/));
      const expected = { size: Number(found(/<size package="(\d+)"/)), hex: found(/pkgid="YES">([0-9a-f]+)</) };
      await checkListed(reading, `${root}/${found(/<location href="([^"]+)"/)}`, version, expected);
    }
  }
}

async function checkList(reading: Reading): Promise<void> {
  const { reader } = reading;
  const bytes = await bytesAt(reading, `/releases/${reader.product}/index.json`);
  assert.ok(bytes !== undefined);
  const list = JSON.parse(bytes.toString()) as { readonly releases: readonly { readonly version: string }[] };
  for (const { version } of list.releases) {
    assert.ok(!reader.mustNotSee(version), `index.json shows ${version} to somebody who may not see it`);
    const response = await get(reading.running, `/releases/${reader.product}/${version}/SHA256SUMS`, reader.pair);
    await response.arrayBuffer();
    assert.ok(response.status === 200 || (response.status === 410 && (await reader.mayBeGone(version))), `${version}: ${response.status}`);
  }
}
