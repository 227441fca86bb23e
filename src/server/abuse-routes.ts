/** Pairs that look passed on or stolen: which and why, and the vendor's word on them. */
import { z } from "zod";
import { exemptAccessKey, listSuspicions, resumeAccessKey, type Suspicion, showSuspicion } from "../access/abuse.ts";
import { actorOf } from "../access/principal.ts";
import { suspicionSchema, type WireSuspicion } from "./abuse-wire.ts";
import { adminOf, type RouteRow, route } from "./route.ts";

const keyParams = z.object({ id: z.string().max(64) });

function suspicionJson(one: Suspicion): WireSuspicion {
  return {
    ...one,
    reasons: one.reasons.map((reason) => ({ ...reason })),
    scoredAt: one.scoredAt?.toISOString() ?? null,
    suspendedAt: one.suspendedAt?.toISOString() ?? null,
    suspendedFor: one.suspendedFor ?? null,
  };
}

export const abuseRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/api/v1/suspicious-keys",
    access: "admin",
    tag: "customers",
    summary: "Pairs that look abused, are suspended, or are exempt",
    success: { status: 200, json: z.object({ keys: z.array(suspicionSchema) }), text: "Highest score first" },
    run: async ({ context }) => ({ keys: (await listSuspicions(context.store)).map(suspicionJson) }),
  }),
  route({
    method: "GET",
    path: "/api/v1/keys/:id/suspicion",
    access: "admin",
    tag: "customers",
    summary: "The score of one pair and its reasons",
    params: keyParams,
    success: { status: 200, json: suspicionSchema, text: "As of the last round" },
    run: async ({ context, params }) => suspicionJson(await showSuspicion(context.store, params.id)),
  }),
  route({
    method: "POST",
    path: "/api/v1/keys/:id/resume",
    access: "admin",
    tag: "customers",
    summary: "End a pair's suspension",
    params: keyParams,
    success: { status: 200, json: suspicionSchema, text: "The pair as it stands" },
    run: async (call) => {
      await resumeAccessKey(call.context.store, { keyId: call.params.id, actor: actorOf(adminOf(call)) });
      return suspicionJson(await showSuspicion(call.context.store, call.params.id));
    },
  }),
  route({
    method: "PUT",
    path: "/api/v1/keys/:id/exempt",
    access: "admin",
    tag: "customers",
    summary: "Say that a pair's way of working is fine: it is scored, and nothing follows",
    params: keyParams,
    body: z.strictObject({ exempt: z.boolean() }),
    success: { status: 200, json: suspicionSchema, text: "The pair as it stands" },
    run: async (call) => {
      const { params, body, context } = call;
      await exemptAccessKey(context.store, { keyId: params.id, isExempt: body.exempt, actor: actorOf(adminOf(call)) });
      return suspicionJson(await showSuspicion(context.store, params.id));
    },
  }),
];
