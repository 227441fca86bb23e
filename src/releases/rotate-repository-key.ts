/**
 * A new repository key takes over from the old one, in two steps with as long an overlap as the vendor's customers need.
 *
 *   rotate   a new OpenPGP and a new apk pair; both keys are published, and both sign every index, so either is enough for a client
 *   finish   the old pair is retired: its private halves are deleted, the indexes carry the new signatures alone
 *
 * A stolen key gets no overlap: `rotate` with a reason to revoke retires the old pair in the same transaction.
 */
import type { Kysely } from "kysely";
import { SlipwayError } from "../model/errors.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import { isUniqueViolation } from "../store/database.ts";
import type { KeyEncryptionKey } from "../store/key-encryption-key.ts";
import type { Database } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { listProducts } from "./products.ts";
import { refreshSnapshot } from "./refresh.ts";
import { keyMakers, keyRow, type KeyUse, type RepositoryKey } from "./repository-key.ts";

export type KeyGeneration = {
  readonly generation: number;
  /** `outgoing` and `incoming` during an overlap, both sign; else one is `current`. */
  readonly state: "current" | "outgoing" | "incoming" | "retired";
  /** Of the OpenPGP key, 40 hex digits. */
  readonly fingerprint: string;
  /** Name in /etc/apk/keys. */
  readonly apkKeyFile: string;
  readonly createdAt: Date;
  readonly retiredAt: Date | undefined;
  readonly retiredFor: string | undefined;
};

/** Every pair that ever signed, oldest first. */
export async function listKeyGenerations(db: Kysely<Database>): Promise<readonly KeyGeneration[]> {
  const rows = await db.selectFrom("server_keys").selectAll().orderBy("generation").execute();
  const openpgp = rows.filter((row) => row.use === "repository");
  const living = openpgp.filter((row) => row.retired_at === null).map((row) => row.generation);
  return openpgp.map((row) => ({
    generation: row.generation,
    state: stateOf(row.generation, living),
    fingerprint: row.id,
    apkKeyFile: rows.find((other) => other.use === "repository-apk" && other.generation === row.generation)?.id ?? "",
    createdAt: new Date(row.created_at),
    retiredAt: row.retired_at === null ? undefined : new Date(row.retired_at),
    retiredFor: row.retired_for ?? undefined,
  }));
}

function stateOf(generation: number, living: readonly number[]): KeyGeneration["state"] {
  if (!living.includes(generation)) return "retired";
  if (living.length === 1) return "current";
  return generation === living[0] ? "outgoing" : "incoming";
}

type Rotating = { readonly kek: KeyEncryptionKey; readonly repositoryKey: RepositoryKey; readonly actor: AuditActor };

/** The generations as they stand now, and the products whose indexes were signed anew. */
export type RotatedKey = { readonly generations: readonly KeyGeneration[]; readonly resigned: readonly string[] };

/**
 * Makes the new pairs (RSA-4096, some seconds). With `revokeFor` the old ones are retired at once: clients that do not have the new key
 * refuse the indexes from now on. Throws `conflict` during an overlap, unless the old key is to be revoked: that ends the overlap.
 * Killed before its end, the next rotate, finish or publication signs what is left.
 */
export async function rotateRepositoryKey(store: Store, input: Rotating & { readonly revokeFor?: string | undefined }): Promise<RotatedKey> {
  const { kek, revokeFor } = input;
  const before = await listKeyGenerations(store.db);
  const overlapping = before.find(({ state }) => state === "incoming");
  if (overlapping !== undefined) {
    if (revokeFor !== undefined) return finishRepositoryKey(store, input);
    throw new SlipwayError("conflict", `the key ${overlapping.fingerprint} is taking over already`, {
      hint: "end that overlap with `slipway repository-key finish` first",
    });
  }
  const generation = Math.max(...before.map((one) => one.generation)) + 1;
  const uses = Object.keys(keyMakers) as readonly KeyUse[];
  const now = store.clock.now();
  const rows = await Promise.all(uses.map(async (use) => keyRow({ use, generation, made: await keyMakers[use](now), kek, now })));
  const fingerprint = rows.find((row) => row.use === "repository")?.id;
  try {
    await store.db.transaction().execute(async (transaction) => {
      await transaction.insertInto("server_keys").values(rows).execute();
      await appendAuditEvent(transaction, store, { actor: input.actor, action: "repository-key.rotate", result: "complete", detail: fingerprint });
      if (revokeFor !== undefined) await retireBefore(transaction, store, { generation, why: revokeFor });
      if (revokeFor !== undefined) {
        await appendAuditEvent(transaction, store, { actor: input.actor, action: "repository-key.revoke", result: "complete", detail: revokeFor });
      }
    });
  } catch (error) {
    if (isUniqueViolation(error)) throw new SlipwayError("conflict", "the repository key is being rotated by another request", { cause: error });
    throw error;
  }
  return signAnew(store, input.repositoryKey);
}

/** Ends the overlap. Throws `conflict` where there is none. With `revokeFor` the old key is listed as revoked for that reason. */
export async function finishRepositoryKey(store: Store, input: Rotating & { readonly revokeFor?: string | undefined }): Promise<RotatedKey> {
  await store.db.transaction().execute(async (transaction) => {
    const generations = await listKeyGenerations(transaction);
    const staying = generations.find(({ state }) => state === "incoming");
    if (staying === undefined) {
      throw new SlipwayError("conflict", "no key is taking over", { hint: "`slipway repository-key rotate` begins with a new key" });
    }
    await retireBefore(transaction, store, { generation: staying.generation, why: input.revokeFor ?? "rotated" });
    await appendAuditEvent(transaction, store, {
      actor: input.actor,
      action: input.revokeFor === undefined ? "repository-key.finish" : "repository-key.revoke",
      result: "complete",
      detail: input.revokeFor ?? staying.fingerprint,
    });
  });
  return signAnew(store, input.repositoryKey);
}

/** What is retired cannot sign any more, whoever gets at the database and the key-encryption key later. */
async function retireBefore(transaction: Kysely<Database>, store: Store, input: { readonly generation: number; readonly why: string }): Promise<void> {
  await transaction
    .updateTable("server_keys")
    .set({ retired_at: store.clock.now().getTime(), retired_for: input.why, sealed_private: "" })
    .where("generation", "<", input.generation)
    .where("retired_at", "is", null)
    .execute();
}

async function signAnew(store: Store, repositoryKey: RepositoryKey): Promise<RotatedKey> {
  await repositoryKey.reload?.();
  const resigned: string[] = [];
  for (const product of await listProducts(store)) {
    if (await refreshSnapshot(store, { product, repositoryKey, isResigned: true })) resigned.push(product.name);
  }
  return { generations: await listKeyGenerations(store.db), resigned };
}
