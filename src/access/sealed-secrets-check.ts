/** Opens the envelope of every access secret, to see whether the key-encryption key is the one that belongs to this database. */
import { asSlipwayError } from "../model/errors.ts";
import { type KeyEncryptionKey, unseal } from "../store/key-encryption-key.ts";
import type { Store } from "../store/store.ts";
import { secretContext, secretDigest } from "./access-keys.ts";

export type SecretsCheck = {
  readonly checked: number;
  /** Key ids with a secret that does not open, or is not the one that is compared. */
  readonly unopened: readonly string[];
};

const pageSize = 1_000;

/** Reads all rows in pages. The secrets themselves go nowhere. */
export async function checkAccessSecrets(store: Store, kek: KeyEncryptionKey): Promise<SecretsCheck> {
  let checked = 0;
  const unopened = new Set<string>();
  for (let after = ""; ; ) {
    const page = await store.db.selectFrom("access_keys").select("id").where("id", ">", after).orderBy("id").limit(pageSize).execute();
    const ids = page.map(({ id }) => id);
    const last = ids.at(-1);
    if (last === undefined) return { checked, unopened: [...unopened] };
    const rows = await store.db.selectFrom("access_key_secrets").selectAll().where("access_key_id", "in", ids).execute();
    for (const row of rows) {
      checked += 1;
      if (!opens(kek, { sealed: row.sealed, context: secretContext(row.access_key_id, row.generation), sha256: row.sha256 })) unopened.add(row.access_key_id);
    }
    after = last;
  }
}

function opens(kek: KeyEncryptionKey, row: { readonly sealed: string; readonly context: string; readonly sha256: string }): boolean {
  try {
    return secretDigest(unseal(kek, row.sealed, row.context)).toString("hex") === row.sha256;
  } catch (error) {
    if (asSlipwayError(error).code === "key_locked") return false;
    throw error;
  }
}
