/** The stored TUF metadata of a product: what was signed, by repository, role and version; and the server's own keys, sealed. */
import { createPrivateKey } from "node:crypto";
import type { Kysely, Transaction } from "kysely";
import { SlipwayError } from "../model/errors.ts";
import { type TufRepository, tufRepositories } from "../repositories/tuf.ts";
import { type KeyEncryptionKey, seal, unseal } from "../store/key-encryption-key.ts";
import type { Database } from "../store/schema.ts";
import type { TufFileTable } from "../store/tuf-tables.ts";
import { formatTufSecretKey, generateTufKey, signingKeyOf, type TufPublicKey, type TufSigningKey } from "../trust/tuf-key.ts";
import { readTufFile, type TufFile, type TufKind } from "../trust/tuf-metadata.ts";
import type { Product } from "./products.ts";

export type TufDatabase = Kysely<Database> | Transaction<Database>;

export type StoredTufFile = { readonly role: string; readonly version: number; readonly bytes: Uint8Array; readonly createdAt: Date };

export type StoredTufTarget = { readonly bytes: Uint8Array; readonly createdAt: Date };

type Place = { readonly product: Product; readonly repository: TufFileTable["repository"]; readonly role: string };

function storedOf(row: TufFileTable): StoredTufFile {
  return { role: row.role, version: row.version, bytes: Buffer.from(row.content), createdAt: new Date(row.created_at) };
}

/** One version, the newest where none is named; undefined where there is none. */
export async function findTufFile(db: TufDatabase, at: Place & { readonly version?: number }): Promise<StoredTufFile | undefined> {
  const all = db
    .selectFrom("tuf_files")
    .selectAll()
    .where("product_id", "=", at.product.id)
    .where("repository", "=", at.repository)
    .where("role", "=", at.role);
  const row = await (at.version === undefined ? all.orderBy("version", "desc").limit(1) : all.where("version", "=", at.version)).executeTakeFirst();
  return row === undefined ? undefined : storedOf(row);
}

/** The newest version of a role, read; undefined where the product has none. */
export async function newestTuf<K extends TufKind>(db: TufDatabase, kind: K, at: Place): Promise<TufFile<K> | undefined> {
  const found = await findTufFile(db, at);
  return found === undefined ? undefined : readTufFile(kind, found.bytes);
}

/** The newest version of the targets role and of every channel's. */
export async function newestTargets(db: TufDatabase, product: Product): Promise<readonly StoredTufFile[]> {
  const rows = await db
    .selectFrom("tuf_files")
    .select((builder) => ["role", builder.fn.max("version").as("version")])
    .where("product_id", "=", product.id)
    .where("repository", "=", "both")
    .groupBy("role")
    .execute();
  const files: StoredTufFile[] = [];
  for (const { role, version } of rows) {
    const found = await findTufFile(db, { product, repository: "both", role, version });
    if (found !== undefined) files.push(found);
  }
  return files;
}

/** Each version is written once: of two servers that make the same one, the second fails with a unique violation. */
export async function addTufFile(db: TufDatabase, at: Place & { readonly version: number; readonly bytes: Uint8Array; readonly now: Date }): Promise<void> {
  await db
    .insertInto("tuf_files")
    .values({
      product_id: at.product.id,
      repository: at.repository,
      role: at.role,
      version: at.version,
      content: Buffer.from(at.bytes).toString("utf8"),
      created_at: at.now.getTime(),
    })
    .execute();
}

type TargetPlace = { readonly product: Product; readonly path: string; readonly sha256: string };

/** Bytes that the targets role itself lists; undefined where they were never given. */
export async function findTufTarget(db: TufDatabase, { product, path, sha256 }: TargetPlace): Promise<StoredTufTarget | undefined> {
  const row = await db
    .selectFrom("tuf_targets")
    .select(["content", "created_at"])
    .where("product_id", "=", product.id)
    .where("path", "=", path)
    .where("sha256", "=", sha256)
    .executeTakeFirst();
  return row === undefined ? undefined : { bytes: Buffer.from(row.content), createdAt: new Date(row.created_at) };
}

export async function addTufTarget(db: TufDatabase, at: TargetPlace & { readonly bytes: Uint8Array; readonly now: Date }): Promise<void> {
  const { product, path, sha256, bytes, now } = at;
  const content = Buffer.from(bytes).toString("utf8");
  await db
    .insertInto("tuf_targets")
    .values({ product_id: product.id, path, sha256, content, created_at: now.getTime() })
    .onConflict((conflict) => conflict.columns(["product_id", "path", "sha256"]).doNothing())
    .execute();
}

/** True where both roots and the targets role are there: from then on releases are published with their metadata. */
export async function hasTuf(db: TufDatabase, product: Product): Promise<boolean> {
  return (await findTufFile(db, { product, repository: "online", role: "root" })) !== undefined;
}

/** Makes a fresh pair for each repository. They sign nothing until a root names them. */
export async function makeServerKeys(db: TufDatabase, input: { readonly kek: KeyEncryptionKey; readonly product: Product; readonly now: Date }): Promise<void> {
  for (const repository of tufRepositories) {
    const made = generateTufKey();
    await db
      .insertInto("tuf_keys")
      .values({
        product_id: input.product.id,
        repository,
        key_id: made.keyId,
        sealed_private: seal(input.kek, formatTufSecretKey(made), sealContext(input.product, repository)),
        created_at: input.now.getTime(),
      })
      .execute();
  }
}

const sealContext = (product: Product, repository: TufRepository): string => `tuf-key:${product.id}:${repository}`;

/** The server's keys of a repository, newest first. */
export async function serverKeys(
  db: TufDatabase,
  at: { readonly kek: KeyEncryptionKey; readonly product: Product; readonly repository: TufRepository },
): Promise<readonly TufSigningKey[]> {
  const rows = await db
    .selectFrom("tuf_keys")
    .selectAll()
    .where("product_id", "=", at.product.id)
    .where("repository", "=", at.repository)
    .orderBy("created_at", "desc")
    .orderBy("key_id")
    .execute();
  return rows.map((row) => signingKeyOf(createPrivateKey(unseal(at.kek, row.sealed_private, sealContext(at.product, at.repository)))));
}

/** The one that the root names for snapshot and timestamp; throws `policy_invalid` where the server holds none of those. */
export function namedServerKey(root: TufFile<"root">, keys: readonly TufSigningKey[]): TufSigningKey {
  const { snapshot, timestamp } = root.signed.roles;
  const named = keys.find(({ keyId }) => snapshot.keyids.includes(keyId) && timestamp.keyids.includes(keyId));
  if (named !== undefined && snapshot.threshold === 1 && timestamp.threshold === 1) return named;
  throw new SlipwayError("policy_invalid", `root version ${root.signed.version} names no snapshot and timestamp key of this server`, {
    hint: "make the root with `slipway tuf init` or `slipway tuf rotate`, which ask the server for its keys",
  });
}

export const publicPart = ({ keyId, json }: TufPublicKey): TufPublicKey => ({ keyId, json });
