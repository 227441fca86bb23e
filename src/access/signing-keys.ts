/**
 * Signing keys of SigV4: opened and derived once for a day, region and service, and kept no longer than the credential they belong to.
 *
 * A credential is read from the database again after a second, and at once when it changes (authenticator.ts); what hangs on its sealed
 * secrets goes with it. So a revoked or rotated secret leaves nothing behind.
 */
import { type KeyEncryptionKey, unseal } from "../store/key-encryption-key.ts";
import type { SealedSecret } from "./authenticator.ts";
import { signingKey } from "./signature-v4.ts";

/** A client signs for one or two; whoever knows a key's id may name any. */
const scopeLimit = 8;

type Envelope = Pick<SealedSecret, "envelope" | "context">;

const known = new WeakMap<Envelope, Map<string, string>>();

/** As signingKey of the secret inside. Throws `key_locked` where it cannot be opened. */
export function sealedSigningKey(kek: KeyEncryptionKey, sealed: Envelope, scope: string): string {
  const keys = known.get(sealed) ?? new Map<string, string>();
  const kept = keys.get(scope);
  if (kept !== undefined) return kept;
  const key = signingKey(unseal(kek, sealed.envelope, sealed.context), scope);
  if (keys.size >= scopeLimit) keys.clear();
  known.set(sealed, keys.set(scope, key));
  return key;
}
