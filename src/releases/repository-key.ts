/**
 * The repository key: the server's own OpenPGP key, which signs indexes and nothing else.
 *
 * Made on first start, kept for good: customers pin it. The private half rests in the database, sealed with the key-encryption key.
 */
import { SlipwayError } from "../model/errors.ts";
import { isUniqueViolation } from "../store/database.ts";
import { type KeyEncryptionKey, seal, unseal } from "../store/key-encryption-key.ts";
import type { Store } from "../store/store.ts";
import { generateOpenpgpKey, type OpenpgpSigningKey, readSigningKey } from "../trust/openpgp.ts";

export type RepositoryKey = {
  /** 40 hex digits. */
  readonly fingerprint: string;
  /** Armored. */
  readonly publicText: string;
  readonly signingKey: OpenpgpSigningKey;
};

const context = "server-key:repository";

/**
 * The key, made where there is none yet (RSA-4096, about two seconds). Of several servers that start together one key wins and all use it.
 * Throws `key_locked` where the key-encryption key is not the one that sealed it.
 */
export async function openRepositoryKey(store: Store, kek: KeyEncryptionKey): Promise<RepositoryKey> {
  const stored = await readStored(store);
  if (stored !== undefined) return openStored(store, kek, stored);
  const now = store.clock.now();
  const made = await generateOpenpgpKey({ userId: "Slipway repository key", algorithm: "rsa4096", now });
  try {
    await store.db
      .insertInto("server_keys")
      .values({
        use: "repository",
        id: made.fingerprint,
        public_text: made.publicKey,
        sealed_private: seal(kek, made.secretKey, context),
        created_at: now.getTime(),
      })
      .execute();
  } catch (error) {
    if (!isUniqueViolation(error)) throw error; // another server was first: its key is the key
  }
  const winner = await readStored(store);
  if (winner === undefined) throw new SlipwayError("internal", "the repository key vanished while it was made");
  return openStored(store, kek, winner);
}

type StoredKey = { readonly id: string; readonly public_text: string; readonly sealed_private: string };

async function readStored(store: Store): Promise<StoredKey | undefined> {
  return store.db.selectFrom("server_keys").selectAll().where("use", "=", "repository").executeTakeFirst();
}

async function openStored(store: Store, kek: KeyEncryptionKey, stored: StoredKey): Promise<RepositoryKey> {
  const privateText = unseal(kek, stored.sealed_private, context);
  const signingKey = await readSigningKey(Buffer.from(privateText), { now: store.clock.now() });
  return { fingerprint: stored.id, publicText: stored.public_text, signingKey };
}
