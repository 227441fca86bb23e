/**
 * The server's side of TUF. It checks what the vendor signed, signs snapshot and timestamp itself, and holds no key that could do more.
 *
 *   vendor   roots, targets, a channel's role      signed elsewhere, checked here like a client would, stored as sent
 *   server   snapshot, timestamp                   made in the same transaction, so that what is announced is there
 *
 * Versions are the primary key: of two changes at once the second fails and changes nothing.
 */
import { SlipwayError } from "../model/errors.ts";
import { channelRole, targetPath, type TufRepository, tufLifetimesMs, tufRepositories, tufSnapshot, tufTimestamp } from "../repositories/tuf.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import { isUniqueViolation } from "../store/database.ts";
import type { KeyEncryptionKey } from "../store/key-encryption-key.ts";
import type { Store } from "../store/store.ts";
import { digestHex } from "../model/digest.ts";
import { nextRoot, roleOfRoot, trustRoot } from "../trust/tuf-client.ts";
import { readTufFile, signTuf, type TufFile } from "../trust/tuf-metadata.ts";
import { digestOf } from "../trust/checksums.ts";
import { parseTrustedRoot, requireWholeInstance, sigstoreRootTarget } from "../trust/sigstore-policy.ts";
import { requireThreshold } from "../trust/tuf-signatures.ts";
import { listProducts, type Product, requireProduct } from "./products.ts";
import type { ReleaseWithArtifacts } from "./releases.ts";
import {
  addTufFile,
  addTufTarget,
  findTufFile,
  findTufTarget,
  hasTuf,
  makeServerKeys,
  namedServerKey,
  newestTargets,
  newestTuf,
  serverKeys,
  type TufDatabase,
} from "./tuf-files.ts";

/** What a vendor signed, as text; each part is optional. */
export type SignedTuf = {
  readonly roots?: Readonly<Partial<Record<TufRepository, string | undefined>>> | undefined;
  readonly targets?: string | undefined;
  /** By channel. */
  readonly channels?: Readonly<Record<string, string>> | undefined;
  /** A trusted_root.json that `targets` lists. */
  readonly sigstoreRoot?: string | undefined;
};

type Change = { readonly store: Store; readonly kek: KeyEncryptionKey; readonly product: Product };

/** Fresh keys of the server for both repositories, for a first root or a rotation. */
export async function makeTufKeys(
  store: Store,
  input: { readonly product: string; readonly kek: KeyEncryptionKey; readonly actor: AuditActor },
): Promise<void> {
  const product = await requireProduct(store, input.product);
  await store.db.transaction().execute(async (transaction) => {
    await makeServerKeys(transaction, { kek: input.kek, product, now: store.clock.now() });
    await appendAuditEvent(transaction, store, { actor: input.actor, action: "tuf.keys", result: "complete", product: product.name });
  });
}

/**
 * Takes what the vendor signed, all or nothing, and signs snapshot and timestamp over it. What is there already, byte for byte, is skipped.
 * Throws `root_rotation_invalid`, `metadata_threshold`, `metadata_invalid`, `metadata_expired`, `policy_invalid`, `release_incomplete` for a listed
 * file that nobody gave, and `conflict` for a version that does not follow.
 */
export async function acceptTuf(
  store: Store,
  input: { readonly product: string; readonly kek: KeyEncryptionKey; readonly signed: SignedTuf; readonly actor: AuditActor },
): Promise<void> {
  const product = await requireProduct(store, input.product);
  const change: Change = { store, kek: input.kek, product };
  try {
    await store.db.transaction().execute(async (transaction) => {
      await lockProduct(transaction, product);
      const taken: string[] = [];
      if (input.signed.sigstoreRoot !== undefined) await acceptSigstoreRoot(transaction, change, Buffer.from(input.signed.sigstoreRoot));
      for (const repository of tufRepositories) {
        const text = input.signed.roots?.[repository];
        if (text !== undefined) taken.push(...(await acceptRoot(transaction, change, { repository, bytes: Buffer.from(text) })));
      }
      if (input.signed.targets !== undefined) taken.push(...(await acceptTargetsRole(transaction, change, Buffer.from(input.signed.targets))));
      for (const [channel, text] of Object.entries(input.signed.channels ?? {})) {
        taken.push(...(await acceptChannel(transaction, change, { channel, bytes: Buffer.from(text) })));
      }
      if (taken.length === 0) return;
      await requireDelegation(transaction, product);
      await signOnline(transaction, change, { isSnapshotNew: true, repositories: tufRepositories });
      const detail = taken.join(", ").slice(0, 500);
      await appendAuditEvent(transaction, store, { actor: input.actor, action: "tuf.accept", result: "complete", product: product.name, detail });
    });
  } catch (error) {
    throw isUniqueViolation(error) ? overtaken(product) : error;
  }
}

