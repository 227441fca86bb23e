/**
 * AWS Signature Version 4: what a request presents (in its Authorization header or, presigned, in its query), and which secret made it.
 *
 * Order: readSignature (form only) -> checkSigningTime -> signingSecret (the proof). Nothing of a request is believed before the last.
 * Source: "AWS Signature Version 4 for API requests" (IAM User Guide) and "Authenticating Requests" (Amazon S3 API Reference).
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { SlipwayError } from "../model/errors.ts";

/** Refusals in AWS's words: the `detail` of the SlipwayErrors thrown here. */
export type SignatureFault =
  | "AccessDenied"
  | "AuthorizationHeaderMalformed"
  | "AuthorizationQueryParametersError"
  | "InvalidRequest"
  | "InvalidToken"
  | "InvalidURI"
  | "RequestTimeTooSkewed";

export type SignedRequest = {
  readonly method: string;
  /** As sent: percent-encoded, without the query. */
  readonly path: string;
  /** Decoded, in the order sent (readQuery). */
  readonly query: readonly QueryParameter[];
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
};

export type QueryParameter = readonly [name: string, value: string];

export type PresentedSignature = {
  readonly kind: "header" | "query";
  readonly keyId: string;
  /** From the credential scope: any region is taken, customers keep the one that they had. */
  readonly region: string;
  readonly service: string;
  /** `20130524/us-east-1/s3/aws4_request`. */
  readonly scope: string;
  /** `20130524T000000Z`, as it was signed. */
  readonly timestamp: string;
  readonly signedAt: Date;
  /** Of a presigned request: how long it is good. */
  readonly expiresSeconds: number | undefined;
  readonly signedHeaders: readonly string[];
  /** 64 hex digits. */
  readonly signature: string;
};

/** Sent instead of a digest where the body is not signed; the only value for presigned requests. */
export const unsignedPayload = "UNSIGNED-PAYLOAD";
/** SHA-256 of no bytes. */
export const emptyPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const algorithm = "AWS4-HMAC-SHA256";
/** AWS takes requests whose clock is this far off, either way. */
export const clockSkewMs = 15 * 60_000;
const longestPresignSeconds = 604_800;
const signedHeaderLimit = 64;

function refusal(fault: SignatureFault, message: string): SlipwayError {
  return new SlipwayError("unauthorized", message, { detail: fault });
}

/** AWS's answer to signature version 2 in regions that never had it. */
function olderSignature(): SlipwayError {
  return refusal("InvalidRequest", `The authorization mechanism you have provided is not supported. Please use ${algorithm}.`);
}

/** Decodes `a=b&c` once, a plus staying a plus, as AWS reads it. Throws InvalidURI for broken percent-encoding. */
export function readQuery(text: string): readonly QueryParameter[] {
  if (text === "") return [];
  return text.split("&").map((pair) => {
    const equals = pair.indexOf("=");
    return equals < 0 ? [decode(pair), ""] : [decode(pair.slice(0, equals)), decode(pair.slice(equals + 1))];
  });
}

/** Throws InvalidURI for broken percent-encoding. */
export function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    throw new SlipwayError("unauthorized", "Couldn't parse the specified URI.", { detail: "InvalidURI", cause: error });
  }
}

/** Percent-encodes all but letters, digits and `-._~`, as AWS's UriEncode; the slash too unless told otherwise. */
export function uriEncode(text: string, options: { readonly keepSlash?: boolean } = {}): string {
  const encoded = encodeURIComponent(text.toWellFormed()).replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
  return options.keepSlash === true ? encoded.replaceAll("%2F", "/") : encoded;
}

/** Reads what is presented; proves nothing. Throws `unauthorized` with a SignatureFault for what has not the form of a signature. */
export function readSignature(request: SignedRequest): PresentedSignature {
  const authorization = headerText(request, "authorization");
  return authorization === undefined ? fromQuery(request) : fromHeader(request, authorization);
}

