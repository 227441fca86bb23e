/** STS's GetCallerIdentity: `aws sts get-caller-identity` tells an operator whose pair he holds (AWS Security Token Service API Reference). */
import { asSlipwayError } from "../model/errors.ts";
import { xmlElement } from "../repositories/xml.ts";
import { readSignedBody } from "./ecr-login.ts";
import { logFailure } from "./failure.ts";
import { requireSigner, type SignedCall } from "./s3-caller.ts";
import { s3Failure, s3Refusal, sendXml } from "./s3-errors.ts";

const stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/";
/** There are no AWS accounts here; clients expect twelve digits. */
const account = "000000000000";

export async function answerIdentity(call: SignedCall): Promise<void> {
  const { context, request, reply } = call;
  void reply.header("cache-control", "no-store");
  try {
    const { text, hash } = await readSignedBody(call);
    const { principal } = await requireSigner(call, { services: ["sts"], payloadHash: hash });
    request.principal = principal;
    if (new URLSearchParams(text).get("Action") !== "GetCallerIdentity") throw s3Refusal("NotImplemented", "only GetCallerIdentity is answered here");
    const identity = [
      xmlElement("Arn", {}, `arn:aws:iam::${account}:user/${principal.customerName}`),
      xmlElement("UserId", {}, principal.keyId),
      xmlElement("Account", {}, account),
    ];
    const result = `<GetCallerIdentityResult>${identity.join("")}</GetCallerIdentityResult>`;
    const metadata = `<ResponseMetadata>${xmlElement("RequestId", {}, request.id)}</ResponseMetadata>`;
    sendXml(reply, `<GetCallerIdentityResponse xmlns="${stsNamespace}">${result}${metadata}</GetCallerIdentityResponse>`);
  } catch (thrown) {
    const error = asSlipwayError(thrown);
    const { code, status, message } = s3Failure(error);
    if (code === "InternalError") logFailure(context.log, error, request);
    const details = [
      xmlElement("Type", {}, status >= 500 ? "Receiver" : "Sender"),
      xmlElement("Code", {}, code === "InvalidAccessKeyId" ? "InvalidClientTokenId" : code),
      xmlElement("Message", {}, message),
    ];
    sendXml(
      reply.code(status),
      `<ErrorResponse xmlns="${stsNamespace}"><Error>${details.join("")}</Error>${xmlElement("RequestId", {}, request.id)}</ErrorResponse>`,
    );
  }
}
