/**
 * Access pairs: a key id and a secret, read-only, the same pair for every protocol (C9).
 *
 * The secret is shown once. At rest there are its SHA-256, which the request path compares, and an AES-256-GCM envelope, because SigV4
 * needs the secret itself back. With 256 random bits a slow password hash would add nothing but load.
 */
import { createHash, randomBytes, randomInt } from "node:crypto";
import type { Transaction } from "kysely";
import { SlipwayError } from "../model/errors.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import { isUniqueViolation } from "../store/database.ts";
import { type KeyEncryptionKey, seal } from "../store/key-encryption-key.ts";
import type { Database } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { requireCustomer } from "./customers.ts";
import { ensureGrant } from "./grants.ts";
import { parseNetworks } from "./networks.ts";

export type AccessPair = { readonly id: string; readonly secret: string };

export type AccessKey = {
  readonly id: string;
  readonly customer: string;
  readonly products: readonly string[];
  /** Networks that it may be used from; undefined: anywhere. */
  readonly allowedFrom: readonly string[] | undefined;
  readonly createdAt: Date;
  readonly expiresAt: Date | undefined;
  readonly revokedAt: Date | undefined;
  /** Newest first; while two live, the older one says when it retires. */
  readonly secrets: readonly { readonly generation: number; readonly createdAt: Date; readonly retiresAt: Date | undefined }[];
};

/** How long the old secret lives beside the new one unless the caller says otherwise: three days, a weekend for the operator. */
export const defaultOverlapMs = 72 * 3_600_000;

/** RFC 4648 base32; 20 characters are 100 bits. */
const base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

function newKeyId(): string {
  return `SLK${Array.from({ length: 20 }, () => base32[randomInt(32)]).join("")}`;
}

/** 43 characters of base64url: 256 bits. */
function newSecret(): string {
  return randomBytes(32).toString("base64url");
}

export function secretDigest(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}

/** What binds an envelope to its row: a sealed secret copied to another key does not open. */
export function secretContext(keyId: string, generation: number): string {
  return `access-key:${keyId}:${generation}`;
}

function secretRow(input: { readonly id: string; readonly generation: number; readonly secret: string; readonly kek: KeyEncryptionKey; readonly now: Date }) {
  return {
    access_key_id: input.id,
    generation: input.generation,
    sha256: secretDigest(input.secret).toString("hex"),
    sealed: seal(input.kek, input.secret, secretContext(input.id, input.generation)),
    created_at: input.now.getTime(),
    retires_at: null,
  };
}

/**
 * Issues a pair that opens `product`; a customer without a grant of it gets one without limits. The secret is in the result and nowhere
 * else in clear. Throws `not_found` for an unknown customer or product, `usage` for a network that is none.
 */
export async function issueAccessKey(
  store: Store,
  input: {
    readonly customer: string;
    readonly product: string;
    readonly expiresAt?: Date | undefined;
    /** Networks that it may be used from; anywhere by default. */
    readonly allowedFrom?: readonly string[] | undefined;
    readonly kek: KeyEncryptionKey;
    readonly actor: AuditActor;
  },
): Promise<AccessPair> {
  const allowedFrom = input.allowedFrom === undefined ? undefined : parseNetworks(input.allowedFrom);
  const customer = await requireCustomer(store, input.customer);
  const product = await store.db.selectFrom("products").select(["id", "name"]).where("name", "=", input.product).executeTakeFirst();
  if (product === undefined)
    throw new SlipwayError("not_found", `there is no product "${input.product.slice(0, 80)}"`, { hint: "`slipway product list` shows all" });
  const now = store.clock.now();
  const pair = { id: newKeyId(), secret: newSecret() };
  await store.db.transaction().execute(async (transaction) => {
    await transaction
      .insertInto("access_keys")
      .values({
        id: pair.id,
        customer_id: customer.id,
        created_at: now.getTime(),
        expires_at: input.expiresAt?.getTime() ?? null,
        revoked_at: null,
        allowed_from: allowedFrom?.join(",") ?? null,
      })
      .execute();
    await transaction
      .insertInto("access_key_secrets")
      .values(secretRow({ ...pair, generation: 1, kek: input.kek, now }))
      .execute();
    await transaction.insertInto("access_key_products").values({ access_key_id: pair.id, product_id: product.id, created_at: now.getTime() }).execute();
    await ensureGrant(transaction, { customerId: customer.id, productId: product.id, now });
    await appendAuditEvent(transaction, store, {
      actor: input.actor,
      action: "key.issue",
      result: "complete",
      customer: customer.name,
      keyId: pair.id,
      product: product.name,
    });
  });
  store.changes.emit("credential", pair.id);
  return pair;
}

