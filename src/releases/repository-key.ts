/**
 * The repository key: the server's own key pairs, which sign indexes and nothing else: OpenPGP for apt and dnf, RSA for apk.
 *
 * Made on first start, kept for good: customers pin them. The private halves rest in the database, sealed with the key-encryption key.
 */
import { SlipwayError } from "../model/errors.ts";
import { isUniqueViolation } from "../store/database.ts";
import { type KeyEncryptionKey, seal, unseal } from "../store/key-encryption-key.ts";
import type { ServerKeyTable } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { type ApkSigningKey, formatApkSecretKey, generateApkKey, readApkSigningKey } from "../trust/apk-signature.ts";
import { generateOpenpgpKey, type OpenpgpSigningKey, readSigningKey } from "../trust/openpgp.ts";

export type RepositoryKey = {
  /** Of the OpenPGP key, 40 hex digits. */
  readonly fingerprint: string;
  /** The OpenPGP key, armored. */
  readonly publicText: string;
  readonly signingKey: OpenpgpSigningKey;
  readonly apkKey: ApkSigningKey;
};

type KeyUse = ServerKeyTable["use"];
/** A pair as it is made: `id` is what customers see of it, `secretText` is sealed before it is stored. */
type MadePair = { readonly id: string; readonly publicText: string; readonly secretText: string };

/**
 * The key pairs, made where there are none yet (RSA-4096, some seconds). Of several servers that start together one pair wins and all use it.
 * Throws `key_locked` where the key-encryption key is not the one that sealed them.
 */
export async function openRepositoryKey(store: Store, kek: KeyEncryptionKey): Promise<RepositoryKey> {
  const now = store.clock.now();
  const [openpgp, apk] = await Promise.all([
    openPair(store, kek, { use: "repository", make: () => makeOpenpgpPair(now) }),
    openPair(store, kek, { use: "repository-apk", make: makeApkPair }),
  ]);
  return {
    fingerprint: openpgp.id,
    publicText: openpgp.publicText,
    signingKey: await readSigningKey(Buffer.from(openpgp.secretText), { now }),
    apkKey: readApkSigningKey(apk.secretText),
  };
}

async function makeOpenpgpPair(now: Date): Promise<MadePair> {
  const made = await generateOpenpgpKey({ userId: "Slipway repository key", algorithm: "rsa4096", now });
  return { id: made.fingerprint, publicText: made.publicKey, secretText: made.secretKey };
}

async function makeApkPair(): Promise<MadePair> {
  const made = await generateApkKey();
  return { id: made.keyFile, publicText: made.publicText, secretText: formatApkSecretKey(made) };
}

async function openPair(store: Store, kek: KeyEncryptionKey, wanted: { readonly use: KeyUse; readonly make: () => Promise<MadePair> }): Promise<MadePair> {
  const { use } = wanted;
  const context = `server-key:${use}`;
  const stored = await readStored(store, use);
  if (stored !== undefined) return { ...stored, secretText: unseal(kek, stored.sealed, context) };
  const made = await wanted.make();
  try {
    await store.db
      .insertInto("server_keys")
      .values({ use, id: made.id, public_text: made.publicText, sealed_private: seal(kek, made.secretText, context), created_at: store.clock.now().getTime() })
      .execute();
  } catch (error) {
    if (!isUniqueViolation(error)) throw error; // another server was first: its key is the key
  }
  const winner = await readStored(store, use);
  if (winner === undefined) throw new SlipwayError("internal", "the repository key vanished while it was made");
  return { ...winner, secretText: unseal(kek, winner.sealed, context) };
}

type StoredPair = { readonly id: string; readonly publicText: string; readonly sealed: string };

async function readStored(store: Store, use: KeyUse): Promise<StoredPair | undefined> {
  const row = await store.db.selectFrom("server_keys").selectAll().where("use", "=", use).executeTakeFirst();
  return row === undefined ? undefined : { id: row.id, publicText: row.public_text, sealed: row.sealed_private };
}
