/** OCI documents, layers and layouts as bytes: what we write is stable, and what is crooked is refused. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { decompress } from "../../src/formats/decompress.ts";
import { parseOciConfig, renderOciConfig } from "../../src/formats/oci-config.ts";
import {
  digestOf,
  dockerMediaTypes,
  isSamePlatform,
  type OciDescriptor,
  type OciDocument,
  ociDocument,
  ociMediaTypes,
  ociPlatform,
} from "../../src/formats/oci-descriptor.ts";
import { type OciLayerEntry, type OciLayerSpec, writeOciLayer } from "../../src/formats/oci-layer.ts";
import { blobPath, layoutFileBytes, type OciLayoutSource, readOciLayout, renderLayoutIndex, verifyOciLayers } from "../../src/formats/oci-layout.ts";
import { asOciLayer, parseOciManifest, renderOciIndex, renderOciManifest } from "../../src/formats/oci-manifest.ts";
import { parseOciReference, parseRepository, parseTag } from "../../src/formats/oci-reference.ts";
import { readTar } from "../../src/formats/tar-read.ts";
import { SlipwayError } from "../../src/model/errors.ts";
import { parseTarget } from "../../src/model/target.ts";

const epochSeconds = 1_700_000_000;
const byRoot = { owner: "root", group: "root", uid: 0, gid: 0 } as const;
const file = (path: string, text = path, mode = 0o644): OciLayerEntry => ({ kind: "file", path, mode, source: bytesSource(Buffer.from(text)), ...byRoot });

const refusedWith =
  (code: string, text: RegExp = /./) =>
  (error: unknown): boolean =>
    error instanceof SlipwayError && error.code === code && text.test(error.message);

async function layerOf(
  entries: readonly OciLayerEntry[],
  change: Partial<OciLayerSpec> = {},
): Promise<{ layer: Awaited<ReturnType<typeof writeOciLayer>>; bytes: Buffer }> {
  const pieces: Buffer[] = [];
  const layer = await writeOciLayer({ entries, parents: "declare", compression: { codec: "none", level: 0 }, epochSeconds, ...change }, (piece) => {
    pieces.push(Buffer.from(piece));
  });
  return { layer, bytes: Buffer.concat(pieces) };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

test("C1 a layer holds sorted root-relative names, numeric owners, one time and every parent, and nothing of this machine", async () => {
  const { bytes } = await layerOf([
    { ...file("/etc/app.conf", "x", 0o640), gid: 65532 },
    file("/usr/bin/app", "program", 0o4755),
    { kind: "symlink", path: "/usr/bin/link", target: "app", ...byRoot },
    { kind: "directory", path: "/var/lib/app", mode: 0o750, owner: "app", group: "app", uid: 65532, gid: 65532 },
  ]);
  const { names, owners, times } = tarHeaders(bytes);
  assert.deepEqual(names, ["etc/", "etc/app.conf", "usr/", "usr/bin/", "usr/bin/app", "usr/bin/link", "var/", "var/lib/", "var/lib/app/"]);
  assert.deepEqual(owners, ["0:0", "0:65532", "0:0", "0:0", "0:0", "0:0", "0:0", "0:0", "65532:65532"]);
  assert.deepEqual([...new Set(times)], [epochSeconds]);
  assert.doesNotMatch(bytes.toString("latin1"), /root/);
});

/** Name, uid:gid and time of each header: no record of ours is longer than one block here, and contents have at most one block. */
function tarHeaders(bytes: Buffer): { names: string[]; owners: string[]; times: number[] } {
  const names: string[] = [];
  const owners: string[] = [];
  const times: number[] = [];
  const octal = (at: number, length: number): number => Number.parseInt(bytes.toString("latin1", at, at + length), 8);
  for (let at = 0; bytes[at] !== 0; at += 512 + Math.ceil(octal(at + 124, 11) / 512) * 512) {
    names.push(bytes.toString("latin1", at, bytes.indexOf(0, at)));
    owners.push(`${octal(at + 108, 7)}:${octal(at + 116, 7)}`);
    times.push(octal(at + 136, 11));
  }
  return { names, owners, times };
}

test("a layer on a base brings no folder that was not asked for, so that links and modes of the base stay", async () => {
  const { bytes } = await layerOf([file("/lib/x/y")], { parents: "leave" });
  assert.deepEqual(tarHeaders(bytes).names, ["lib/x/y"]);
});

