/**
 * One HTTP exchange with a registry: redirects by our rules, Authorization to the registry's own origin only, every wait with a limit, and
 * the registry's own error words in ours.
 */
import { SlipwayError } from "../model/errors.ts";
import { readStreamBounded } from "./bounded-read.ts";
import { checkRedirect, displayUrl, type Fetch } from "./download.ts";
import type { RegistryAuthorizer } from "./registry-auth.ts";

export type RegistryTimes = {
  /** How long the head of an answer may take. */
  readonly answerMs: number;
  /** How long a body may stand still, in either direction. */
  readonly stallMs: number;
  /** How long the registry may take to check and store what it was sent. */
  readonly commitMs: number;
};

export const defaultRegistryTimes: RegistryTimes = { answerMs: 30_000, stallMs: 60_000, commitMs: 300_000 };

export type RegistryBody = { readonly size: number; readonly open: () => AsyncIterable<Uint8Array> };

export type RegistryCall = {
  readonly method: "GET" | "HEAD" | "POST" | "PATCH" | "PUT";
  readonly url: URL;
  readonly scopes: readonly string[];
  /** Statuses that the caller understands; any other throws its code. */
  readonly expected: readonly number[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: RegistryBody;
};

/** One registry, with what has been learnt about proving who we are. */
export type RegistrySession = {
  readonly origin: URL;
  readonly fetch: Fetch;
  readonly times: RegistryTimes;
  readonly authorizer: RegistryAuthorizer;
};

/** An answer whose body the caller must read through `body` or give up with `drop`. */
export type RegistryAnswer = { readonly response: Response; readonly url: URL; readonly body: AsyncIterable<Uint8Array>; readonly drop: () => Promise<void> };

const redirectLimit = 5;
const redirectStatuses = new Set([301, 302, 303, 307, 308]);
const errorBodyLimitBytes = 64 * 1024;
/** One request with our redirects, our authorization and our clock. */
export async function callRegistry(session: RegistrySession, request: RegistryCall): Promise<RegistryAnswer> {
  const { origin } = session;
  let url = request.url;
  let hasLearnt = false;
  for (let hop = 0; hop <= redirectLimit; ) {
    const isHome = url.origin === origin.origin;
    const authorization = isHome ? await session.authorizer.headerFor(request.scopes) : undefined;
    const answer = await send(session, { ...request, url }, authorization);
    const { response } = answer;
    if (response.status === 401 && isHome && !hasLearnt && session.authorizer.learn(response.headers.get("www-authenticate"), request.scopes)) {
      await answer.drop();
      hasLearnt = true;
      continue;
    }
    if (redirectStatuses.has(response.status) && (request.method === "GET" || request.method === "HEAD" || response.status >= 307)) {
      await answer.drop();
      const location = response.headers.get("location");
      const next = location === null ? null : URL.parse(location, url.href);
      if (next === null) throw new SlipwayError("server_error", `${displayUrl(url)}: a redirect without a usable Location`);
      checkRedirect(url, next);
      url = next;
      hop += 1;
      continue;
    }
    if (!request.expected.includes(response.status)) throw await statusError(answer, request.method);
    return answer;
  }
  throw new SlipwayError("network_unreachable", `${displayUrl(request.url)}: more than ${redirectLimit} redirects`, { detail: "redirect_refused" });
}

async function send(session: RegistrySession, request: RegistryCall, authorization: string | undefined): Promise<RegistryAnswer> {
  const { url, method, body } = request;
  const { answerMs, stallMs, commitMs } = session.times;
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let isAnswered = false;
  const wait = (ms: number, why: string): void => {
    clearTimeout(timer);
    timer = setTimeout(() => controller.abort(new Error(why)), ms);
  };
  const headers = new Headers({ "accept-encoding": "identity", ...request.headers });
  if (authorization !== undefined) headers.set("authorization", authorization);
  // Without a length the body would be sent in HTTP chunks, which several registries and proxies refuse.
  if (method === "POST" || body !== undefined) headers.set("content-length", String(body?.size ?? 0));
  const outgoing =
    body === undefined || body.size === 0
      ? undefined
      : ReadableStream.from(
          watchedBody(body, {
            // A registry may answer before it has taken the whole body: then nothing is waited for any more.
            onPiece: () => isAnswered || wait(stallMs, "the upload stands still"),
            onEnd: () => isAnswered || wait(commitMs, "the registry does not confirm the upload"),
          }),
        );
  wait(answerMs, "no answer in time");
  let response: Response;
  try {
    response = await session.fetch(url.href, {
      method,
      headers,
      redirect: "manual",
      signal: controller.signal,
      ...(outgoing === undefined ? {} : { body: outgoing, duplex: "half" }),
    });
  } catch (error) {
    throw transferError(error, url);
  } finally {
    isAnswered = true;
    clearTimeout(timer);
  }
  const coding = response.headers.get("content-encoding");
  const drop = async (): Promise<void> => {
    clearTimeout(timer);
    await response.body?.cancel().catch(() => undefined); // read to its end or broken already: nothing is left to free
  };
  if (coding !== null && coding !== "identity") {
    await drop();
    throw new SlipwayError("server_error", `${displayUrl(url)}: answered with content-encoding ${coding.slice(0, 40)}, which was not asked for`);
  }
  return {
    response,
    url,
    drop,
    body: incoming(response, { url, onPiece: () => wait(stallMs, "the download stands still"), onEnd: () => clearTimeout(timer) }),
  };
}

type BodyWatch = { readonly onPiece: () => unknown; readonly onEnd: () => unknown };

async function* watchedBody(body: RegistryBody, watch: BodyWatch): AsyncGenerator<Uint8Array> {
  let left = body.size;
  for await (const piece of body.open()) {
    left -= piece.length;
    if (left < 0) break;
    watch.onPiece();
    yield Buffer.from(piece); // a copy: fetch holds pieces longer than the source keeps its buffer
  }
  if (left !== 0) throw new SlipwayError("source_unusable", `a blob of ${body.size} bytes changed while it was sent`);
  watch.onEnd();
}

async function* incoming(response: Response, watch: BodyWatch & { readonly url: URL }): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  watch.onPiece();
  try {
    for await (const piece of response.body) {
      watch.onEnd(); // how long the reader takes with a piece is not the server's fault
      yield piece;
      watch.onPiece();
    }
  } catch (error) {
    throw transferError(error, watch.url);
  } finally {
    watch.onEnd();
  }
}

