/** Channels: their ranks, and how releases enter, leave and reach their customers. */
import { z } from "zod";
import { actorOf } from "../access/principal.ts";
import { compareVersions } from "../model/version.ts";
import { listChannels, rankChannel } from "../releases/channels.ts";
import { changeRollout, demoteRelease, promoteRelease } from "../releases/promote.ts";
import { channelSchema } from "./grant-wire.ts";
import { productParams } from "./product-routes.ts";
import { releaseParams, summaryJson } from "./release-json.ts";
import { adminOf, type RouteRow, route } from "./route.ts";
import { releaseSummarySchema } from "./wire.ts";

const channelName = z.string().max(64);
const percent = z.number().min(0).max(100);
const channelsAnswer = { status: 200, json: z.object({ channels: z.array(channelSchema) }), text: "The most stable first" } as const;

export const channelRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/api/v1/products/:product/channels",
    access: "admin",
    tag: "releases",
    summary: "The channels of a product",
    params: productParams,
    success: channelsAnswer,
    run: async ({ context, params }) => {
      const channels = await listChannels(context.store, params.product);
      return { channels: channels.map((one) => ({ ...one, versions: one.versions.toSorted((left, right) => compareVersions(right, left)) })) };
    },
  }),
  route({
    method: "PUT",
    path: "/api/v1/products/:product/channels/:channel",
    access: "admin",
    tag: "releases",
    summary: "Say how stable a channel is; grants are limited by it",
    params: productParams.extend({ channel: channelName }),
    body: z.strictObject({ rank: z.int().min(0).max(1000) }),
    success: { status: 200, json: z.object({ name: z.string(), rank: z.int() }), text: "The channel" },
    run: async (call) => {
      await rankChannel(call.context.store, { ...call.params, rank: call.body.rank, actor: actorOf(adminOf(call)) });
      return { name: call.params.channel, rank: call.body.rank };
    },
  }),
  route({
    method: "POST",
    path: "/api/v1/products/:product/releases/:version/promote",
    access: "admin",
    tag: "releases",
    summary: "Put a published release into a channel as well, in every format at once; its artifacts stay as they are",
    params: releaseParams,
    body: z.strictObject({
      channel: channelName,
      percent: percent.optional().describe("of the customers; 100 by default"),
      machines: percent.optional().describe("of each customer's machines that their updaters offer it to; 100 by default"),
      bypass: z.boolean().optional().describe("a security release: no rollout holds it back"),
    }),
    success: { status: 200, json: releaseSummarySchema, text: "The release" },
    run: async (call) => {
      const { store, repositoryKey } = call.context;
      const { bypass, ...rest } = call.body;
      return summaryJson(await promoteRelease(store, { ...call.params, ...rest, isBypass: bypass, repositoryKey, actor: actorOf(adminOf(call)) }));
    },
  }),
  route({
    method: "POST",
    path: "/api/v1/products/:product/releases/:version/demote",
    access: "admin",
    tag: "releases",
    summary: "Take a release out of a channel; it stays in its others",
    params: releaseParams,
    body: z.strictObject({ channel: channelName }),
    success: { status: 200, json: releaseSummarySchema, text: "The release" },
    run: async (call) => {
      const { store, repositoryKey } = call.context;
      return summaryJson(await demoteRelease(store, { ...call.params, ...call.body, repositoryKey, actor: actorOf(adminOf(call)) }));
    },
  }),
  route({
    method: "POST",
    path: "/api/v1/products/:product/releases/:version/rollout",
    access: "admin",
    tag: "releases",
    summary: "Say how many customers see a release in a channel; 0 halts it for those who do not have it yet",
    params: releaseParams,
    body: z
      .strictObject({
        channel: channelName.default("stable"),
        percent: percent.optional().describe("of the customers"),
        machines: percent.optional().describe("of each customer's machines that their updaters offer it to"),
        bypass: z.boolean().optional(),
      })
      .refine(
        ({ percent: customers, machines, bypass }) => customers !== undefined || machines !== undefined || bypass !== undefined,
        "say percent, machines or bypass",
      ),
    success: { status: 200, json: releaseSummarySchema, text: "The release" },
    run: async (call) => {
      const { store, repositoryKey } = call.context;
      const { bypass, ...rest } = call.body;
      return summaryJson(await changeRollout(store, { ...call.params, ...rest, isBypass: bypass, repositoryKey, actor: actorOf(adminOf(call)) }));
    },
  }),
];