async function requireLiveKey(store: Store, transaction: Transaction<Database>, id: string): Promise<{ readonly customer: string }> {
  const row = await transaction
    .selectFrom("access_keys")
    .innerJoin("customers", "customers.id", "access_keys.customer_id")
    .select(["access_keys.revoked_at", "access_keys.expires_at", "customers.name"])
    .where("access_keys.id", "=", id)
    .executeTakeFirst();
  if (row === undefined) throw new SlipwayError("not_found", `there is no access key "${id.slice(0, 40)}"`);
  if (row.revoked_at !== null) throw new SlipwayError("conflict", `the access key ${id} was revoked`, { hint: "issue a new pair with `slipway key issue`" });
  if (row.expires_at !== null && row.expires_at <= store.clock.now().getTime()) {
    throw new SlipwayError("conflict", `the access key ${id} has expired`, { hint: "issue a new pair with `slipway key issue`" });
  }
  return { customer: row.name };
}

/**
 * Adds a second secret to the key; the one before lives on for `overlapMs`: never more than two are live. A rotation while two live would
 * end the oldest before its promised time, so it needs `isForced`.
 * Throws `not_found`, and `conflict` for a revoked or expired key, within an overlap, or where another rotation happens at this moment.
 */
export async function rotateAccessKey(
  store: Store,
  input: {
    readonly id: string;
    readonly overlapMs?: number | undefined;
    readonly isForced?: boolean | undefined;
    readonly kek: KeyEncryptionKey;
    readonly actor: AuditActor;
  },
): Promise<AccessPair & { readonly previousRetiresAt: Date }> {
  const now = store.clock.now();
  const previousRetiresAt = new Date(now.getTime() + (input.overlapMs ?? defaultOverlapMs));
  const secret = newSecret();
  try {
    await store.db.transaction().execute(async (transaction) => {
      const { customer } = await requireLiveKey(store, transaction, input.id);
      const { newest } = await transaction
        .selectFrom("access_key_secrets")
        .select((expression) => expression.fn.max("generation").as("newest"))
        .where("access_key_id", "=", input.id)
        .executeTakeFirstOrThrow();
      if (input.isForced !== true) await requireNoOverlap(transaction, { id: input.id, newest, now });
      const older = transaction.updateTable("access_key_secrets").where("access_key_id", "=", input.id);
      await older
        .set({ retires_at: now.getTime() })
        .where("generation", "<", newest)
        .where((expression) => expression.or([expression("retires_at", "is", null), expression("retires_at", ">", now.getTime())]))
        .execute();
      await older.set({ retires_at: previousRetiresAt.getTime() }).where("generation", "=", newest).execute();
      await transaction
        .insertInto("access_key_secrets")
        .values(secretRow({ id: input.id, generation: newest + 1, secret, kek: input.kek, now }))
        .execute();
      await appendAuditEvent(transaction, store, { actor: input.actor, action: "key.rotate", result: "complete", customer, keyId: input.id });
    });
  } catch (error) {
    // Two rotations at once choose the same generation: the database lets one of them in.
    if (isUniqueViolation(error)) throw new SlipwayError("conflict", `the access key ${input.id} is being rotated by another request`, { cause: error });
    throw error;
  }
  store.changes.emit("credential", input.id);
  return { id: input.id, secret, previousRetiresAt };
}

/** Throws `conflict` while the secret before the newest lives: its holders were told until when. */
async function requireNoOverlap(transaction: Transaction<Database>, key: { readonly id: string; readonly newest: number; readonly now: Date }): Promise<void> {
  const living = await transaction
    .selectFrom("access_key_secrets")
    .select("retires_at")
    .where("access_key_id", "=", key.id)
    .where("generation", "<", key.newest)
    .where("retires_at", ">", key.now.getTime())
    .executeTakeFirst();
  if (living === undefined) return;
  throw new SlipwayError(
    "conflict",
    `the access key ${key.id} was rotated before, and its old secret works until ${new Date(living.retires_at ?? 0).toISOString()}`,
    {
      hint: "wait until then, or end that secret now by rotating with --force",
    },
  );
}

