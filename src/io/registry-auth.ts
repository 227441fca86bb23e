/**
 * How a registry client proves who it is: Basic, or a Bearer token from the service that the registry names (distribution "token" flow).
 *
 * Parties: the registry answers 401 with a challenge; `Bearer realm="…"` names the token service, which is asked with Basic for exactly the
 * scopes that the next request needs. The pair goes to the registry's own origin and to that realm, to nobody else: challenges of servers
 * that a redirect led to are never looked at, the realm may not be plain http (loopback apart), and its redirects are refused.
 * Sources: RFC 9110 11.6.1; distribution docs/content/spec/auth/token.md.
 */
import { isIPv4 } from "node:net";
import { SlipwayError } from "../model/errors.ts";
import { readStreamBounded } from "./bounded-read.ts";
import { checkRedirect, displayUrl, type Fetch } from "./download.ts";

export type RegistryCredentials = { readonly username: string; readonly secret: string };

export type Challenge = { readonly kind: "basic" } | { readonly kind: "bearer"; readonly realm: string; readonly service: string | undefined };

/** Tokens of some clouds carry long lists of rights. */
const tokenLimitBytes = 256 * 1024;
/** Without `expires_in` a token holds 60 s (token.md). */
const defaultLifeSeconds = 60;
/** A token that is about to end is not used any more. */
const marginMs = 10_000;

/** Reads `WWW-Authenticate`; Bearer wins where both are offered. Undefined where neither is. */
export function parseChallenge(header: string | null): Challenge | undefined {
  const schemes: { readonly name: string; readonly params: Map<string, string> }[] = [];
  const pattern = /([A-Za-z][A-Za-z0-9_-]*)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?/g;
  for (const [piece, word = "", quoted, plain] of (header ?? "").slice(0, 8192).matchAll(pattern)) {
    if (piece.includes("=")) schemes.at(-1)?.params.set(word.toLowerCase(), quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "");
    else schemes.push({ name: word.toLowerCase(), params: new Map() });
  }
  const bearer = schemes.find((scheme) => scheme.name === "bearer")?.params;
  const realm = bearer?.get("realm");
  if (realm !== undefined) return { kind: "bearer", realm, service: bearer?.get("service") };
  return schemes.some((scheme) => scheme.name === "basic") ? { kind: "basic" } : undefined;
}

/** By number or as `localhost`: a name such as `127.example.com` is anybody's. */
export function isLoopback(url: URL): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));
}

export type RegistryAuthorizer = {
  /** The Authorization header for these scopes, or undefined while nothing was asked for. Throws `unauthorized` where no pair was given. */
  readonly headerFor: (scopes: readonly string[]) => Promise<string | undefined>;
  /** Takes the challenge of a 401 from the registry's own origin; false where there is nothing new to try. */
  readonly learn: (header: string | null, scopes: readonly string[]) => boolean;
};

export type AuthorizerOptions = {
  /** The registry's. */
  readonly origin: URL;
  readonly credentials: RegistryCredentials | undefined;
  readonly fetch: Fetch;
  readonly isPlainHttpAllowed: boolean;
  readonly timeoutMs: number;
};

