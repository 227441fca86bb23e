/**
 * A vendor in memory: every format of one product, signed with test keys, as the files that a server would answer; and a source over them that
 * counts what is asked for and lets a test step in between.
 */
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { readApk } from "../../src/formats/apk-read.ts";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { systemClock } from "../../src/io/clock.ts";
import { loadTrust } from "../../src/mirror/keys.ts";
import { type KeySettings, productSelectionSchema } from "../../src/mirror/settings.ts";
import { type MirrorSource, writePart } from "../../src/mirror/source.ts";
import { type SyncEvent, type SyncRequest, type SyncSummary, syncMirror } from "../../src/mirror/sync.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { ociTag, parseVersion, type Version } from "../../src/model/version.ts";
import { type ApkState, apkStanza, emptyApk, renderApk, updateApk } from "../../src/repositories/apk.ts";
import type { AptEntry } from "../../src/repositories/apt.ts";
import { type GoneRelease, releaseIndex } from "../../src/repositories/release-index.ts";
import type { YumFragments } from "../../src/repositories/yum-fragments.ts";
import { signApkMember } from "../../src/trust/apk-signature.ts";
import { formatChecksums } from "../../src/trust/checksums.ts";
import { formatMinisignPublicKey, generateMinisignKey } from "../../src/trust/minisign-key.ts";
import { createReleaseSigner, signSums } from "../../src/trust/release-signature.ts";
import { signRpmHeader } from "../../src/trust/rpm-signature.ts";
import { apkBytes, apkKey, apkSamples } from "../formats/apk-sample.ts";
import { aptEntryOf, printingPackage, writeTestDeb, writeTestRpm, yumFragmentsOf } from "../support/test-packages.ts";
import { makeTestKey, type TestKey, TestRepository } from "../support/test-repository.ts";

export const product = "coequal";
export const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");

type Published = { readonly version: Version; readonly sequence: number; readonly remove: () => Promise<void> };

export class SampleVendor {
  /** By path with a leading slash, and with the query where one is asked for. */
  readonly files = new Map<string, Uint8Array>();
  /** Addresses that answer 410, with the version that they were of. */
  readonly goneFiles = new Map<string, string>();
  readonly repository = new TestRepository(this.files);
  readonly repositoryKey: TestKey;
  readonly releaseKey = generateMinisignKey();
  private apk: ApkState = emptyApk(["x86_64"]);
  private readonly published = new Map<string, Published>();
  private readonly retired: GoneRelease[] = [];
  private readonly tags = new Map<string, string>();

  constructor(repositoryKey: TestKey) {
    this.repositoryKey = repositoryKey;
  }

  put(path: string, content: Uint8Array | string): void {
    this.files.set(`/${path}`, Buffer.from(content));
  }

  get(path: string): Buffer {
    const bytes = this.files.get(`/${path}`);
    if (bytes === undefined) throw new Error(`the vendor has no ${path}`);
    return Buffer.from(bytes);
  }

