/** Who a request comes from, once its credential was accepted, and what that one may read. */
import type { AuditActor } from "../store/audit-events.ts";

export type CustomerPrincipal = {
  readonly kind: "customer";
  readonly keyId: string;
  readonly customerId: string;
  readonly customerName: string;
  /** Names of the products that the access key may read (its grants); a product is never renamed. */
  readonly products: ReadonlySet<string>;
};

export type AdminPrincipal = { readonly kind: "admin"; readonly tokenId: string; readonly name: string };

export type Principal = CustomerPrincipal | AdminPrincipal;

/** A pair reads exactly the products it was granted; what it may not read must look absent (404, never 403). */
export function mayRead(principal: Principal, product: string): boolean {
  return principal.kind === "admin" || principal.products.has(product);
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
