/** Who signed a request of the AWS protocols: the pair behind the key id, once the signature is proved with one of its live secrets. */
import type { FastifyReply, FastifyRequest } from "fastify";
import { requireAllowed, type SealedSecret } from "../access/authenticator.ts";
import type { CustomerPrincipal } from "../access/principal.ts";
import {
  checkSigningTime,
  emptyPayload,
  type PresentedSignature,
  readQuery,
  readSignature,
  type SignedRequest,
  signingSecret,
  unsignedPayload,
} from "../access/signature-v4.ts";
import { sealedSigningKey } from "../access/signing-keys.ts";
import { recordFailure, refusingForeign, requirePace } from "./caller.ts";
import type { ServerContext } from "./context.ts";
import { s3Refusal } from "./s3-errors.ts";

export type SignedCall = { readonly context: ServerContext; readonly request: FastifyRequest; readonly reply: FastifyReply };

export type SignedCaller = {
  readonly principal: CustomerPrincipal;
  readonly signature: PresentedSignature;
  /** The secret that signed: an ECR token carries the pair on. */
  readonly secret: SealedSecret;
  readonly signed: SignedRequest;
};

/** Such requests are told by their signature, before their path: one host serves every protocol. `AWS …` and `AWSAccessKeyId=` are the signature before version 4. */
export function isSigned(request: { readonly headers: { readonly authorization?: string | undefined }; readonly url?: string | undefined }): boolean {
  const { authorization } = request.headers;
  if (authorization !== undefined) return authorization.startsWith("AWS");
  return request.url !== undefined && /[?&](?:X-Amz-Signature|AWSAccessKeyId)=/.test(request.url);
}

/** The request as it was signed. A front that terminates TLS must pass the Host on, or be a trusted proxy that names it. */
export function signedRequest(request: FastifyRequest): SignedRequest {
  const { url, method, headers, host } = request;
  const question = url.indexOf("?");
  return {
    method,
    path: question < 0 ? url : url.slice(0, question),
    query: readQuery(question < 0 ? "" : url.slice(question + 1)),
    headers: { ...headers, host },
  };
}

/**
 * Throws S3's refusals: malformed, too skewed, InvalidAccessKeyId (unknown, revoked or expired alike), SignatureDoesNotMatch; and
 * `rate_limited` for a flood of wrong ones. `payloadHash` is the body's own where it was read; else what the sender says it is.
 */
export async function requireSigner(call: SignedCall, options: { readonly services: readonly string[]; readonly payloadHash?: string }): Promise<SignedCaller> {
  const { context, request } = call;
  const signed = signedRequest(request);
  const signature = readSignature(signed);
  const now = context.store.clock.now();
  if (!options.services.includes(signature.service)) {
    throw s3Refusal("AuthorizationHeaderMalformed", `Credential should be scoped to correct service: '${options.services.join("' or '")}'.`);
  }
  checkSigningTime(signature, now);
  const found = await context.authenticator.findSealed({ keyId: signature.keyId, now });
  const payloadHash = options.payloadHash ?? claimedPayload(signed, signature);
  const keyOf = (sealed: SealedSecret, scope: string): string => sealedSigningKey(context.kek, sealed, scope);
  const secret = signingSecret({ request: signed, signature, payloadHash, secrets: found?.secrets ?? [], keyOf });
  if (found !== undefined && secret !== undefined) {
    const at = { ...call, protocol: signature.service };
    await refusingForeign(context, { keyId: signature.keyId, at }, () => requireAllowed(found, request.ip));
    requirePace(context, secret.principal, call.reply);
    return { principal: secret.principal, signature, secret, signed };
  }
  await recordFailure(context, { kind: "pair", keyId: signature.keyId, secret: "" }, { ...call, protocol: signature.service, status: 403 });
  throw found === undefined
    ? s3Refusal("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    : s3Refusal("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method.");
}

function claimedPayload(signed: SignedRequest, signature: PresentedSignature): string {
  const claimed = signed.headers["x-amz-content-sha256"];
  if (typeof claimed === "string") return claimed;
  if (signature.kind === "query") return unsignedPayload;
  if (signature.service === "s3") throw s3Refusal("InvalidRequest", "Missing required header for this request: x-amz-content-sha256");
  return emptyPayload;
}
