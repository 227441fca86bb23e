/** Sends bytes as the answer to a GET or HEAD: conditions, ranges, exact headers; small files from memory, large ones from disk in pieces. */
import type { OutgoingHttpHeaders } from "node:http";
import type { FastifyReply } from "fastify";
import type { Digest } from "../model/digest.ts";
import { digestHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { type Answer, answerFor, type ConditionalHeaders } from "./conditional.ts";
import type { ServerContext } from "./context.ts";
import { sendFile } from "./send-file.ts";

export type Body = {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly modifiedAt: Date;
  readonly mediaType: string;
  /** The address names the content: it may be kept for ever. */
  readonly isImmutable: boolean;
  /** Public keys may be kept by shared caches; what needs a pair may not. */
  readonly isPublic?: boolean;
  /** What a protocol says about it besides the headers that every file has. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Small bodies at hand; otherwise the blob store has the digest. */
  readonly bytes?: Buffer;
};

export type Delivery = {
  readonly status: number;
  /** Body bytes sent; for `isComplete` all that the answer has. */
  readonly bytes: number;
  /** Set for a partial answer: `bytes=0-99`. */
  readonly range?: string | undefined;
};

export type SendOptions = {
  readonly context: ServerContext;
  readonly reply: FastifyReply;
  readonly body: Body;
  /** Preconditions and range, where the request's own headers do not mean what they say. */
  readonly conditions?: ConditionalHeaders;
  /** The metrics' label, where the route's path does not say it. */
  readonly protocol?: string;
  /** Awaited before the last byte of a GET leaves: what must be durable then (the audit event). Not called for HEAD and 304. */
  readonly beforeLast?: (delivery: Delivery) => Promise<void>;
  /** Called when a GET's reader went away early. */
  readonly onAborted?: (delivery: Delivery) => Promise<void>;
};

/** Bodies up to here are kept in memory and sent in one piece. */
export const smallBodyLimit = 256 * 1024;

/** Sent with every answer, whoever asks. No page is served from here, so nothing may be executed, framed or guessed. */
export const securityHeaders: Readonly<Record<string, string>> = {
  "X-Content-Type-Options": "nosniff",
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Resource-Policy": "same-origin",
};

function cacheControl(body: Body): string {
  const scope = body.isPublic === true ? "public" : "private";
  return body.isImmutable ? `${scope}, max-age=31536000, immutable` : `${scope}, no-cache`;
}

/** A file keeps its date object as long as it is served. */
const httpDates = new WeakMap<Date, string>();

function httpDate(date: Date): string {
  const known = httpDates.get(date);
  if (known !== undefined) return known;
  const text = date.toUTCString();
  httpDates.set(date, text);
  return text;
}

/** Takes the response over from fastify. Throws before anything is sent (`range_invalid`, a blob that is missing); later failures close the connection. */
export async function sendBody(options: SendOptions): Promise<void> {
  const { context, reply, body } = options;
  const { method, headers, id } = reply.request;
  const entityTag = `"${digestHex(body.digest)}"`;
  const answer = answerFor(method, options.conditions ?? headers, { entityTag, lastModified: body.modifiedAt, size: body.size });
  const common: OutgoingHttpHeaders = {
    ...securityHeaders,
    "X-Request-Id": id,
    ETag: entityTag,
    "Last-Modified": httpDate(body.modifiedAt),
    "Cache-Control": cacheControl(body),
    "Accept-Ranges": "bytes",
    ...body.headers,
  };
  if (answer.kind === "range-not-satisfiable") {
    reply.header("content-range", `bytes */${body.size}`);
    throw new SlipwayError("range_invalid", `the file has ${body.size} bytes`);
  }
  if (answer.kind === "not-modified" || answer.kind === "precondition-failed") {
    reply.hijack();
    if (answer.kind === "precondition-failed") common["Content-Length"] = 0;
    reply.raw.writeHead(answer.kind === "not-modified" ? 304 : 412, common).end();
    return;
  }
  const { status, first, last, range } = extentOf(answer, body.size);
  const length = last - first + 1;
  const head = common;
  head["Content-Type"] = body.mediaType;
  head["Content-Length"] = length;
  if (range !== undefined) head["Content-Range"] = `bytes ${first}-${last}/${body.size}`;
  const bytes = method === "HEAD" ? undefined : await smallBytes(context, body);
  reply.hijack();
  if (method === "HEAD") {
    reply.raw.writeHead(status, head).end();
    return;
  }
  const delivery: Delivery = { status, bytes: length, range };
  if (bytes !== undefined) {
    await sendSmall(options, { bytes: length === bytes.length ? bytes : bytes.subarray(first, last + 1), head, delivery });
    return;
  }
  await sendLarge(options, { head, delivery, first, last });
}

function extentOf(answer: Answer, size: number): { status: number; first: number; last: number; range: string | undefined } {
  return answer.kind === "part"
    ? { status: 206, first: answer.first, last: answer.last, range: `bytes=${answer.first}-${answer.last}` }
    : { status: 200, first: 0, last: size - 1, range: undefined };
}

async function smallBytes(context: ServerContext, body: Body): Promise<Buffer | undefined> {
  if (body.bytes !== undefined) return body.bytes;
  if (body.size > smallBodyLimit) return undefined;
  const cached = context.cache.get(body.digest);
  if (cached !== undefined) return cached;
  const bytes = await context.store.blobs.read(body.digest, smallBodyLimit);
  context.cache.put(body.digest, bytes);
  return bytes;
}

async function sendSmall(
  options: SendOptions,
  sent: { readonly bytes: Buffer; readonly head: OutgoingHttpHeaders; readonly delivery: Delivery },
): Promise<void> {
  const { reply } = options;
  try {
    await options.beforeLast?.(sent.delivery);
  } catch (error) {
    giveUp(options, error);
    return;
  }
  reply.raw.writeHead(sent.delivery.status, sent.head).end(sent.bytes);
  options.context.metrics.bytesSent(options.protocol ?? protocolLabel(reply), sent.bytes.length);
}

async function sendLarge(
  options: SendOptions,
  extent: { readonly head: OutgoingHttpHeaders; readonly delivery: Delivery; readonly first: number; readonly last: number },
): Promise<void> {
  const { context, reply } = options;
  const path = context.store.blobs.path(options.body.digest);
  if (path === undefined) throw new Error("this blob store has no files; streaming from it comes with the S3 store");
  const done = context.metrics.downloadStarted();
  try {
    reply.raw.writeHead(extent.delivery.status, extent.head);
    const sent = await sendFile({
      path,
      first: extent.first,
      last: extent.last,
      response: reply.raw,
      budget: context.budget,
      beforeLast: async () => options.beforeLast?.(extent.delivery),
    });
    context.metrics.bytesSent(options.protocol ?? protocolLabel(reply), sent.bytes);
    if (!sent.isComplete) {
      context.metrics.requestEnded({ method: "GET", route: reply.request.routeOptions.url ?? "", status: 499, seconds: reply.elapsedTime / 1000 });
      await options.onAborted?.({ ...extent.delivery, bytes: sent.bytes });
    }
  } catch (error) {
    giveUp(options, error);
  } finally {
    done();
  }
}

/** Once the answer began there is no status left to say it with: the connection ends before the last byte, and the log has the reason. */
function giveUp(options: SendOptions, error: unknown): void {
  options.context.log.error({ event: "download_failed", requestId: options.reply.request.id, path: options.reply.request.url, err: error });
  options.reply.raw.destroy();
}

function protocolLabel(reply: FastifyReply): string {
  return reply.request.routeOptions.url?.split("/")[1] ?? "";
}