for (const codec of ["gzip", "zstd", "none"] as const) {
  test(`a ${codec} layer's digest is of the blob and its diff_id of the plain tar, however the bytes are cut`, async () => {
    const big = Buffer.alloc(700_000, "slipway ");
    const cut = (size: number): OciLayerEntry => ({
      ...file("/opt/big"),
      kind: "file",
      mode: 0o644,
      source: {
        size: big.length,
        open: async function* () {
          for (let at = 0; at < big.length; at += size) yield big.subarray(at, at + size);
        },
      },
    });
    const compression = { codec, level: codec === "none" ? 0 : 3 };
    const first = await layerOf([cut(big.length)], { compression });
    const second = await layerOf([cut(777)], { compression });
    assert.deepEqual(first.layer, second.layer);
    assert.equal(first.layer.descriptor.digest, digestOf(first.bytes));
    assert.equal(first.layer.descriptor.size, first.bytes.length);
    const plain = createHash("sha256");
    for await (const piece of decompress(once(first.bytes), { codec, limitBytes: 2_000_000, name: "layer" })) plain.update(piece);
    assert.equal(first.layer.diffId, `sha256:${plain.digest("hex")}`);
  });
}

test("a layer refuses whiteouts, owners that tar cannot hold, and sources that change", async () => {
  await assert.rejects(layerOf([file("/etc/.wh.passwd")]), refusedWith("path_unsafe", /deletes files/));
  await assert.rejects(layerOf([file("/etc/../passwd")]), refusedWith("path_unsafe"));
  await assert.rejects(layerOf([{ ...file("/a"), uid: 2_097_152 }]), refusedWith("format_limit"));
  await assert.rejects(
    layerOf([{ ...file("/a"), kind: "file", mode: 0o644, source: { size: 5, open: () => once(Buffer.from("1234")) } }]),
    refusedWith("source_unusable"),
  );
  await assert.rejects(layerOf([file("/b"), file("/a")]), { name: "AssertionError" });
});

test("a layer's memory does not grow with what is in it", async () => {
  const piece = Buffer.alloc(1024 * 1024, "slipway");
  const size = 400 * piece.length;
  const source = {
    size,
    open: async function* () {
      for (let at = 0; at < size; at += piece.length) yield piece;
    },
  };
  const before = process.memoryUsage().rss;
  let written = 0;
  await writeOciLayer(
    { entries: [{ ...file("/big"), kind: "file", mode: 0o644, source }], parents: "declare", compression: { codec: "zstd", level: 1 }, epochSeconds },
    (bytes) => {
      written += bytes.length;
    },
  );
  assert.ok(written > 1_000);
  assert.ok(process.memoryUsage().rss - before < 100 * 1024 * 1024);
});

test("long names survive: our own strict tar reader finds them again", async () => {
  const path = `/opt/${"deep/".repeat(60)}file`;
  const { bytes } = await layerOf([{ ...file(path, "x"), uid: 7, gid: 8 }], { parents: "leave" });
  const names: string[] = [];
  for await (const member of readTar(once(bytes), { name: "layer", memberLimit: 10, pax: "refused" }))
    names.push(member.kind === "refused" ? member.reason : member.path);
  assert.deepEqual(names, [path.slice(1)]);
});

test("C1 the configuration is stable to the byte, with keys in the specification's order", () => {
  const layer = { diffId: digestOf(Buffer.from("layer")), createdBy: "slipway" };
  const document = renderOciConfig({
    platform: ociPlatform(parseTarget("linux/arm64")),
    epochSeconds,
    runtime: { user: "65532:65532", entrypoint: ["/app"], env: { B: "2", A: "1" }, ports: ["8080/tcp", "53/udp"], labels: { z: "1", a: "2" }, volumes: [] },
    layers: [layer],
  });
  assert.equal(
    document.bytes.toString("utf8"),
    '{"created":"2023-11-14T22:13:20Z","architecture":"arm64","variant":"v8","os":"linux","config":{"User":"65532:65532","ExposedPorts":{"53/udp":{},"8080/tcp":{}},' +
      '"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","B=2","A=1"],"Entrypoint":["/app"],"Labels":{"a":"2","z":"1"}},' +
      `"rootfs":{"type":"layers","diff_ids":["${layer.diffId}"]},"history":[{"created":"2023-11-14T22:13:20Z","created_by":"slipway"}]}`,
  );
  assert.equal(document.descriptor.digest, digestOf(document.bytes));
});

