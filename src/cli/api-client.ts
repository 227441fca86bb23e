/** The vendor's side of the server's API: address and token from flags and environment, retries where repeating is safe, errors in our codes. */
import { setTimeout as sleep } from "node:timers/promises";
import type { z } from "zod";
import { readFileBounded } from "../io/bounded-read.ts";
import { asSlipwayError, type ErrorCode, errorTable, SlipwayError } from "../model/errors.ts";
import { errorSchema } from "../server/wire.ts";
import { type Invocation, textOption } from "./command.ts";

export type ApiRequest<S extends z.ZodType> = {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** Segments after /api/v1, each encoded here. */
  readonly path: readonly string[];
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly body?: unknown;
  readonly schema: S;
  /** False where a second try could do the thing twice (issuing a pair): then a lost answer is reported, not repeated. */
  readonly isRepeatable?: boolean;
};

export type UploadPart = { readonly digest: string; readonly offset: number; readonly size: number; readonly content: Uint8Array };

export type ApiClient = {
  /** `http://127.0.0.1:8420` */
  readonly server: string;
  readonly call: <S extends z.ZodType>(request: ApiRequest<S>) => Promise<z.output<S>>;
  /** One PATCH; not repeated here, because the offset must be asked for again first. */
  readonly sendPart: <S extends z.ZodType>(part: UploadPart, schema: S) => Promise<z.output<S>>;
  /** Bytes of a file, piece by piece; begun again from the start by the caller where it breaks. */
  readonly download: (path: readonly string[]) => Promise<AsyncIterable<Uint8Array>>;
};

const tokenLimit = 4096;
const tries = 5;
const firstDelayMs = 300;
const longestDelayMs = 10_000;
/** Publishing a large release reads all of it again on the server. */
const answerTimeoutMs = 280_000;

/** `fallback` is the recipe's `publish.server`. Throws `unauthorized` where there is no token, `usage` for an address that is none. */
export async function openApi(invocation: Pick<Invocation, "options" | "env" | "signal">, fallback?: string): Promise<ApiClient> {
  const server = serverAddress(textOption(invocation.options, "server") ?? fallback ?? "http://127.0.0.1:8420");
  const token = await readToken(invocation);
  const { signal } = invocation;
  const send = async (path: string, init: RequestInit): Promise<Response> => {
    try {
      const headers = { ...(init.headers as Record<string, string> | undefined), authorization: `Bearer ${token}` };
      const limited = AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]);
      return await fetch(`${server}/api/v1/${path}`, { ...init, headers, signal: limited, redirect: "error" });
    } catch (error) {
      throw unreachable(server, error);
    }
  };
  return {
    server,
    call: async (request) => {
      const init: RequestInit = {
        method: request.method,
        ...(request.body === undefined ? {} : { body: JSON.stringify(request.body), headers: { "content-type": "application/json" } }),
      };
      const isRepeatable = request.isRepeatable ?? true;
      return withRetries({ signal, isRepeatable }, async () => readAnswer(await send(addressOf(request.path, request.query), init), request.schema));
    },
    sendPart: async (part, schema) => {
      const headers = { "content-type": "application/octet-stream", "upload-offset": String(part.offset), "upload-length": String(part.size) };
      return readAnswer(await send(addressOf(["uploads", part.digest]), { method: "PATCH", headers, body: Uint8Array.from(part.content) }), schema);
    },
    download: async (path) => {
      const response = await withRetries({ signal, isRepeatable: true }, async () => {
        const answer = await send(addressOf(path), { method: "GET" });
        if (!answer.ok) throw await failureOf(answer);
        return answer;
      });
      return bodyOf(response, server);
    },
  };
}

function serverAddress(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol) || url.username !== "" || url.password !== "") {
    throw new SlipwayError("usage", "the server's address must be http:// or https:// without credentials", { place: "--server" });
  }
  return text.replace(/\/+$/, "");
}

