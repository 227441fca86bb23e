/** Sends bytes as the answer to a GET or HEAD: conditions, ranges, exact headers; small files from memory, large ones from disk in pieces. */
import { hash } from "node:crypto";
import type { ServerResponse } from "node:http";
import type { FastifyReply } from "fastify";
import { mayRead, type Principal } from "../access/principal.ts";
import type { Digest } from "../model/digest.ts";
import { digestFromHex, digestHex } from "../model/digest.ts";
import { SlipwayError } from "../model/errors.ts";
import { answerFor, type ConditionalHeaders } from "./conditional.ts";
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
  /** Whose right to the product is looked at again while a large body is on its way. */
  readonly reader?: { readonly principal: Principal; readonly product: string };
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

/** Names and values in turn, as writeHead takes them; all but the request's own are the same each time a body is sent. */
const commonHeads = new WeakMap<Body, readonly string[]>();
const requestIdPlace = 1;

function commonHead(body: Body, requestId: string): string[] {
  let head = commonHeads.get(body);
  if (head === undefined) {
    const headers = {
      ...securityHeaders,
      ETag: entityTagOf(body),
      "Last-Modified": httpDate(body.modifiedAt),
      "Cache-Control": cacheControl(body),
      "Accept-Ranges": "bytes",
      ...body.headers,
    };
    head = ["X-Request-Id", "", ...Object.entries(headers).flat()];
    commonHeads.set(body, head);
  }
  const own = [...head];
  own[requestIdPlace] = requestId;
  return own;
}

const entityTagOf = (body: Body): string => `"${digestHex(body.digest)}"`;

/** What to answer before a byte of the body is read. */
export type Plan = {
  readonly status: number;
  /** Names and values in turn. */
  readonly head: string[];
  /** Undefined where no body follows. */
  readonly extent: Extent | undefined;
};

/** Both ends inclusive. */
export type Extent = { readonly first: number; readonly last: number; readonly delivery: Delivery };

/** Undefined where no byte of the wanted range is there (416). */
export function planAnswer(body: Body, request: { readonly method: string; readonly id: string; readonly conditions: ConditionalHeaders }): Plan | undefined {
  const answer = answerFor(request.method, request.conditions, { entityTag: entityTagOf(body), lastModified: body.modifiedAt, size: body.size });
  if (answer.kind === "range-not-satisfiable") return undefined;
  const head = commonHead(body, request.id);
  if (answer.kind === "not-modified") return { status: 304, head, extent: undefined };
  if (answer.kind === "precondition-failed") return { status: 412, head: [...head, "Content-Length", "0"], extent: undefined };
  const [first, last] = answer.kind === "part" ? [answer.first, answer.last] : [0, body.size - 1];
  const bytes = last - first + 1;
  head.push("Content-Type", body.mediaType, "Content-Length", String(bytes));
  if (answer.kind === "part") head.push("Content-Range", `bytes ${first}-${last}/${body.size}`);
  const [status, range] = answer.kind === "part" ? [206, `bytes=${first}-${last}`] : [200, undefined];
  return { status, head, extent: request.method === "HEAD" ? undefined : { first, last, delivery: { status, bytes, range } } };
}

/** Takes the response over from fastify. Throws before anything is sent (`range_invalid`, `data_damaged`); later failures close the connection. */
export async function sendBody(options: SendOptions): Promise<void> {
  const { context, reply, body } = options;
  const { method, headers, id } = reply.request;
  const plan = planAnswer(body, { method, id, conditions: options.conditions ?? headers });
  if (plan === undefined) {
    reply.header("content-range", `bytes */${body.size}`);
    throw new SlipwayError("range_invalid", `the file has ${body.size} bytes`);
  }
  if (plan.extent === undefined) {
    reply.hijack();
    reply.raw.writeHead(plan.status, plan.head).end();
    return;
  }
  const bytes = await smallBytes(context, body);
  if (bytes === undefined) await requireWhole(context.store, body);
  reply.hijack();
  const { head, extent } = plan;
  await (bytes === undefined ? sendLarge(options, { ...extent, head }) : sendSmall(options, { head, extent, bytes }));
}

async function smallBytes(context: ServerContext, body: Body): Promise<Buffer | undefined> {
  if (body.bytes !== undefined) return body.bytes;
  if (body.size > smallBodyLimit) return undefined;
  const cached = context.cache.get(body.digest);
  if (cached !== undefined) return cached;
  const bytes = await readSound(context, body);
  context.cache.put(body.digest, bytes);
  return bytes;
}

