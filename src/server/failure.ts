/** What every failed request has in common, whatever the protocol that words its answer: the log line, the message, the connection. */
import type { FastifyReply, FastifyRequest } from "fastify";
import type { SlipwayError } from "../model/errors.ts";
import { pathOf } from "./download-event.ts";
import type { Log } from "./log.ts";

const retryAfterSeconds = 5;

/** What went wrong inside is for the log: paths and queries of this machine are nobody else's business. */
export function isInternal(error: SlipwayError): boolean {
  return error.code === "internal" || error.code === "permission_denied" || error.code === "data_damaged";
}

/** What the caller is told. */
export function publicMessage(error: SlipwayError): string {
  return isInternal(error) ? "the server failed; its log has the reason under this request id" : error.message;
}

/** Ours to mend, and so for the log. `unavailable` without a cause is the way in which a server says "not now". */
export function isOurs(error: SlipwayError, status: number): boolean {
  return status >= 500 && (error.code !== "unavailable" || error.cause !== undefined);
}

/** One line for a failure that is ours, where it is answered. */
export function logFailure(log: Log, error: SlipwayError, request: FastifyRequest): void {
  log.error({
    event: "request_failed",
    requestId: request.id,
    method: request.method,
    path: pathOf(request.url),
    code: error.code,
    err: error.cause ?? error,
  });
}

/** Headers that any failed answer of this status has; a wait that was named before stays. */
export function prepareFailure(request: FastifyRequest, reply: FastifyReply, status: number): FastifyReply {
  if ((status === 503 || status === 507) && !reply.hasHeader("retry-after")) reply.header("retry-after", retryAfterSeconds);
  // Part of a refused body may still be on its way; nobody will read it, so the connection cannot be used again.
  if (request.method !== "GET" && request.method !== "HEAD" && !request.raw.complete) reply.header("connection", "close");
  return reply.code(status).header("cache-control", "no-store");
}
