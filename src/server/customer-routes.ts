/** Customers and their access keys. */
import { z } from "zod";
import { type AccessKey, issueAccessKey, listAccessKeys, restrictAccessKey, revokeAccessKey, rotateAccessKey } from "../access/access-keys.ts";
import { addCustomer, type Customer, listCustomers } from "../access/customers.ts";
import { actorOf } from "../access/principal.ts";
import { adminOf, type Call, type RouteRow, route } from "./route.ts";
import { publicAddress } from "./public-address.ts";
import { accessKeySchema, accessPairSchema, customerSchema } from "./wire.ts";

const customerParams = z.object({ customer: z.string().max(64) });
const keyParams = z.object({ id: z.string().max(64) });
const networkList = z.array(z.string().max(60)).min(1).max(100).describe("as 203.0.113.0/24 or 2001:db8::/32");
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
    allowedFrom: key.allowedFrom === undefined ? null : [...key.allowedFrom],
    createdAt: key.createdAt.toISOString(),
    expiresAt: key.expiresAt?.toISOString() ?? null,
    revokedAt: key.revokedAt?.toISOString() ?? null,
    secrets: key.secrets.map((secret) => ({ createdAt: secret.createdAt.toISOString(), retiresAt: secret.retiresAt?.toISOString() ?? null })),
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
    body: z.strictObject({ product: z.string().max(64), expiresAt: z.iso.datetime().optional(), allowedFrom: networkList.optional() }),
    success: { status: 201, json: accessPairSchema, text: "The pair" },
    run: async (call) => {
      const { store, kek } = call.context;
      const expiresAt = call.body.expiresAt === undefined ? undefined : new Date(call.body.expiresAt);
      const { product, allowedFrom } = call.body;
      const pair = await issueAccessKey(store, { customer: call.params.customer, product, expiresAt, allowedFrom, kek, actor: actorOf(adminOf(call)) });
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
    body: z
      .strictObject({
        overlapHours: z.number().min(0).max(longestOverlapHours).optional(),
        force: z.boolean().optional().describe("also while the secret before still lives: it then ends now"),
      })
      .optional(),
    success: { status: 201, json: accessPairSchema, text: "The pair with its new secret" },
    run: async (call) => {
      const { store, kek } = call.context;
      const overlapMs = call.body?.overlapHours === undefined ? undefined : call.body.overlapHours * 3_600_000;
      const pair = await rotateAccessKey(store, { id: call.params.id, overlapMs, isForced: call.body?.force, kek, actor: actorOf(adminOf(call)) });
      return { id: pair.id, secret: pair.secret, ...addressOf(call), previousRetiresAt: pair.previousRetiresAt.toISOString() };
    },
  }),
  route({
    method: "PUT",
    path: "/api/v1/keys/:id/allowed-from",
    access: "admin",
    tag: "customers",
    summary: "Say from which networks a key may be used; in force within a second on every protocol",
    params: keyParams,
    body: z.strictObject({ networks: networkList.nullable().describe("null: anywhere") }),
    success: { status: 200, json: z.object({ id: z.string(), allowedFrom: z.array(z.string()).nullable() }), text: "The key's networks" },
    run: async (call) => {
      const { networks } = call.body;
      await restrictAccessKey(call.context.store, { id: call.params.id, allowedFrom: networks ?? undefined, actor: actorOf(adminOf(call)) });
      return { id: call.params.id, allowedFrom: networks };
    },
  }),
  route({
    method: "POST",
    path: "/api/v1/keys/:id/revoke",
    access: "admin",
    tag: "customers",
    summary: "End a key for good, at once",
    params: keyParams,
    body: z.strictObject({ reason: z.string().trim().min(1).max(500).optional() }).optional(),
    success: { status: 200, json: z.object({ id: z.string(), state: z.literal("revoked") }), text: "It is revoked" },
    run: async (call) => {
      await revokeAccessKey(call.context.store, { id: call.params.id, reason: call.body?.reason, actor: actorOf(adminOf(call)) });
      return { id: call.params.id, state: "revoked" as const };
    },
  }),
];
