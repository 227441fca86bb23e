/**
 * Who calls the registry, and what he may do there.
 *
 * A pair comes by Basic (any client that was given a user and a password), an administrator's token by Bearer or as the password of any
 * user name, and either as a registry token. Pairs pull, and only from their products' repositories; pushing is the vendor's.
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import { adminTokenPrefix } from "../access/admin-tokens.ts";
import { mayAdminister, mayRead, type Principal } from "../access/principal.ts";
import { SlipwayError } from "../model/errors.ts";
import { productOfRepository } from "../releases/oci-repositories.ts";
import { type Credentials, readCredentials, recordFailure, refusingForeign, requirePace } from "./caller.ts";
import type { ServerContext } from "./context.ts";
import { deniedAccess } from "./denied-access.ts";
import { ociRefusal } from "./oci-errors.ts";
import { type OciAction, type OciScope, openRegistryToken, registryTokenPrefix, type SealedCredential, scopeText } from "./oci-token.ts";
import { publicAddress } from "./public-address.ts";

export type OciCaller = {
  readonly principal: Principal;
  /** Of a registry token; undefined for a credential itself, which may do all that its owner may. */
  readonly scopes: readonly OciScope[] | undefined;
};

export type OciCall = { readonly context: ServerContext; readonly request: FastifyRequest; readonly reply: FastifyReply };

/** What is wanted of which repository: what a challenge asks a client to get a token for. */
export type OciWish = { readonly name: string; readonly action: OciAction };

export const basicRegistryChallenge = 'Basic realm="slipway"';

/** The credential that a header presents, ready to be checked or sealed; undefined where it presents none, or a password that has expired. */
export function presentedCredential(context: ServerContext, credentials: Credentials): SealedCredential | undefined {
  if (credentials.kind === "token") return { kind: "token", token: credentials.token };
  if (credentials.kind !== "pair") return undefined;
  if (credentials.secret.startsWith(adminTokenPrefix)) return { kind: "token", token: credentials.secret };
  return credentials.secret.startsWith(registryTokenPrefix) ? credentialOfPassword(context, credentials.secret) : credentials;
}

/** What `aws ecr get-login-password` printed. A token with scopes is no password: it would be traded for a wider one. */
function credentialOfPassword(context: ServerContext, password: string): SealedCredential | undefined {
  const token = openRegistryToken(context.kek, password);
  return token === undefined || token.scopes !== undefined || token.expiresAt <= context.store.clock.now() ? undefined : token.credential;
}

/** The principal behind a credential that is good now, else undefined. Throws DENIED for a pair that may not be used from this address. */
export async function principalOfCredential(call: OciCall, credential: SealedCredential): Promise<Principal | undefined> {
  const { context, request } = call;
  const now = context.store.clock.now();
  if (credential.kind === "token") return context.authenticator.authenticateToken({ token: credential.token, now });
  const { keyId, secret } = credential;
  const principal = await refusingForeign(context, { keyId, at: { ...call, protocol: "oci" } }, () =>
    context.authenticator.authenticate({ keyId, secret, now, address: request.ip }),
  );
  if (principal !== undefined) requirePace(context, principal, call.reply);
  return principal;
}

/** Throws `unauthorized` with the challenge on the reply, and `rate_limited` for a flood of wrong credentials. */
export async function requireOciCaller(call: OciCall, wish: OciWish | undefined): Promise<OciCaller> {
  const { context, request } = call;
  const credentials = readCredentials(request.headers.authorization);
  if (credentials.kind === "none") throw challenged(call, wish, "this needs credentials");
  if (credentials.kind === "token" && credentials.token.startsWith(registryTokenPrefix)) {
    const token = openRegistryToken(context.kek, credentials.token);
    // An old token is no wrong credential: the client gets a new one without asking anybody.
    if (token !== undefined && token.expiresAt <= context.store.clock.now()) throw challenged(call, wish, "the token has expired");
    const principal = token === undefined ? undefined : await principalOfCredential(call, token.credential);
    if (token !== undefined && principal !== undefined) return { principal, scopes: token.scopes };
  } else {
    const credential = presentedCredential(context, credentials);
    const principal = credential === undefined ? undefined : await principalOfCredential(call, credential);
    if (principal !== undefined) return { principal, scopes: undefined };
  }
  await recordFailure(context, credentials, call);
  throw challenged(call, wish, "these credentials are not accepted here");
}

/** Sets the challenge that leads a client to /token with the scope that this request needs. */
function challenged(call: OciCall, wish: OciWish | undefined, message: string, error?: "insufficient_scope"): SlipwayError {
  const address = publicAddress(call);
  const parts = [`realm="${address}/token"`, `service="${new URL(address).host}"`];
  if (wish !== undefined && /^[a-z0-9._/-]{1,255}$/.test(wish.name)) parts.push(`scope="${scopeText({ name: wish.name, actions: actionsFor(wish.action) })}"`);
  if (error !== undefined) parts.push(`error="${error}"`);
  call.reply.header("www-authenticate", `Bearer ${parts.join(",")}`);
  return ociRefusal("UNAUTHORIZED", message);
}

/** Who pushes looks first. */
function actionsFor(action: OciAction): readonly OciAction[] {
  return action === "push" ? ["pull", "push"] : [action];
}

/**
 * Lets through who may do this. What a pair may not read is NAME_UNKNOWN, exactly like what is not there; a write by a pair that may read
 * is DENIED; a token whose scopes are too narrow is challenged for a wider one.
 */
export async function requireRight(call: OciCall, caller: OciCaller, wish: OciWish): Promise<void> {
  const product = productOfRepository(wish.name);
  if (!mayRead(caller.principal, product)) throw absentRepository(wish.name);
  const denied = await deniedAccess(call, { principal: caller.principal, product, format: "oci" });
  if (denied !== undefined) throw ociRefusal("DENIED", denied);
  if (wish.action !== "pull" && !mayAdminister(caller.principal)) throw ociRefusal("DENIED", "an access pair is read-only");
  if (!hasScope(caller, wish)) throw challenged(call, wish, "the token is for something else", "insufficient_scope");
}

function hasScope(caller: OciCaller, wish: OciWish): boolean {
  return caller.scopes === undefined || caller.scopes.some((scope) => scope.name === wish.name && scope.actions.includes(wish.action));
}

/** What may not be read and what is not there: the very same answer. */
export function absentRepository(name: string): SlipwayError {
  return ociRefusal("NAME_UNKNOWN", `there is no repository ${name}`);
}
