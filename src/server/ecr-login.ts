/**
 * ECR's GetAuthorizationToken, the one call behind `aws ecr get-login-password | docker login`: a signature becomes a registry password.
 *
 * The password is a registry token without scopes (oci-token.ts): the pair itself, sealed, good as Basic password of any user name.
 * Protocol: JSON 1.1 by POST to `/` with X-Amz-Target (Amazon ECR API Reference); failures are 400 with `__type`.
 */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { readStreamBounded } from "../io/bounded-read.ts";
import { asSlipwayError } from "../model/errors.ts";
import { unseal } from "../store/key-encryption-key.ts";
import { logFailure } from "./failure.ts";
import { sealRegistryToken } from "./oci-token.ts";
import { publicAddress } from "./public-address.ts";
import { requireSigner, type SignedCall } from "./s3-caller.ts";
import { type S3Code, s3Failure, s3Refusal } from "./s3-errors.ts";

const loginTarget = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
/** ECR's own. */
const loginLifeMs = 12 * 3_600_000;
const bodyLimit = 16 * 1024;

/** ECR's names for the same failures. */
const types: Partial<Record<S3Code, string>> = {
  InternalError: "ServerException",
  InvalidAccessKeyId: "UnrecognizedClientException",
  InvalidToken: "UnrecognizedClientException",
  NotImplemented: "UnknownOperationException",
  RequestTimeTooSkewed: "InvalidSignatureException",
  SignatureDoesNotMatch: "InvalidSignatureException",
  SlowDown: "ThrottlingException",
};

/** The body of a call to `/` and its SHA-256, which the signature covers. Throws `too_large`. */
export async function readSignedBody(call: SignedCall): Promise<{ readonly text: string; readonly hash: string }> {
  const body = call.request.body as Readable | undefined;
  const bytes = await readStreamBounded(body ?? Readable.from([]), bodyLimit, "the body");
  return { text: bytes.toString("utf8"), hash: createHash("sha256").update(bytes).digest("hex") };
}

export async function answerLogin(call: SignedCall): Promise<void> {
  const { context, request, reply } = call;
  void reply.type("application/x-amz-json-1.1").header("cache-control", "no-store");
  try {
    const { hash } = await readSignedBody(call);
    const { principal, secret } = await requireSigner(call, { services: ["ecr"], payloadHash: hash });
    request.principal = principal;
    if (request.headers["x-amz-target"] !== loginTarget) throw s3Refusal("NotImplemented", "only GetAuthorizationToken is answered here");
    const expiresAt = new Date(context.store.clock.now().getTime() + loginLifeMs);
    const credential = { kind: "pair", keyId: principal.keyId, secret: unseal(context.kek, secret.envelope, secret.context) } as const;
    const password = sealRegistryToken(context.kek, { credential, scopes: undefined, expiresAt });
    const data = {
      authorizationToken: Buffer.from(`AWS:${password}`).toString("base64"),
      expiresAt: expiresAt.getTime() / 1000,
      proxyEndpoint: publicAddress(call),
    };
    void reply.send(JSON.stringify({ authorizationData: [data] }));
  } catch (thrown) {
    const error = asSlipwayError(thrown);
    const { code, message } = s3Failure(error);
    if (code === "InternalError") logFailure(context.log, error, request);
    void reply.code(code === "InternalError" ? 500 : 400).send(JSON.stringify({ __type: types[code] ?? "AccessDeniedException", message }));
  }
}
