/**
 * Turns presented credentials into principals, fast: a small cache in front of the database, and SHA-256 with constant-time comparison.
 *
 * Revocation and rotation take effect at once in this process (store.changes) and within a second elsewhere (cacheLifeMs, C9).
 */
import { timingSafeEqual } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";
import { cacheLifeMs } from "../store/changes.ts";
import type { Store } from "../store/store.ts";
import { secretContext, secretDigest } from "./access-keys.ts";
import { adminTokenPrefix } from "./admin-tokens.ts";
import { grantsOfKey } from "./grants.ts";
import { type Networks, openNetworks } from "./networks.ts";
import type { AdminPrincipal, CustomerPrincipal, Principal } from "./principal.ts";

export type Authenticator = {
  /**
   * The customer behind an access pair, or undefined where it is unknown, wrong, expired or revoked: the caller cannot tell which.
   * Throws `forbidden` for a good pair from an address that it may not be used from.
   * `header` is the text that the pair came in: `recall` knows it for the rest of the second.
   */
  authenticate(input: {
    readonly keyId: string;
    readonly secret: string;
    readonly now: Date;
    /** Where the request comes from: a key may be bound to networks. */
    readonly address: string;
    readonly header?: string | undefined;
  }): Promise<CustomerPrincipal | undefined>;
  /**
   * The customer whose pair was accepted in this very header less than a second ago, without decoding and hashing it again. Found by a
   * seeded hash over the whole text: a guess that begins right takes no longer than another.
   */
  recall(header: string, now: Date, address: string): CustomerPrincipal | undefined;
  /**
   * The customer who has this key id, with the envelopes of the secrets that live now: for signatures (signature-v4.ts), which are checked
   * with the secret itself. Undefined where the key is unknown, expired or revoked. An id alone proves nothing.
   */
  findSealed(input: { readonly keyId: string; readonly now: Date }): Promise<SealedKey | undefined>;
  /**
   * The same customer as he stands now, or undefined where his pair, or the secret that he presented, is not accepted any more: for answers
   * that take long. Asked again and again it costs a look at the cache.
   */
  stillAccepted(principal: CustomerPrincipal, at: { readonly now: Date; readonly address: string }): Promise<CustomerPrincipal | undefined>;
  /** Why a pair that exists was refused, for the audit trail: the caller is not told. */
  refusalOf(input: { readonly keyId: string; readonly secret: string; readonly now: Date }): Promise<"suspended" | "retired secret" | undefined>;
  /** The administrator behind a Bearer token. */
  authenticateToken(input: { readonly token: string; readonly now: Date }): Promise<AdminPrincipal | undefined>;
  close(): void;
};

/** What a signature is checked with. Once it is proved, `networks` says whether it may come from there (requireAllowed). */
export type SealedKey = { readonly name: string; readonly secrets: readonly SealedSecret[]; readonly networks: Networks | undefined };

/** `unseal(kek, envelope, context)` gives the secret; whoever proves that he has it is `principal`. */
export type SealedSecret = { readonly envelope: string; readonly context: string; readonly principal: CustomerPrincipal };

type Credential<P extends Principal> = {
  /** The key's or the token's id, or its name, for messages. */
  readonly name: string;
  /** When the database was asked, on the monotonic clock: a clock set back must not keep a revoked key alive. */
  readonly loadedAt: number;
  /** Ends of the whole credential: expiry or revocation, whichever is first. */
  readonly endsAt: number;
  readonly suspendedAt?: number | undefined;
  /** Where it may be used; undefined: anywhere. */
  readonly networks?: Networks | undefined;
  readonly secrets: readonly Secret<P>[];
};

/** `principal`: who presents it. */
type Secret<P extends Principal> = { readonly principal: P; readonly sha256: Buffer; readonly retiresAt: number; readonly sealed?: SealedSecret };

const keyIdPattern = /^SLK[A-Z2-7]{20}$/;
/** Longest secret that is hashed: ours have 43 characters, tokens 57. */
const secretLimit = 128;
const cacheSize = 10_000;

const never = Number.MAX_SAFE_INTEGER;

