/** The audit event of a pull, whatever the protocol. */
import { actorOf, type Principal } from "../access/principal.ts";
import type { AuditEvent, AuditResult } from "../store/audit-events.ts";
import { protocolOf } from "./caller.ts";

/** Who asks for what, as the audit trail tells it. */
export type Asker = {
  readonly principal: Principal;
  readonly url: string;
  readonly address: string;
  /** The user agent. */
  readonly client: string | undefined;
};

export type Asked = { readonly product: string; readonly version?: string | undefined; readonly artifact?: string | undefined };

export type Outcome = {
  readonly result: AuditResult;
  readonly status: number;
  /** Body bytes sent. */
  readonly bytes: number;
  readonly detail?: string | undefined;
};

/** Without the query: what stands there is nobody's path, and may be a signature. */
export function pathOf(url: string): string {
  const query = url.indexOf("?");
  return query < 0 ? url : url.slice(0, query);
}

/** `protocol` where the path does not say it. */
export function downloadEvent(asker: Asker, asked: Asked, outcome: Outcome & { readonly protocol?: string }): AuditEvent {
  const { principal, url } = asker;
  const isCustomer = principal.kind === "customer";
  return {
    actor: actorOf(principal),
    action: "download",
    result: outcome.result,
    customer: isCustomer ? principal.customerName : undefined,
    keyId: isCustomer ? principal.keyId : undefined,
    product: asked.product,
    version: asked.version,
    artifact: asked.artifact,
    path: pathOf(url),
    protocol: outcome.protocol ?? protocolOf(url),
    address: asker.address,
    client: asker.client,
    status: outcome.status,
    bytes: outcome.bytes,
    detail: outcome.detail,
  };
}