async function readToken(invocation: Pick<Invocation, "options" | "env">): Promise<string> {
  const file = textOption(invocation.options, "tokenFile");
  const token = (file === undefined || file === "" ? (invocation.env["SLIPWAY_TOKEN"] ?? "") : await readTokenFile(file)).trim();
  if (token === "") {
    throw new SlipwayError("unauthorized", "there is no admin token", {
      hint: "set SLIPWAY_TOKEN, or name the file with --token-file; `slipway serve` says where it wrote the first one",
    });
  }
  if (!/^[!-~]+$/.test(token)) throw new SlipwayError("unauthorized", "the admin token is not one word", { hint: "copy the file's whole first line" });
  return token;
}

async function readTokenFile(file: string): Promise<string> {
  try {
    return (await readFileBounded(file, tokenLimit)).toString("utf8");
  } catch (error) {
    throw new SlipwayError("unauthorized", `cannot read the token file: ${asSlipwayError(error).message}`, {
      place: file,
      hint: "`slipway serve` says where it wrote the first token; name it with --token-file or SLIPWAY_TOKEN_FILE",
      cause: error,
    });
  }
}

function addressOf(path: readonly string[], query: Readonly<Record<string, string | undefined>> = {}): string {
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return path.map(encodeURIComponent).join("/") + (given.length === 0 ? "" : `?${new URLSearchParams(given).toString()}`);
}

function unreachable(server: string, error: unknown): SlipwayError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (cause instanceof Error && "code" in cause && (cause.code === "ERR_SSL_WRONG_VERSION_NUMBER" || cause.code === "EPROTO")) {
    return new SlipwayError("network_unreachable", `${server} does not speak TLS`, {
      hint: "a server without a TLS front has an http:// address",
      cause: error,
    });
  }
  return new SlipwayError("network_unreachable", `no answer from ${server}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause: error });
}

async function readAnswer<S extends z.ZodType>(response: Response, schema: S): Promise<z.output<S>> {
  if (!response.ok) throw await failureOf(response);
  const parsed = schema.safeParse(await response.json());
  if (parsed.success) return parsed.data;
  throw new SlipwayError("server_error", `the answer has an unknown form: ${parsed.error.issues[0]?.path.join(".") ?? ""}`, {
    hint: "the server may be of another version; `slipway --version` and GET /healthz tell",
  });
}

/** The server's own error, code and hint; for answers that are not ours (a proxy's), the status. */
async function failureOf(response: Response): Promise<SlipwayError> {
  const text = await response.text();
  const parsed = errorSchema.safeParse(jsonOf(text));
  const after = Number(response.headers.get("retry-after") ?? Number.NaN);
  const delay = Number.isFinite(after) ? { cause: { retryAfterMs: after * 1000 } } : {};
  if (parsed.success && Object.hasOwn(errorTable, parsed.data.error.code)) {
    const { code, message, hint, detail } = parsed.data.error;
    return new SlipwayError(code as ErrorCode, message, { hint, ...(detail === undefined ? {} : { detail }), ...delay });
  }
  const code: ErrorCode = response.status === 401 ? "unauthorized" : response.status >= 500 ? "server_error" : "not_found";
  return new SlipwayError(code, `the server answered ${response.status} ${response.statusText}`, delay);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // not ours: the status says what there is to say
  }
}

async function* bodyOf(response: Response, server: string): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  try {
    yield* response.body;
  } catch (error) {
    throw unreachable(server, error);
  }
}

/**
 * Repeats `act` while its failure is one that passes (the table's `retryable`), with growing delays, or as long as Retry-After says.
 * A Ctrl-C ends it at once.
 */
export async function withRetries<T>(options: { readonly signal: AbortSignal; readonly isRepeatable: boolean }, act: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await act();
    } catch (error) {
      const failure = asSlipwayError(error);
      if (!options.isRepeatable || !failure.isRetryable || attempt >= tries || options.signal.aborted) throw failure;
      await sleep(delayMs(failure, attempt), undefined, { signal: options.signal });
    }
  }
}

function delayMs(failure: SlipwayError, attempt: number): number {
  const { cause } = failure;
  const asked = typeof cause === "object" && cause !== null && "retryAfterMs" in cause ? Number(cause.retryAfterMs) : 0;
  const growing = firstDelayMs * 2 ** (attempt - 1) * (0.75 + Math.random() / 2);
  return Math.min(longestDelayMs, Math.max(asked, growing));
}