/** Least recently used entries leave first; an entry is loaded once for all who wait for it. */
function credentialCache<P extends Principal>(load: (id: string) => Promise<Credential<P> | undefined>) {
  const entries = new Map<string, { readonly loadedAt: number; readonly credential: Promise<Credential<P> | undefined> }>();
  return {
    get(id: string): Promise<Credential<P> | undefined> {
      const at = performance.now();
      const known = entries.get(id);
      if (known !== undefined && at - known.loadedAt < cacheLifeMs) {
        entries.delete(id);
        entries.set(id, known);
        return known.credential;
      }
      const credential = load(id);
      const entry = { loadedAt: at, credential };
      entries.delete(id);
      entries.set(id, entry);
      const oldest = entries.keys().next();
      if (entries.size > cacheSize && oldest.done !== true) entries.delete(oldest.value);
      // A failed load is not remembered: the next request asks again.
      credential.catch(() => {
        if (entries.get(id) === entry) entries.delete(id);
      });
      return credential;
    },
    forget(id: string): void {
      entries.delete(id);
    },
    clear(): void {
      entries.clear();
    },
  };
}

async function loadAccessKey(store: Store, id: string): Promise<Credential<CustomerPrincipal> | undefined> {
  const loadedAt = performance.now();
  const key = await store.db
    .selectFrom("access_keys")
    .innerJoin("customers", "customers.id", "access_keys.customer_id")
    .leftJoin("key_suspicions", "key_suspicions.key_id", "access_keys.id")
    .select(["key_suspicions.suspended_at", "access_keys.expires_at", "access_keys.revoked_at", "access_keys.allowed_from", "customers.id", "customers.name"])
    .where("access_keys.id", "=", id)
    .executeTakeFirst();
  if (key === undefined) return undefined;
  const secrets = await store.db
    .selectFrom("access_key_secrets")
    .select(["generation", "sha256", "sealed", "retires_at"])
    .where("access_key_id", "=", id)
    .execute();
  const grants = await grantsOfKey(store, id);
  const owner = { kind: "customer", keyId: id, customerId: key.id, customerName: key.name, products: new Set(grants.keys()), grants } as const;
  return {
    name: id,
    loadedAt,
    endsAt: Math.min(key.expires_at ?? never, key.revoked_at ?? never, key.suspended_at ?? never),
    suspendedAt: key.suspended_at ?? undefined,
    networks: key.allowed_from === null ? undefined : openNetworks(key.allowed_from.split(",")),
    secrets: secrets.map((secret) => {
      const principal = { ...owner, generation: secret.generation };
      const sealed = { envelope: secret.sealed, context: secretContext(id, secret.generation), principal };
      return { principal, sha256: Buffer.from(secret.sha256, "hex"), retiresAt: secret.retires_at ?? never, sealed };
    }),
  };
}

async function loadAdminToken(store: Store, sha256: string): Promise<Credential<AdminPrincipal> | undefined> {
  const loadedAt = performance.now();
  const token = await store.db.selectFrom("admin_tokens").selectAll().where("sha256", "=", sha256).executeTakeFirst();
  if (token === undefined) return undefined;
  return {
    name: token.name,
    loadedAt,
    endsAt: Math.min(token.expires_at ?? never, token.revoked_at ?? never),
    secrets: [{ principal: { kind: "admin", tokenId: token.id, name: token.name }, sha256: Buffer.from(token.sha256, "hex"), retiresAt: never }],
  };
}

/**
 * Whose secret this is, and until when it opens the credential, in milliseconds since 1970; undefined where it does not.
 * Every live secret is compared, whether or not one fitted before: the time taken says nothing.
 */
function acceptedSecret<P extends Principal>(
  credential: Credential<P>,
  digest: Buffer,
  now: Date,
): { readonly principal: P; readonly endsAt: number } | undefined {
  let found: Secret<P> | undefined;
  for (const secret of credential.secrets) {
    const isSame = timingSafeEqual(secret.sha256, digest);
    if (isSame && secret.retiresAt > (found?.retiresAt ?? 0)) found = secret;
  }
  const endsAt = Math.min(found?.retiresAt ?? 0, credential.endsAt);
  return found !== undefined && endsAt > now.getTime() ? { principal: found.principal, endsAt } : undefined;
}

