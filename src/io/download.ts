/**
 * The network client for files: redirects followed by our own rules, credentials only to their own origin, every answer bounded in
 * size and time, downloads continued with Range and If-Range (RFC 9110 13.1.5, 14).
 */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { isIP } from "node:net";
import { SlipwayError } from "../model/errors.ts";
import { readStreamBounded } from "./bounded-read.ts";
import { writeAll } from "./write-all.ts";

export type Fetch = typeof globalThis.fetch;

export type Remote = {
  readonly fetch: Fetch;
  readonly url: URL;
  /** Sent as Basic to the origin of `url` and nowhere else. */
  readonly credentials?: { readonly keyId: string; readonly secret: string };
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** How long the answer's head may take; 30 s by default. */
  readonly headTimeoutMs?: number;
};

export type Pace = { readonly minimumBytesPerSecond: number; readonly windowMs: number };

/** Slow retrieval is an attack on updaters (TUF specification 1.5.2): below 1 kB/s for a minute counts as no answer. */
export const defaultPace: Pace = { minimumBytesPerSecond: 1024, windowMs: 60_000 };

const redirectLimit = 5;
const redirectStatuses = new Set([301, 302, 303, 307, 308]);
const errorBodyLimitBytes = 64 * 1024;

/** A URL for messages: no user, password, query or fragment. */
export function displayUrl(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}`;
}

/** Addresses that only this machine or its cloud answers on: a redirect there is a way to make us ask for somebody else's secrets. */
function isLocalAddress(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, "").toLowerCase();
  if (host === "localhost" || host.endsWith(".localhost") || host === "metadata.google.internal") return true;
  if (isIP(host) === 4) return /^(127|0)\.|^169\.254\./.test(host);
  if (isIP(host) === 6) return host === "::" || host === "::1" || /^fe[89ab]/.test(host) || host.startsWith("::ffff:") || host === "fd00:ec2::254";
  return false;
}

/** Refuses a step from one address to another that leaves https or leads to this machine or its cloud; throws `network_unreachable`. */
export function checkRedirect(from: URL, to: URL): void {
  const refuse = (why: string): never => {
    throw new SlipwayError("network_unreachable", `${displayUrl(from)} redirects to ${displayUrl(to)}: refused, ${why}`, { detail: "redirect_refused" });
  };
  if (to.protocol !== "https:" && to.protocol !== "http:") refuse("not http");
  if (from.protocol === "https:" && to.protocol === "http:") refuse("it would leave https");
  if (to.origin !== from.origin && isLocalAddress(to.hostname) && !isLocalAddress(from.hostname)) refuse("the address is local to this machine");
  if (to.origin !== from.origin && /^169\.254\.|^metadata\.google\.internal$/.test(to.hostname)) refuse("the address is link-local");
}

/** Of a 410: the version that the address was of. */
export const goneVersionHeader = "slipway-version";

/** What a status that is no success means; the body may name a replacement (410) or a reason. */
async function statusError(response: Response, url: URL): Promise<SlipwayError> {
  const at = displayUrl(url);
  let reason = response.statusText;
  try {
    const body: unknown = JSON.parse((await readStreamBounded(response.body ?? emptyStream(), errorBodyLimitBytes, at)).toString("utf8"));
    const error = typeof body === "object" && body !== null && "error" in body ? body.error : body;
    if (typeof error === "object" && error !== null && "message" in error && typeof error.message === "string") reason = error.message.slice(0, 500);
  } catch {
    // a body that is no JSON of ours says nothing; the status line does
  }
  const say = (text: string): string => `${at}: ${text}${reason === "" ? "" : ` (${reason})`}`;
  const place = { place: at, detail: `http_${response.status}` };
  const retryAfter = retryAfterMs(response.headers.get("retry-after"));
  switch (response.status) {
    case 401:
      return new SlipwayError("unauthorized", say("the access pair was not accepted"), place);
    case 403:
      return new SlipwayError("forbidden", say("refused"), place);
    case 404:
      return new SlipwayError("not_found", say("not there, or not for this access pair"), place);
    case 410:
      return new SlipwayError("gone", say("the version left retention"), { ...place, detail: response.headers.get(goneVersionHeader) ?? place.detail });
    case 429:
      return withRetryAfter(new SlipwayError("rate_limited", say("too many requests"), place), retryAfter);
    default:
      if (response.status === 408 || response.status >= 500) {
        return withRetryAfter(new SlipwayError("server_error", say(`HTTP ${response.status}`), place), retryAfter);
      }
      return new SlipwayError("not_found", say(`HTTP ${response.status}`), place);
  }
}

async function* emptyStream(): AsyncGenerator<Uint8Array> {}

const retryAfters = new WeakMap<SlipwayError, number>();

function withRetryAfter(error: SlipwayError, ms: number | undefined): SlipwayError {
  if (ms !== undefined) retryAfters.set(error, ms);
  return error;
}

/** What the server asked for with Retry-After, in ms; undefined where it did not. */
export function requestedDelayMs(error: unknown): number | undefined {
  return error instanceof SlipwayError ? retryAfters.get(error) : undefined;
}

/** RFC 9110 10.2.3: seconds, or a date; at most one hour is honoured. */
/** The header Retry-After (RFC 9110, 10.2.3) in ms, an hour at most; undefined where it says nothing. */
export function retryAfterMs(header: string | null): number | undefined {
  if (header === null) return undefined;
  const ms = /^\d{1,9}$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(0, ms), 3_600_000) : undefined;
}

export type Answer = { readonly response: Response; readonly url: URL; readonly abort: () => void };

/**
 * One GET with redirects. Resolves with 200, 206, 304 or 416 for the caller to judge; any other status throws its code
 * (`unauthorized`, `not_found`, `gone`, `rate_limited`, `server_error`), no answer throws `network_unreachable`.
 */
export async function openRemote(remote: Remote): Promise<Answer> {
  let url = remote.url;
  for (let hop = 0; hop <= redirectLimit; hop += 1) {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(new Error("no answer in time")), remote.headTimeoutMs ?? 30_000);
    const signal = remote.signal === undefined ? controller.signal : AbortSignal.any([remote.signal, controller.signal]);
    const headers = new Headers({ "accept-encoding": "identity", ...remote.headers });
    if (remote.credentials !== undefined && url.origin === remote.url.origin) {
      const pair = `${remote.credentials.keyId}:${remote.credentials.secret}`;
      headers.set("authorization", `Basic ${Buffer.from(pair, "utf8").toString("base64")}`);
    }
    let response: Response;
    try {
      response = await remote.fetch(url.href, { headers, redirect: "manual", signal });
    } catch (error) {
      throw networkError(error, url, remote.signal);
    } finally {
      clearTimeout(timer);
    }
    if (redirectStatuses.has(response.status)) {
      await response.body?.cancel();
      const location = response.headers.get("location");
      const next = location === null ? null : URL.parse(location, url.href);
      if (next === null) throw new SlipwayError("server_error", `${displayUrl(url)}: a redirect without a usable Location`);
      checkRedirect(url, next);
      url = next;
      continue;
    }
    const coding = response.headers.get("content-encoding");
    if (coding !== null && coding !== "identity") {
      controller.abort();
      throw new SlipwayError("server_error", `${displayUrl(url)}: answered with content-encoding ${coding.slice(0, 40)}, which was not asked for`);
    }
    if (![200, 206, 304, 416].includes(response.status)) throw await statusError(response, url);
    return { response, url, abort: () => controller.abort(new Error("the download was cut")) };
  }
  throw new SlipwayError("network_unreachable", `${displayUrl(remote.url)}: more than ${redirectLimit} redirects`, { detail: "redirect_refused" });
}

function networkError(error: unknown, url: URL, signal: AbortSignal | undefined): SlipwayError {
  if (error instanceof SlipwayError) return error;
  if (signal?.aborted === true) return new SlipwayError("interrupted", `${displayUrl(url)}: interrupted`, { cause: error });
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error instanceof Error ? error.message : error);
  return new SlipwayError("network_unreachable", `${displayUrl(url)}: ${cause}`, { cause: error });
}

/** A small file's bytes; throws `too_large` above `limit`, and what openRemote throws. */
export async function fetchBounded(remote: Remote, limit: number, pace: Pace = defaultPace): Promise<Buffer> {
  const { response, url, abort } = await openRemote(remote);
  if (response.status !== 200) throw new SlipwayError("server_error", `${displayUrl(url)}: HTTP ${response.status} to a plain request`);
  try {
    return await readStreamBounded(paced(response, { url, pace, signal: remote.signal }), limit, displayUrl(url));
  } finally {
    abort();
  }
}

/** A file's bytes as they come, for who hashes and does not keep them; throws `too_large` after `limit` bytes, and what openRemote throws. */
export async function* streamRemote(remote: Remote, limit: number, pace: Pace = defaultPace): AsyncGenerator<Uint8Array> {
  const { response, url, abort } = await openRemote(remote);
  try {
    if (response.status !== 200) throw new SlipwayError("server_error", `${displayUrl(url)}: HTTP ${response.status} to a plain request`);
    let size = 0;
    for await (const piece of paced(response, { url, pace, signal: remote.signal })) {
      size += piece.length;
      if (size > limit) throw new SlipwayError("too_large", `${displayUrl(url)} has more than ${limit} bytes`);
      yield piece;
    }
  } finally {
    abort();
  }
}

/** The body's pieces; throws `network_unreachable` with detail `slow_transfer` when a window passes with too few bytes. */
async function* paced(
  response: Response,
  options: { readonly url: URL; readonly pace: Pace; readonly signal: AbortSignal | undefined },
): AsyncGenerator<Uint8Array> {
  const { url, pace, signal } = options;
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  let windowStart = performance.now();
  let windowBytes = 0;
  let pending: ReturnType<typeof reader.read> | undefined; // outlives a quiet window, or its bytes would be lost
  try {
    for (;;) {
      let timer: NodeJS.Timeout | undefined;
      const tooSlow = new Promise<"slow">((resolve) => {
        timer = setTimeout(() => resolve("slow"), Math.max(1, windowStart + pace.windowMs - performance.now()));
      });
      pending ??= reader.read();
      const next = await Promise.race([pending, tooSlow]).finally(() => clearTimeout(timer));
      const elapsed = performance.now() - windowStart;
      if (next !== "slow") {
        pending = undefined;
        if (next.done) return;
        windowBytes += next.value.length;
        yield next.value;
      }
      if (elapsed >= pace.windowMs) {
        if ((windowBytes * 1000) / elapsed < pace.minimumBytesPerSecond) {
          const text = `${displayUrl(url)}: ${windowBytes} bytes in ${Math.round(elapsed / 1000)} s are too slow`;
          throw new SlipwayError("network_unreachable", text, { detail: "slow_transfer" });
        }
        windowStart = performance.now();
        windowBytes = 0;
      }
    }
  } catch (error) {
    throw networkError(error, url, signal);
  } finally {
    await reader.cancel().catch(() => undefined); // it may have failed already, which was thrown above
  }
}

export type PartValidator = { readonly etag?: string | undefined; readonly lastModified?: string | undefined };

export type ResumedDownload = {
  readonly remote: Remote;
  /** Bytes that the file must have in the end. One byte more is an error, however many the server announces. */
  readonly size: number;
  /** The partial file; created 0600 when absent, never followed when it is a link. */
  readonly path: string;
  /** What the server said about the bytes that are already in the file; without it the download starts from 0. */
  readonly validator?: PartValidator | undefined;
  /** Called when the first bytes are to be written, so that the validator can be kept beside the part. */
  readonly onValidator?: (validator: PartValidator) => Promise<void>;
  readonly onProgress?: (bytes: number) => void;
  readonly pace?: Pace;
};

const syncEveryBytes = 8 * 1024 * 1024;

/**
 * Brings `path` to `size` bytes and makes them durable; returns how many were already there. Throws `too_large` with detail
 * `size_mismatch` when the server sends another length; the part stays for the next try otherwise.
 */
export async function downloadPart(options: ResumedDownload): Promise<{ readonly resumedFrom: number }> {
  const { remote, size, path } = options;
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o600);
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new SlipwayError("state_dir_insecure", `${path} is not a regular file`, { place: path });
    const strong = strongValidator(options.validator);
    let start = strong === undefined || stat.size > size ? 0 : stat.size;
    if (start === size && size > 0) return { resumedFrom: start };
    const ranged: Record<string, string> = start > 0 && strong !== undefined ? { range: `bytes=${start}-`, "if-range": strong } : {};
    const { response, url, abort } = await openRemote({ ...remote, headers: { ...remote.headers, ...ranged } });
    try {
      if (response.status === 206 || response.status === 416) {
        const from = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
        if (start === 0 || from === undefined || Number(from) !== start) {
          await handle.truncate(0); // what we have is not what the server has: the next try starts over
          throw new SlipwayError("server_error", `${displayUrl(url)}: asked for bytes from ${start}, got ${from ?? "no range"}`, { detail: "range_mismatch" });
        }
      } else if (response.status === 200) start = 0;
      else throw new SlipwayError("server_error", `${displayUrl(url)}: HTTP ${response.status} to a plain request`);
      requireLength(response, { start, size, url });
      await handle.truncate(start);
      await options.onValidator?.({ etag: response.headers.get("etag") ?? undefined, lastModified: response.headers.get("last-modified") ?? undefined });
      await receive(handle, start, { ...options, response, url });
      return { resumedFrom: start };
    } finally {
      abort();
    }
  } finally {
    await handle.close();
  }
}

/** A source that announces fewer bytes than the release lists has another file, or a part of it: asking again brings no more. */
function requireLength(response: Response, { start, size, url }: { readonly start: number; readonly size: number; readonly url: URL }): void {
  const announced = response.headers.get("content-length");
  if (announced === null || !/^\d{1,15}$/.test(announced) || start + Number(announced) >= size) return;
  throw new SlipwayError("too_large", `${displayUrl(url)}: the source has ${start + Number(announced)} bytes; the release lists ${size}`, {
    detail: "size_mismatch",
  });
}

/** If-Range needs a strong validator (RFC 9110 13.1.5); a weak ETag would splice two different files. */
function strongValidator(validator: PartValidator | undefined): string | undefined {
  if (validator?.etag !== undefined) return validator.etag.startsWith('"') ? validator.etag : undefined;
  return validator?.lastModified;
}

async function receive(handle: FileHandle, start: number, options: ResumedDownload & { readonly response: Response; readonly url: URL }): Promise<void> {
  const { response, url, size, remote } = options;
  let written = start;
  let synced = start;
  for await (const piece of paced(response, { url, pace: options.pace ?? defaultPace, signal: remote.signal })) {
    if (written + piece.length > size) {
      throw new SlipwayError("too_large", `${displayUrl(url)}: more than the ${size} bytes that the release lists`, { detail: "size_mismatch" });
    }
    await writeAll(handle, piece, written);
    written += piece.length;
    options.onProgress?.(written);
    if (written - synced >= syncEveryBytes) {
      await handle.datasync();
      synced = written;
    }
  }
  await handle.sync();
  if (written < size)
    throw new SlipwayError("network_unreachable", `${displayUrl(url)}: the connection ended after ${written} of ${size} bytes`, { detail: "short_body" });
}