/** A write before the first read: in SQLite a transaction that reads first cannot write once another has written. */
async function lockProduct(db: TufDatabase, product: Product): Promise<void> {
  await db
    .updateTable("products")
    .set((builder) => ({ keep: builder.ref("keep") }))
    .where("id", "=", product.id)
    .execute();
}

function overtaken(product: Product): SlipwayError {
  return new SlipwayError("conflict", `the TUF metadata of ${product.name} changed meanwhile`, {
    hint: "look with `slipway tuf status`, then sign the next version",
  });
}

/** True for a file that is there as it is; throws `conflict` where its version does not follow the newest. */
function isPresent(file: TufFile<"root" | "targets">, newest: TufFile<"root" | "targets"> | undefined, name: string): boolean {
  const version = newest?.signed.version ?? 0;
  if (newest !== undefined && Buffer.compare(newest.bytes, file.bytes) === 0) return true;
  if (file.signed.version === version + 1) return false;
  throw new SlipwayError("conflict", `${name} has version ${file.signed.version}; version ${version + 1} must follow`);
}

function requireFuture(file: TufFile<"root" | "targets">, name: string, now: Date): void {
  if (new Date(file.signed.expires) > now) return;
  throw new SlipwayError("metadata_expired", `${name} expired at ${file.signed.expires}`, { hint: "sign a new version" });
}

async function acceptRoot(
  db: TufDatabase,
  { store, kek, product }: Change,
  { repository, bytes }: { readonly repository: TufRepository; readonly bytes: Uint8Array },
): Promise<readonly string[]> {
  const root = readTufFile("root", bytes);
  const newest = await newestTuf(db, "root", { product, repository, role: "root" });
  if (isPresent(root, newest, `the ${repository} root`)) return [];
  const binding = root.signed["slipway"];
  const expected = JSON.stringify({ product: product.name, repository });
  if (JSON.stringify(binding) !== expected) throw new SlipwayError("policy_invalid", `the root is not made for ${product.name}, ${repository}`);
  if (newest === undefined) trustRoot(bytes);
  else nextRoot(trustRoot(newest.bytes), bytes);
  requireFuture(root, `the ${repository} root`, store.clock.now());
  namedServerKey(root, await serverKeys(db, { kek, product, repository }));
  await addTufFile(db, { product, repository, role: "root", version: root.signed.version, bytes, now: store.clock.now() });
  return [`${repository} root ${root.signed.version}`];
}

async function acceptTargetsRole(db: TufDatabase, { store, product }: Change, bytes: Uint8Array): Promise<readonly string[]> {
  const targets = readTufFile("targets", bytes);
  if (isPresent(targets, await newestTuf(db, "targets", { product, repository: "both", role: "targets" }), "targets")) return [];
  requireFuture(targets, "targets", store.clock.now());
  await addTufFile(db, { product, repository: "both", role: "targets", version: targets.signed.version, bytes, now: store.clock.now() });
  return [`targets ${targets.signed.version}`];
}

/** Checked as a verifier reads it: a root that no installation could use never becomes the listed one. Throws `policy_invalid`. */
async function acceptSigstoreRoot(db: TufDatabase, { store, product }: Change, bytes: Uint8Array): Promise<void> {
  requireWholeInstance(await parseTrustedRoot(bytes));
  await addTufTarget(db, { product, path: sigstoreRootTarget, sha256: digestHex(digestOf(bytes)), bytes, now: store.clock.now() });
}

/** The targets role speaks for what is of no release, and that must be here. */
async function requireTargets(db: TufDatabase, product: Product, targets: TufFile<"targets">): Promise<void> {
  for (const [path, { length, hashes }] of Object.entries(targets.signed.targets)) {
    if (path !== sigstoreRootTarget) throw new SlipwayError("metadata_invalid", `targets lists ${path.slice(0, 200)}, which is of no channel`);
    const found = await findTufTarget(db, { product, path, sha256: hashes["sha256"] ?? "" });
    if (found?.bytes.length !== length) throw new SlipwayError("release_incomplete", `targets lists another ${path} than the server was given`);
  }
}