  /** A deb and an rpm for two architectures, an apk, an archive and an image, all signed and listed. */
  async publish(text: string): Promise<void> {
    const version = parseVersion(text);
    const sequence = 1_780_000_000 + this.published.size + this.retired.length;
    const artifacts: { name: string; kind: string; os: string; arch: string; bytes: Uint8Array }[] = [];
    const debs: AptEntry[] = [];
    const rpms: YumFragments[] = [];
    const sign = async (header: Uint8Array) => signRpmHeader(header, this.repositoryKey.signingKey, sequence);
    for (const [arch, deb, rpm] of [
      ["amd64", "amd64", "x86_64"],
      ["arm64", "arm64", "aarch64"],
    ] as const) {
      const one = printingPackage(product, version, arch);
      const debBytes = await writeTestDeb(one);
      const rpmBytes = await writeTestRpm(one, sign);
      const debName = `${product}_${version}_${deb}.deb`;
      const rpmName = `${product}-${version}-1.${rpm}.rpm`;
      this.put(`apt/${product}/pool/main/c/${product}/${debName}`, debBytes);
      this.put(`yum/${product}/stable/${rpm}/${rpmName}`, rpmBytes);
      debs.push(await aptEntryOf(debBytes, `pool/main/c/${product}/${debName}`));
      rpms.push(await yumFragmentsOf(rpmBytes, `${rpm}/${rpmName}`));
      artifacts.push({ name: debName, kind: "deb", os: "linux", arch, bytes: debBytes }, { name: rpmName, kind: "rpm", os: "linux", arch, bytes: rpmBytes });
      artifacts.push({
        name: `${product}-${version}-linux-${arch}`,
        kind: "binary",
        os: "linux",
        arch,
        bytes: Buffer.from(`#!/bin/sh\necho ${version} ${arch}\n`),
      });
    }
    const spec = apkSamples["plain"] ?? Object.values(apkSamples)[0];
    if (spec === undefined) throw new Error("no sample apk");
    const apk = await apkBytes({ ...spec, name: product, version });
    const described = await readApk(bytesSource(apk));
    const entry = { ...apkStanza(described), arch: "x86_64" };
    this.put(`apk/${product}/stable/x86_64/${product}-${described.info.version}.apk`, apk);
    artifacts.push({ name: `${product}_${version}_x86_64.apk`, kind: "apk", os: "linux", arch: "amd64", bytes: apk });
    const image = this.pushImage(version);
    await this.repository.publishApt(this.repositoryKey, { add: debs });
    await this.repository.publishYum(this.repositoryKey, { add: rpms });
    await this.renderApk(updateApk(this.apk, { add: [entry] }));
    await this.writeRelease({ version, sequence, artifacts, imageDigest: image });
    this.published.set(version, {
      version,
      sequence,
      remove: async () => {
        await this.repository.publishApt(this.repositoryKey, { add: [], remove: debs });
        await this.repository.publishYum(this.repositoryKey, { add: [], remove: rpms });
        await this.renderApk(updateApk(this.apk, { add: [], remove: [entry] }));
      },
    });
    this.writeList();
  }

  /** Takes a version out of every list, and its files away; `why` as the list says it. */
  async withdraw(version: string, why: Omit<GoneRelease, "version"> = { state: "retired" }): Promise<void> {
    await this.published.get(version)?.remove();
    this.published.delete(version);
    this.retired.push({ version: parseVersion(version), ...why });
    if (this.tags.delete(ociTag(parseVersion(version)))) this.writeTags();
    for (const path of this.files.keys()) {
      const isIndex = path.includes("/dists/") || path.includes("/repodata/") || path.startsWith("/v2/");
      if (isIndex || !path.includes(version)) continue;
      this.files.delete(path);
      this.goneFiles.set(path, version);
    }
    this.writeList();
  }

  private async renderApk(state: ApkState): Promise<void> {
    this.apk = state;
    const rendered = await renderApk({ state, product, channel: "stable", now: new Date(), sign: async (bytes) => signApkMember(bytes, apkKey) });
    for (const file of rendered) this.put(`apk/${product}/stable/${file.path}`, file.bytes);
  }

  /** An index of two platforms with one layer each; returns its digest. */
  private pushImage(version: Version): string {
    const blob = (bytes: Uint8Array): { digest: string; size: number } => {
      this.put(`v2/${product}/blobs/sha256:${sha256(bytes)}`, bytes);
      return { digest: `sha256:${sha256(bytes)}`, size: bytes.length };
    };
    const manifest = (value: unknown): { digest: string; size: number } => {
      const bytes = Buffer.from(JSON.stringify(value));
      this.put(`v2/${product}/manifests/sha256:${sha256(bytes)}`, bytes);
      this.put(
        `v2/${product}/referrers/sha256:${sha256(bytes)}`,
        JSON.stringify({ schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: [] }),
      );
      return { digest: `sha256:${sha256(bytes)}`, size: bytes.length };
    };
    const manifests = ["amd64", "arm64"].map((architecture) => {
      const layer = blob(Buffer.from(`layer of ${version} for ${architecture}`));
      const config = blob(Buffer.from(JSON.stringify({ architecture, os: "linux", rootfs: { type: "layers", diff_ids: [layer.digest] } })));
      const one = manifest({
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: { mediaType: "application/vnd.oci.image.config.v1+json", ...config },
        layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar", ...layer }],
      });
      return { mediaType: "application/vnd.oci.image.manifest.v1+json", ...one, platform: { os: "linux", architecture } };
    });
    const { digest } = manifest({ schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests });
    this.tags.set(ociTag(version), digest);
    this.tags.set("latest", digest);
    this.writeTags();
    return digest;
  }