/** What the disk gives for a blob is what the digest says, or nothing: it is hashed once for all the time that it stays in memory. */
async function readSound({ store }: ServerContext, { digest, size }: Body): Promise<Buffer> {
  await requireWhole(store, { digest, size });
  const bytes = await store.blobs.read(digest, smallBodyLimit);
  const actual = digestFromHex(hash("sha256", bytes));
  if (actual !== digest) throw damaged(digest, `has the digest ${actual}`);
  return bytes;
}

/** Throws `data_damaged` for a blob that the records name and the disk has not, or not as long: nothing is promised that cannot be kept. */
async function requireWhole(store: ServerContext["store"], { digest, size }: Pick<Body, "digest" | "size">): Promise<void> {
  const found = await store.blobs.stat(digest);
  if (found === undefined) throw damaged(digest, "is not there");
  if (found.size !== size) throw damaged(digest, `has ${found.size} bytes instead of ${size}`);
}

function damaged(digest: Digest, what: string): SlipwayError {
  return new SlipwayError("data_damaged", `the blob ${digest} ${what}: run slipway server check`);
}

async function sendSmall(options: SendOptions, sent: Pick<Piece, "head" | "extent" | "bytes">): Promise<void> {
  const { context, reply } = options;
  const { id: requestId, url, routeOptions } = reply.request;
  const piece = { ...sent, response: reply.raw, requestId, url, route: routeOptions.url ?? "", protocol: options.protocol };
  await sendPiece(context, piece, options.beforeLast?.(sent.extent.delivery) ?? Promise.resolve());
}

export type Piece = {
  readonly response: ServerResponse;
  readonly requestId: string;
  readonly url: string;
  readonly route: string;
  /** The metrics' label, where the route does not say it. */
  readonly protocol?: string | undefined;
  readonly head: string[];
  readonly extent: Extent;
  /** The whole body. */
  readonly bytes: Buffer;
};

/** Sends a small body in one piece once `recorded` has resolved; where it rejects, nothing of it is sent. */
export async function sendPiece(context: Pick<ServerContext, "log" | "metrics">, piece: Piece, recorded: Promise<void>): Promise<void> {
  const { response, bytes } = piece;
  const { first, last, delivery } = piece.extent;
  try {
    await recorded;
  } catch (error) {
    giveUp(context, piece, error);
    return;
  }
  response.writeHead(delivery.status, piece.head).end(delivery.bytes === bytes.length ? bytes : bytes.subarray(first, last + 1));
  context.metrics.bytesSent(piece.protocol ?? protocolLabel(piece.route), delivery.bytes);
}

async function sendLarge(options: SendOptions, extent: Extent & { readonly head: string[] }): Promise<void> {
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
      mayGoOn: () => mayGoOn(options),
      beforeLast: async () => options.beforeLast?.(extent.delivery),
    });
    context.metrics.bytesSent(options.protocol ?? protocolLabel(reply.request.routeOptions.url ?? ""), sent.bytes);
    if (!sent.isComplete) {
      context.metrics.requestEnded({ method: "GET", route: reply.request.routeOptions.url ?? "", status: 499, seconds: reply.elapsedTime / 1000 });
      await options.onAborted?.({ ...extent.delivery, bytes: sent.bytes });
    }
  } catch (error) {
    giveUp(context, { response: reply.raw, requestId: reply.request.id, url: reply.request.url }, error);
  } finally {
    done();
  }
}

/** A revocation takes effect within a second on what is being sent too (C9). */
async function mayGoOn({ context, reply, reader }: SendOptions): Promise<boolean> {
  if (reader?.principal.kind !== "customer") return true;
  const present = await context.authenticator.stillAccepted(reader.principal, { now: context.store.clock.now(), address: reply.request.ip });
  return present !== undefined && mayRead(present, reader.product);
}

/**
 * The log has the reason. Once the answer began there is no status left to say it with, and the connection ends before the last byte; before
 * that, the reader is told to come back.
 */
function giveUp({ log }: Pick<ServerContext, "log">, given: Pick<Piece, "response" | "requestId" | "url">, error: unknown): void {
  const { response, requestId, url } = given;
  log.error({ event: "download_failed", requestId, path: url, err: error });
  if (response.headersSent) response.destroy();
  else response.writeHead(503, { ...securityHeaders, "X-Request-Id": requestId, "Retry-After": 5, "Cache-Control": "no-store", "Content-Length": 0 }).end();
}

function protocolLabel(route: string): string {
  return route.split("/")[1] ?? "";
}