export function createRegistryAuthorizer(options: AuthorizerOptions): RegistryAuthorizer {
  const { credentials } = options;
  const tokens = new Map<string, { readonly token: string; readonly endsAt: number }>();
  let challenge: Challenge | undefined;
  const basic = credentials === undefined ? undefined : `Basic ${Buffer.from(`${credentials.username}:${credentials.secret}`, "utf8").toString("base64")}`;
  const keyOf = (scopes: readonly string[]): string => [...scopes].sort().join(" ");

  return {
    headerFor: async (scopes) => {
      if (challenge === undefined) return undefined;
      if (challenge.kind === "basic") {
        if (basic === undefined)
          throw new SlipwayError("unauthorized", `${displayUrl(options.origin)}: the registry asks for a user and a password, and none were given`);
        return basic;
      }
      const key = keyOf(scopes);
      const held = tokens.get(key);
      if (held !== undefined && held.endsAt - marginMs > performance.now()) return `Bearer ${held.token}`;
      const fresh = await requestToken(challenge, { ...options, basic, scopes });
      tokens.set(key, fresh);
      return `Bearer ${fresh.token}`;
    },
    learn: (header, scopes) => {
      const heard = parseChallenge(header);
      if (heard === undefined) return false;
      // The same Basic pair again would get the same answer.
      const isNews = heard.kind === "bearer" || challenge?.kind !== "basic";
      tokens.delete(keyOf(scopes));
      challenge = heard;
      return isNews;
    },
  };
}

type TokenRequest = AuthorizerOptions & { readonly basic: string | undefined; readonly scopes: readonly string[] };

async function requestToken(
  challenge: Challenge & { readonly kind: "bearer" },
  request: TokenRequest,
): Promise<{ readonly token: string; readonly endsAt: number }> {
  const url = checkedRealm(challenge.realm, request);
  if (challenge.service !== undefined) url.searchParams.set("service", challenge.service);
  for (const scope of request.scopes) url.searchParams.append("scope", scope);
  const at = displayUrl(url);
  let response: Response;
  let body: Buffer;
  try {
    response = await request.fetch(url.href, {
      headers: { accept: "application/json", "accept-encoding": "identity", ...(request.basic === undefined ? {} : { authorization: request.basic }) },
      redirect: "manual",
      signal: AbortSignal.timeout(request.timeoutMs),
    });
    body = response.body === null ? Buffer.alloc(0) : await readStreamBounded(response.body, tokenLimitBytes, at);
  } catch (error) {
    if (error instanceof SlipwayError) throw error;
    throw new SlipwayError("network_unreachable", `${at}: the token service does not answer`, { cause: error });
  }
  if (response.status === 401 || response.status === 403) throw new SlipwayError("unauthorized", `${at}: the token service refused the user and password`);
  if (response.status === 429) throw new SlipwayError("rate_limited", `${at}: the token service wants fewer requests`);
  if (response.status !== 200) throw new SlipwayError("server_error", `${at}: the token service answered HTTP ${response.status}`);
  return readToken(body, at);
}

/** The realm is the registry's word: it may send the pair to an https service or to where the registry itself is, and nowhere else. */
function checkedRealm(realm: string, { origin, isPlainHttpAllowed }: AuthorizerOptions): URL {
  const url = URL.parse(realm);
  if (url === null) throw new SlipwayError("server_error", `${displayUrl(origin)}: the challenge names no usable token service`);
  checkRedirect(origin, url);
  const isSameHost = isPlainHttpAllowed && url.hostname === origin.hostname;
  if (url.protocol !== "https:" && !isLoopback(url) && !isSameHost) {
    throw new SlipwayError("network_unreachable", `${displayUrl(origin)}: refusing to send a password to ${displayUrl(url)}, which is not https`, {
      detail: "realm_refused",
    });
  }
  url.username = "";
  url.password = "";
  return url;
}

function readToken(body: Buffer, at: string): { readonly token: string; readonly endsAt: number } {
  let value: unknown;
  try {
    value = JSON.parse(body.toString("utf8"));
  } catch {
    value = undefined; // refused below, without the body: it may hold a secret
  }
  const fields: Readonly<Record<string, unknown>> = typeof value === "object" && value !== null ? { ...value } : {};
  const token = fields["token"] ?? fields["access_token"];
  if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) throw new SlipwayError("server_error", `${at}: the token service's answer holds no token`);
  const seconds = fields["expires_in"];
  const lifeSeconds = typeof seconds === "number" && seconds > 0 ? seconds : defaultLifeSeconds;
  return { token, endsAt: performance.now() + lifeSeconds * 1000 };
}
