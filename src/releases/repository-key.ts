/**
 * The repository key: the server's own key pairs, which sign indexes and nothing else: OpenPGP for apt and dnf, RSA for apk.
 *
 * Made on first start; customers pin them, so they change only when the vendor says so (rotate-repository-key.ts), and then the old and the new pair
 * sign side by side for a while. The private halves rest in the database, sealed with the key-encryption key, until their key is retired.
 */
import { SlipwayError } from "../model/errors.ts";
import { isUniqueViolation } from "../store/database.ts";
import { type KeyEncryptionKey, seal, unseal } from "../store/key-encryption-key.ts";
import type { ServerKeyTable } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { type ApkSigningKey, formatApkSecretKey, generateApkKey, readApkSigningKey } from "../trust/apk-signature.ts";
import { exportPublicKeys, generateOpenpgpKey, type OpenpgpSigningKey, readSigningKey } from "../trust/openpgp.ts";

export type RepositoryKey = {
  /** Of the OpenPGP key, 40 hex digits; during an overlap of the older one, which every customer has. */
  readonly fingerprint: string;
  /** Every OpenPGP key that signs, armored, in one block: apt reads only the first. */
  readonly publicText: string;
  readonly signingKey: OpenpgpSigningKey;
  /** During an overlap the newer one, which stays: a customer who is set up now needs no other. */
  readonly apkKey: ApkSigningKey;
  /** What signs beside these during an overlap: the newer OpenPGP key and the older apk key. */
  readonly overlap?: { readonly signingKey: OpenpgpSigningKey; readonly apkKey: ApkSigningKey } | undefined;
  /** When it last changed, in milliseconds since 1970; 0 while it is the first. */
  readonly changedAt?: number;
  /** Looks whether another server rotated it, and takes it over: everything above may change. */
  readonly reload?: () => Promise<void>;
};

export type KeyUse = ServerKeyTable["use"];
/** A pair as it is made: `id` is what customers see of it, `secretText` is sealed before it is stored. */
export type MadePair = { readonly id: string; readonly publicText: string; readonly secretText: string };

export const keyMakers: Readonly<Record<KeyUse, (now: Date) => Promise<MadePair>>> = {
  repository: async (now) => {
    const made = await generateOpenpgpKey({ userId: "Slipway repository key", algorithm: "rsa4096", now });
    return { id: made.fingerprint, publicText: made.publicKey, secretText: made.secretKey };
  },
  "repository-apk": async () => {
    const made = await generateApkKey();
    return { id: made.keyFile, publicText: made.publicText, secretText: formatApkSecretKey(made) };
  },
};
const keyUses = Object.keys(keyMakers) as readonly KeyUse[];

/** What binds an envelope to its row. */
function sealContext(use: KeyUse, generation: number): string {
  return generation === 1 ? `server-key:${use}` : `server-key:${use}:${generation}`;
}

/** The row of a freshly made pair. */
export function keyRow(input: {
  readonly use: KeyUse;
  readonly generation: number;
  readonly made: MadePair;
  readonly kek: KeyEncryptionKey;
  readonly now: Date;
}): ServerKeyTable {
  const { use, generation, made, kek, now } = input;
  const sealed = seal(kek, made.secretText, sealContext(use, generation));
  return {
    use,
    generation,
    id: made.id,
    public_text: made.publicText,
    sealed_private: sealed,
    created_at: now.getTime(),
    retired_at: null,
    retired_for: null,
  };
}

/**
 * The key pairs, made where there are none yet (RSA-4096, some seconds). Of several servers that start together one pair wins and all use it.
 * What comes back is one object that follows rotations: hold it, not its fields. Throws `key_locked` where the key-encryption key is not the
 * one that sealed them.
 */
export async function openRepositoryKey(store: Store, kek: KeyEncryptionKey): Promise<RepositoryKey> {
  await Promise.all(keyUses.map((use) => ensurePair(store, kek, use)));
  let present = await loadKey(store, kek);
  return {
    get fingerprint() {
      return present.key.fingerprint;
    },
    get publicText() {
      return present.key.publicText;
    },
    get signingKey() {
      return present.key.signingKey;
    },
    get apkKey() {
      return present.key.apkKey;
    },
    get overlap() {
      return present.key.overlap;
    },
    get changedAt() {
      return present.key.changedAt ?? 0;
    },
    reload: async () => {
      if ((await readState(store)) !== present.state) present = await loadKey(store, kek);
    },
  };
}

/** Opens the living key pairs and makes none: for checks. Throws `key_locked`, and `internal` where one is missing. */
export async function readRepositoryKey(store: Store, kek: KeyEncryptionKey): Promise<RepositoryKey> {
  return (await loadKey(store, kek)).key;
}

async function ensurePair(store: Store, kek: KeyEncryptionKey, use: KeyUse): Promise<void> {
  const known = await store.db.selectFrom("server_keys").select("id").where("use", "=", use).executeTakeFirst();
  if (known !== undefined) return;
  const now = store.clock.now();
  const made = await keyMakers[use](now);
  try {
    await store.db
      .insertInto("server_keys")
      .values(keyRow({ use, generation: 1, made, kek, now }))
      .execute();
  } catch (error) {
    if (!isUniqueViolation(error)) throw error; // another server was first: its key is the key
  }
}

function stateOf(rows: readonly Pick<ServerKeyTable, "id" | "retired_at">[]): string {
  return rows.map((row) => `${row.id} ${row.retired_at ?? "lives"}`).join("\n");
}

async function readState(store: Store): Promise<string> {
  return stateOf(await store.db.selectFrom("server_keys").select(["id", "retired_at"]).orderBy("use").orderBy("generation").execute());
}

type LoadedKey = { readonly state: string; readonly key: RepositoryKey };

async function loadKey(store: Store, kek: KeyEncryptionKey): Promise<LoadedKey> {
  const rows = await store.db.selectFrom("server_keys").selectAll().orderBy("use").orderBy("generation").execute();
  const living = (use: KeyUse) =>
    rows
      .filter((row) => row.use === use && row.retired_at === null)
      .map((row) => ({ ...row, secretText: unseal(kek, row.sealed_private, sealContext(use, row.generation)) }));
  const [older, newer] = living("repository");
  const apks = living("repository-apk").map(({ secretText }) => readApkSigningKey(secretText));
  const [firstApk, secondApk] = apks;
  if (older === undefined || firstApk === undefined) throw new SlipwayError("internal", "no living repository key is in the database");
  const now = store.clock.now();
  const open = (row: { readonly secretText: string }) => readSigningKey(Buffer.from(row.secretText), { now });
  const texts = [older, ...(newer === undefined ? [] : [newer])].map((row) => Buffer.from(row.public_text));
  const publicText = newer === undefined ? older.public_text : Buffer.from(await exportPublicKeys(texts, "asc")).toString("utf8");
  const overlap = newer === undefined || secondApk === undefined ? undefined : { signingKey: await open(newer), apkKey: firstApk };
  const isFirst = rows.every((row) => row.generation === 1);
  const changedAt = isFirst ? 0 : Math.max(...rows.flatMap((row) => [row.created_at, row.retired_at ?? 0]));
  return {
    state: stateOf(rows),
    key: { fingerprint: older.id, publicText, signingKey: await open(older), apkKey: secondApk ?? firstApk, overlap, changedAt },
  };
}
