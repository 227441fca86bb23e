/** `/token`: where registry clients get their tokens, by GET with Basic or by POST with a form (token.md, oauth.md of the distribution project). */
import { Readable } from "node:stream";
import { mayAdminister, mayRead, type Principal } from "../access/principal.ts";
import { readStreamBounded } from "../io/bounded-read.ts";
import { SlipwayError } from "../model/errors.ts";
import { tryProductOfRepository } from "../releases/oci-repositories.ts";
import { type Credentials, readCredentials, recordFailure } from "./caller.ts";
import { basicRegistryChallenge, type OciCall, presentedCredential, principalOfCredential } from "./oci-caller.ts";
import { ociRefusal } from "./oci-errors.ts";
import { type OciScope, readScopes, registryTokenLifeSeconds, scopeText, sealRegistryToken } from "./oci-token.ts";

const formLimit = 16 * 1024;

type TokenAnswer = { readonly token: string; readonly access_token: string; readonly scope: string; readonly expires_in: number; readonly issued_at: string };

/** Docker, podman, skopeo, oras. Throws `unauthorized` with a Basic challenge, `rate_limited`. */
export async function tokenByGet(call: OciCall): Promise<TokenAnswer> {
  const parameters = new URL(call.request.url, "http://registry").searchParams;
  return issueToken(call, readCredentials(call.request.headers.authorization), parameters.getAll("scope"));
}

/** containerd: `grant_type=password&username=…&password=…`. Throws as above, and `usage` for other grants. */
export async function tokenByPost(call: OciCall): Promise<TokenAnswer> {
  const body = call.request.body as Readable | undefined;
  const form = new URLSearchParams((await readStreamBounded(body ?? Readable.from([]), formLimit, "the form")).toString("utf8"));
  const basic = readCredentials(call.request.headers.authorization);
  if (basic.kind !== "none") return issueToken(call, basic, form.getAll("scope"));
  if (form.get("grant_type") !== "password") throw new SlipwayError("usage", "only grant_type=password is given tokens here");
  return issueToken(call, { kind: "pair", keyId: form.get("username") ?? "", secret: form.get("password") ?? "" }, form.getAll("scope"));
}

async function issueToken(call: OciCall, credentials: Credentials, scopes: readonly string[]): Promise<TokenAnswer> {
  const { context, reply } = call;
  const credential = presentedCredential(context, credentials);
  const principal = credential === undefined ? undefined : await principalOfCredential(call, credential);
  if (credential === undefined || principal === undefined) {
    reply.header("www-authenticate", basicRegistryChallenge);
    if (credentials.kind === "none") throw ociRefusal("UNAUTHORIZED", "this needs credentials");
    await recordFailure(context, credentials, call);
    throw ociRefusal("UNAUTHORIZED", "these credentials are not accepted here");
  }
  const now = context.store.clock.now();
  const granted = grantedScopes(principal, readScopes(scopes));
  const token = sealRegistryToken(context.kek, { credential, scopes: granted, expiresAt: new Date(now.getTime() + registryTokenLifeSeconds * 1000) });
  return {
    token,
    access_token: token,
    scope: granted.map(scopeText).join(" "),
    expires_in: registryTokenLifeSeconds,
    issued_at: now.toISOString(),
  };
}

/** Of what was asked for, what the caller has: the protocol wants a token then, not a refusal. */
function grantedScopes(principal: Principal, asked: readonly OciScope[]): readonly OciScope[] {
  return asked.flatMap(({ name, actions }) => {
    const product = tryProductOfRepository(name);
    if (product === undefined || !mayRead(principal, product)) return [];
    return [{ name, actions: actions.filter((action) => action === "pull" || mayAdminister(principal)) }];
  });
}
