/** The rim where every failure of a request becomes an answer: status, one JSON shape, and a reason phrase that apt shows to its user. */
import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { hasZodFastifySchemaValidationErrors, isResponseSerializationError } from "fastify-type-provider-zod";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { isOurs, logFailure, prepareFailure, publicMessage } from "./failure.ts";
import type { Log } from "./log.ts";
import type { Access } from "./route.ts";

/** apt prints the reason phrase of a failed request; nobody else reads it. RFC 9112: no line ends, one line, ASCII. */
const phraseLimit = 180;

export function reasonPhrase(message: string): string {
  return message.replaceAll(/[^\x20-\x7e]+/g, " ").slice(0, phraseLimit);
}

/** What fastify itself refuses, in our codes. */
const frameworkCodes: Readonly<Record<string, (error: FastifyError) => SlipwayError>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: () => new SlipwayError("too_large", "the request body is larger than 1 MiB", { hint: "only uploads may be large" }),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () =>
    new SlipwayError("usage", "the body has another media type than expected", { hint: "send application/json, or application/octet-stream for uploads" }),
  FST_ERR_CTP_INVALID_JSON_BODY: (error) => new SlipwayError("usage", `the body is not JSON: ${error.message}`, { hint: "send one JSON document" }),
  FST_ERR_CTP_EMPTY_JSON_BODY: () => new SlipwayError("usage", "the body is empty; expected one JSON document", { hint: "send one JSON document" }),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () =>
    new SlipwayError("usage", "the body is shorter or longer than its Content-Length", { hint: "send the request again" }),
  FST_ERR_BAD_URL: () => new SlipwayError("not_found", "there is nothing at this address"),
  // QUERY (a method that fastify knows and no route here has) is refused before the router says that there is nothing.
  FST_ERR_ROUTE_MISSING_CONTENT_TYPE: () => absent(),
  FST_ERR_MAX_PARAM_LENGTH: () => new SlipwayError("not_found", "there is nothing at this address"),
};

function translate(thrown: unknown, access: Access | undefined): SlipwayError {
  if (hasZodFastifySchemaValidationErrors(thrown)) {
    // A customer's address that no file could have is simply absent: strangers learn nothing of the rules.
    if (access === "customer" || access === "open") return absent();
    const [issue] = thrown.validation;
    const where = `${thrown.validationContext ?? "request"}${(issue?.instancePath ?? "").replaceAll("/", ".")}`;
    return new SlipwayError("usage", `${where}: ${issue?.message ?? "not as expected"}`, { hint: "GET /api/v1/openapi.json shows what this address takes" });
  }
  if (isResponseSerializationError(thrown)) return new SlipwayError("internal", "the answer does not fit its own schema", { cause: thrown });
  const code = thrown instanceof Error ? (thrown as Partial<FastifyError>).code : undefined;
  const known = code !== undefined && Object.hasOwn(frameworkCodes, code) ? frameworkCodes[code] : undefined;
  if (known !== undefined) return known(thrown as FastifyError);
  return asSlipwayError(thrown);
}

/** What may not be read and what is not there: the very same answer. */
export function absent(): SlipwayError {
  return new SlipwayError("not_found", "there is no such file");
}

/** Sends the answer to a failure; logs it once where it is ours. */
export function answerFailure(
  thrown: unknown,
  at: { readonly request: FastifyRequest; readonly reply: FastifyReply; readonly log: Log; readonly access: Access | undefined },
): FastifyReply {
  const { request, reply } = at;
  const error = translate(thrown, at.access);
  const status = error.httpStatus;
  if (isOurs(error, status)) logFailure(at.log, error, request);
  const message = publicMessage(error);
  if (status === 403 || status === 410) reply.raw.statusMessage = reasonPhrase(message);
  return prepareFailure(request, reply, status)
    .type("application/json; charset=utf-8")
    .serializer((body: unknown) => JSON.stringify(body))
    .send({ error: { ...error.toJSON(), message, requestId: request.id } });
}