async function acceptChannel(
  db: TufDatabase,
  { store, product }: Change,
  { channel, bytes }: { readonly channel: string; readonly bytes: Uint8Array },
): Promise<readonly string[]> {
  const role = channelRole(product.name, channel);
  const file = readTufFile("targets", bytes);
  if (isPresent(file, await newestTuf(db, "targets", { product, repository: "both", role }), role)) return [];
  requireFuture(file, role, store.clock.now());
  const stray = Object.keys(file.signed.targets).find((path) => !path.startsWith(`${product.name}/${channel}/`));
  if (stray !== undefined) throw new SlipwayError("metadata_invalid", `${role} lists ${stray.slice(0, 200)}, which is not of its channel`);
  await addTufFile(db, { product, repository: "both", role, version: file.signed.version, bytes, now: store.clock.now() });
  return [`${role} ${file.signed.version}`];
}

/** After any change the whole must hold: both roots, targets by both, every role by the keys that targets names. */
async function requireDelegation(db: TufDatabase, product: Product): Promise<void> {
  const files = await newestTargets(db, product);
  const found = files.find(({ role }) => role === "targets");
  if (found === undefined) throw new SlipwayError("policy_invalid", "there is no targets role yet", { hint: "upload the whole folder of `slipway tuf init`" });
  const targets = readTufFile("targets", found.bytes);
  await requireTargets(db, product, targets);
  for (const repository of tufRepositories) {
    const root = await newestTuf(db, "root", { product, repository, role: "root" });
    if (root === undefined)
      throw new SlipwayError("policy_invalid", `there is no ${repository} root yet`, { hint: "upload the whole folder of `slipway tuf init`" });
    requireThreshold(targets, roleOfRoot(root, "targets"));
  }
  const { roles = [], keys = {} } = targets.signed.delegations ?? {};
  for (const stored of files) {
    if (stored.role === "targets") continue;
    const role = roles.find(({ name }) => name === stored.role);
    if (role === undefined) throw new SlipwayError("metadata_threshold", `targets does not delegate to ${stored.role}`);
    requireThreshold(readTufFile("targets", stored.bytes), { name: stored.role, role, keys });
  }
}

/** Signs what the server signs, one version on; the snapshot only where something in it is new, or it grows old. */
async function signOnline(
  db: TufDatabase,
  { store, kek, product }: Change,
  { isSnapshotNew, repositories }: { readonly isSnapshotNew: boolean; readonly repositories: readonly TufRepository[] },
): Promise<void> {
  const now = store.clock.now();
  for (const repository of repositories) {
    const root = await newestTuf(db, "root", { product, repository, role: "root" });
    if (root === undefined) throw new SlipwayError("internal", `${product.name} has no ${repository} root to sign for`);
    const key = namedServerKey(root, await serverKeys(db, { kek, product, repository }));
    let snapshot = await findTufFile(db, { product, repository, role: "snapshot" });
    if (isSnapshotNew || snapshot === undefined) {
      const version = (snapshot?.version ?? 0) + 1;
      const bytes = signTuf(tufSnapshot({ version, now, repository, roles: await newestTargets(db, product) }), [key]);
      snapshot = { role: "snapshot", version, bytes, createdAt: now };
      await addTufFile(db, { product, repository, role: "snapshot", version, bytes, now });
    }
    const version = ((await findTufFile(db, { product, repository, role: "timestamp" }))?.version ?? 0) + 1;
    const bytes = signTuf(tufTimestamp({ version, now, repository, snapshot }), [key]);
    await addTufFile(db, { product, repository, role: "timestamp", version, bytes, now });
  }
}

/** The channel's next role as a publication brings it: signed, one version on, and listing every file of the release. */
export type TufPublication = { readonly kek: KeyEncryptionKey; readonly channel: string };

/** Throws `release_incomplete` where the product has TUF keys and the publication brings no metadata. */
export async function requireTufPublication(store: Store, product: Product, publication: TufPublication | undefined): Promise<void> {
  if (publication !== undefined || !(await hasTuf(store.db, product))) return;
  throw new SlipwayError("release_incomplete", `releases of ${product.name} are published with signed TUF metadata`, {
    hint: "publish with `slipway release publish` and the key of the recipe's sign.tuf, or --tuf-key",
  });
}