  private writeTags(): void {
    for (const [tag, target] of this.tags) this.put(`v2/${product}/manifests/${tag}`, this.get(`v2/${product}/manifests/${target}`));
    this.put(`v2/${product}/tags/list?n=1000`, JSON.stringify({ name: product, tags: [...this.tags.keys()].sort() }));
  }

  /** `place`: the version under which it lies; its own by default. */
  async writeRelease(release: {
    readonly version: Version;
    readonly sequence: number;
    readonly artifacts: readonly { name: string; kind: string; os: string; arch: string; bytes: Uint8Array }[];
    readonly imageDigest: string;
    readonly place?: Version;
  }): Promise<void> {
    const { version, sequence, artifacts, imageDigest, place = version } = release;
    const root = `releases/${product}/${place}`;
    for (const { name, bytes } of artifacts) this.put(`${root}/${name}`, bytes);
    const archive = Buffer.from(`the image of ${version} as an archive`);
    this.put(`${root}/${product}-${version}-image.tar`, archive);
    const manifest = Buffer.from(
      JSON.stringify({
        schema: 1,
        product,
        version,
        tag: `v${version}`,
        channel: "stable",
        sequence,
        createdAt: "2026-06-01T00:00:00Z",
        artifacts: [
          ...artifacts.map(({ bytes, ...row }) => ({ ...row, size: bytes.length, sha256: sha256(bytes) })),
          {
            name: `${product}-${version}-image.tar`,
            kind: "image",
            size: archive.length,
            sha256: sha256(archive),
            image: { repository: product, tags: [ociTag(version)], digest: imageDigest },
          },
        ],
      }),
    );
    this.put(`${root}/release.json`, manifest);
    const rows: [string, string][] = [
      ...artifacts.map(({ name, bytes }): [string, string] => [name, sha256(bytes)]),
      [`${product}-${version}-image.tar`, sha256(archive)],
      ["release.json", sha256(manifest)],
    ];
    const sums = Buffer.from(formatChecksums(rows));
    this.put(`${root}/SHA256SUMS`, sums);
    const signer = createReleaseSigner({ minisign: this.releaseKey, epochSeconds: sequence });
    for (const { name, bytes } of await signSums({ sums, sumsName: "SHA256SUMS", product, version, sequence }, signer)) this.put(`${root}/${name}`, bytes);
  }

  private writeList(): void {
    const releases = [...this.published.values()].map(({ version, sequence }) => ({
      version,
      channels: ["stable"],
      channel: "stable",
      sequence,
      publishedAt: new Date(sequence * 1000),
    }));
    const list = releaseIndex(product, releases, this.retired);
    this.put(`releases/${product}/index.json`, JSON.stringify(list));
  }
}

export async function createSampleVendor(versions: readonly string[] = ["1.0.0"]): Promise<SampleVendor> {
  const vendor = new SampleVendor(await makeTestKey("repository", "ed25519"));
  for (const version of versions) await vendor.publish(version);
  return vendor;
}

export type MemorySource = MirrorSource & {
  /** Every path, in the order of asking; files (not documents) with the word `fetch` before it. */
  readonly log: string[];
  /** Runs before each answer. */
  onRead: (path: string) => Promise<void>;
  /** Changes what is answered. */
  answer: (path: string, bytes: Uint8Array | undefined) => Uint8Array | undefined;
};