function fromHeader(request: SignedRequest, authorization: string): PresentedSignature {
  const fault = "AuthorizationHeaderMalformed";
  if (!authorization.startsWith(`${algorithm} `)) throw olderSignature();
  const parts = new Map<string, string>();
  for (const part of authorization.slice(algorithm.length + 1).split(",")) {
    const [name, value] = splitOnce(part.trim(), "=");
    if (parts.has(name)) throw refusal(fault, "The authorization header is malformed; a part stands twice.");
    parts.set(name, value);
  }
  const timestamp = headerText(request, "x-amz-date");
  if (timestamp === undefined) throw refusal("AccessDenied", "AWS authentication requires a valid x-amz-date header");
  return presented({ request, kind: "header", fault, parts, timestamp, expiresSeconds: undefined });
}

function fromQuery(request: SignedRequest): PresentedSignature {
  const fault = "AuthorizationQueryParametersError";
  if (request.query.some(([name]) => name === "AWSAccessKeyId")) throw olderSignature();
  const one = (name: string): string => {
    const values = request.query.filter(([candidate]) => candidate === name);
    if (values.length !== 1) throw refusal(fault, `Query-string authentication version 4 requires one ${name} parameter.`);
    return values[0]?.[1] ?? "";
  };
  if (one("X-Amz-Algorithm") !== algorithm) throw refusal(fault, `X-Amz-Algorithm only supports "${algorithm}"`);
  const parts = new Map([
    ["Credential", one("X-Amz-Credential")],
    ["SignedHeaders", one("X-Amz-SignedHeaders")],
    ["Signature", one("X-Amz-Signature")],
  ]);
  const expires = one("X-Amz-Expires");
  if (!/^\d{1,7}$/.test(expires)) throw refusal(fault, "X-Amz-Expires should be a number");
  const expiresSeconds = Number(expires);
  if (expiresSeconds > longestPresignSeconds)
    throw refusal(fault, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds");
  return presented({ request, kind: "query", fault, parts, timestamp: one("X-Amz-Date"), expiresSeconds });
}

function presented(input: {
  readonly request: SignedRequest;
  readonly kind: "header" | "query";
  readonly fault: SignatureFault;
  readonly parts: ReadonlyMap<string, string>;
  readonly timestamp: string;
  readonly expiresSeconds: number | undefined;
}): PresentedSignature {
  const { request, kind, fault, parts, timestamp, expiresSeconds } = input;
  const [keyId = "", day = "", region = "", service = "", end = "", ...more] = (parts.get("Credential") ?? "").split("/");
  if (keyId === "" || region === "" || service === "" || end !== "aws4_request" || more.length > 0) {
    throw refusal(fault, 'The credential is malformed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".');
  }
  const signature = parts.get("Signature") ?? "";
  if (!/^[0-9a-f]{64}$/.test(signature)) throw refusal(fault, "The signature is malformed; expecting 64 hexadecimal digits.");
  const signedAt = parseTimestamp(timestamp);
  if (signedAt === undefined) throw refusal(fault, 'The date is malformed; expecting "YYYYMMDDTHHMMSSZ".');
  if (!timestamp.startsWith(day) || day.length !== 8) throw refusal(fault, `Invalid credential date "${day}". This date is not the same as X-Amz-Date.`);
  const signedHeaders = (parts.get("SignedHeaders") ?? "").split(";");
  checkSignedHeaders(request, signedHeaders);
  const token = headerText(request, "x-amz-security-token") ?? request.query.find(([name]) => name === "X-Amz-Security-Token")?.[1];
  if (token !== undefined)
    throw refusal("InvalidToken", "The provided token is malformed or otherwise invalid: an access pair has no session token; unset AWS_SESSION_TOKEN.");
  return { kind, keyId, region, service, scope: [day, region, service, end].join("/"), timestamp, signedAt, expiresSeconds, signedHeaders, signature };
}

/** Host, and every header that could change what AWS does, must be under the signature: else whoever stands between could add them. */
function checkSignedHeaders(request: SignedRequest, signedHeaders: readonly string[]): void {
  if (signedHeaders.length > signedHeaderLimit) throw refusal("AccessDenied", "Too many headers are signed");
  const needed = ["host", ...Object.keys(request.headers).filter((name) => name.startsWith("x-amz-"))];
  const missing = needed.filter((name) => !signedHeaders.includes(name));
  if (missing.length > 0) throw refusal("AccessDenied", `There were headers present in the request which were not signed: ${missing.join(", ")}`);
}

function parseTimestamp(text: string): Date | undefined {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second] = match;
  const date = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(date.getTime()) ? undefined : date;
}

