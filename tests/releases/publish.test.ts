/** Drafts and publishing on both databases: complete or refused, visible at once or not at all. */
import assert from "node:assert/strict";
import { appendFile } from "node:fs/promises";
import { openAuditTrail } from "../../src/access/audit-trail.ts";
import { type ErrorCode, SlipwayError } from "../../src/model/errors.ts";
import { attachArtifact, createDraft, discardDraft } from "../../src/releases/drafts.ts";
import { createProduct, requireProduct, setReleaseKeys } from "../../src/releases/products.ts";
import { openRepositoryKey } from "../../src/releases/repository-key.ts";
import { listReleases, readRelease } from "../../src/releases/releases.ts";
import { createDownloadResolver, type DownloadResolver, type DownloadTree, type Resolution } from "../../src/releases/resolve.ts";
import { readHead } from "../../src/releases/snapshot.ts";
import { withdrawRelease } from "../../src/releases/withdraw.ts";
import { openKeyEncryptionKey, parseKeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import type { Store } from "../../src/store/store.ts";
import { generateMinisignKey } from "../../src/trust/minisign-key.ts";
import { generateOpenpgpKey, readSigningKey } from "../../src/trust/openpgp.ts";
import { createReleaseSigner } from "../../src/trust/release-signature.ts";
import { storeTest } from "../support/stores.ts";
import { actor, attachBytes, digestOf, product, publish, sampleRelease, stage, testRepositoryKey } from "./sample-release.ts";

const repositoryKey = testRepositoryKey();
const failsWith =
  (code: ErrorCode, detail?: string) =>
  (error: unknown): boolean =>
    error instanceof SlipwayError && error.code === code && (detail === undefined || error.detail === detail);

async function textOf(store: Store, resolution: Resolution): Promise<string> {
  assert.equal(resolution.kind, "file");
  assert.ok(resolution.kind === "file");
  return (await store.blobs.read(resolution.digest, 10_000_000)).toString("utf8");
}

async function kinds(resolver: DownloadResolver, paths: readonly (readonly [DownloadTree, string])[]): Promise<readonly string[]> {
  return Promise.all(paths.map(async ([tree, path]) => (await resolver.resolve({ product, tree, path })).kind));
}

const pathsOf = (version: string): readonly (readonly [DownloadTree, string])[] => [
  ["releases", `${version}/coequal-${version}-linux-amd64`],
  ["releases", `${version}/SHA256SUMS`],
  ["apt", `pool/main/c/coequal/coequal_${version}_amd64.deb`],
  ["yum", `stable/x86_64/coequal-${version}-1.x86_64.rpm`],
];

storeTest("C9 a draft is readable nowhere, and its publication shows it everywhere at once", async (_, { store }) => {
  const resolver = createDownloadResolver(store);
  const release = await sampleRelease("1.4.2");
  await stage(store, release);
  const indexes: readonly (readonly [DownloadTree, string])[] = [
    ["releases", "index.json"],
    ["releases", "latest/coequal-latest-linux-amd64"],
    ["releases", "latest/SHA256SUMS"],
    ["apt", "dists/stable/InRelease"],
    ["apt", "dists/stable/main/binary-amd64/Packages.gz"],
    ["apt", "dists/stable/main/binary-arm64/Packages.gz"],
    ["yum", "stable/repodata/repomd.xml"],
    ["yum", "stable/repodata/repomd.xml.asc"],
  ];
  const all = [...pathsOf("1.4.2"), ...indexes];
  assert.deepEqual(new Set(await kinds(resolver, all)), new Set(["absent"]));
  const { isNew, release: published } = await publish(store, release, await repositoryKey);
  assert.deepEqual([isNew, published.state, published.sequence], [true, "published", 1_780_000_000]);
  assert.deepEqual(new Set(await kinds(resolver, all)), new Set(["file"]), "at once, also in the caches of this process");
  for (const file of release.files) {
    const found = await resolver.resolve({ product, tree: "releases", path: `1.4.2/${file.name}` });
    assert.ok(found.kind === "file" && found.digest === digestOf(file.bytes) && found.artifact?.version === "1.4.2", file.name);
  }
  const absent: readonly (readonly [DownloadTree, string])[] = [
    ["releases", "1.4.3/SHA256SUMS"],
    ["releases", "1.4.2/none"],
    ["releases", "1.4.2/../1.4.2/SHA256SUMS"],
    ["releases", ""],
    ["apt", "dists/preview/InRelease"],
    ["apt", "../releases/1.4.2/SHA256SUMS"],
  ];
  assert.deepEqual(new Set(await kinds(resolver, absent)), new Set(["absent"]));
  assert.equal((await resolver.resolve({ product: "other", tree: "releases", path: "index.json" })).kind, "absent");
  const index = JSON.parse(await textOf(store, await resolver.resolve({ product, tree: "releases", path: "index.json" }))) as { channels: unknown };
  assert.deepEqual(index.channels, { stable: "1.4.2" });
  resolver.close();
});

storeTest("C3 latest follows the newest stable release, never a preview and never an older line's patch", async (_, { store }) => {
  const key = await repositoryKey;
  const resolver = createDownloadResolver(store);
  const latest = async (): Promise<unknown> => {
    const found = await resolver.resolve({ product, tree: "releases", path: "latest/coequal-latest-linux-amd64" });
    return found.kind === "file" ? found.artifact?.version : found.kind;
  };
  for (const [version, expected] of [
    ["1.5.0-rc.1", "absent"],
    ["1.4.2", "1.4.2"],
    ["1.5.0", "1.5.0"],
    ["1.4.3", "1.5.0"],
    ["1.6.0-rc.1", "1.5.0"],
  ] as const) {
    const release = await sampleRelease(version);
    await stage(store, release);
    await publish(store, release, key);
    assert.equal(await latest(), expected, `after ${version}`);
  }
  resolver.close();
});

storeTest("publishing twice changes nothing, and a published version takes no other bytes", async (_, { store }) => {
  const key = await repositoryKey;
  const release = await sampleRelease("1.4.2");
  await stage(store, release);
  await publish(store, release, key, 7);
  const found = await requireProduct(store, product);
  assert.equal(found.keep, 7);
  const head = await readHead(store, found);
  assert.equal((await publish(store, release, key)).isNew, false);
  await stage(store, release);
  assert.deepEqual(await readHead(store, found), head);
  const other = { name: "coequal-1.4.2-linux-amd64", bytes: Buffer.from("other bytes") };
  await assert.rejects(attachBytes(store, "1.4.2", other), failsWith("immutable"));
  await assert.rejects(attachBytes(store, "1.4.2", { name: "new-file", bytes: Buffer.from("x") }), failsWith("immutable"));
  const changed = await sampleRelease("1.4.2", { extra: [other].map((file) => ({ ...file, name: "extra" })) });
  await assert.rejects(publish(store, changed, key), failsWith("immutable"));
  await assert.rejects(createDraft(store, { product, version: "1.4.2", channel: "preview", actor }), failsWith("conflict"));
  await assert.rejects(createDraft(store, { product, version: "1.4.3-rc.1", channel: "stable", actor }), failsWith("version_invalid"));
  await assert.rejects(createDraft(store, { product, version: "latest", channel: "stable", actor }), failsWith("version_invalid"));
  const { events } = await openAuditTrail(store).list({ product, action: "release.publish" });
  assert.deepEqual(
    events.map((event) => [event.version, event.actor.name]),
    [["1.4.2", "tests"]],
  );
});

storeTest("a draft may replace what it had, refuses what is no package, and takes no path for a name", async (_, { store }) => {
  const release = await sampleRelease("1.4.2");
  await stage(store, release);
  const replaced = await attachBytes(store, "1.4.2", { name: "coequal-1.4.2-linux-amd64", bytes: Buffer.from("second try") });
  assert.deepEqual(replaced, { outcome: "replaced", kind: "file" });
  assert.equal((await attachBytes(store, "1.4.2", { name: "coequal-1.4.2-linux-amd64", bytes: Buffer.from("second try") })).outcome, "unchanged");
  const deb = release.files.find((file) => file.name.endsWith("_amd64.deb"));
  assert.ok(deb !== undefined);
  for (const name of ["a.deb", "a.rpm"]) {
    await assert.rejects(attachBytes(store, "1.4.2", { name, bytes: Buffer.from("no package") }), failsWith("format_invalid"));
    await assert.rejects(attachBytes(store, "1.4.2", { name, bytes: deb.bytes.subarray(0, 500) }), failsWith("format_invalid"));
  }
  for (const name of ["../a", "a/b", "", ".hidden", "a..b"]) {
    await assert.rejects(attachBytes(store, "1.4.2", { name, bytes: Buffer.from("x") }), failsWith("name_invalid"));
  }
  const missing = { product, version: "1.4.2", name: "file", digest: digestOf(Buffer.from("never uploaded")), size: 1, actor };
  await assert.rejects(attachArtifact(store, missing), failsWith("release_incomplete"));
  await assert.rejects(attachArtifact(store, { ...missing, digest: digestOf(deb.bytes) }), failsWith("upload_invalid"));
  await assert.rejects(attachBytes(store, "9.9.9", deb), failsWith("not_found"));
  const names = (await readRelease(store, product, "1.4.2")).artifacts.map((artifact) => artifact.name);
  assert.deepEqual(names, release.files.map((file) => file.name).toSorted());
});

storeTest("C5 a release whose sums, manifest and artifacts do not agree is refused and stays a draft", async (t, { store }) => {
  const key = await repositoryKey;
  await createProduct(store, { name: product, actor });
  const resolver = createDownloadResolver(store);
  const refuses = async (
    version: string,
    detail: string,
    spoil: Parameters<typeof sampleRelease>[1],
    change?: (store: Store) => Promise<unknown>,
  ): Promise<void> => {
    const release = await sampleRelease(version, spoil);
    await stage(store, release);
    await change?.(store);
    await assert.rejects(publish(store, release, key), failsWith("release_incomplete", detail), `${version} ${detail}`);
    assert.equal((await readRelease(store, product, version)).state, "draft");
    assert.equal((await resolver.resolve({ product, tree: "releases", path: `${version}/SHA256SUMS` })).kind, "absent");
  };
  await refuses("1.0.0", "digest_mismatch", {}, () => attachBytes(store, "1.0.0", { name: "coequal-1.0.0-linux-amd64", bytes: Buffer.from("changed") }));
  await refuses("1.0.1", "not_listed", {}, () => attachBytes(store, "1.0.1", { name: "stowaway", bytes: Buffer.from("x") }));
  await refuses("1.0.2", "not_attached", {}, () => store.db.deleteFrom("artifacts").where("name", "=", "coequal_1.0.2_arm64.deb").execute());
  await refuses("1.0.3", "manifest_mismatch", { changeManifest: (manifest) => ({ ...manifest, version: "1.0.0" }) });
  await refuses("1.0.4", "manifest_mismatch", { changeManifest: (manifest) => ({ ...manifest, product: "other" }) });
  await refuses("1.0.5", "manifest_mismatch", { changeManifest: (manifest) => ({ ...manifest, channel: "preview" }) });
  await refuses("1.0.6", "digest_mismatch", {
    changeManifest: (manifest) => ({ ...manifest, artifacts: manifest.artifacts.map((artifact) => ({ ...artifact, sha256: "0".repeat(64) })) }),
  });
  await refuses("1.0.7", "sums_missing", {}, () => store.db.deleteFrom("artifacts").where("name", "=", "SHA256SUMS").execute());
  await refuses("1.0.8", "blob_damaged", {}, async () => {
    const artifact = (await readRelease(store, product, "1.0.8")).artifacts.find((one) => one.name === "coequal-1.0.8-linux-amd64");
    assert.ok(artifact !== undefined);
    await appendFile(store.blobs.path(artifact.digest) ?? "", "a flipped bit would do");
  });
  t.diagnostic(`${(await listReleases(store, product)).length} drafts refused`);
  resolver.close();
});

storeTest("C14 a product with release keys takes no release that they did not sign", async (_, { store }) => {
  const key = await repositoryKey;
  await createProduct(store, { name: product, actor });
  const now = new Date("2026-01-01T00:00:00Z");
  const keysOf = async () => {
    const openpgp = await generateOpenpgpKey({ userId: "Release <release@coequal.example>", algorithm: "ed25519", now });
    const signer = createReleaseSigner({
      openpgp: await readSigningKey(Buffer.from(openpgp.secretKey), { now }),
      minisign: generateMinisignKey(),
      epochSeconds: now.getTime() / 1000 + 60,
    });
    return { signer, secretKey: openpgp.secretKey };
  };
  const [own, foreign] = [await keysOf(), await keysOf()];
  await assert.rejects(setReleaseKeys(store, { product, actor }), failsWith("key_missing"));
  await assert.rejects(setReleaseKeys(store, { product, actor, openpgp: "nonsense" }), failsWith("key_invalid"));
  await assert.rejects(setReleaseKeys(store, { product, actor, minisign: "nonsense" }), failsWith("key_invalid"));
  await setReleaseKeys(store, {
    product,
    actor,
    openpgp: own.secretKey,
    ...(own.signer.publicKeys.minisign === undefined ? {} : { minisign: own.signer.publicKeys.minisign }),
  });
  const stored = await store.db.selectFrom("release_keys").select("text").execute();
  assert.ok(
    stored.every((row) => !row.text.includes("PRIVATE KEY")),
    "a secret half that was sent by mistake is not kept",
  );

  const unsigned = await sampleRelease("1.4.0");
  await stage(store, unsigned);
  await assert.rejects(publish(store, unsigned, key), failsWith("signature_invalid"));
  const byForeigner = await sampleRelease("1.4.1", { signer: foreign.signer });
  await stage(store, byForeigner);
  await assert.rejects(publish(store, byForeigner, key), failsWith("signature_invalid"));
  const halfSigned = await sampleRelease("1.4.2", { signer: { ...own.signer, minisign: undefined } as unknown as typeof own.signer });
  await stage(store, halfSigned);
  await assert.rejects(publish(store, halfSigned, key), failsWith("signature_invalid", "minisig_missing"));
  const signed = await sampleRelease("1.4.3", { signer: own.signer });
  await stage(store, signed);
  assert.equal((await publish(store, signed, key)).isNew, true);
});

storeTest("a draft with a file too many is discarded and put together again; a published release is not", async (_, { store }) => {
  const key = await repositoryKey;
  const release = await sampleRelease("1.4.2");
  await stage(store, release);
  await attachBytes(store, "1.4.2", { name: "stowaway", bytes: Buffer.from("x") });
  await discardDraft(store, { product, version: "1.4.2", actor });
  await assert.rejects(discardDraft(store, { product, version: "1.4.2", actor }), failsWith("not_found"));
  await stage(store, release);
  assert.equal((await publish(store, release, key)).isNew, true);
  await assert.rejects(discardDraft(store, { product, version: "1.4.2", actor }), failsWith("immutable"));
});

storeTest("an index that changes twice within one second has two times, and an unchanged one keeps its own", async (_, { store }) => {
  const key = await repositoryKey;
  const resolver = createDownloadResolver(store);
  const timeOf = async (tree: DownloadTree, path: string): Promise<number> => {
    const found = await resolver.resolve({ product, tree, path });
    assert.ok(found.kind === "file", path);
    return Math.floor(found.modifiedAt.getTime() / 1000);
  };
  const times: number[] = [];
  for (const version of ["1.4.1", "1.4.2", "1.5.0-rc.1"]) {
    const release = await sampleRelease(version);
    await stage(store, release);
    await publish(store, release, key); // the clock stands still
    times.push(await timeOf("apt", "dists/stable/main/binary-amd64/Packages.gz"));
  }
  assert.deepEqual(times, [times[0], (times[0] ?? 0) + 1, (times[0] ?? 0) + 1], "the preview does not touch the stable channel's packages");
  const before = await timeOf("releases", "latest/SHA256SUMS");
  await withdrawRelease(store, { product, version: "1.4.2", repositoryKey: key, actor });
  assert.ok((await timeOf("releases", "latest/SHA256SUMS")) >= before, "older bytes do not come with an older time");
  resolver.close();
});

storeTest("a withdrawn release leaves every index and answers gone with its replacement; its number is used up", async (_, { store }) => {
  const key = await repositoryKey;
  const resolver = createDownloadResolver(store);
  for (const version of ["1.4.1", "1.4.2"]) {
    const release = await sampleRelease(version);
    await stage(store, release);
    await publish(store, release, key);
  }
  const withdraw = () => withdrawRelease(store, { product, version: "1.4.2", reason: "data loss", repositoryKey: key, actor });
  assert.equal((await withdraw()).state, "withdrawn");
  assert.equal((await withdraw()).state, "withdrawn");
  for (const [tree, path] of pathsOf("1.4.2")) {
    assert.deepEqual(await resolver.resolve({ product, tree, path }), {
      kind: "gone",
      version: "1.4.2",
      state: "withdrawn",
      replacement: "1.4.1",
      reason: "data loss",
    });
  }
  assert.deepEqual(new Set(await kinds(resolver, pathsOf("1.4.1"))), new Set(["file"]));
  const index = await textOf(store, await resolver.resolve({ product, tree: "releases", path: "index.json" }));
  assert.deepEqual((JSON.parse(index) as { retired: unknown }).retired, [{ version: "1.4.2", state: "withdrawn", replacement: "1.4.1", reason: "data loss" }]);
  const latest = await resolver.resolve({ product, tree: "releases", path: "latest/coequal-latest-linux-amd64" });
  assert.ok(latest.kind === "file" && latest.artifact?.version === "1.4.1");
  await assert.rejects(createDraft(store, { product, version: "1.4.2", channel: "stable", actor }), failsWith("immutable"));
  const { events } = await openAuditTrail(store).list({ action: "release.withdraw" });
  assert.deepEqual(
    events.map((event) => [event.version, event.detail]),
    [["1.4.2", "data loss"]],
  );
  resolver.close();
});

storeTest("two releases published at the same moment are both there, each switched once", async (_, { store }) => {
  const key = await repositoryKey;
  const resolver = createDownloadResolver(store);
  const releases = await Promise.all(["1.4.1", "1.4.2", "1.4.3"].map((version) => sampleRelease(version)));
  for (const release of releases) await stage(store, release);
  const [first] = releases;
  assert.ok(first !== undefined);
  const outcomes = await Promise.all([...releases, first].map((release) => publish(store, release, key)));
  assert.equal(outcomes.filter((outcome) => outcome.isNew).length, 3);
  assert.equal((await readHead(store, await requireProduct(store, product))).revision, 3);
  const index = JSON.parse(await textOf(store, await resolver.resolve({ product, tree: "releases", path: "index.json" }))) as {
    releases: { version: string }[];
  };
  assert.deepEqual(
    index.releases.map((release) => release.version),
    ["1.4.3", "1.4.2", "1.4.1"],
  );
  for (const release of releases) assert.deepEqual(new Set(await kinds(resolver, pathsOf(release.version))), new Set(["file"]));
  resolver.close();
});

storeTest("a client that read repomd.xml or Release before a publication gets the signature that belongs to it", async (_, { store }) => {
  const key = await repositoryKey;
  const resolver = createDownloadResolver(store);
  const publishOne = async (version: string): Promise<void> => {
    const release = await sampleRelease(version);
    await stage(store, release);
    await publish(store, release, key);
  };
  const digest = async (tree: DownloadTree, path: string, reader: string): Promise<string> => {
    const found = await resolver.resolve({ product, tree, path, reader });
    assert.ok(found.kind === "file", path);
    return found.digest;
  };
  const pairs = [
    ["yum", "stable/repodata/repomd.xml", "stable/repodata/repomd.xml.asc"],
    ["apt", "dists/stable/Release", "dists/stable/Release.gpg"],
    ["apt", "dists/stable/InRelease", "dists/stable/main/binary-amd64/Packages.gz"],
  ] as const;
  await publishOne("1.4.1");
  for (const [index, [tree, first, second]] of pairs.entries()) {
    const [early, late] = [`early ${index}`, `late ${index}`];
    const before = { first: await digest(tree, first, early), second: await digest(tree, second, "nobody") };
    await publishOne(`1.5.${index}`);
    assert.equal(await digest(tree, second, early), before.second, `${second} of the snapshot that ${first} came from`);
    assert.notEqual(await digest(tree, second, late), before.second, "who starts now sees the new one");
    assert.notEqual(await digest(tree, first, early), before.first, `${first} is always the newest`);
    assert.notEqual(await digest(tree, second, early), before.second);
    assert.ok((await store.blobs.stat(before.second as never)) !== undefined);
  }
  resolver.close();
});

storeTest("a package's file name belongs to one release: another release cannot take it over", async (_, { store }) => {
  const key = await repositoryKey;
  const first = await sampleRelease("1.4.1");
  await stage(store, first);
  await publish(store, first, key);
  const deb = first.files.find((file) => file.name === "coequal_1.4.1_amd64.deb");
  const other = await sampleRelease("1.4.2");
  await stage(store, other);
  assert.ok(deb !== undefined);
  await assert.rejects(attachBytes(store, "1.4.2", deb), failsWith("conflict"));
});

storeTest("the repository key is made once, rests sealed, and two servers that start together share it", async (_, { store, dataDir, openAgain }) => {
  const kek = await openKeyEncryptionKey({ dataDir });
  const [left, right] = await Promise.all([openRepositoryKey(store, kek), openRepositoryKey(await openAgain(), kek)]);
  assert.equal(left.fingerprint, right.fingerprint);
  assert.match(left.publicText, /BEGIN PGP PUBLIC KEY BLOCK/);
  const row = await store.db.selectFrom("server_keys").selectAll().executeTakeFirstOrThrow();
  assert.ok(!row.sealed_private.includes("PRIVATE KEY"));
  await assert.rejects(openRepositoryKey(store, parseKeyEncryptionKey("11".repeat(32))), failsWith("key_locked"));
});
