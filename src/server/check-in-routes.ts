/** What agents of customers' installations tell, where their operator allows it: which version runs, and how the last upgrade ended. */
import { z } from "zod";
import { actorOf, mayRead, type Principal } from "../access/principal.ts";
import { SlipwayError } from "../model/errors.ts";
import { tryParseVersion } from "../model/version.ts";
import { protocolOf } from "./caller.ts";
import { absent } from "./error-rim.ts";
import { type RouteRow, route } from "./route.ts";

const checkInSchema = z.strictObject({
  version: z
    .string()
    .max(128)
    .refine((text) => tryParseVersion(text) === text, "is no version"),
  outcome: z.enum(["running", "upgraded", "rolled_back", "rollback_failed", "failed"]),
  /** Random, of the installation: it says that two check-ins are of one machine, and not of which. */
  machine: z.string().regex(/^[0-9a-f]{32}$/, "must be 32 hex digits"),
});

export const checkInRoutes: readonly RouteRow[] = [
  route({
    method: "POST",
    path: "/releases/:product/check-in",
    access: "customer",
    tag: "downloads",
    summary: "An installation says which version it runs, where its operator allows that",
    params: z.object({ product: z.string().max(64) }),
    body: checkInSchema,
    success: { status: 200, json: z.object({ recorded: z.literal(true) }), text: "It stands in the audit trail" },
    run: async ({ context, principal, params, body, request, reply }) => {
      if (principal === undefined || !mayRead(principal, params.product)) throw absent();
      const from: Principal = principal;
      const caller = from.kind === "customer" ? from.keyId : "an administrator";
      const waitSeconds = context.checkInPace.take({ caller, machine: body.machine, now: context.store.clock.now() });
      if (waitSeconds > 0) {
        reply.header("retry-after", waitSeconds);
        throw new SlipwayError("rate_limited", "this installation, or all that share its access pair, check in too often");
      }
      await context.audit.record({
        actor: actorOf(from),
        action: "installation.check-in",
        result: "complete",
        ...(from.kind === "customer" ? { customer: from.customerName, keyId: from.keyId } : {}),
        product: params.product,
        version: body.version,
        path: request.url,
        protocol: protocolOf(request.url),
        address: request.ip,
        client: request.headers["user-agent"],
        detail: `${body.outcome} on ${body.machine}`,
      });
      return { recorded: true as const };
    },
  }),
];
