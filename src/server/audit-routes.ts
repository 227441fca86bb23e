/** The audit trail: events in pages, the check of their chain, and who uses what. */
import { z } from "zod";
import { checkAuditChain } from "../access/audit-chain-check.ts";
import type { RecordedEvent } from "../access/audit-trail.ts";
import { listUsage } from "../access/pull-rollups.ts";
import { auditActions } from "../store/audit-events.ts";
import { type RouteRow, route } from "./route.ts";
import { auditPageSchema, chainCheckSchema, usageSchema, type WireAuditEvent } from "./wire.ts";

const name = z.string().max(64).optional();
const longestUsageDays = 3_660;

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
    link: event.link ?? null,
  };
}

export const auditRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/api/v1/audit",
    access: "admin",
    tag: "audit",
    summary: "The audit trail in pages, newest first unless asked otherwise",
    query: z.object({
      product: name,
      customer: name,
      action: z.enum(auditActions).optional(),
      since: z.iso.datetime({ offset: true }).optional().describe("from this instant on"),
      until: z.iso.datetime({ offset: true }).optional().describe("before this instant"),
      order: z.enum(["newest", "oldest"]).optional(),
      limit: z.coerce.number().int().min(1).max(1000).optional(),
      after: z.string().max(40).optional().describe("`next` of the page before"),
    }),
    success: { status: 200, json: auditPageSchema, text: "One page" },
    run: async ({ context, query }) => {
      const { since, until, ...rest } = query;
      const page = await context.audit.list({
        ...rest,
        since: since === undefined ? undefined : new Date(since),
        until: until === undefined ? undefined : new Date(until),
      });
      return { events: page.events.map(eventJson), next: page.next ?? null };
    },
  }),
  route({
    method: "GET",
    path: "/api/v1/audit/chain",
    access: "admin",
    tag: "audit",
    summary: "Check the chain over administrative events from its first link",
    query: z.object({
      expect: z
        .string()
        .regex(/^[0-9a-f]{64}$/)
        .optional()
        .describe("a head noted earlier, which the chain must contain"),
    }),
    success: { status: 200, json: chainCheckSchema, text: "What was found" },
    run: async ({ context, query }) => {
      const check = await checkAuditChain(context.store, query.expect);
      return { ...check, fault: check.fault ?? null };
    },
  }),
  route({
    method: "GET",
    path: "/api/v1/audit/usage",
    access: "admin",
    tag: "audit",
    summary: "Who pulled which versions, most recently used first",
    query: z.object({ product: name, customer: name, days: z.coerce.number().int().min(1).max(longestUsageDays).optional().describe("90 by default") }),
    success: { status: 200, json: usageSchema, text: "One entry for each customer, product, version and protocol" },
    run: async ({ context, query }) => ({
      usage: (await listUsage(context.store, query)).map((usage) => ({ ...usage, lastAt: usage.lastAt.toISOString() })),
    }),
  }),
];
