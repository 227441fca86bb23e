/** Retention: a product's policy, the plan of this moment, and carrying it out. */
import { z } from "zod";
import { actorOf } from "../access/principal.ts";
import type { RetentionPlan } from "../policy/retention.ts";
import { requireProduct } from "../releases/products.ts";
import { applyRetention, planRetention } from "../releases/retain.ts";
import { type ProductRetention, readRetention, setRetention } from "../releases/retention-facts.ts";
import { productParams } from "./product-routes.ts";
import { retentionPlanSchema, retentionPolicySchema, type WireRetentionPlan } from "./retention-wire.ts";
import { adminOf, type RouteRow, route } from "./route.ts";

function planJson(plan: RetentionPlan): WireRetentionPlan {
  return {
    product: plan.product,
    keep: plan.keep,
    basis: plan.basis,
    keeps: [...plan.keeps],
    steps: plan.steps.map((step) => ({ ...step, replacement: step.replacement ?? null, dueAt: step.dueAt?.toISOString() ?? null })),
    retires: plan.retires.map((one) => ({ ...one, replacement: one.replacement ?? null })),
    blocked: plan.blocked.map(({ version, blockedBy }) => ({ version, blockedBy: [...blockedBy] })),
    restores: [...plan.restores],
  };
}

function policyJson(policy: ProductRetention & { readonly keep: number }): z.output<typeof retentionPolicySchema> {
  const { keep, announceDays, unlistDays, graceDays, keepIfPulledDays, isAutomatic } = policy;
  return { keep, announceDays, unlistDays, graceDays, keepIfPulledDays: keepIfPulledDays ?? null, automatic: isAutomatic };
}

export const retentionRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/api/v1/products/:product/retention-policy",
    access: "admin",
    tag: "releases",
    summary: "How versions of a product leave",
    params: productParams,
    success: { status: 200, json: retentionPolicySchema, text: "The policy" },
    run: async ({ context, params }) => {
      const product = await requireProduct(context.store, params.product);
      return policyJson({ ...(await readRetention(context.store, product)), keep: product.keep });
    },
  }),
  route({
    method: "PUT",
    path: "/api/v1/products/:product/retention-policy",
    access: "admin",
    tag: "releases",
    summary: "Change how versions of a product leave; what is absent stays",
    params: productParams,
    body: retentionPolicySchema.partial(),
    success: { status: 200, json: retentionPolicySchema, text: "The policy as it is now" },
    run: async (call) => {
      const { keep, automatic, ...change } = call.body;
      const input = { product: call.params.product, keep, change: { ...change, isAutomatic: automatic }, actor: actorOf(adminOf(call)) };
      return policyJson(await setRetention(call.context.store, input));
    },
  }),
  route({
    method: "GET",
    path: "/api/v1/products/:product/retention",
    access: "admin",
    tag: "releases",
    summary: "The retention plan of this moment; nothing is done",
    params: productParams,
    success: { status: 200, json: retentionPlanSchema, text: "The plan" },
    run: async ({ context, params }) => planJson(await planRetention(context.store, params.product)),
  }),
  route({
    method: "POST",
    path: "/api/v1/products/:product/retention",
    access: "admin",
    tag: "releases",
    summary: "Apply the retention plan with this basis; refused where another plan would be made now",
    params: productParams,
    body: z.strictObject({ basis: z.string().max(200) }),
    success: { status: 200, json: z.object({ plan: retentionPlanSchema, quarantinedBytes: z.int() }), text: "What was done" },
    run: async (call) => {
      const { store, repositoryKey } = call.context;
      const outcome = await applyRetention(store, { product: call.params.product, basis: call.body.basis, repositoryKey, actor: actorOf(adminOf(call)) });
      return { plan: planJson(outcome.plan), quarantinedBytes: outcome.quarantinedBytes };
    },
  }),
];