test("a base's settings are inherited as FROM does it, and its history has one entry for each layer", () => {
  const diffIds = [digestOf(Buffer.from("a")), digestOf(Buffer.from("b"))];
  const base = parseOciConfig(
    Buffer.from(
      JSON.stringify({
        architecture: "amd64",
        os: "linux",
        config: {
          User: "base",
          Env: ["PATH=/base", "KEEP=a=b"],
          Entrypoint: ["/base"],
          Cmd: ["serve"],
          Volumes: null,
          Labels: { of: "base" },
          ExposedPorts: { "80/tcp": {} },
          WorkingDir: "/srv",
        },
        rootfs: { type: "layers", diff_ids: diffIds },
        history: [{ created_by: "one" }, { created_by: "nothing", empty_layer: true }],
      }),
    ),
  );
  const layer = { diffId: digestOf(Buffer.from("ours")), createdBy: "slipway" };
  const spec = { platform: ociPlatform(parseTarget("linux/amd64")), epochSeconds, base, layers: [layer] };
  const own = parseOciConfig(renderOciConfig({ ...spec, runtime: { entrypoint: ["/app"], env: { OWN: "1" }, labels: { of: "ours" } } }).bytes);
  assert.deepEqual(own.runtime, {
    user: "base",
    ports: ["80/tcp"],
    env: { PATH: "/base", KEEP: "a=b", OWN: "1" },
    entrypoint: ["/app"],
    workingDir: "/srv",
    labels: { of: "ours" },
  });
  assert.deepEqual(own.diffIds, [...diffIds, layer.diffId]);
  assert.equal(own.history.filter((entry) => !entry.isEmptyLayer).length, 3, "two of the base, though it named one, and ours");
  const inherited = parseOciConfig(renderOciConfig({ ...spec, runtime: {} }).bytes);
  assert.deepEqual([inherited.runtime.entrypoint, inherited.runtime.cmd], [["/base"], ["serve"]]);
});

test("platforms are OCI's words, and an arm64 without a variant is v8", () => {
  assert.deepEqual(ociPlatform(parseTarget("linux/armv7")), { architecture: "arm", os: "linux", variant: "v7" });
  assert.deepEqual(ociPlatform(parseTarget("linux/x86_64")), { architecture: "amd64", os: "linux" });
  assert.ok(isSamePlatform({ architecture: "arm64", os: "linux" }, { architecture: "arm64", os: "linux", variant: "v8" }));
  assert.ok(!isSamePlatform({ architecture: "arm", os: "linux", variant: "v6" }, { architecture: "arm", os: "linux", variant: "v7" }));
});

const descriptor = (mediaType: string, text: string): OciDescriptor => ({ mediaType, digest: digestOf(Buffer.from(text)), size: text.length });

const crooked: readonly { readonly name: string; readonly type: string; readonly value: unknown; readonly says: RegExp }[] = [
  { name: "layers beside manifests", type: ociMediaTypes.index, value: { schemaVersion: 2, manifests: [], layers: [] }, says: /ambiguous/ },
  { name: "a config beside manifests", type: ociMediaTypes.index, value: { schemaVersion: 2, manifests: [], config: {} }, says: /ambiguous/ },
  {
    name: "manifests beside layers",
    type: ociMediaTypes.manifest,
    value: { schemaVersion: 2, config: descriptor(ociMediaTypes.config, "c"), layers: [], manifests: [] },
    says: /ambiguous/,
  },
  {
    name: "another type than announced",
    type: ociMediaTypes.index,
    value: { schemaVersion: 2, mediaType: dockerMediaTypes.list, manifests: [] },
    says: /says that it is/,
  },
  { name: "schema 1", type: ociMediaTypes.manifest, value: { schemaVersion: 1 }, says: /not valid/ },
  {
    name: "a sha512 digest",
    type: ociMediaTypes.index,
    value: { schemaVersion: 2, manifests: [{ mediaType: "a/b", size: 1, digest: `sha512:${"0".repeat(128)}` }] },
    says: /sha256/,
  },
  {
    name: "an upper-case digest",
    type: ociMediaTypes.index,
    value: { schemaVersion: 2, manifests: [{ mediaType: "a/b", size: 1, digest: `sha256:${"A".repeat(64)}` }] },
    says: /sha256/,
  },
  {
    name: "a digest that climbs",
    type: ociMediaTypes.index,
    value: { schemaVersion: 2, manifests: [{ mediaType: "a/b", size: 1, digest: "sha256:../../etc/passwd" }] },
    says: /sha256/,
  },
  {
    name: "a negative size",
    type: ociMediaTypes.index,
    value: { schemaVersion: 2, manifests: [{ mediaType: "a/b", size: -1, digest: `sha256:${"0".repeat(64)}` }] },
    says: /size/,
  },
  { name: "a list", type: ociMediaTypes.index, value: [], says: /not valid/ },
  { name: "an unknown type", type: "application/vnd.docker.distribution.manifest.v1+prettyjws", value: {}, says: /neither/ },
];

