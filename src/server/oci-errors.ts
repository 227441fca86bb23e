/** Failures of the registry in its own words: the codes of OCI distribution-spec 1.1 ("Error Codes"), their statuses, and their JSON. */
import type { FastifyReply, FastifyRequest } from "fastify";
import { asSlipwayError, type ErrorCode, SlipwayError } from "../model/errors.ts";
import { isOurs, logFailure, prepareFailure, publicMessage } from "./failure.ts";
import type { Log } from "./log.ts";

/** The specification's codes with the statuses that its endpoints ask for. Thrown as the `detail` of a SlipwayError. */
const statuses = {
  BLOB_UNKNOWN: 404,
  BLOB_UPLOAD_INVALID: 400,
  BLOB_UPLOAD_UNKNOWN: 404,
  DIGEST_INVALID: 400,
  MANIFEST_BLOB_UNKNOWN: 400,
  MANIFEST_INVALID: 400,
  MANIFEST_UNKNOWN: 404,
  NAME_INVALID: 400,
  NAME_UNKNOWN: 404,
  SIZE_INVALID: 400,
  UNAUTHORIZED: 401,
  DENIED: 403,
  UNSUPPORTED: 405,
  TOOMANYREQUESTS: 429,
} as const;
export type OciCode = keyof typeof statuses;

type OciRow = { readonly code: OciCode | "UNKNOWN"; readonly status: number };

/** Failures that come from below without a code of the registry. */
const byErrorCode: Partial<Record<ErrorCode, OciRow>> = {
  unauthorized: { code: "UNAUTHORIZED", status: 401 },
  forbidden: { code: "DENIED", status: 403 },
  immutable: { code: "DENIED", status: 403 },
  not_found: { code: "NAME_UNKNOWN", status: 404 },
  rate_limited: { code: "TOOMANYREQUESTS", status: 429 },
  name_invalid: { code: "NAME_INVALID", status: 400 },
  format_invalid: { code: "MANIFEST_INVALID", status: 400 },
  format_limit: { code: "MANIFEST_INVALID", status: 400 },
  upload_invalid: { code: "DIGEST_INVALID", status: 400 },
  upload_offset: { code: "BLOB_UPLOAD_INVALID", status: 416 },
  too_large: { code: "SIZE_INVALID", status: 413 },
  range_invalid: { code: "SIZE_INVALID", status: 416 },
  usage: { code: "UNSUPPORTED", status: 400 },
};

const baseCodes: Partial<Record<OciCode, ErrorCode>> = {
  UNAUTHORIZED: "unauthorized",
  DENIED: "forbidden",
  BLOB_UNKNOWN: "not_found",
  BLOB_UPLOAD_UNKNOWN: "not_found",
  MANIFEST_UNKNOWN: "not_found",
  NAME_UNKNOWN: "not_found",
};

/** A refusal with a code of the registry. */
export function ociRefusal(code: OciCode, message: string, hint?: string): SlipwayError {
  return new SlipwayError(baseCodes[code] ?? "usage", message, { detail: code, ...(hint === undefined ? {} : { hint }) });
}

function rowOf(error: SlipwayError): OciRow {
  const code = error.detail;
  if (code !== undefined && Object.hasOwn(statuses, code)) return { code: code as OciCode, status: statuses[code as OciCode] };
  return byErrorCode[error.code] ?? { code: "UNKNOWN", status: error.httpStatus };
}

/** Sends the answer to a failure; logs it once where it is ours. Clients print `message`, docker as `<code>: <message>`. */
export function answerOciFailure(thrown: unknown, at: { readonly request: FastifyRequest; readonly reply: FastifyReply; readonly log: Log }): FastifyReply {
  const { request, reply } = at;
  const error = asSlipwayError(thrown);
  const { code, status } = rowOf(error);
  if (isOurs(error, status)) logFailure(at.log, error, request);
  return prepareFailure(request, reply, status)
    .type("application/json")
    .send(JSON.stringify({ errors: [{ code, message: publicMessage(error), detail: { hint: error.hint, requestId: request.id } }] }));
}