/** Inside the transaction that publishes the release. Throws what acceptTuf throws, and `release_incomplete` for a file that is not listed. */
export async function publishTuf(
  db: TufDatabase,
  store: Store,
  input: { readonly product: Product; readonly release: ReleaseWithArtifacts; readonly publication: TufPublication },
): Promise<void> {
  const { product, release, publication } = input;
  const file = readTufFile("targets", Buffer.from(publication.channel));
  for (const { name, digest, size } of release.artifacts) {
    const listed = file.signed.targets[targetPath({ product: product.name, channel: release.channel, version: release.version, name })];
    if (listed?.length !== size || listed.hashes["sha256"] !== digestHex(digest)) {
      throw new SlipwayError("release_incomplete", `the TUF metadata does not list ${name} of ${product.name} ${release.version} as it is`);
    }
  }
  const change: Change = { store, kek: publication.kek, product };
  try {
    await acceptChannel(db, change, { channel: release.channel, bytes: file.bytes });
    await requireDelegation(db, product);
    await signOnline(db, change, { isSnapshotNew: true, repositories: tufRepositories });
  } catch (error) {
    throw isUniqueViolation(error) ? overtaken(product) : error;
  }
}

const hourMs = 3_600_000;
/** Signed again after this time: three chances before an online client would see an expired file. */
const resignAfterMs = { online: 6 * hourMs, offline: 24 * hourMs } as const;
/** Superseded files stay this long for clients that are under way; roots stay for ever. */
const keepSupersededMs = 48 * hourMs;

/** As long as the offline repository's snapshots last, and a mirror may need to carry them. */
const keepUnlistedMs = 60 * 24 * hourMs;

/** Signs timestamps again that are six hours old, and snapshots past half their life. Returns the names of the products. */
export async function refreshTuf(store: Store, kek: KeyEncryptionKey): Promise<readonly string[]> {
  const refreshed: string[] = [];
  for (const product of await listProducts(store)) {
    if (!(await hasTuf(store.db, product))) continue;
    const now = store.clock.now().getTime();
    for (const repository of tufRepositories) {
      const timestamp = await findTufFile(store.db, { product, repository, role: "timestamp" });
      if (timestamp === undefined || now - timestamp.createdAt.getTime() < resignAfterMs[repository]) continue;
      const snapshot = await findTufFile(store.db, { product, repository, role: "snapshot" });
      const isSnapshotNew = snapshot === undefined || now - snapshot.createdAt.getTime() > tufLifetimesMs[repository].snapshot / 2;
      try {
        await store.db.transaction().execute(async (transaction) => {
          await lockProduct(transaction, product);
          await signOnline(transaction, { store, kek, product }, { isSnapshotNew, repositories: [repository] });
        });
        refreshed.push(`${product.name} ${repository}`);
      } catch (error) {
        if (!isUniqueViolation(error)) throw error; // another server signed this very version
      }
    }
    await removeSuperseded(store, product);
    await removeUnlisted(store, product);
  }
  return refreshed;
}

/** Targets that are no longer listed stay as long as the metadata that listed them may be read. */
async function removeUnlisted(store: Store, product: Product): Promise<void> {
  const targets = await newestTuf(store.db, "targets", { product, repository: "both", role: "targets" });
  const hex = targets?.signed.targets[sigstoreRootTarget]?.hashes["sha256"] ?? "";
  await store.db
    .deleteFrom("tuf_targets")
    .where("product_id", "=", product.id)
    .where("sha256", "!=", hex)
    .where("created_at", "<", store.clock.now().getTime() - keepUnlistedMs)
    .execute();
}

async function removeSuperseded(store: Store, product: Product): Promise<void> {
  const newest = await store.db
    .selectFrom("tuf_files")
    .select((builder) => ["repository", "role", builder.fn.max("version").as("version")])
    .where("product_id", "=", product.id)
    .where("role", "!=", "root")
    .groupBy(["repository", "role"])
    .execute();
  for (const { repository, role, version } of newest) {
    // The version that was current 48 hours ago stays, and all since.
    const current = await store.db
      .selectFrom("tuf_files")
      .select((builder) => builder.fn.max("version").as("version"))
      .where("product_id", "=", product.id)
      .where("repository", "=", repository)
      .where("role", "=", role)
      .where("created_at", "<", store.clock.now().getTime() - keepSupersededMs)
      .executeTakeFirst();
    const bound = Math.min(current?.version ?? 0, version);
    await store.db
      .deleteFrom("tuf_files")
      .where("product_id", "=", product.id)
      .where("repository", "=", repository)
      .where("role", "=", role)
      .where("version", "<", bound)
      .execute();
  }
}
