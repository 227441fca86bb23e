/**
 * One webhook call in the form of Standard Webhooks (standardwebhooks.com, version 1): a JSON body, its id, the time, and an HMAC over the three.
 *
 * The address was typed in by somebody: https only, into the public Internet only, to the very address that was checked, and no redirect
 * is followed. Hosts of the setting webhook-hosts are the vendor's own and may be reached over http and inside.
 */
import { createHmac } from "node:crypto";
import { type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { checkedAddress, insideAddress, type ResolveName } from "./public-internet.ts";

/** What a secret begins with; the base64 after it is the key. */
export const webhookSecretPrefix = "whsec_";

export type WebhookCall = {
  readonly url: string;
  /** The same for every try of one message. */
  readonly id: string;
  readonly now: Date;
  /** `whsec_` and 32 bytes in base64. */
  readonly secret: string;
  /** JSON. */
  readonly body: string;
  readonly trustedHosts: readonly string[];
  readonly resolve?: ResolveName;
  readonly timeoutMs?: number;
};

/** The whole call, from the name to the end of the answer's head. */
const defaultTimeoutMs = 15_000;

/** `v1,<base64>` over `id.timestamp.body`. */
export function webhookSignature(input: { readonly secret: string; readonly id: string; readonly epochSeconds: number; readonly body: string }): string {
  const key = Buffer.from(input.secret.slice(webhookSecretPrefix.length), "base64");
  return `v1,${createHmac("sha256", key).update(`${input.id}.${input.epochSeconds}.${input.body}`).digest("base64")}`;
}

/** Reads and checks the address without calling it. Throws `usage` for one that is never called. */
export function parseWebhookUrl(text: string, trustedHosts: readonly string[]): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const fail = (message: string): SlipwayError => new SlipwayError("usage", message, { hint: "give an https address without user and password" });
  if (url === undefined || text.length > 2_000) throw fail("the webhook's address is not a URL");
  if (url.username !== "" || url.password !== "") throw fail("the webhook's address has a user or a password in it");
  const isTrusted = isTrustedHost(url, trustedHosts);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && isTrusted)) throw fail(`a webhook is called over https, not ${url.protocol.slice(0, -1)}`);
  return url;
}

/** As `parseWebhookUrl`, for an address that is new: one that lies on this machine or in a private network by its own words is never called. */
export function parseNewWebhookUrl(text: string, trustedHosts: readonly string[]): URL {
  const url = parseWebhookUrl(text, trustedHosts);
  const inside = isTrustedHost(url, trustedHosts) ? undefined : insideAddress(url.hostname);
  if (inside === undefined) return url;
  throw new SlipwayError("usage", `a webhook is called in the public Internet only, and ${inside} is not there`, {
    hint: "name the host in the setting webhook-hosts where it is yours",
  });
}

function isTrustedHost(url: URL, trustedHosts: readonly string[]): boolean {
  return trustedHosts.includes(url.hostname) || trustedHosts.includes(url.host);
}

/**
 * Resolves with the status of a 2xx answer. Throws `gone` for 410, `server_error` for any other status, `forbidden` for an address that is
 * not in the public Internet, `network_unreachable` for the rest.
 */
export async function callWebhook(call: WebhookCall): Promise<number> {
  const url = parseWebhookUrl(call.url, call.trustedHosts);
  const isTrusted = isTrustedHost(url, call.trustedHosts);
  const signal = AbortSignal.timeout(call.timeoutMs ?? defaultTimeoutMs);
  const { address, family } = await checkedAddress(url.hostname, { isTrusted, ...(call.resolve === undefined ? {} : { resolve: call.resolve }) });
  const epochSeconds = Math.floor(call.now.getTime() / 1000);
  const headers = {
    host: url.host,
    "content-type": "application/json",
    "content-length": Buffer.byteLength(call.body),
    "user-agent": "slipway",
    "webhook-id": call.id,
    "webhook-timestamp": String(epochSeconds),
    "webhook-signature": webhookSignature({ secret: call.secret, id: call.id, epochSeconds, body: call.body }),
  };
  const status = await answerOf({ url, address, family, headers, body: call.body, signal });
  if (status >= 200 && status < 300) return status;
  if (status === 410) throw new SlipwayError("gone", `${url.host} answered 410: it takes no more calls`);
  throw new SlipwayError("server_error", `${url.host} answered ${status}${status >= 300 && status < 400 ? "; redirects are not followed" : ""}`);
}

type Outgoing = {
  readonly url: URL;
  readonly address: string;
  readonly family: 4 | 6;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body: string;
  readonly signal: AbortSignal;
};

async function answerOf(outgoing: Outgoing): Promise<number> {
  try {
    const message = await exchange(outgoing);
    message.destroy(); // what it says is of no interest, and may be endless
    return message.statusCode ?? 0;
  } catch (error) {
    if (outgoing.signal.aborted) throw new SlipwayError("network_unreachable", `${outgoing.url.host} did not answer in time`, { cause: error });
    throw new SlipwayError("network_unreachable", `no answer from ${outgoing.url.host}: ${asSlipwayError(error).message}`, { cause: error });
  }
}

function exchange({ url, address, family, headers, body, signal }: Outgoing): Promise<IncomingMessage> {
  const isTls = url.protocol === "https:";
  const options = {
    host: address,
    family,
    port: url.port === "" ? (isTls ? 443 : 80) : Number(url.port),
    path: `${url.pathname}${url.search}`,
    method: "POST",
    headers,
    agent: false as const, // a kept connection might be to an address that was checked for another name
    signal,
  };
  return new Promise((resolve, reject) => {
    // The certificate must be the name's, though the connection goes to the address.
    const isName = url.hostname !== address && !url.hostname.startsWith("[");
    const request = isTls ? requestHttps({ ...options, ...(isName ? { servername: url.hostname } : {}) }) : requestHttp(options);
    request.on("response", resolve);
    request.on("error", reject);
    request.end(body);
  });
}