export function memorySource(vendor: SampleVendor): MemorySource {
  const source: MemorySource = {
    name: "memory",
    imagesAs: "registry",
    isLive: true,
    log: [],
    onRead: async () => undefined,
    answer: (_path, bytes) => bytes,
    read: async (path, { limit }) => {
      source.log.push(path);
      await source.onRead(path);
      const bytes = source.answer(path, vendor.files.get(`/${path}`));
      if (bytes !== undefined && bytes.length > limit) throw new Error(`${path} is beyond its limit`);
      return bytes === undefined ? undefined : Buffer.from(bytes);
    },
    fetchPart: async (request) => {
      source.log.push(`fetch ${request.path}`);
      await source.onRead(request.path);
      const bytes = source.answer(request.path, vendor.files.get(`/${request.path}`));
      if (bytes === undefined) throw new SlipwayError("not_found", `${request.path} is not there`);
      await writePart(bytesSource(bytes).open(), request);
      return { resumedFrom: 0 };
    },
    goneVersion: async (path) => {
      source.log.push(`gone? ${path}`);
      return vendor.goneFiles.get(`/${path}`);
    },
    close: async () => undefined,
  };
  return source;
}

export type SampleMirror = {
  readonly folder: string;
  readonly directory: string;
  readonly events: SyncEvent[];
  readonly sync: (source: MirrorSource, options?: SyncOptions) => Promise<SyncSummary>;
};
export type SyncOptions = Partial<Omit<SyncRequest, "products">> & {
  readonly selection?: Record<string, unknown>;
  /** By default all that the vendor has. */
  readonly pinned?: KeySettings;
};

const allKeys: KeySettings = { openpgp: "vendor.asc", minisign: "vendor.pub", apk: "vendor.rsa.pub" };

/** A customer's folder with the vendor's keys in it. */
export async function createSampleMirror(t: TestContext, vendor: SampleVendor): Promise<SampleMirror> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-mirror-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "vendor.asc"), vendor.repositoryKey.publicKey);
  await writeFile(join(folder, "vendor.pub"), formatMinisignPublicKey(vendor.releaseKey));
  await writeFile(join(folder, "vendor.rsa.pub"), apkKey.publicText);
  const directory = join(folder, "mirror");
  const events: SyncEvent[] = [];
  const signal = new AbortController().signal;
  return {
    folder,
    directory,
    events,
    sync: async (source, { selection: chosen = {}, pinned = allKeys, ...options } = {}) => {
      const selection = productSelectionSchema.parse(chosen);
      const trust = await loadTrust({ product, keys: pinned, selection, folder, source, signal });
      return syncMirror({
        directory,
        source,
        products: new Map([[product, { selection, trust }]]),
        keys: {},
        others: "drop",
        isOlderAllowed: false,
        isDryRun: false,
        keepMs: 3_600_000,
        parallel: 2,
        clock: systemClock,
        signal,
        observe: (event) => void events.push(event),
        sleep: async () => undefined,
        ...options,
      });
    },
  };
}

/** The vendor's files over HTTP, for the real command; `step` may answer in its place (true: it did). Ends with the test. */
export async function serveVendor(
  t: TestContext,
  vendor: SampleVendor,
  step: (path: string, response: ServerResponse, headers: IncomingHttpHeaders) => boolean = () => false,
): Promise<{ readonly url: string; readonly log: string[] }> {
  const log: string[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? "/");
    log.push(path);
    if (step(path, response, request.headers)) return;
    const bytes = vendor.files.get(path);
    if (bytes === undefined) {
      response.writeHead(404).end();
      return;
    }
    const etag = `"${sha256(bytes)}"`;
    const [, from] = /^bytes=(\d+)-$/.exec(request.headers.range ?? "") ?? [];
    if (from !== undefined && request.headers["if-range"] === etag) {
      response.writeHead(206, { etag, "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}`, "content-length": bytes.length - Number(from) });
      response.end(bytes.subarray(Number(from)));
      return;
    }
    response.writeHead(200, { etag, "content-length": bytes.length }).end(bytes);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return { url: `http://127.0.0.1:${address.port}`, log };
}
