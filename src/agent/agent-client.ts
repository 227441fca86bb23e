/** Asks another machine's agent: one request, one JSON answer, over HTTPS, loopback HTTP or a Unix socket. */
import { type IncomingMessage, request as requestHttp, type RequestOptions } from "node:http";
import { request as requestHttps } from "node:https";
import { z } from "zod";
import { readStreamBounded } from "../io/bounded-read.ts";
import { type ErrorCode, errorTable, SlipwayError } from "../model/errors.ts";

export type AgentAddress = {
  /** `https://host:8431`, `http://127.0.0.1:8431` or `unix:/path/agent.sock`. */
  readonly url: string;
  readonly token: string | undefined;
  /** PEM of the authority that signed the agent's certificate, where the system does not know it. */
  readonly ca?: string | undefined;
};

const answerLimitBytes = 1024 * 1024;
const timeLimitMs = 130_000;

const errorSchema = z.object({
  error: z.object({ code: z.string().max(64), message: z.string().max(8000), detail: z.string().max(200).optional(), hint: z.string().max(4000).optional() }),
});

const transactionSchema = z.looseObject({
  id: z.string(),
  phase: z.string(),
  step: z.string().optional(),
  to: z.string(),
  rolledBack: z.boolean(),
  rollbackFailed: z.boolean(),
});
const operationSchema = z.looseObject({
  id: z.string(),
  kind: z.string(),
  state: z.enum(["running", "done", "failed"]),
  error: errorSchema.shape.error.nullable(),
  transaction: transactionSchema.nullable(),
});
const offerSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("upgrade"), version: z.string() }),
  z.object({ kind: z.literal("none"), reason: z.string() }),
]);

/** The parts of the answers that a rollout needs. */
export const answerSchemas = {
  status: z.looseObject({
    product: z.string(),
    installed: z.string().nullable(),
    live: z.string().nullable(),
    transaction: z.union([transactionSchema, z.literal("foreign"), z.null()]),
    operation: operationSchema.nullable(),
  }),
  operation: operationSchema,
  check: z.looseObject({ installed: z.string().nullable(), offer: offerSchema }),
  plan: z.looseObject({
    plan: z.looseObject({ path: z.array(z.string()), to: z.string(), mixedWith: z.array(z.string()).nullable(), isContractPhase: z.boolean() }).nullable(),
  }),
} as const;

export type OperationAnswer = z.infer<typeof operationSchema>;

/** Throws the agent's own error as it said it, `network_unreachable` where it cannot be asked, `server_error` for an answer that is none. */
export async function askAgent<T extends z.ZodType>(
  address: AgentAddress,
  question: { readonly verb: "GET" | "POST"; readonly path: string; readonly body?: unknown; readonly answer: T; readonly signal: AbortSignal },
): Promise<z.output<T>> {
  const { verb, path, body, answer, signal } = question;
  const bytes = body === undefined ? undefined : JSON.stringify(body);
  const headers = {
    ...(bytes === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(bytes) }),
    ...(address.token === undefined ? {} : { authorization: `Bearer ${address.token}` }),
  };
  const { status, text } = await exchangeJson(
    address,
    { method: verb, path, headers, signal: AbortSignal.any([signal, AbortSignal.timeout(timeLimitMs)]) },
    bytes,
  );
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new SlipwayError("server_error", `${address.url} answered ${status} without JSON`, {
      hint: "something else answers at this address: look at agent: of the hosts file",
      cause: error,
    });
  }
  const failed = errorSchema.safeParse(value);
  if (failed.success) {
    const { code, message, detail, hint } = failed.data.error;
    throw new SlipwayError(isErrorCode(code) ? code : "server_error", message, {
      ...(detail === undefined ? {} : { detail }),
      ...(hint === undefined ? {} : { hint }),
    });
  }
  const parsed = answer.safeParse(value);
  if (status >= 300 || !parsed.success)
    throw new SlipwayError("server_error", `${address.url} answered ${status}, and not as an agent of this slipway`, {
      hint: "something else answers at this address, or an agent of another version: look at agent: of the hosts file",
    });
  return parsed.data;
}

const isErrorCode = (text: string): text is ErrorCode => Object.hasOwn(errorTable, text);

/** One request with its JSON answer as text. `path` counts from the address's root. Throws `network_unreachable`. */
export async function exchangeJson(
  address: Omit<AgentAddress, "token">,
  options: RequestOptions,
  bytes: string | undefined,
): Promise<{ readonly status: number; readonly text: string; readonly retryAfter: string | undefined }> {
  const socketPath = /^unix:(.+)$/.exec(address.url)?.[1];
  const url = socketPath === undefined ? new URL(options.path ?? "/", address.url) : undefined;
  try {
    const message = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent =
        url === undefined
          ? requestHttp({ ...options, socketPath, setHost: true, host: "localhost" })
          : url.protocol === "https:"
            ? requestHttps(url, { ...options, ...(address.ca === undefined ? {} : { ca: address.ca }) })
            : requestHttp(url, options);
      sent.on("response", resolve);
      sent.on("error", reject);
      sent.end(bytes);
    });
    const text = (await readStreamBounded(message, answerLimitBytes, address.url)).toString("utf8");
    return { status: message.statusCode ?? 0, text, retryAfter: message.headers["retry-after"] };
  } catch (error) {
    if (options.signal?.aborted === true && options.signal.reason instanceof SlipwayError) throw options.signal.reason;
    if (error instanceof SlipwayError) throw error;
    throw new SlipwayError("network_unreachable", `${address.url} cannot be asked: ${error instanceof Error ? error.message : String(error)}`, {
      hint: "is `slipway agent` running there, and does it listen on this address?",
      cause: error,
    });
  }
}
