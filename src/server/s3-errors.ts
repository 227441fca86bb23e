/** Failures of the bucket API in S3's own words: codes, statuses and XML of "Error responses" in the Amazon S3 API Reference. */
import type { FastifyReply, FastifyRequest } from "fastify";
import { asSlipwayError, type ErrorCode, SlipwayError } from "../model/errors.ts";
import { xmlElement } from "../repositories/xml.ts";
import { pathOf } from "./download-event.ts";
import { reasonPhrase } from "./error-rim.ts";
import { logFailure, prepareFailure } from "./failure.ts";
import type { Log } from "./log.ts";

/** Codes and the statuses that S3 sends with them. Thrown as the `detail` of a SlipwayError. */
const statuses = {
  AccessDenied: 403,
  AuthorizationHeaderMalformed: 400,
  AuthorizationQueryParametersError: 400,
  InternalError: 500,
  InvalidAccessKeyId: 403,
  InvalidArgument: 400,
  InvalidRange: 416,
  InvalidRequest: 400,
  InvalidToken: 400,
  InvalidURI: 400,
  MethodNotAllowed: 405,
  NoSuchBucket: 404,
  NoSuchKey: 404,
  NotImplemented: 501,
  PreconditionFailed: 412,
  RequestTimeTooSkewed: 403,
  ServiceUnavailable: 503,
  SignatureDoesNotMatch: 403,
  SlowDown: 503,
} as const;
export type S3Code = keyof typeof statuses;

const baseCodes: Partial<Record<S3Code, ErrorCode>> = {
  AccessDenied: "forbidden",
  InvalidAccessKeyId: "unauthorized",
  NoSuchBucket: "not_found",
  NoSuchKey: "not_found",
  SignatureDoesNotMatch: "unauthorized",
};

/** Failures that come from below without a code of S3. */
const byErrorCode: Partial<Record<ErrorCode, S3Code>> = {
  forbidden: "AccessDenied",
  gone: "NoSuchKey",
  not_found: "NoSuchKey",
  range_invalid: "InvalidRange",
  rate_limited: "SlowDown",
  too_large: "InvalidRequest",
  unavailable: "ServiceUnavailable",
};

/** A refusal with a code of S3. */
export function s3Refusal(code: S3Code, message: string): SlipwayError {
  return new SlipwayError(baseCodes[code] ?? "usage", message, { detail: code });
}

/** What a failure is in S3's words; messages of failures that are ours stay in the log. */
export function s3Failure(error: SlipwayError): { readonly code: S3Code; readonly status: number; readonly message: string } {
  const known = error.detail !== undefined && Object.hasOwn(statuses, error.detail) ? (error.detail as S3Code) : undefined;
  const code = known ?? byErrorCode[error.code] ?? "InternalError";
  if (code === "InternalError") return { code, status: 500, message: "We encountered an internal error. Please try again." };
  if (code === "SlowDown") return { code, status: 503, message: `Please reduce your request rate: ${error.message}` };
  // A version that was there says so: the AWS CLI shows a HEAD's status, and 410 reads "Gone".
  return { code, status: error.code === "gone" ? 410 : statuses[code], message: error.message };
}

/** Sends the answer to a failure. HEAD has no body: the status is all that its caller sees. */
export function answerS3Failure(thrown: unknown, at: { readonly request: FastifyRequest; readonly reply: FastifyReply; readonly log: Log }): FastifyReply {
  const { request, reply, log } = at;
  const error = asSlipwayError(thrown);
  const { code, status, message } = s3Failure(error);
  if (code === "InternalError") logFailure(log, error, request);
  if (status === 403 || status === 410) reply.raw.statusMessage = reasonPhrase(message);
  prepareFailure(request, reply, status);
  if (request.method === "HEAD") return reply.send();
  const resource = pathOf(request.url);
  const elements = [
    xmlElement("Code", {}, code),
    xmlElement("Message", {}, printable(message)),
    xmlElement("Resource", {}, printable(resource)),
    xmlElement("RequestId", {}, request.id),
  ];
  return sendXml(reply, `<Error>${elements.join("")}</Error>`);
}

/** Texts from outside stand in messages: XML has no way to write most control characters. */
function printable(text: string): string {
  return text
    .toWellFormed()
    .replaceAll(/[\p{Cc}\ufffe\uffff]/gu, " ")
    .slice(0, 1024);
}

export function sendXml(reply: FastifyReply, document: string): FastifyReply {
  return reply.type("application/xml").send(`<?xml version="1.0" encoding="UTF-8"?>\n${document}`);
}