/** Says from where the key may be used; undefined: anywhere. In force within a second. Throws `not_found`, `conflict`, `usage`. */
export async function restrictAccessKey(
  store: Store,
  input: { readonly id: string; readonly allowedFrom: readonly string[] | undefined; readonly actor: AuditActor },
): Promise<void> {
  const networks = input.allowedFrom === undefined ? undefined : parseNetworks(input.allowedFrom);
  await store.db.transaction().execute(async (transaction) => {
    const { customer } = await requireLiveKey(store, transaction, input.id);
    await transaction
      .updateTable("access_keys")
      .set({ allowed_from: networks?.join(",") ?? null })
      .where("id", "=", input.id)
      .execute();
    await appendAuditEvent(transaction, store, {
      actor: input.actor,
      action: "key.restrict",
      result: "complete",
      customer,
      keyId: input.id,
      detail: networks === undefined ? "from anywhere" : `from ${networks.join(", ")}`,
    });
  });
  store.changes.emit("credential", input.id);
}

/**
 * Ends the key for good: at once on this server, within a second on others. A key that was revoked before stays so.
 * Throws `not_found`.
 */
export async function revokeAccessKey(
  store: Store,
  input: { readonly id: string; readonly reason?: string | undefined; readonly actor: AuditActor },
): Promise<void> {
  await store.db.transaction().execute(async (transaction) => {
    const { numUpdatedRows } = await transaction
      .updateTable("access_keys")
      .set({ revoked_at: store.clock.now().getTime() })
      .where("id", "=", input.id)
      .where("revoked_at", "is", null)
      .executeTakeFirst();
    const row = await transaction
      .selectFrom("access_keys")
      .innerJoin("customers", "customers.id", "access_keys.customer_id")
      .select("customers.name")
      .where("access_keys.id", "=", input.id)
      .executeTakeFirst();
    if (row === undefined) throw new SlipwayError("not_found", `there is no access key "${input.id.slice(0, 40)}"`);
    if (numUpdatedRows === 0n) return;
    await appendAuditEvent(transaction, store, {
      actor: input.actor,
      action: "key.revoke",
      result: "complete",
      customer: row.name,
      keyId: input.id,
      detail: input.reason,
    });
  });
  store.changes.emit("credential", input.id);
}

/** A customer's keys, newest first, without secrets. Throws `not_found` for an unknown customer. */
export async function listAccessKeys(store: Store, customerName: string): Promise<readonly AccessKey[]> {
  const customer = await requireCustomer(store, customerName);
  const keys = await store.db
    .selectFrom("access_keys")
    .selectAll()
    .where("customer_id", "=", customer.id)
    .orderBy("created_at", "desc")
    .orderBy("id")
    .execute();
  const ids = keys.map((key) => key.id);
  if (ids.length === 0) return [];
  const secrets = await store.db
    .selectFrom("access_key_secrets")
    .select(["access_key_id", "generation", "created_at", "retires_at"])
    .where("access_key_id", "in", ids)
    .orderBy("generation", "desc")
    .execute();
  const opened = await store.db
    .selectFrom("access_key_products")
    .innerJoin("products", "products.id", "access_key_products.product_id")
    .select(["access_key_products.access_key_id", "products.name"])
    .where("access_key_products.access_key_id", "in", ids)
    .orderBy("products.name")
    .execute();
  return keys.map((key) => ({
    id: key.id,
    customer: customer.name,
    products: opened.filter((one) => one.access_key_id === key.id).map((one) => one.name),
    allowedFrom: key.allowed_from?.split(","),
    createdAt: new Date(key.created_at),
    expiresAt: key.expires_at === null ? undefined : new Date(key.expires_at),
    revokedAt: key.revoked_at === null ? undefined : new Date(key.revoked_at),
    secrets: secrets
      .filter((secret) => secret.access_key_id === key.id)
      .map((secret) => ({
        generation: secret.generation,
        createdAt: new Date(secret.created_at),
        retiresAt: secret.retires_at === null ? undefined : new Date(secret.retires_at),
      })),
  }));
}
