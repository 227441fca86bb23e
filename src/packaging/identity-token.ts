/** The identity token of a CI run, for keyless signing: from where the common CI services put it. A token never reaches a message. */
import { SlipwayError } from "../model/errors.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** What Fulcio wants to see in `aud`. */
const audience = "sigstore";
const answerLimitBytes = 64 * 1024;
const timeoutMs = 30_000;

/** Is there a place to get a token from? */
export function hasIdentityToken(env: Environment): boolean {
  return isSet(env["SIGSTORE_ID_TOKEN"]) || isSet(env["ACTIONS_ID_TOKEN_REQUEST_URL"]);
}

/**
 * `SIGSTORE_ID_TOKEN` (GitLab's `id_tokens:`, Buildkite's and CircleCI's own commands write it), else GitHub Actions' (and Forgejo's) token
 * service. Asked anew for every certificate, because tokens live for minutes.
 * Throws `key_missing` where there is none, `unauthorized` where the service refuses, `network_unreachable`.
 */
export async function readIdentityToken(env: Environment, signal?: AbortSignal): Promise<string> {
  const given = env["SIGSTORE_ID_TOKEN"];
  if (isSet(given)) return requireToken(given.trim());
  const [url, bearer] = [env["ACTIONS_ID_TOKEN_REQUEST_URL"], env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]];
  if (!isSet(url) || !isSet(bearer)) {
    throw new SlipwayError("key_missing", "keyless signing needs the identity token of a CI run, and there is none", {
      hint: "in GitHub Actions grant `id-token: write`; in GitLab add `id_tokens: { SIGSTORE_ID_TOKEN: { aud: sigstore } }`; elsewhere set SIGSTORE_ID_TOKEN",
    });
  }
  const address = new URL(url);
  address.searchParams.set("audience", audience);
  let response: Response;
  try {
    response = await fetch(address, {
      headers: { authorization: `Bearer ${bearer}`, accept: "application/json" },
      redirect: "error",
      signal: signal === undefined ? AbortSignal.timeout(timeoutMs) : AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    });
  } catch (error) {
    throw new SlipwayError("network_unreachable", `the CI's token service at ${address.origin} does not answer`, { cause: error });
  }
  const text = await response.text();
  if (!response.ok) throw new SlipwayError("unauthorized", `the CI's token service answered ${response.status}`, { hint: "grant the job `id-token: write`" });
  if (text.length > answerLimitBytes) throw new SlipwayError("unauthorized", "the CI's token service answered with more than a token");
  return requireToken(valueOf(text));
}

function valueOf(text: string): string {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === "object" && parsed !== null && "value" in parsed && typeof parsed.value === "string" ? parsed.value : "";
  } catch {
    return ""; // said below, without the text: it may hold a token
  }
}

/** Three parts, the second one JSON: what the library would otherwise repeat in its message. */
function requireToken(token: string): string {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
    if (token.split(".").length === 3 && typeof claims === "object" && claims !== null && "sub" in claims) return token;
  } catch {
    // not JSON: said below
  }
  throw new SlipwayError("key_invalid", "the identity token is not a JSON web token with a subject");
}

function isSet(value: string | undefined): value is string {
  return value !== undefined && value.trim() !== "";
}
