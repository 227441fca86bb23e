/** Advisories: publish, list, withdraw, and who is affected. */
import { z } from "zod";
import { actorOf } from "../access/principal.ts";
import { affectedAmong, everPublished, listAdvisories, requireAdvisory } from "../releases/advisories.ts";
import { affectedCustomers } from "../releases/advisory-customers.ts";
import { parseAdvisory } from "../releases/advisory-file.ts";
import { publishAdvisory, withdrawAdvisory } from "../releases/publish-advisory.ts";
import { requireProduct } from "../releases/products.ts";
import type { Advisory } from "../repositories/advisory.ts";
import type { Store } from "../store/store.ts";
import { advisoryPublicationSchema, advisorySchema, affectedCustomerSchema, type WireAdvisory } from "./advisory-wire.ts";
import { adminOf, type RouteRow, route } from "./route.ts";

const advisoryParams = z.object({ id: z.string().max(64) });

async function advisoryJson(store: Store, advisory: Advisory): Promise<WireAdvisory> {
  const { range: _range, workaround, publishedAt, updatedAt, revisions, ...rest } = advisory;
  const product = await requireProduct(store, advisory.product);
  return {
    ...rest,
    cves: [...rest.cves],
    references: [...rest.references],
    credits: [...rest.credits],
    affectedVersions: [...affectedAmong(advisory, await everPublished(store, product.id))],
    workaround: workaround ?? null,
    publishedAt: publishedAt.toISOString(),
    updatedAt: updatedAt.toISOString(),
    revisions: revisions.map((revision) => ({ ...revision, at: revision.at.toISOString() })),
  };
}

export const advisoryRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/api/v1/advisories",
    access: "admin",
    tag: "advisories",
    summary: "All advisories, withdrawn ones included",
    query: z.object({ product: z.string().max(64).optional() }),
    success: { status: 200, json: z.object({ advisories: z.array(advisorySchema) }), text: "Newest change first" },
    run: async ({ context, query }) => {
      const product = query.product === undefined ? undefined : await requireProduct(context.store, query.product);
      const advisories = await listAdvisories(context.store, product?.id);
      return { advisories: await Promise.all(advisories.map((advisory) => advisoryJson(context.store, advisory))) };
    },
  }),
  route({
    method: "POST",
    path: "/api/v1/advisories",
    access: "admin",
    tag: "advisories",
    summary: "Publish an advisory, or a corrected one under the same id; the same again changes nothing",
    body: z.strictObject({
      advisory: z.record(z.string(), z.unknown()).describe("the file's keys: id, product, title, severity, cves, affected, fixed_in, text, …"),
      backport: z.boolean().optional().describe("the fix may be of an older line than the newest minor"),
      dryRun: z.boolean().optional().describe("only check, and say who would be told"),
    }),
    success: { status: 200, json: advisoryPublicationSchema, text: "The advisory as it stands" },
    run: async (call) => {
      const { store, repositoryKey } = call.context;
      const { advisory, outcome, told } = await publishAdvisory(store, {
        file: parseAdvisory(call.body.advisory),
        isBackport: call.body.backport ?? false,
        isDryRun: call.body.dryRun ?? false,
        repositoryKey,
        actor: actorOf(adminOf(call)),
      });
      return { advisory: await advisoryJson(store, advisory), outcome, told: [...told] };
    },
  }),
  route({
    method: "GET",
    path: "/api/v1/advisories/:id",
    access: "admin",
    tag: "advisories",
    summary: "One advisory",
    params: advisoryParams,
    success: { status: 200, json: advisorySchema, text: "The advisory" },
    run: async ({ context, params }) => advisoryJson(context.store, await requireAdvisory(context.store, params.id)),
  }),
  route({
    method: "POST",
    path: "/api/v1/advisories/:id/withdraw",
    access: "admin",
    tag: "advisories",
    summary: "Take an advisory back; feeds say that it was withdrawn",
    params: advisoryParams,
    body: z.strictObject({ reason: z.string().max(500).optional() }).optional(),
    success: { status: 200, json: advisorySchema, text: "The advisory as it stands" },
    run: async (call) => {
      const { store, repositoryKey } = call.context;
      const input = { id: call.params.id, reason: call.body?.reason, repositoryKey, actor: actorOf(adminOf(call)) };
      return advisoryJson(store, await withdrawAdvisory(store, input));
    },
  }),
  route({
    method: "GET",
    path: "/api/v1/advisories/:id/customers",
    access: "admin",
    tag: "advisories",
    summary: "Customers that pulled an affected version, and whether they have the fix",
    params: advisoryParams,
    success: { status: 200, json: z.object({ customers: z.array(affectedCustomerSchema) }), text: "By name" },
    run: async ({ context, params }) => {
      const customers = await affectedCustomers(context.store, await requireAdvisory(context.store, params.id));
      return {
        customers: customers.map(({ name, versions, lastPullAt, hasFix }) => ({
          customer: name,
          versions: [...versions],
          lastPullAt: lastPullAt.toISOString(),
          hasFix,
        })),
      };
    },
  }),
];
