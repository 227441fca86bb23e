/** What a grant does not cover of a whole protocol, its format or all of it after a cut: refused in the protocol's words, and in the audit trail. */
import type { FastifyRequest } from "fastify";
import { grantHolderOf, type Principal } from "../access/principal.ts";
import type { ServerContext } from "./context.ts";
import { downloadEvent } from "./download-event.ts";
import { deniedText, protocolDenial } from "./refusal-text.ts";

/**
 * The reason for the refusal, recorded; undefined where nothing forbids it. A HEAD counts here: registry clients and the AWS CLI ask so
 * first, and give up.
 */
export async function deniedAccess(
  call: { readonly context: ServerContext; readonly request: FastifyRequest },
  wanted: { readonly principal: Principal; readonly product: string; readonly format: "oci" | "s3" },
): Promise<string | undefined> {
  const { context, request } = call;
  const { principal, product, format } = wanted;
  const holder = grantHolderOf(principal, product);
  const denied = holder === undefined ? undefined : protocolDenial(holder.grant, format, context.store.clock.now());
  if (denied === undefined) return undefined;
  const asker = { principal, url: request.url, address: request.ip, client: request.headers["user-agent"] };
  await context.audit.record(downloadEvent(asker, { product }, { result: "denied", status: 403, bytes: 0, detail: denied.reason, protocol: format }));
  return deniedText(product, denied, context.settings);
}
