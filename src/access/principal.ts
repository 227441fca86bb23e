/** Who a request comes from, once its credential was accepted, and what that one may read. */
import type { Grant, GrantHolder } from "../model/grant.ts";
import type { AuditActor } from "../store/audit-events.ts";

export type CustomerPrincipal = {
  readonly kind: "customer";
  readonly keyId: string;
  readonly customerId: string;
  readonly customerName: string;
  /** Names of the products that the access key opens and its customer has a grant of; a product is never renamed. */
  readonly products: ReadonlySet<string>;
  /** By product: what of it he may read. */
  readonly grants: ReadonlyMap<string, Grant>;
  /** Which of the key's secrets was presented: a rotation may end it before the key. */
  readonly generation: number;
};

export type AdminPrincipal = { readonly kind: "admin"; readonly tokenId: string; readonly name: string };

export type Principal = CustomerPrincipal | AdminPrincipal;

/** A pair reads exactly the products it was granted; what it may not read must look absent (404, never 403). */
export function mayRead(principal: Principal, product: string): boolean {
  return principal.kind === "admin" || principal.products.has(product);
}

/** What limits this reader of the product; undefined for an administrator, who sees everything that is published. */
export function grantHolderOf(principal: Principal, product: string): GrantHolder | undefined {
  if (principal.kind === "admin") return undefined;
  const grant = principal.grants.get(product);
  if (grant === undefined) throw new Error(`${principal.keyId} has no grant of ${product}: mayRead comes first`);
  return { customerId: principal.customerId, grant };
}

/** An access pair is read-only, always. */
export function mayAdminister(principal: Principal): principal is AdminPrincipal {
  return principal.kind === "admin";
}

export function actorOf(principal: Principal): AuditActor {
  return principal.kind === "customer"
    ? { kind: "customer", id: principal.customerId, name: principal.customerName }
    : { kind: "admin", id: principal.tokenId, name: principal.name };
}
