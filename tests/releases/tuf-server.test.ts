/** What the server takes of a vendor's TUF metadata, and what it signs itself: on both databases. */
import assert from "node:assert/strict";
import { type ErrorCode, SlipwayError } from "../../src/model/errors.ts";
import { createProduct, requireProduct } from "../../src/releases/products.ts";
import { publishRelease } from "../../src/releases/publish.ts";
import { readRelease } from "../../src/releases/releases.ts";
import { findTufFile, newestTuf, serverKeys } from "../../src/releases/tuf-files.ts";
import { acceptTuf, makeTufKeys, refreshTuf, type SignedTuf } from "../../src/releases/tuf-publish.ts";
import { releaseTargets, type TufRepository, tufChannel, tufRepositories, tufRoot, tufTargets, tufTargetsWith } from "../../src/repositories/tuf.ts";
import { parseKeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import type { Store } from "../../src/store/store.ts";
import { sigstoreRootTarget } from "../../src/trust/sigstore-policy.ts";
import type { TufSigningKey } from "../../src/trust/tuf-key.ts";
import { readTufFile, signTuf, type TufTarget } from "../../src/trust/tuf-metadata.ts";
import { storeTest } from "../support/stores.ts";
import { newKey } from "../support/tuf-repository.ts";
import { actor, product, sampleRelease, stage, testRepositoryKey } from "./sample-release.ts";

const kek = parseKeyEncryptionKey("5a".repeat(32));
const repositoryKey = testRepositoryKey();
const failsWith =
  (code: ErrorCode) =>
  (error: unknown): boolean =>
    error instanceof SlipwayError && error.code === code;

type Keys = { root: TufSigningKey[]; ci: TufSigningKey };
type Wish = {
  readonly version?: number;
  readonly signers?: readonly TufSigningKey[];
  readonly product?: string;
  readonly repository?: TufRepository;
  readonly online?: TufSigningKey;
};

/** As a verifier reads it; nobody looks into the certificates before one is needed. */
function sigstoreRootWith(certificates: number): Record<string, unknown> {
  const validFor = { start: "2026-01-01T00:00:00Z" };
  const log = { logId: { keyId: "AA==" }, publicKey: { rawBytes: "AA==", validFor } };
  return {
    mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    tlogs: [log],
    ctlogs: [log],
    certificateAuthorities: Array.from({ length: certificates }, () => ({ certChain: { certificates: [{ rawBytes: "AA==" }] }, validFor })),
    timestampAuthorities: [],
  };
}

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");

async function rootText(store: Store, keys: Keys, repository: TufRepository, wish: Wish = {}): Promise<string> {
  const [held] = await serverKeys(store.db, { kek, product: await requireProduct(store, product), repository: wish.repository ?? repository });
  const online = wish.online ?? held;
  assert.ok(online);
  const named = { root: keys.root, rootThreshold: 2, targets: [keys.ci], online };
  const root = tufRoot({ version: wish.version ?? 1, now: store.clock.now(), product: wish.product ?? product, repository, keys: named });
  return textOf(signTuf(root, wish.signers ?? keys.root.slice(0, 2)));
}

const rootsText = async (store: Store, keys: Keys, wish: Wish = {}): Promise<NonNullable<SignedTuf["roots"]>> => ({
  online: await rootText(store, keys, "online", wish),
  offline: await rootText(store, keys, "offline", wish),
});

const targetsText = (store: Store, keys: Keys, version = 1, signer = keys.ci): string =>
  textOf(signTuf(tufTargets({ version, now: store.clock.now(), product, channels: ["stable", "preview"], keys: [keys.ci] }), [signer]));

const channelText = (store: Store, signer: TufSigningKey, version: number, targets: Readonly<Record<string, TufTarget>> = {}): string =>
  textOf(signTuf(tufChannel({ version, now: store.clock.now(), targets }), [signer]));

const accept = (store: Store, signed: SignedTuf): Promise<void> => acceptTuf(store, { product, kek, signed, actor });

async function establish(store: Store): Promise<Keys> {
  await createProduct(store, { name: product, actor });
  await makeTufKeys(store, { product, kek, actor });
  const keys: Keys = { root: [newKey(), newKey(), newKey()], ci: newKey() };
  await accept(store, { roots: await rootsText(store, keys), targets: targetsText(store, keys), channels: { stable: channelText(store, keys.ci, 1) } });
  return keys;
}

async function versions(store: Store): Promise<Record<string, number>> {
  const rows = await store.db.selectFrom("tuf_files").select(["repository", "role", "version"]).execute();
  const newest: Record<string, number> = {};
  for (const { repository, role, version } of rows) newest[`${repository} ${role}`] = Math.max(version, newest[`${repository} ${role}`] ?? 0);
  return newest;
}

const afterFirst = {
  "online root": 1,
  "offline root": 1,
  "both targets": 1,
  "both coequal-stable": 1,
  "online snapshot": 1,
  "offline snapshot": 1,
  "online timestamp": 1,
  "offline timestamp": 1,
};

storeTest("K4 the first ceremony is taken whole; what is signed by too few, for another product, or out of order changes nothing", async (_, { store }) => {
  const keys = await establish(store);
  assert.deepEqual(await versions(store), afterFirst);
  await accept(store, { roots: await rootsText(store, keys) }); // the very same again
  const stranger = newKey();
  const stable = { length: 1, hashes: { sha256: "0".repeat(64) } };
  const refusals: readonly (readonly [string, ErrorCode, SignedTuf])[] = [
    [
      "a root by one key",
      "root_rotation_invalid",
      { roots: { online: await rootText(store, keys, "online", { version: 2, signers: keys.root.slice(0, 1) }) } },
    ],
    ["a root that skips a version", "conflict", { roots: { online: await rootText(store, keys, "online", { version: 3 }) } }],
    ["a root of another product", "policy_invalid", { roots: { online: await rootText(store, keys, "online", { version: 2, product: "other" }) } }],
    ["the offline root as the online one", "policy_invalid", { roots: { online: await rootText(store, keys, "offline", { version: 2 }) } }],
    ["a root with another's online key", "policy_invalid", { roots: { online: await rootText(store, keys, "online", { version: 2, online: stranger }) } }],
    ["targets by a stranger", "metadata_threshold", { targets: targetsText(store, keys, 2, stranger) }],
    ["a channel by a stranger", "metadata_threshold", { channels: { stable: channelText(store, stranger, 2) } }],
    ["a channel that nobody delegates to", "metadata_threshold", { channels: { nightly: channelText(store, keys.ci, 1) } }],
    [
      "a channel that lists another's files",
      "metadata_invalid",
      { channels: { stable: channelText(store, keys.ci, 2, { "coequal/preview/1.0.0/x": stable }) } },
    ],
    ["a channel that goes back", "conflict", { channels: { stable: channelText(store, stranger, 1) } }],
    ["no metadata at all", "metadata_invalid", { targets: "{}" }],
  ];
  for (const [name, code, signed] of refusals) await assert.rejects(accept(store, signed), failsWith(code), name);
  assert.deepEqual(await versions(store), afterFirst);
});

storeTest(
  "Sigstore's trusted root is taken with the targets role that lists it, as it is and usable, and goes when it is no longer listed",
  async (_, { store, clock }) => {
    const keys = await establish(store);
    const now = clock.now();
    const rootOf = (certificates: number): string => JSON.stringify(sigstoreRootWith(certificates));
    const listing = (bytes: string, version: number, path = sigstoreRootTarget): string => {
      const before = readTufFile("targets", Buffer.from(targetsText(store, keys, version - 1))).signed;
      return textOf(signTuf(tufTargetsWith(before, { now, path, bytes: Buffer.from(bytes) }), [keys.ci]));
    };
    const [first, second] = [rootOf(1), rootOf(2)];
    const useless = JSON.stringify({ ...sigstoreRootWith(1), ctlogs: [] });
    const refusals: readonly (readonly [string, ErrorCode, SignedTuf])[] = [
      ["a root that nobody gave", "release_incomplete", { targets: listing(first, 2) }],
      ["another root than was given", "release_incomplete", { targets: listing(first, 2), sigstoreRoot: second }],
      ["a root without a log of certificates", "policy_invalid", { targets: listing(useless, 2), sigstoreRoot: useless }],
      ["no root at all", "policy_invalid", { targets: listing("{}", 2), sigstoreRoot: "{}" }],
      ["a file of no channel", "metadata_invalid", { targets: listing(first, 2, "etc/passwd"), sigstoreRoot: first }],
    ];
    for (const [name, code, signed] of refusals) await assert.rejects(accept(store, signed), failsWith(code), name);
    assert.deepEqual(await versions(store), afterFirst);
    await accept(store, { targets: listing(first, 2), sigstoreRoot: first });
    await accept(store, { targets: listing(second, 3), sigstoreRoot: second });
    await accept(store, { targets: listing(first, 4), sigstoreRoot: first }); // back to what is still there
    await accept(store, { targets: listing(second, 5) });
    const kept = async (): Promise<readonly string[]> => (await store.db.selectFrom("tuf_targets").select("content").execute()).map(({ content }) => content);
    clock.advance(59 * 24 * 3_600_000);
    await refreshTuf(store, kek);
    assert.equal((await kept()).length, 2, "whoever reads older metadata still finds what it lists");
    clock.advance(2 * 24 * 3_600_000);
    await refreshTuf(store, kek);
    assert.deepEqual(await kept(), [second]);
  },
);

storeTest("a publication brings its channel's next metadata, listing every file as it is, or is refused whole", async (_, { store }) => {
  const keys = await establish(store);
  const release = await sampleRelease("1.4.2");
  await stage(store, release);
  const { artifacts } = await readRelease(store, product, release.version);
  const files = artifacts.map(({ name, digest, size }) => ({ name, digest, size }));
  const listed = releaseTargets({ product, channel: "stable", version: release.version, sequence: 1, files });
  const publish = async (channel: string | undefined): Promise<unknown> =>
    publishRelease(store, {
      product,
      version: release.version,
      sums: release.sums,
      repositoryKey: await repositoryKey,
      actor,
      ...(channel === undefined ? {} : { tuf: { kek, channel } }),
    });
  await assert.rejects(publish(undefined), failsWith("release_incomplete"));
  const [first = ""] = Object.keys(listed);
  const { [first]: _first, ...without } = listed;
  await assert.rejects(publish(channelText(store, keys.ci, 2, without)), failsWith("release_incomplete"));
  await assert.rejects(publish(channelText(store, newKey(), 2, listed)), failsWith("metadata_threshold"));
  await assert.rejects(publish(channelText(store, keys.ci, 7, listed)), failsWith("conflict"));
  assert.equal((await readRelease(store, product, release.version)).state, "draft");
  assert.deepEqual(await versions(store), afterFirst);
  await publish(channelText(store, keys.ci, 2, listed));
  assert.equal((await readRelease(store, product, release.version)).state, "published");
  const after = await versions(store);
  assert.equal(after["both coequal-stable"], 2);
  assert.equal(after["online timestamp"], 2);
  assert.equal(after["offline snapshot"], 2);
  await publish(channelText(store, keys.ci, 2, listed)); // again: nothing to do
  assert.deepEqual(await versions(store), after);
});

storeTest(
  "timestamps are signed again every six hours, snapshots at half their life, and superseded files leave after two days",
  async (_, { store, clock }) => {
    await establish(store);
    const hour = 3_600_000;
    assert.deepEqual(await refreshTuf(store, kek), []);
    clock.advance(6 * hour);
    assert.deepEqual(await refreshTuf(store, kek), ["coequal online"]);
    const at = { product: await requireProduct(store, product), repository: "online", role: "timestamp" } as const;
    const timestamp = readTufFile("timestamp", (await findTufFile(store.db, at))?.bytes ?? new Uint8Array());
    assert.equal(timestamp.signed.version, 2);
    assert.equal(Date.parse(timestamp.signed.expires) - clock.now().getTime(), 24 * hour);
    assert.equal((await versions(store))["online snapshot"], 1);
    for (let turn = 0; turn < 16; turn += 1) {
      clock.advance(6 * hour);
      await refreshTuf(store, kek);
    }
    const after = await versions(store);
    assert.equal(after["online timestamp"], 18);
    assert.equal(after["online snapshot"], 2, "half of a week has passed");
    const kept = await store.db
      .selectFrom("tuf_files")
      .select("version")
      .where("role", "=", "timestamp")
      .where("repository", "=", "online")
      .orderBy("version")
      .execute();
    assert.deepEqual([kept[0]?.version, kept.at(-1)?.version], [9, 18]);
    assert.ok(await findTufFile(store.db, { ...at, role: "root" }), "roots stay for ever");
  },
);

storeTest(
  "of two servers that take the same version at once one wins, and fresh server keys sign from the root on that names them",
  async (_, { store, clock, databaseUrl, openAgain }) => {
    const keys = await establish(store);
    const other = databaseUrl === undefined ? store : await openAgain(); // node:sqlite waits for a lock without letting this process go on
    const results = await Promise.allSettled([
      accept(store, { channels: { stable: channelText(store, keys.ci, 2) } }),
      accept(other, { channels: { stable: channelText(other, keys.ci, 2, { "coequal/stable/1.0.0/x": { length: 1, hashes: { sha256: "1".repeat(64) } } }) } }),
    ]);
    const failed = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
    assert.equal(failed.length, 1);
    assert.ok(failed.every(failsWith("conflict")), String(failed[0]));
    const place = await requireProduct(store, product);
    const signerOf = async (): Promise<string | undefined> =>
      [...((await newestTuf(store.db, "timestamp", { product: place, repository: "online", role: "timestamp" }))?.signatures.keys() ?? [])][0];
    const before = await signerOf();
    clock.advance(1000);
    await makeTufKeys(store, { product, kek, actor });
    await accept(store, { channels: { stable: channelText(store, keys.ci, 3) } });
    assert.equal(await signerOf(), before, "nobody knows the fresh key yet");
    await accept(store, { roots: await rootsText(store, keys, { version: 2 }) });
    assert.notEqual(await signerOf(), before);
    for (const repository of tufRepositories) assert.equal((await serverKeys(store.db, { kek, product: place, repository })).length, 2);
    const sealed = await store.db.selectFrom("tuf_keys").select("sealed_private").execute();
    assert.ok(
      sealed.every((row) => !row.sealed_private.includes("PRIVATE KEY")),
      "private halves rest sealed",
    );
  },
);