for (const { name, type, value, says } of crooked) {
  test(`a manifest with ${name} is refused`, () => {
    assert.throws(() => parseOciManifest(Buffer.from(JSON.stringify(value)), type), refusedWith("format_invalid", says));
  });
}

test("documents are bounded, UTF-8 and JSON", () => {
  assert.throws(() => parseOciManifest(Buffer.alloc(4 * 1024 * 1024 + 1, " "), ociMediaTypes.index), refusedWith("format_limit"));
  assert.throws(() => parseOciManifest(Buffer.from([0x7b, 0xff, 0x7d]), ociMediaTypes.index), refusedWith("format_invalid"));
  assert.throws(() => parseOciManifest(Buffer.from("{"), ociMediaTypes.index), refusedWith("format_invalid"));
});

test("a base's layers get OCI's types, and layers that nobody may copy are refused", () => {
  assert.equal(asOciLayer(descriptor(dockerMediaTypes.layerGzip, "x")).mediaType, ociMediaTypes.layerGzip);
  assert.throws(() => asOciLayer(descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "x")), refusedWith("format_invalid"));
  assert.throws(() => asOciLayer(descriptor("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "x")), refusedWith("format_invalid"));
});

type Layout = Map<string, Buffer>;

const sourceOf = (layout: Layout): OciLayoutSource => ({
  open: (path) => {
    const bytes = layout.get(path);
    if (bytes === undefined) throw new SlipwayError("format_invalid", `no ${path}`);
    return once(bytes);
  },
});

async function sampleLayout(): Promise<{ layout: Layout; manifest: OciDocument; layer: OciDescriptor; config: OciDocument }> {
  const { layer, bytes } = await layerOf([file("/app", "program", 0o755)], { compression: { codec: "gzip", level: 6 } });
  const platform = ociPlatform(parseTarget("linux/arm64"));
  const config = renderOciConfig({ platform, epochSeconds, runtime: { entrypoint: ["/app"] }, layers: [{ diffId: layer.diffId, createdBy: "slipway" }] });
  const manifest = renderOciManifest({ config: config.descriptor, layers: [layer.descriptor], annotations: { b: "2", a: "1" } });
  const index = renderOciIndex({ manifests: [{ ...manifest.descriptor, platform }], annotations: {} });
  const layout: Layout = new Map([
    ["oci-layout", layoutFileBytes],
    ["index.json", renderLayoutIndex([{ tag: "1.0.0", descriptor: index.descriptor }])],
    [blobPath(layer.descriptor.digest), bytes],
  ]);
  for (const document of [config, manifest, index]) layout.set(blobPath(document.descriptor.digest), document.bytes);
  return { layout, manifest, layer: layer.descriptor, config };
}

test("a layout is read down to the layers' plain bytes", async () => {
  const { layout } = await sampleLayout();
  const [tagged] = await readOciLayout(sourceOf(layout));
  assert.equal(tagged?.tag, "1.0.0");
  const [image] = tagged?.images ?? [];
  assert.ok(image !== undefined);
  assert.deepEqual(image.platform, { architecture: "arm64", os: "linux", variant: "v8" });
  await verifyOciLayers(sourceOf(layout), image, 1_000_000);
  await assert.rejects(verifyOciLayers(sourceOf(layout), image, 100), refusedWith("format_limit"));
});

test("a layout with anything changed, cut, longer, missing or mislabelled is refused", async () => {
  const { layout, manifest, layer, config } = await sampleLayout();
  const [good] = await readOciLayout(sourceOf(layout));
  const read = async (path: string, change: (bytes: Buffer) => Buffer): Promise<void> => {
    const bytes = layout.get(path);
    assert.ok(bytes !== undefined);
    const source = sourceOf(new Map([...layout, [path, change(bytes)]]));
    for (const tagged of await readOciLayout(source)) for (const image of tagged.images) await verifyOciLayers(source, image, 1_000_000);
  };
  const flip = (bytes: Buffer): Buffer => Buffer.from(bytes.map((byte, at) => (at === bytes.length - 3 ? byte ^ 1 : byte)));
  const cut = (bytes: Buffer): Buffer => bytes.subarray(0, -1);
  const extend = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.from(" ")]);
  for (const path of [
    blobPath(layer.digest),
    blobPath(manifest.descriptor.digest),
    blobPath(config.descriptor.digest),
    blobPath(good?.descriptor.digest as never),
  ]) {
    for (const change of [flip, cut, extend, () => Buffer.alloc(0)])
      await assert.rejects(read(path, change), refusedWith("format_invalid"), `${path} ${change.name}`);
  }
  await assert.rejects(
    read("oci-layout", () => Buffer.from('{"imageLayoutVersion":"2.0.0"}')),
    refusedWith("format_invalid"),
  );
  await assert.rejects(
    read("index.json", (bytes) => Buffer.from(bytes.toString().replace('"size":', '"size":9'))),
    refusedWith("format_invalid"),
  );
  const without = new Map([...layout].filter(([path]) => path !== blobPath(manifest.descriptor.digest)));
  await assert.rejects(readOciLayout(sourceOf(without)), refusedWith("format_invalid"));
});