/** fetch wraps what went wrong once or twice; a failure of our own source must come out as it went in. */
function transferError(error: unknown, url: URL): SlipwayError {
  let cause: unknown = error;
  while (cause instanceof Error && !(cause instanceof SlipwayError) && cause.cause !== undefined) cause = cause.cause;
  if (cause instanceof SlipwayError) return cause;
  return new SlipwayError("network_unreachable", `${displayUrl(url)}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause: error });
}

/** What an unexpected status means, with the registry's own code and words (distribution-spec, "Error Codes"). */
async function statusError(answer: RegistryAnswer, method: RegistryCall["method"]): Promise<SlipwayError> {
  const { response, url } = answer;
  const at = displayUrl(url);
  const told = await registryWords(answer);
  const say = (text: string): string => `${method} ${at}: ${text}${told === "" ? "" : ` (${told})`}`;
  const where = { place: at, detail: `http_${response.status}` };
  switch (response.status) {
    case 401:
      return new SlipwayError("unauthorized", say("the registry did not accept the user and password"), where);
    case 403:
      return new SlipwayError("forbidden", say("refused"), where);
    case 404:
      return new SlipwayError("not_found", say("not there, or not for this user"), where);
    case 409:
      return new SlipwayError("conflict", say("refused"), where);
    case 412:
      return new SlipwayError("immutable", say("the registry keeps this tag as it is"), where);
    case 413:
      return new SlipwayError("too_large", say("too large for the registry"), where);
    case 416:
      return new SlipwayError("upload_offset", say("the registry lost the place in the upload"), where);
    case 429:
      return withPause(new SlipwayError("rate_limited", say("too many requests"), where), response);
    default:
      if (response.status === 408 || response.status >= 500)
        return withPause(new SlipwayError("server_error", say(`HTTP ${response.status}`), where), response);
      return new SlipwayError(method === "GET" || method === "HEAD" ? "not_found" : "upload_invalid", say(`HTTP ${response.status}`), where);
  }
}

function withPause(error: SlipwayError, response: Response): SlipwayError {
  const header = response.headers.get("retry-after")?.trim() ?? "";
  if (/^\d{1,6}$/.test(header)) requestedPauses.set(error, Number(header) * 1000);
  return error;
}

/** `CODE: message` of the first error, without control characters; empty where the body is something else. */
async function registryWords(answer: RegistryAnswer): Promise<string> {
  try {
    const body: unknown = JSON.parse((await readStreamBounded(answer.body, errorBodyLimitBytes, "the answer")).toString("utf8"));
    const errors: unknown = typeof body === "object" && body !== null && "errors" in body ? body.errors : undefined;
    const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
    if (typeof first !== "object" || first === null) return "";
    const words = ["code" in first ? first.code : "", "message" in first ? first.message : ""].filter((word) => typeof word === "string" && word !== "");
    return words
      .join(": ")
      .replaceAll(/\p{Cc}/gu, " ")
      .slice(0, 500);
  } catch {
    return ""; // the status says it already
  } finally {
    await answer.drop();
  }
}

const requestedPauses = new WeakMap<SlipwayError, number>();

/** The pause that the registry asked for with Retry-After, in ms; 0 where it did not. */
export function requestedPauseMs(error: SlipwayError): number {
  return requestedPauses.get(error) ?? 0;
}
