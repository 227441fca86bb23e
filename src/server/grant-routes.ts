/** Grants: what a customer may read of a product. */
import { z } from "zod";
import { type CustomerGrant, listGrants, removeGrant, requireGrant, setGrant } from "../access/grants.ts";
import { actorOf } from "../access/principal.ts";
import { grantChangeSchema, grantSchema, type WireGrant } from "./grant-wire.ts";
import { adminOf, type RouteRow, route } from "./route.ts";

const grantParams = z.object({ customer: z.string().max(64), product: z.string().max(64) });

function grantJson(grant: CustomerGrant): WireGrant {
  return {
    customer: grant.customer,
    product: grant.product,
    channel: grant.channel ?? null,
    formats: grant.formats === undefined ? null : [...grant.formats],
    versions: grant.versions ?? null,
    entitledUntil: grant.entitledUntil?.toISOString() ?? null,
    lapse: grant.lapse,
    pin: grant.pin === undefined ? null : { version: grant.pin.version, until: grant.pin.until?.toISOString() ?? null },
    createdAt: grant.createdAt.toISOString(),
    changedAt: grant.changedAt.toISOString(),
  };
}

const dateOf = (text: string | null | undefined): Date | null | undefined => (typeof text === "string" ? new Date(text) : text);

export const grantRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/api/v1/grants",
    access: "admin",
    tag: "customers",
    summary: "All grants, of one customer or of one product",
    query: z.object({ customer: z.string().max(64).optional(), product: z.string().max(64).optional() }),
    success: { status: 200, json: z.object({ grants: z.array(grantSchema) }), text: "By customer and product" },
    run: async ({ context, query }) => ({ grants: (await listGrants(context.store, query)).map(grantJson) }),
  }),
  route({
    method: "GET",
    path: "/api/v1/customers/:customer/grants/:product",
    access: "admin",
    tag: "customers",
    summary: "What a customer may read of a product",
    params: grantParams,
    success: { status: 200, json: grantSchema, text: "The grant" },
    run: async ({ context, params }) => grantJson(await requireGrant(context.store, params)),
  }),
  route({
    method: "PUT",
    path: "/api/v1/customers/:customer/grants/:product",
    access: "admin",
    tag: "customers",
    summary: "Make or change a grant; in force within a second on every protocol",
    params: grantParams,
    body: grantChangeSchema,
    success: { status: 200, json: grantSchema, text: "The grant as it is now" },
    run: async (call) => {
      const { entitledUntil, pin, ...rest } = call.body;
      const until = pin?.until === undefined ? undefined : new Date(pin.until);
      const change = {
        ...rest,
        entitledUntil: dateOf(entitledUntil),
        pin: pin === undefined || pin === null ? pin : { version: pin.version, until, isFutureAllowed: pin.allowFuture },
      };
      return grantJson(await setGrant(call.context.store, { ...call.params, change, actor: actorOf(adminOf(call)) }));
    },
  }),
  route({
    method: "DELETE",
    path: "/api/v1/customers/:customer/grants/:product",
    access: "admin",
    tag: "customers",
    summary: "Take a product from a customer; his keys stay for others",
    params: grantParams,
    success: { status: 200, json: z.object({ customer: z.string(), product: z.string(), state: z.literal("removed") }), text: "It is removed" },
    run: async (call) => {
      await removeGrant(call.context.store, { ...call.params, actor: actorOf(adminOf(call)) });
      return { ...call.params, state: "removed" as const };
    },
  }),
];