/** Throws RequestTimeTooSkewed for a clock that is more than 15 minutes off, AccessDenied for a presigned request that is over or not yet valid. */
export function checkSigningTime(signature: PresentedSignature, now: Date): void {
  const ageMs = now.getTime() - signature.signedAt.getTime();
  if (signature.expiresSeconds === undefined) {
    if (Math.abs(ageMs) <= clockSkewMs) return;
    throw refusal(
      "RequestTimeTooSkewed",
      `The difference between the request time (${signature.signedAt.toISOString()}) and the server's time (${now.toISOString()}) is too large.`,
    );
  }
  if (ageMs < -clockSkewMs) throw refusal("AccessDenied", "Request is not valid yet");
  if (ageMs > signature.expiresSeconds * 1000) throw refusal("AccessDenied", "Request has expired");
}

/**
 * The one of `secrets` that made this signature, or undefined. Every secret is tried and compared in constant time; `keyOf` gives the
 * signing key of each, as signingKey does.
 *
 * `payloadHash` is what the sender signed for the body: its SHA-256 in hex (of the body as it came, where it is read) or unsignedPayload.
 */
export function signingSecret<Secret>(input: {
  readonly request: SignedRequest;
  readonly signature: PresentedSignature;
  readonly payloadHash: string;
  readonly secrets: readonly Secret[];
  readonly keyOf: (secret: Secret, scope: string) => string;
}): Secret | undefined {
  const { signature } = input;
  const canonical = canonicalRequest(input.request, signature, input.payloadHash);
  const text = [algorithm, signature.timestamp, signature.scope, createHash("sha256").update(canonical).digest("hex")].join("\n");
  const given = Buffer.from(signature.signature, "hex");
  let found: Secret | undefined;
  for (const secret of input.secrets) {
    const isSame = timingSafeEqual(Buffer.from(hmac(input.keyOf(secret, signature.scope), text), "latin1"), given);
    if (isSame) found = secret;
  }
  return found;
}

/** What signs for a scope (`<day>/<region>/<service>/aws4_request`), as bytes in latin1 text. */
export function signingKey(secret: string, scope: string): string {
  return scope.split("/").reduce(hmac, Buffer.from(`AWS4${secret}`).toString("latin1"));
}

/** Key and result are bytes as latin1 ("binary") text: Node needs 2 us for a key that is text and 12 for one in a buffer (bench/serve-auth.ts). */
function hmac(key: string, text: string): string {
  return createHmac("sha256", key, { encoding: "latin1" }).update(text).digest("binary");
}

function canonicalRequest(request: SignedRequest, signature: PresentedSignature, payloadHash: string): string {
  // S3 encodes a key once; every other service encodes the path, as it was sent, again.
  const path = signature.service === "s3" ? uriEncode(decode(request.path), { keepSlash: true }) : uriEncode(request.path, { keepSlash: true });
  const query = request.query
    .filter(([name]) => signature.kind === "header" || name !== "X-Amz-Signature")
    .map(([name, value]) => [uriEncode(name), uriEncode(value)] as const)
    .sort(([leftName, leftValue], [rightName, rightValue]) => compareText(leftName, rightName) || compareText(leftValue, rightValue))
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
  const headers = signature.signedHeaders.map((name) => `${name}:${(headerText(request, name) ?? "").trim().replaceAll(/ {2,}/g, " ")}\n`).join("");
  return [request.method, path, query, headers, signature.signedHeaders.join(";"), payloadHash].join("\n");
}

function compareText(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

function headerText(request: SignedRequest, name: string): string | undefined {
  const value = Object.hasOwn(request.headers, name) ? request.headers[name] : undefined;
  return value === undefined || typeof value === "string" ? value : value.join(",");
}

function splitOnce(text: string, separator: string): readonly [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + separator.length)];
}
