/**
 * Who is calling: access pairs by Basic, administrators by Bearer, checked before anything of the body is read.
 *
 * A request without credentials is challenged and leaves no trace (zypper and others always ask so first); a wrong credential is a failed
 * login: audited, counted and slowed down.
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import type { CustomerPrincipal, Principal } from "../access/principal.ts";
import { SlipwayError } from "../model/errors.ts";
import type { ServerContext } from "./context.ts";
import type { Access } from "./route.ts";

export const basicChallenge = 'Basic realm="slipway", charset="UTF-8"';
export const bearerChallenge = 'Bearer realm="slipway"';

export type Credentials =
  | { readonly kind: "none" }
  | { readonly kind: "unreadable" }
  | { readonly kind: "pair"; readonly keyId: string; readonly secret: string }
  | { readonly kind: "token"; readonly token: string };

/** Longest Authorization header that is looked at: a pair of ours has about 100 bytes. */
const headerLimit = 2048;

/** RFC 7617 (Basic) and RFC 6750 (Bearer). */
export function readCredentials(header: string | undefined): Credentials {
  if (header === undefined || header === "") return { kind: "none" };
  if (header.length > headerLimit) return { kind: "unreadable" };
  const space = header.indexOf(" ");
  const scheme = header.slice(0, space).toLowerCase();
  const value = header.slice(space + 1).trim();
  if (scheme === "bearer" && value !== "") return { kind: "token", token: value };
  if (scheme !== "basic") return { kind: "unreadable" };
  const text = Buffer.from(value, "base64").toString("utf8");
  const colon = text.indexOf(":");
  return colon < 0 ? { kind: "unreadable" } : { kind: "pair", keyId: text.slice(0, colon), secret: text.slice(colon + 1) };
}

/** A customer whose header was accepted within the last second, at once; undefined sends the request the long way through requireCaller. */
export function recallCustomer(
  context: Pick<ServerContext, "authenticator" | "pace" | "store">,
  authorization: string,
  address: string,
): CustomerPrincipal | undefined {
  const principal = context.authenticator.recall(authorization, context.store.clock.now(), address);
  return principal === undefined || context.pace.isSlowed(principal.keyId) ? undefined : principal;
}

/** The same for a route's own kind of caller. */
export function recallCaller(context: ServerContext, access: Access, request: FastifyRequest): Principal | undefined {
  const { authorization } = request.headers;
  return access === "customer" && authorization !== undefined ? recallCustomer(context, authorization, request.ip) : undefined;
}

/**
 * The caller, or undefined on routes that anybody may call. Throws `unauthorized` (with the challenge set on the reply) or `rate_limited`.
 */
export async function requireCaller(
  context: ServerContext,
  access: Access,
  at: { readonly request: FastifyRequest; readonly reply: FastifyReply },
): Promise<Principal | undefined> {
  if (access === "open") return undefined;
  const { authorization } = at.request.headers;
  const credentials = readCredentials(authorization);
  if (access === "operations" && credentials.kind === "none" && isFromThisMachine(at.request)) return undefined;
  const principal = await principalOf(context, credentials, at);
  const isAllowed = principal !== undefined && (access === "customer" || principal.kind === "admin");
  if (isAllowed) {
    requirePace(context, principal, at.reply);
    return principal;
  }
  at.reply.header("www-authenticate", access === "customer" ? basicChallenge : bearerChallenge);
  if (credentials.kind === "none") throw new SlipwayError("unauthorized", "this needs credentials");
  await recordFailure(context, credentials, at);
  throw new SlipwayError("unauthorized", "these credentials are not accepted here");
}

/** Throws `rate_limited` for a pair that looks abused and asks faster than it is let. */
export function requirePace(context: Pick<ServerContext, "pace" | "store">, principal: Principal, reply: FastifyReply): void {
  if (principal.kind !== "customer" || context.pace.take(principal.keyId, context.store.clock.now())) return;
  reply.header("retry-after", context.pace.retryAfterSeconds);
  throw new SlipwayError("rate_limited", "this access pair is slowed down: it is used in an unusual way", {
    hint: "wait as Retry-After says, and ask the vendor",
  });
}

