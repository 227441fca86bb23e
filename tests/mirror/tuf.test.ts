/** The vendor's offline TUF repository in a mirror: carried, proven, refused when it is old or expired, and expired only where that is meant. */
import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { SlipwayError } from "../../src/model/errors.ts";
import { openBundle } from "../../src/mirror/bundle-read.ts";
import { writeBundle } from "../../src/mirror/bundle-write.ts";
import { openBlobPool } from "../../src/mirror/blob-pool.ts";
import { readCurrentSet } from "../../src/mirror/file-set.ts";
import { importBundle } from "../../src/mirror/import-bundle.ts";
import { loadTrust } from "../../src/mirror/keys.ts";
import { folderSource } from "../../src/mirror/source.ts";
import { sigstoreRootTarget } from "../../src/trust/sigstore-policy.ts";
import { hexOf, TestTuf } from "../support/tuf-repository.ts";
import { createSampleMirror, createSampleVendor, memorySource, product, type SampleMirror, type SampleVendor } from "./sample-source.ts";

const signal = new AbortController().signal;
const dayMs = 86_400_000;
const selection = { formats: ["files"] };
const metadata = `tuf/${product}/offline/metadata`;

function put(vendor: SampleVendor, tuf: TestTuf): void {
  for (const [name, bytes] of tuf.files) vendor.put(`${metadata}/${name}`, bytes);
  for (const [path, bytes] of tuf.targetFiles) vendor.put(`tuf/${product}/offline/targets/${path}`, bytes);
}

function list(vendor: SampleVendor, tuf: TestTuf, version: string, sequence: number): void {
  const files = [...vendor.files].filter(([path]) => path.includes(`releases/${product}/${version}/`));
  tuf.release(version, sequence, new Map(files.map(([path, bytes]) => [path.split("/").at(-1) ?? "", bytes])));
}

async function start(t: TestContext): Promise<{ readonly vendor: SampleVendor; readonly tuf: TestTuf; readonly mirror: SampleMirror }> {
  const vendor = await createSampleVendor(["1.0.0", "1.1.0"]);
  const tuf = new TestTuf({ product, repository: "offline", now: new Date() });
  for (const [index, version] of ["1.0.0", "1.1.0"].entries()) list(vendor, tuf, version, index + 1);
  tuf.root();
  tuf.own(sigstoreRootTarget, Buffer.from("{}"));
  put(vendor, tuf);
  return { vendor, tuf, mirror: await createSampleMirror(t, vendor) };
}

const refusal = (code: string) => (error: unknown) => error instanceof SlipwayError && error.code === code;

/** Through an air gap into another mirror, whose operator pinned the first root. */
async function carried(from: SampleMirror, to: SampleMirror, options: { readonly now?: Date; readonly isExpiredAllowed?: boolean } = {}) {
  const set = await readCurrentSet(from.directory);
  assert.ok(set !== undefined);
  const path = join(from.folder, "bundle.tar");
  await writeBundle({
    pool: await openBlobPool(from.directory),
    set,
    since: undefined,
    path,
    splitBytes: undefined,
    signal,
    onProgress: () => undefined,
  }).catch((error: unknown) => {
    if (!(error instanceof SlipwayError)) throw error; // it is there from the call before
  });
  const keys = { openpgp: "vendor.asc", minisign: "vendor.pub", tuf: "offline.root.json" };
  return importBundle({
    bundle: await openBundle(path, { signal, onProgress: () => undefined }),
    trustOf: (name, chosen) => loadTrust({ product: name, keys, selection: chosen, folder: to.folder, source: folderSource(to.folder), signal }),
    directory: to.directory,
    isOlderAllowed: false,
    isExpiredAllowed: options.isExpiredAllowed ?? false,
    isDryRun: false,
    keepMs: 3_600_000,
    parallel: 2,
    clock: { now: () => options.now ?? new Date() },
    signal,
    observe: (event) => void to.events.push(event),
  });
}