/** Throws `forbidden`: whoever proved that the pair is his may know why it does not work from there. */
export function requireAllowed(credential: { readonly name: string; readonly networks?: Networks | undefined }, address: string): void {
  if (credential.networks === undefined || credential.networks.has(address)) return;
  throw new SlipwayError("forbidden", `the access key ${credential.name} may not be used from ${address}`, { hint: "ask the vendor to allow this network" });
}

type Accepted = {
  readonly principal: CustomerPrincipal;
  readonly networks: Networks | undefined;
  /** Monotonic: when the database must be asked again. */
  readonly freshUntil: number;
  /** Milliseconds since 1970: when the credential ends by itself. */
  readonly endsAt: number;
};

/** Close it to let go of the store's change events. */
export function createAuthenticator(store: Store): Authenticator {
  const accessKeys = credentialCache((id) => loadAccessKey(store, id));
  const adminTokens = credentialCache((sha256) => loadAdminToken(store, sha256));
  const accepted = new Map<string, Accepted>();
  let changeCount = 0;
  const onChange = (id: string): void => {
    changeCount += 1;
    accepted.clear();
    accessKeys.forget(id);
    adminTokens.clear(); // cached by digest, changed by id; there are few and they change rarely
  };
  store.changes.on("credential", onChange);
  return {
    authenticate: async ({ keyId, secret, now, address, header }) => {
      if (!keyIdPattern.test(keyId) || secret.length > secretLimit) return undefined;
      const changesBefore = changeCount;
      const credential = await accessKeys.get(keyId);
      const presented = credential === undefined ? undefined : acceptedSecret(credential, secretDigest(secret), now);
      if (credential === undefined || presented === undefined) return undefined;
      requireAllowed(credential, address);
      // What was read before a revocation may answer the request that asked for it, but must not be remembered after it.
      if (header !== undefined && changesBefore === changeCount) {
        if (accepted.size >= cacheSize) accepted.clear();
        accepted.set(header, { ...presented, networks: credential.networks, freshUntil: credential.loadedAt + cacheLifeMs });
      }
      return presented.principal;
    },
    recall: (header, now, address) => {
      const known = accepted.get(header);
      if (known === undefined || known.freshUntil <= performance.now() || known.endsAt <= now.getTime()) return undefined;
      return known.networks === undefined || known.networks.has(address) ? known.principal : undefined;
    },
    findSealed: async ({ keyId, now }) => {
      const credential = keyIdPattern.test(keyId) ? await accessKeys.get(keyId) : undefined;
      if (credential === undefined || credential.endsAt <= now.getTime()) return undefined;
      const live = credential.secrets.filter((secret) => secret.retiresAt > now.getTime());
      return { name: keyId, secrets: live.flatMap(({ sealed }) => (sealed === undefined ? [] : [sealed])), networks: credential.networks };
    },
    stillAccepted: async ({ keyId, generation }, { now, address }) => {
      const credential = await accessKeys.get(keyId);
      const secret = credential?.secrets.find(({ principal }) => principal.generation === generation);
      if (credential === undefined || secret === undefined || Math.min(secret.retiresAt, credential.endsAt) <= now.getTime()) return undefined;
      return credential.networks === undefined || credential.networks.has(address) ? secret.principal : undefined;
    },
    refusalOf: async ({ keyId, secret, now }) => {
      const credential = keyIdPattern.test(keyId) && secret.length <= secretLimit ? await accessKeys.get(keyId) : undefined;
      if (credential === undefined) return undefined;
      if (credential.suspendedAt !== undefined && credential.suspendedAt <= now.getTime()) return "suspended";
      const digest = secretDigest(secret);
      const isRetired = credential.secrets.some(({ sha256, retiresAt }) => timingSafeEqual(sha256, digest) && retiresAt <= now.getTime());
      return isRetired ? "retired secret" : undefined;
    },
    authenticateToken: async ({ token, now }) => {
      if (!token.startsWith(adminTokenPrefix) || token.length > secretLimit) return undefined;
      const digest = secretDigest(token);
      const credential = await adminTokens.get(digest.toString("hex"));
      return credential === undefined ? undefined : acceptedSecret(credential, digest, now)?.principal;
    },
    close: () => {
      store.changes.off("credential", onChange);
      accepted.clear();
      accessKeys.clear();
      adminTokens.clear();
    },
  };
}