async function principalOf(context: ServerContext, credentials: Credentials, at: { readonly request: FastifyRequest; readonly reply: FastifyReply }) {
  const now = context.store.clock.now();
  if (credentials.kind === "pair") {
    const { keyId, secret } = credentials;
    const { ip, headers } = at.request;
    return refusingForeign(context, { keyId, at }, () =>
      context.authenticator.authenticate({ keyId, secret, now, address: ip, header: headers.authorization }),
    );
  }
  if (credentials.kind === "token") return context.authenticator.authenticateToken({ token: credentials.token, now });
  return undefined;
}

/** A good pair from a network that it may not be used from is refused by name, and stands in the audit trail: it may be a stolen one. */
export async function refusingForeign<T>(
  context: ServerContext,
  presented: { readonly keyId: string; readonly at: { readonly request: FastifyRequest; readonly reply: FastifyReply; readonly protocol?: string } },
  authenticate: () => T | Promise<T>,
): Promise<T> {
  try {
    return await authenticate();
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code !== "forbidden") throw error;
    await recordFailure(context, { kind: "pair", keyId: presented.keyId, secret: "" }, { ...presented.at, status: 403, detail: "network" });
    throw error;
  }
}

/** The key id as presented, where it could be one of ours: what people mistype there may be the secret, which must not reach the trail. */
function presentedKeyId(credentials: Credentials): string | undefined {
  return credentials.kind === "pair" && /^SLK[A-Z2-7]{20}$/.test(credentials.keyId) ? credentials.keyId : undefined;
}

/** Audits a wrong credential, at most at the throttle's pace; above it throws `rate_limited`. `protocol` where the path does not say it. */
export async function recordFailure(
  context: ServerContext,
  credentials: Credentials,
  at: { readonly request: FastifyRequest; readonly reply: FastifyReply; readonly protocol?: string; readonly status?: number; readonly detail?: string },
): Promise<void> {
  const keyId = presentedKeyId(credentials);
  const failure = context.throttle.fail({ address: at.request.ip, keyId: keyId ?? credentials.kind, now: context.store.clock.now() });
  context.metrics.loginFailed(failure.isLimited);
  if (failure.isLimited) {
    at.reply.header("retry-after", failure.retryAfterSeconds);
    throw new SlipwayError("rate_limited", "too many wrong credentials from this address");
  }
  const isNamed = credentials.kind === "pair" && keyId !== undefined && at.detail === undefined;
  const refusal = isNamed ? await context.authenticator.refusalOf({ keyId, secret: credentials.secret, now: context.store.clock.now() }) : undefined;
  await context.audit.record({
    actor: { kind: "stranger" },
    action: "login-failed",
    result: "denied",
    keyId,
    path: at.request.url.split("?")[0],
    protocol: at.protocol ?? protocolOf(at.request.url),
    address: at.request.ip,
    client: at.request.headers["user-agent"],
    status: at.status ?? 401,
    detail: at.detail ?? refusal,
  });
}

/** The audit trail's word for what a path belongs to. */
export function protocolOf(url: string): "apt" | "yum" | "apk" | "tuf" | "oci" | "api" | "files" {
  if (url.startsWith("/apt/")) return "apt";
  if (url.startsWith("/yum/")) return "yum";
  if (url.startsWith("/apk/")) return "apk";
  if (url.startsWith("/tuf/")) return "tuf";
  if (url.startsWith("/v2/") || url.startsWith("/token")) return "oci";
  return url.startsWith("/api/") ? "api" : "files";
}

/** A proxy on this machine makes strangers look local; it also says so with X-Forwarded-For. */
function isFromThisMachine(request: FastifyRequest): boolean {
  const { remoteAddress } = request.raw.socket;
  const isLoopback = remoteAddress === "::1" || (remoteAddress?.replace(/^::ffff:/, "").startsWith("127.") ?? false);
  return isLoopback && request.headers["x-forwarded-for"] === undefined && request.headers.forwarded === undefined;
}