test("C7 the mirror carries the offline metadata with every root, and its releases' files under their hash, over an air gap too", async (t) => {
  const { vendor, tuf, mirror } = await start(t);
  await mirror.sync(memorySource(vendor), { selection: { ...selection, last: undefined } });
  const inside = await createSampleMirror(t, vendor);
  await writeFile(join(inside.folder, "offline.root.json"), tuf.firstRoot);
  await carried(mirror, inside);
  for (const { directory } of [mirror, inside]) {
    const { snapshot, targets, channel } = tuf.versions;
    for (const name of ["1.root.json", "2.root.json", "timestamp.json", `${snapshot}.snapshot.json`, `${targets}.targets.json`, `${channel}.${tuf.role}.json`])
      assert.deepEqual(await readFile(join(directory, "current", metadata, name)), Buffer.from(tuf.files.get(name) ?? ""), name);
    for (const [path, bytes] of tuf.targetFiles)
      assert.deepEqual(await readFile(join(directory, `current/tuf/${product}/offline/targets`, path)), Buffer.from(bytes), path);
    const manifest = await readFile(join(directory, "current/releases", product, "1.1.0/release.json"));
    const target = join(directory, `current/tuf/${product}/offline/targets/${product}/stable/1.1.0/${hexOf(manifest)}.release.json`);
    assert.equal((await stat(target)).ino, (await stat(join(directory, "current/releases", product, "1.1.0/release.json"))).ino, "stored once");
  }
});

test("C7 metadata that is older, of another repository, or lists other bytes is refused, and readers see what they saw", async (t) => {
  const { vendor, tuf, mirror } = await start(t);
  const before = tuf.freeze();
  tuf.snapshot();
  put(vendor, tuf);
  await mirror.sync(memorySource(vendor), { selection });
  const { id } = (await readCurrentSet(mirror.directory)) ?? {};
  vendor.put(`${metadata}/timestamp.json`, before.get("timestamp.json") ?? new Uint8Array());
  await assert.rejects(mirror.sync(memorySource(vendor), { selection }), refusal("metadata_rollback"));
  put(vendor, tuf);
  const [path] = Object.keys(tuf.targets);
  assert.ok(path !== undefined && tuf.targets[path] !== undefined);
  tuf.targets[path] = { ...tuf.targets[path], hashes: { sha256: "0".repeat(64) } };
  tuf.list();
  put(vendor, tuf);
  await assert.rejects(mirror.sync(memorySource(vendor), { selection }), refusal("metadata_mix"));
  const online = new TestTuf({ product, repository: "online", now: new Date() });
  vendor.put(`tuf/${product}/offline/targets/${[...tuf.targetFiles.keys()][0] ?? ""}`, Buffer.from("[]"));
  const again = await createSampleMirror(t, vendor);
  await assert.rejects(again.sync(memorySource(vendor), { selection }), refusal("metadata_mix"));
  const other = await createSampleVendor(["1.0.0"]);
  put(other, online);
  await assert.rejects((await createSampleMirror(t, other)).sync(memorySource(other), { selection }), refusal("metadata_mix"));
  assert.equal((await readCurrentSet(mirror.directory))?.id, id);
});

test("C7 a bundle whose metadata expired on its way is imported only where that is said, and the mirror keeps a note of it", async (t) => {
  const { vendor, tuf, mirror } = await start(t);
  await mirror.sync(memorySource(vendor), { selection });
  const inside = await createSampleMirror(t, vendor);
  await writeFile(join(inside.folder, "offline.root.json"), tuf.firstRoot);
  const now = new Date(Date.now() + 45 * dayMs);
  await assert.rejects(carried(mirror, inside, { now }), refusal("metadata_expired"));
  assert.equal(await readCurrentSet(inside.directory), undefined);
  assert.equal((await carried(mirror, inside, { now, isExpiredAllowed: true })).result, "synced");
  const [line, ...others] = (await readFile(join(inside.directory, "overrides.jsonl"), "utf8")).trim().split("\n");
  const { at, override, product: named, text } = JSON.parse(line ?? "") as Record<string, string>;
  assert.deepEqual([at, override, named, others.length], [now.toISOString(), "expired-metadata", product, 0]);
  assert.match(text ?? "", /timestamp metadata version \d+ expired at/);
  assert.ok(inside.events.some(({ kind }) => kind === "expired"));
  const stranger = new TestTuf({ product, repository: "offline", now: new Date() });
  await writeFile(join(inside.folder, "offline.root.json"), stranger.firstRoot);
  await assert.rejects(carried(mirror, inside), refusal("root_rotation_invalid"));
});
