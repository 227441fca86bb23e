/** Notices, where customers are told them, webhooks, and the page on which a customer chooses its mails. */
import { z } from "zod";
import { actorOf } from "../access/principal.ts";
import { customerOfToken, readContact, setContact, setSubscription } from "../notices/contacts.ts";
import { deliverDue } from "../notices/deliver.ts";
import { listDeliveries, listNotices } from "../notices/list-notices.ts";
import { planDeliveries } from "../notices/plan-deliveries.ts";
import { testWebhook } from "../notices/test-webhook.ts";
import { addWebhook, listWebhooks, removeWebhook, type Webhook } from "../notices/webhooks.ts";
import { isNoticeKind, noticeKinds } from "../store/outbox.ts";
import { contactSchema, deliverySchema, noticeKindSchema, noticeSchema, plannedDeliverySchema, webhookSchema } from "./advisory-wire.ts";
import { feedPlace } from "./feed-place.ts";
import { sendPage } from "./page.ts";
import { adminOf, type RouteRow, route } from "./route.ts";
import { subscriptionPage } from "./subscription-page.ts";

const customerParams = z.object({ customer: z.string().max(64) });
const tokenParams = z.object({ token: z.string().regex(/^[A-Za-z0-9_-]{43}$/) });
const limitQuery = z.object({ limit: z.coerce.number().int().min(1).max(1000).default(100) });

function webhookJson({ id, url, kinds, createdAt }: Webhook): z.output<typeof webhookSchema> {
  return { id, url, events: [...kinds], createdAt: createdAt.toISOString() };
}

const webhookRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/api/v1/webhooks",
    access: "admin",
    tag: "notices",
    summary: "All webhooks, without their secrets",
    success: { status: 200, json: z.object({ webhooks: z.array(webhookSchema) }), text: "Oldest first" },
    run: async ({ context }) => ({ webhooks: (await listWebhooks(context.store)).map(webhookJson) }),
  }),
  route({
    method: "POST",
    path: "/api/v1/webhooks",
    access: "admin",
    tag: "notices",
    summary: "Add a webhook; the secret that its calls are signed with is in this answer and never again",
    body: z.strictObject({ url: z.string().max(2_000), events: z.array(noticeKindSchema).max(50).default([]) }),
    success: { status: 201, json: webhookSchema.extend({ secret: z.string() }), text: "The webhook" },
    run: async (call) => {
      const { store, kek, settings } = call.context;
      const made = await addWebhook(store, {
        url: call.body.url,
        kinds: call.body.events,
        trustedHosts: settings.webhookHosts,
        kek,
        actor: actorOf(adminOf(call)),
      });
      return { ...webhookJson(made), secret: made.secret };
    },
  }),
  route({
    method: "POST",
    path: "/api/v1/webhooks/:id/test",
    access: "admin",
    tag: "notices",
    summary: "Call a webhook now with a message of type test; its failure is the answer's",
    params: z.object({ id: z.string().max(40) }),
    success: { status: 200, json: z.object({ id: z.string(), status: z.int() }), text: "It answered 2xx" },
    run: async ({ context, params }) => ({ id: params.id, status: await testWebhook(context.store, params.id, context.notices.transports) }),
  }),
  route({
    method: "DELETE",
    path: "/api/v1/webhooks/:id",
    access: "admin",
    tag: "notices",
    summary: "Remove a webhook; what waits for it is given up",
    params: z.object({ id: z.string().max(40) }),
    success: { status: 200, json: z.object({ id: z.string(), state: z.literal("removed") }), text: "It is removed" },
    run: async (call) => {
      await removeWebhook(call.context.store, { id: call.params.id, actor: actorOf(adminOf(call)) });
      return { id: call.params.id, state: "removed" as const };
    },
  }),
];

const contactRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/api/v1/customers/:customer/contact",
    access: "admin",
    tag: "notices",
    summary: "Where a customer is told notices",
    params: customerParams,
    success: { status: 200, json: contactSchema, text: "The contact" },
    run: async ({ context, params }) => {
      const contact = await readContact(context.store, params.customer);
      return { ...contact, mail: contact.mail ?? null, unsubscribed: [...contact.unsubscribed] };
    },
  }),
  route({
    method: "PUT",
    path: "/api/v1/customers/:customer/contact",
    access: "admin",
    tag: "notices",
    summary: "Set a customer's mail address; null ends its mails",
    params: customerParams,
    body: z.strictObject({ mail: z.string().max(254).nullable() }),
    success: { status: 200, json: contactSchema, text: "The contact" },
    run: async (call) => {
      const contact = await setContact(call.context.store, { customer: call.params.customer, mail: call.body.mail, actor: actorOf(adminOf(call)) });
      return { ...contact, mail: contact.mail ?? null, unsubscribed: [] };
    },
  }),
];

const listRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/api/v1/notices",
    access: "admin",
    tag: "notices",
    summary: "The newest notices",
    query: limitQuery.extend({ customer: z.string().max(64).optional() }),
    success: { status: 200, json: z.object({ notices: z.array(noticeSchema) }), text: "Newest first" },
    run: async ({ context, query }) => ({ notices: [...(await listNotices(context.store, query))] }),
  }),
  route({
    method: "GET",
    path: "/api/v1/deliveries",
    access: "admin",
    tag: "notices",
    summary: "The delivery log: mails and webhook calls that wait, were sent, or were given up",
    query: limitQuery.extend({ target: z.string().max(254).optional() }),
    success: { status: 200, json: z.object({ deliveries: z.array(deliverySchema) }), text: "Newest first" },
    run: async ({ context, query }) => ({ deliveries: [...(await listDeliveries(context.store, query))] }),
  }),
  route({
    method: "POST",
    path: "/api/v1/notices/send",
    access: "admin",
    tag: "notices",
    summary: "Send what is due now instead of within seconds; dryRun only shows what would be sent",
    body: z.strictObject({ dryRun: z.boolean().optional() }).optional(),
    success: {
      status: 200,
      json: z.object({ planned: z.array(plannedDeliverySchema), sent: z.int(), failed: z.int() }),
      text: "Planned messages, and how many calls succeeded and failed",
    },
    run: async (call) => {
      const { store, notices } = call.context;
      const { deliveries } = await planDeliveries(store, notices.sender);
      const planned = deliveries.map(({ transport, target, customer, subject, noticeIds }) => ({
        transport,
        target,
        customer: customer ?? null,
        subject,
        notices: noticeIds.length,
      }));
      if (call.body?.dryRun === true) return { planned, sent: 0, failed: 0 };
      const { sent, failed } = await deliverDue(store, notices);
      return { planned, sent, failed };
    },
  }),
];

/** Mail programs follow links and virus scanners open them: reading the page changes nothing, only its buttons do. */
const subscriptionRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/notices/unsubscribe/:token",
    access: "open",
    tag: "notices",
    summary: "The page on which a customer chooses its mails; the link is in every mail",
    params: tokenParams,
    success: { status: 200, media: "text/html", text: "The page" },
    run: async (call) => {
      const customer = await customerOfToken(call.context.store, call.params.token);
      return sendPage(call.reply, subscriptionPage({ place: feedPlace(call, ""), customer }));
    },
  }),
  route({
    method: "POST",
    path: "/notices/unsubscribe/:token",
    access: "open",
    tag: "notices",
    summary: "End or resume mails of some kinds; List-Unsubscribe=One-Click (RFC 8058) ends all",
    params: tokenParams,
    body: z.looseObject({ kind: z.string().max(64).optional(), wanted: z.enum(["yes", "no"]).optional() }).optional(),
    success: { status: 200, media: "text/html", text: "The page as it stands" },
    run: async (call) => {
      const { store } = call.context;
      const customer = await customerOfToken(store, call.params.token);
      const { kind } = call.body ?? {};
      const kinds = kind !== undefined && isNoticeKind(kind) ? [kind] : Object.keys(noticeKinds).filter(isNoticeKind);
      const actor = { kind: "customer", id: customer.id, name: customer.name } as const;
      await setSubscription(store, { customer, kinds, isWanted: call.body?.wanted === "yes", actor });
      return sendPage(call.reply, subscriptionPage({ place: feedPlace(call, ""), customer: await customerOfToken(store, call.params.token) }));
    },
  }),
];

export const noticeRoutes: readonly RouteRow[] = [...webhookRoutes, ...contactRoutes, ...listRoutes, ...subscriptionRoutes];
