/** Probes, metrics and the OpenAPI document: what runs the server rather than what it serves. */
import { z } from "zod";
import { SlipwayError } from "../model/errors.ts";
import { type RouteRow, route } from "./route.ts";

const stateSchema = z.object({ state: z.literal("ok"), version: z.string() });
/** A probe must answer before its own time limit, usually a second or more. */
const pingTimeoutMs = 900;

async function withTimeLimit(pending: Promise<void>, limitMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new SlipwayError("unavailable", `the database did not answer within ${limitMs} ms`)), limitMs);
  });
  try {
    await Promise.race([pending, late]);
  } finally {
    clearTimeout(timer);
  }
}

export const operationRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/healthz",
    access: "open",
    tag: "operations",
    summary: "Is the process up",
    success: { status: 200, json: stateSchema, text: "It is, and this is its version" },
    run: async ({ context }) => ({ state: "ok" as const, version: context.version }),
  }),
  route({
    method: "GET",
    path: "/readyz",
    access: "open",
    tag: "operations",
    summary: "May requests be sent here: the database answers and the server is not stopping",
    success: { status: 200, json: stateSchema, text: "Ready; 503 otherwise" },
    run: async ({ context }) => {
      if (context.isStopping()) throw new SlipwayError("unavailable", "the server is stopping");
      try {
        await withTimeLimit(context.store.ping(), pingTimeoutMs);
      } catch (error) {
        throw new SlipwayError("unavailable", "the database does not answer", { cause: error });
      }
      return { state: "ok" as const, version: context.version };
    },
  }),
  route({
    method: "GET",
    path: "/metrics",
    access: "operations",
    tag: "operations",
    summary: "Metrics in Prometheus' text form",
    success: { status: 200, media: "text/plain", text: "The metrics" },
    run: async ({ context, reply }) => reply.type(context.metrics.contentType).send(await context.metrics.render()),
  }),
  route({
    method: "GET",
    path: "/api/v1/openapi.json",
    access: "open",
    tag: "operations",
    summary: "This document",
    success: { status: 200, json: z.record(z.string(), z.unknown()), text: "OpenAPI 3.1" },
    run: async ({ request, reply }) => reply.type("application/json; charset=utf-8").send(JSON.stringify(request.server.swagger())),
  }),
];
