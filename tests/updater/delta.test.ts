/** An upgrade by a delta: fewer bytes, the same proof, and the whole artifact wherever the delta is of no use. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { zstdCompressSync } from "node:zlib";
import { bytesSource } from "../../src/formats/byte-source.ts";
import { createCompressor } from "../../src/formats/compress.ts";
import { deltaMagic } from "../../src/formats/delta.ts";
import { createTarWriter } from "../../src/formats/tar.ts";
import type { ManifestArtifact } from "../../src/model/manifest.ts";
import { buildDeltas } from "../../src/packaging/delta-build.ts";
import { archiveName, type FileOf, makeSite, noSignal, type Site, startVendor, toyFiles, type Vendor } from "./support.ts";

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** A product that is large enough to be worth a delta: most of it is the same in every version. */
const filesOf = (version: string): FileOf => ({
  ...toyFiles(version),
  "lib/data": { content: `${version}\n${Array.from({ length: 3_000 }, (_, index) => sha256(Buffer.from(String(index)))).join("\n")}\n`, mode: 0o644 },
});

/** As our builder packs it, so that it can be packed again. */
async function archiveOf(files: FileOf): Promise<Buffer> {
  const pieces: Buffer[] = [];
  const compressor = createCompressor({ codec: "gzip", level: 6 }, (piece) => void pieces.push(Buffer.from(piece)));
  const tar = createTarWriter((piece) => compressor.write(piece));
  for (const [name, { content, mode = 0o755 }] of Object.entries(files))
    await tar.add({ name, kind: "file", mode, epochSeconds: 1 }, bytesSource(Buffer.from(content)));
  await tar.end();
  await compressor.end();
  return Buffer.concat(pieces);
}

async function distOf(t: TestContext, version: string): Promise<{ readonly folder: string; readonly artifact: ManifestArtifact }> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-delta-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const archive = await archiveOf(filesOf(version));
  const artifact: ManifestArtifact = { name: archiveName(version), kind: "archive", os: "linux", arch: "amd64", size: archive.length, sha256: sha256(archive) };
  await writeFile(join(folder, artifact.name), archive);
  const manifest = {
    schema: 1,
    product: "toy",
    version,
    tag: `v${version}`,
    channel: "stable",
    sequence: 1,
    createdAt: "2026-01-01T00:00:00Z",
    artifacts: [artifact],
  };
  await writeFile(join(folder, "release.json"), JSON.stringify(manifest));
  return { folder, artifact };
}

type Field = { readonly vendor: Vendor; readonly site: Site; readonly delta: ManifestArtifact & { readonly bytes: Buffer } };

/** 1.0.0 is installed; the builder has made a delta from it to 1.1.0. */
async function field(t: TestContext, strategy: "versions" | "inplace" = "versions"): Promise<Field> {
  const [old, fresh] = [await distOf(t, "1.0.0"), await distOf(t, "1.1.0")];
  const [made] = await buildDeltas({ version: "1.1.0", from: [old.folder], folder: fresh.folder, workFolder: fresh.folder, artifacts: [fresh.artifact] });
  assert.ok(made !== undefined);
  const vendor = await startVendor(t);
  const site = await makeSite(vendor, { strategy }, t);
  await vendor.release("1.0.0", { files: filesOf("1.0.0"), archive: await archiveOf(filesOf("1.0.0")) });
  await (await site.updater()).install({ signal: noSignal });
  return { vendor, site, delta: { ...made, bytes: await readFile(join(fresh.folder, made.name)) } };
}

async function release({ vendor }: Field, delta: Field["delta"]): Promise<void> {
  const { name, bytes, delta: how } = delta;
  const files = filesOf("1.1.0");
  await vendor.release("1.1.0", {
    files,
    archive: await archiveOf(files),
    packages: { [name]: { kind: "delta", bytes, ...(how === undefined ? {} : { delta: how }) } },
  });
}

