/** Customers, their access keys, and the audit trail. */
import { z } from "zod";
import { type AccessKey, issueAccessKey, listAccessKeys, revokeAccessKey, rotateAccessKey } from "../access/access-keys.ts";
import type { RecordedEvent } from "../access/audit-trail.ts";
import { addCustomer, type Customer, listCustomers } from "../access/customers.ts";
import { actorOf } from "../access/principal.ts";
import { auditActions } from "../store/audit-events.ts";
import { adminOf, type Call, type RouteRow, route } from "./route.ts";
import { publicAddress } from "./public-address.ts";
import { accessKeySchema, accessPairSchema, auditPageSchema, customerSchema, type WireAuditEvent } from "./wire.ts";

const customerParams = z.object({ customer: z.string().max(64) });
const keyParams = z.object({ id: z.string().max(64) });
/** A year; a longer overlap is two lasting secrets, not a rotation. */
const longestOverlapHours = 366 * 24;

function customerJson(customer: Customer): z.output<typeof customerSchema> {
  return { name: customer.name, createdAt: customer.createdAt.toISOString() };
}

function keyJson(key: AccessKey): z.output<typeof accessKeySchema> {
  return {
    id: key.id,
    customer: key.customer,
    products: [...key.products],
    createdAt: key.createdAt.toISOString(),
    expiresAt: key.expiresAt?.toISOString() ?? null,
    revokedAt: key.revokedAt?.toISOString() ?? null,
    secrets: key.secrets.map((secret) => ({ createdAt: secret.createdAt.toISOString(), retiresAt: secret.retiresAt?.toISOString() ?? null })),
  };
}

function eventJson(event: RecordedEvent): WireAuditEvent {
  return {
    id: event.id,
    at: event.at.toISOString(),
    actor: { kind: event.actor.kind, id: event.actor.id ?? null, name: event.actor.name ?? null },
    customer: event.customer ?? null,
    keyId: event.keyId ?? null,
    action: event.action,
    product: event.product ?? null,
    version: event.version ?? null,
    artifact: event.artifact ?? null,
    path: event.path ?? null,
    protocol: event.protocol ?? null,
    address: event.address ?? null,
    client: event.client ?? null,
    status: event.status ?? null,
    bytes: event.bytes ?? null,
    result: event.result,
    detail: event.detail ?? null,
  };
}

/** What belongs to a pair on the customer's machine. */
function addressOf(call: Pick<Call, "context" | "request">): Pick<z.output<typeof accessPairSchema>, "address" | "apkKey"> {
  const { keyFile, publicText } = call.context.repositoryKey.apkKey;
  return { address: publicAddress(call), apkKey: { keyFile, publicText } };
}

export const customerRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/api/v1/customers",
    access: "admin",
    tag: "customers",
    summary: "All customers",
    success: { status: 200, json: z.object({ customers: z.array(customerSchema) }), text: "The customers, by name" },
    run: async ({ context }) => ({ customers: (await listCustomers(context.store)).map(customerJson) }),
  }),
  route({
    method: "POST",
    path: "/api/v1/customers",
    access: "admin",
    tag: "customers",
    summary: "Add a customer",
    body: z.strictObject({ name: z.string().max(64) }),
    success: { status: 201, json: customerSchema, text: "The customer" },
    run: async (call) => customerJson(await addCustomer(call.context.store, { name: call.body.name, actor: actorOf(adminOf(call)) })),
  }),
  route({
    method: "GET",
    path: "/api/v1/customers/:customer/keys",
    access: "admin",
    tag: "customers",
    summary: "A customer's access keys, without their secrets",
    params: customerParams,
    success: { status: 200, json: z.object({ keys: z.array(accessKeySchema) }), text: "The keys, newest first" },
    run: async ({ context, params }) => ({ keys: (await listAccessKeys(context.store, params.customer)).map(keyJson) }),
  }),
  route({
    method: "POST",
    path: "/api/v1/customers/:customer/keys",
    access: "admin",
    tag: "customers",
    summary: "Issue an access pair for a product; the secret is in this answer and never again",
    params: customerParams,
    body: z.strictObject({ product: z.string().max(64), expiresAt: z.iso.datetime().optional() }),
    success: { status: 201, json: accessPairSchema, text: "The pair" },
    run: async (call) => {
      const { store, kek } = call.context;
      const expiresAt = call.body.expiresAt === undefined ? undefined : new Date(call.body.expiresAt);
      const pair = await issueAccessKey(store, { customer: call.params.customer, product: call.body.product, expiresAt, kek, actor: actorOf(adminOf(call)) });
      return { ...pair, ...addressOf(call) };
    },
  }),
  route({
    method: "POST",
    path: "/api/v1/keys/:id/rotate",
    access: "admin",
    tag: "customers",
    summary: "Give a key a second secret; the old one works on until the overlap ends",
    params: keyParams,
    body: z.strictObject({ overlapHours: z.number().min(0).max(longestOverlapHours).optional() }).optional(),
    success: { status: 201, json: accessPairSchema, text: "The pair with its new secret" },
    run: async (call) => {
      const { store, kek } = call.context;
      const overlapMs = call.body?.overlapHours === undefined ? undefined : call.body.overlapHours * 3_600_000;
      const pair = await rotateAccessKey(store, { id: call.params.id, overlapMs, kek, actor: actorOf(adminOf(call)) });
      return { id: pair.id, secret: pair.secret, ...addressOf(call), previousRetiresAt: pair.previousRetiresAt.toISOString() };
    },
  }),
  route({
    method: "POST",
    path: "/api/v1/keys/:id/revoke",
    access: "admin",
    tag: "customers",
    summary: "End a key for good, at once",
    params: keyParams,
    body: z.strictObject({ reason: z.string().max(500).optional() }).optional(),
    success: { status: 200, json: z.object({ id: z.string(), state: z.literal("revoked") }), text: "It is revoked" },
    run: async (call) => {
      await revokeAccessKey(call.context.store, { id: call.params.id, reason: call.body?.reason, actor: actorOf(adminOf(call)) });
      return { id: call.params.id, state: "revoked" as const };
    },
  }),
  route({
    method: "GET",
    path: "/api/v1/audit",
    access: "admin",
    tag: "audit",
    summary: "The audit trail, newest first, in pages",
    query: z.object({
      product: z.string().max(64).optional(),
      customer: z.string().max(64).optional(),
      action: z.enum(auditActions).optional(),
      limit: z.coerce.number().int().min(1).max(1000).optional(),
      after: z.string().max(40).optional().describe("`next` of the page before"),
    }),
    success: { status: 200, json: auditPageSchema, text: "One page" },
    run: async ({ context, query }) => {
      const page = await context.audit.list(query);
      return { events: page.events.map(eventJson), next: page.next ?? null };
    },
  }),
];
