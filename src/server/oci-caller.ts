/**
 * Who calls the registry, and what he may do there.
 *
 * A pair comes by Basic (any client that was given a user and a password), an administrator's token by Bearer or as the password of any
 * user name, and either as a registry token. Pairs pull, and only from their products' repositories; pushing is the vendor's.
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import { adminTokenPrefix } from "../access/admin-tokens.ts";
import { type CustomerPrincipal, grantHolderOf, mayAdminister, mayRead, type Principal } from "../access/principal.ts";
import { SlipwayError } from "../model/errors.ts";
import { productOfRepository } from "../releases/oci-repositories.ts";
import { type Credentials, readCredentials, recallCustomer, recordFailure, refusingForeign, requirePace } from "./caller.ts";
import type { ServerContext } from "./context.ts";
import { deniedAccess } from "./denied-access.ts";
import { ociRefusal } from "./oci-errors.ts";
import { type OciAction, type OciScope, openRegistryToken, registryTokenPrefix, type SealedCredential, scopeText } from "./oci-token.ts";
import { publicAddress } from "./public-address.ts";
import { protocolDenial } from "./refusal-text.ts";

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

function pairHeaderOf({ keyId, secret }: { readonly keyId: string; readonly secret: string }): string {
  return `Basic ${Buffer.from(`${keyId}:${secret}`).toString("base64")}`;
}

/** The principal behind a credential that is good now, else undefined. Throws DENIED for a pair that may not be used from this address. */
export async function principalOfCredential(call: OciCall, credential: SealedCredential): Promise<Principal | undefined> {
  const { context, request } = call;
  const now = context.store.clock.now();
  if (credential.kind === "token") return context.authenticator.authenticateToken({ token: credential.token, now });
  const { keyId, secret } = credential;
  const principal = await refusingForeign(context, { keyId, at: { ...call, protocol: "oci" } }, () =>
    context.authenticator.authenticate({ keyId, secret, now, address: request.ip, header: pairHeaderOf(credential) }),
  );
  if (principal !== undefined) requirePace(context, principal, call.reply);
  return principal;
}

/**
 * A customer whose pair was accepted less than a second ago, alone or inside this very token; undefined sends the request the long way
 * through requireOciCaller.
 */
export function recallOciCaller(
  context: Pick<ServerContext, "authenticator" | "openedTokens" | "pace" | "store">,
  request: { readonly authorization: string; readonly address: string },
): (OciCaller & { readonly principal: CustomerPrincipal }) | undefined {
  const opened = context.openedTokens.get(request.authorization);
  if (opened !== undefined && opened.expiresAt <= context.store.clock.now()) return undefined;
  const principal = recallCustomer(context, opened?.pairHeader ?? request.authorization, request.address);
  return principal === undefined ? undefined : { principal, scopes: opened?.scopes };
}

/** Throws `unauthorized` with the challenge on the reply, and `rate_limited` for a flood of wrong credentials. */
export async function requireOciCaller(call: OciCall, wish: OciWish | undefined): Promise<OciCaller> {
  const { context, request } = call;
  const { authorization } = request.headers;
  const known = authorization === undefined ? undefined : recallOciCaller(context, { authorization, address: request.ip });
  if (known !== undefined) return known;
  const credentials = readCredentials(authorization);
  if (credentials.kind === "none") throw challenged(call, wish, "this needs credentials");
  if (credentials.kind === "token" && credentials.token.startsWith(registryTokenPrefix)) {
    const token = openRegistryToken(context.kek, credentials.token);
    // An old token is no wrong credential: the client gets a new one without asking anybody.
    if (token !== undefined && token.expiresAt <= context.store.clock.now()) throw challenged(call, wish, "the token has expired");
    const principal = token === undefined ? undefined : await principalOfCredential(call, token.credential);
    if (token !== undefined && principal !== undefined) {
      const { scopes, expiresAt, credential } = token;
      if (credential.kind === "pair") context.openedTokens.put(authorization ?? "", { scopes, expiresAt, pairHeader: pairHeaderOf(credential) });
      return { principal, scopes };
    }
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

/** True where requireRight would let this pull through: nothing to say, to record or to challenge. */
export function mayPull(context: Pick<ServerContext, "store">, caller: OciCaller, wanted: { readonly name: string; readonly product: string }): boolean {
  const { principal } = caller;
  if (!mayRead(principal, wanted.product) || !hasScope(caller, { name: wanted.name, action: "pull" })) return false;
  const holder = grantHolderOf(principal, wanted.product);
  return holder === undefined || protocolDenial(holder.grant, "oci", context.store.clock.now()) === undefined;
}

/** What may not be read and what is not there: the very same answer. */
export function absentRepository(name: string): SlipwayError {
  return ociRefusal("NAME_UNKNOWN", `there is no repository ${name}`);
}