test("an index cannot say another platform than the configuration, nor a configuration another number of layers", async () => {
  const { layout, manifest, layer } = await sampleLayout();
  const wrong = renderOciIndex({ manifests: [{ ...manifest.descriptor, platform: { architecture: "amd64", os: "linux" } }], annotations: {} });
  const swapped = new Map([
    ...layout,
    [blobPath(wrong.descriptor.digest), wrong.bytes],
    ["index.json", renderLayoutIndex([{ tag: "1", descriptor: wrong.descriptor }])],
  ] as const);
  await assert.rejects(readOciLayout(sourceOf(new Map(swapped))), refusedWith("format_invalid", /another platform/));
  const config = ociDocument(ociMediaTypes.config, { architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [] } });
  const short = renderOciManifest({ config: config.descriptor, layers: [layer], annotations: {} });
  const other: Layout = new Map(layout);
  for (const document of [config, short]) other.set(blobPath(document.descriptor.digest), document.bytes);
  other.set("index.json", renderLayoutIndex([{ tag: "1", descriptor: short.descriptor }]));
  await assert.rejects(readOciLayout(sourceOf(other)), refusedWith("format_invalid", /diff_ids/));
});

test("image references name their registry, and nothing is guessed", () => {
  const digest = `sha256:${"0".repeat(64)}`;
  assert.deepEqual(parseOciReference(`registry.example:5000/team/app:1.2@${digest}`), {
    host: "registry.example:5000",
    repository: "team/app",
    tag: "1.2",
    digest,
  });
  assert.deepEqual(parseOciReference("localhost/app"), { host: "localhost", repository: "app", tag: "latest" });
  assert.deepEqual(parseOciReference("builder:5000/app:x"), { host: "builder:5000", repository: "app", tag: "x" });
  for (const text of [
    "debian",
    "debian:12",
    "library/debian:12",
    "https://r.example/app",
    "r.example/App",
    "r.example/app:a+b",
    "r.example/app@sha256:12",
    "r.example/../app",
    "u:p@r.example/app",
    "",
  ]) {
    assert.throws(() => parseOciReference(text), refusedWith("name_invalid"), text);
  }
  assert.throws(() => parseTag("1.0+build"), refusedWith("name_invalid"));
  assert.throws(() => parseRepository("a//b"), refusedWith("name_invalid"));
});