async function upgrade({ vendor, site }: Field): Promise<{ readonly isWhole: boolean; readonly warnings: readonly string[] }> {
  const before = vendor.requests.length;
  const told = site.events.length;
  await (await site.updater()).install({ signal: noSignal });
  assert.equal(await site.running(), "1.1.0");
  assert.deepEqual(await readdir(join(site.updates, "staging")), []);
  return {
    isWhole: vendor.requests.slice(before).some((request) => request.includes(archiveName("1.1.0")) && !request.includes(".delta")),
    warnings: site.events.slice(told).flatMap((event) => (event.event === "warning" ? [event.text] : [])),
  };
}

for (const strategy of ["versions", "inplace"] as const) {
  test(`${strategy}: the next release comes as a delta of a fifth of the archive or less, and is verified as ever`, async (t) => {
    const made = await field(t, strategy);
    const archive = await archiveOf(filesOf("1.1.0"));
    assert.ok(made.delta.size * 5 <= archive.length, `${made.delta.size} of ${archive.length}`);
    await release(made, made.delta);
    assert.deepEqual(await upgrade(made), { isWhole: false, warnings: [] });
  });
}

test("79 a delta that saves too little, or is larger than the artifact itself, is not even fetched", async (t) => {
  const made = await field(t);
  const archive = await archiveOf(filesOf("1.1.0"));
  await release(made, { ...made.delta, bytes: Buffer.concat([made.delta.bytes, Buffer.alloc(archive.length)]) });
  assert.deepEqual(await upgrade(made), { isWhole: true, warnings: [] });
  assert.ok(!made.vendor.requests.some((request) => request.includes(".delta")));
});

test("79 a delta for another base is not even fetched: the live files decide", async (t) => {
  const made = await field(t);
  await release(made, made.delta);
  await appendFile(join(made.site.root, "current/lib/data"), "an edit by hand\n");
  assert.equal((await upgrade(made)).isWhole, true);
  assert.ok(!made.vendor.requests.some((request) => request.includes(".delta")));
});

/** Listed and signed, so that only the delta's own checks stand in the way. */
const hostile: readonly (readonly [string, (bytes: Buffer) => Buffer])[] = [
  [
    "a size bomb",
    () => {
      const streams = [Buffer.from([0, 0, 0, 255, 255, 255, 255, 15, 0]), Buffer.alloc(0), Buffer.alloc(200_000_000)].map((stream) => zstdCompressSync(stream));
      const header = Buffer.alloc(32);
      for (const [index, size] of [200_000, ...streams.map(({ length }) => length)].entries()) header.writeBigUInt64LE(BigInt(size), index * 8);
      return Buffer.concat([deltaMagic, header, ...streams]);
    },
  ],
  ["damage", (bytes) => Buffer.concat([bytes.subarray(0, bytes.length - 40), Buffer.alloc(40)])],
  ["no delta at all", () => Buffer.from("<html>not here</html>")],
];

for (const [name, change] of hostile) {
  test(`79 ${name} leads to the whole artifact, never to a failure`, async (t) => {
    const made = await field(t);
    const bytes = change(made.delta.bytes);
    await release(made, { ...made.delta, bytes });
    const { isWhole, warnings } = await upgrade(made);
    assert.equal(isWhole, true);
    assert.match(warnings.join("\n"), /the delta is of no use/);
  });
}

test("79 a delta that makes other bytes than were signed, and one that the source does not have, lead to the whole artifact", async (t) => {
  const made = await field(t);
  const how = made.delta.delta;
  assert.ok(how !== undefined);
  await release(made, { ...made.delta, delta: { ...how, level: 1 } }); // as another version of a compressor would
  assert.equal((await upgrade(made)).isWhole, true);
  const other = await field(t);
  await release(other, other.delta);
  other.vendor.releases.get("1.1.0")?.delete(other.delta.name);
  assert.equal((await upgrade(other)).isWhole, true);
});
