/**
 * Registry tokens: a client trades its credential for a token that names what it may be used for (token.md of the distribution project).
 *
 * A token is the credential itself, sealed with the server's key-encryption key, with scopes and an end. So there is nothing to store, any
 * replica opens it, and each use asks whether the credential inside is still good: revoking a pair ends its tokens in the same moment.
 */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { type KeyEncryptionKey, seal, unseal } from "../store/key-encryption-key.ts";

/** Secret scanners find a token by its prefix. */
export const registryTokenPrefix = "slipway_registry_";
/** Long enough for one command of a client; a revoked credential does not wait for it. */
export const registryTokenLifeSeconds = 3600;
const sealContext = "registry-token";
/** A client asks for one or two; more would not fit into a header. */
const scopeLimit = 8;

export const ociActions = ["pull", "push", "delete"] as const;
export type OciAction = (typeof ociActions)[number];
export type OciScope = { readonly name: string; readonly actions: readonly OciAction[] };

export type SealedCredential = { readonly kind: "pair"; readonly keyId: string; readonly secret: string } | { readonly kind: "token"; readonly token: string };

/** Without scopes it stands for all that its credential may do, and is given as a password (ecr-login.ts). */
export type RegistryToken = { readonly credential: SealedCredential; readonly scopes: readonly OciScope[] | undefined; readonly expiresAt: Date };

const tokenSchema = z.object({
  credential: z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("pair"), keyId: z.string(), secret: z.string() }),
    z.object({ kind: z.literal("token"), token: z.string() }),
  ]),
  scopes: z.array(z.object({ name: z.string(), actions: z.array(z.enum(ociActions)) })).optional(),
  expiresAt: z.number().transform((time) => new Date(time)),
});

export function sealRegistryToken(kek: KeyEncryptionKey, token: RegistryToken): string {
  return registryTokenPrefix + seal(kek, JSON.stringify({ ...token, expiresAt: token.expiresAt.getTime() }), sealContext);
}

/** Undefined for what was not sealed here. Expired tokens are returned: the caller has the clock. */
export function openRegistryToken(kek: KeyEncryptionKey, text: string): RegistryToken | undefined {
  if (!text.startsWith(registryTokenPrefix)) return undefined;
  try {
    const { credential, scopes, expiresAt } = tokenSchema.parse(JSON.parse(unseal(kek, text.slice(registryTokenPrefix.length), sealContext)));
    return { credential, scopes, expiresAt };
  } catch (error) {
    if (error instanceof SlipwayError && error.code === "key_locked") return undefined; // made up, or of another server
    throw error;
  }
}

/** What an accepted header with a token said of itself. That its pair is still good must be asked each time. */
export type OpenedToken = {
  readonly scopes: readonly OciScope[] | undefined;
  readonly expiresAt: Date;
  /** The header with which the pair inside would come by itself: the authenticator knows it (recall). */
  readonly pairHeader: string;
};

export type OpenedTokens = {
  /** By the whole header. */
  readonly get: (header: string) => OpenedToken | undefined;
  readonly put: (header: string, token: OpenedToken) => void;
};

/** A client uses one token for the many requests of a pull. */
const openedLimit = 2_000;

/** Saves opening the same token again and again; the oldest leave first. */
export function createOpenedTokens(): OpenedTokens {
  const tokens = new Map<string, OpenedToken>();
  return {
    get: (header) => tokens.get(header),
    put: (header, token) => {
      tokens.set(header, token);
      const oldest = tokens.keys().next();
      if (tokens.size > openedLimit && oldest.done !== true) tokens.delete(oldest.value);
    },
  };
}

/** `repository:<name>:<actions>`, several in one parameter or in many. What is none of ours is left out, as the protocol wants it. */
export function readScopes(parameters: readonly string[]): readonly OciScope[] {
  const words = parameters.flatMap((parameter) => parameter.split(" ")).slice(0, scopeLimit);
  return words.flatMap((word) => {
    const match = /^repository:([a-z0-9._/-]{1,255}):([a-z*,]{1,40})$/.exec(word);
    if (match === null) return [];
    const asked = (match[2] ?? "").split(",");
    return [{ name: match[1] ?? "", actions: ociActions.filter((action) => asked.includes(action) || asked.includes("*")) }];
  });
}

export function scopeText(scope: OciScope): string {
  return `repository:${scope.name}:${scope.actions.join(",")}`;
}
