/** Releases as the vendor sees them: drafts, their artifacts, publishing, withdrawing, retention. */
import { z } from "zod";
import { actorOf } from "../access/principal.ts";
import { SlipwayError } from "../model/errors.ts";
import { attachArtifact, createDraft, discardDraft } from "../releases/drafts.ts";
import { listReleases, readRelease, type ReleaseWithArtifacts } from "../releases/releases.ts";
import { publishRelease } from "../releases/publish.ts";
import { shareOf } from "../releases/promote.ts";
import { retainAfterPublishing } from "../releases/retain.ts";
import { withdrawRelease } from "../releases/withdraw.ts";
import { mediaTypeOf } from "../releases/media-type.ts";
import { productParams } from "./product-routes.ts";
import { releaseParams, summaryJson } from "./release-json.ts";
import { adminOf, type RouteRow, route } from "./route.ts";
import { sendBody } from "./send.ts";
import { tufTextSchema } from "./tuf-wire.ts";
import { attachedSchema, digestSchema, releaseSchema, releaseSummarySchema } from "./wire.ts";

const artifactParams = releaseParams.extend({ name: z.string().max(200) });

function releaseJson(release: ReleaseWithArtifacts): z.output<typeof releaseSchema> {
  return { ...summaryJson(release), artifacts: release.artifacts.map(({ name, kind, digest, size }) => ({ name, kind, digest, size })) };
}

export const releaseRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/api/v1/products/:product/releases",
    access: "admin",
    tag: "releases",
    summary: "All releases of a product, drafts included",
    params: productParams,
    success: { status: 200, json: z.object({ releases: z.array(releaseSummarySchema) }), text: "Newest version first" },
    run: async ({ context, params }) => ({ releases: (await listReleases(context.store, params.product)).map(summaryJson) }),
  }),
  route({
    method: "POST",
    path: "/api/v1/products/:product/releases",
    access: "admin",
    tag: "releases",
    summary: "Make a draft; one that is there is returned as it stands",
    params: productParams,
    body: z.strictObject({ version: z.string().max(130), channel: z.string().max(64) }),
    success: { status: 200, json: releaseSchema, text: "The release" },
    run: async (call) => {
      const { store } = call.context;
      const release = await createDraft(store, { product: call.params.product, ...call.body, actor: actorOf(adminOf(call)) });
      return releaseJson(await readRelease(store, release.product, release.version));
    },
  }),
  route({
    method: "GET",
    path: "/api/v1/products/:product/releases/:version",
    access: "admin",
    tag: "releases",
    summary: "One release with its artifacts",
    params: releaseParams,
    success: { status: 200, json: releaseSchema, text: "The release" },
    run: async ({ context, params }) => releaseJson(await readRelease(context.store, params.product, params.version)),
  }),
  route({
    method: "DELETE",
    path: "/api/v1/products/:product/releases/:version",
    access: "admin",
    tag: "releases",
    summary: "Discard a draft; what was ever published is refused",
    params: releaseParams,
    success: { status: 200, json: releaseSummarySchema, text: "The draft as it was; its uploaded bytes stay for two days" },
    run: async (call) => {
      const { store } = call.context;
      const release = await readRelease(store, call.params.product, call.params.version);
      await discardDraft(store, { ...call.params, actor: actorOf(adminOf(call)) });
      return summaryJson(release);
    },
  }),
  route({
    method: "PUT",
    path: "/api/v1/products/:product/releases/:version/artifacts/:name",
    access: "admin",
    tag: "releases",
    summary: "Attach uploaded bytes to a draft under a name; packages are read and must be what their name says",
    params: artifactParams,
    body: z.strictObject({ digest: digestSchema, size: z.int().nonnegative() }),
    success: { status: 200, json: attachedSchema, text: "What changed" },
    run: async (call) => attachArtifact(call.context.store, { ...call.params, ...call.body, actor: actorOf(adminOf(call)) }),
  }),
  route({
    method: "GET",
    path: "/api/v1/products/:product/releases/:version/artifacts/:name",
    access: "admin",
    tag: "releases",
    summary: "An artifact of a release in any state, for the check by re-download before publishing",
    params: artifactParams,
    success: { status: 200, media: "application/octet-stream", text: "The bytes" },
    run: async (call) => {
      const { context, params } = call;
      const release = await readRelease(context.store, params.product, params.version);
      const artifact = release.artifacts.find(({ name }) => name === params.name);
      if (artifact === undefined) throw new SlipwayError("not_found", `${release.product} ${release.version} has no artifact ${params.name}`);
      await sendBody({
        context,
        reply: call.reply,
        body: { digest: artifact.digest, size: artifact.size, modifiedAt: release.createdAt, mediaType: mediaTypeOf(artifact.name), isImmutable: false },
      });
      return undefined;
    },
  }),
  route({
    method: "POST",
    path: "/api/v1/products/:product/releases/:version/publish",
    access: "admin",
    tag: "releases",
    summary: "Check a draft and make it visible in every view at once",
    params: releaseParams,
    body: z.strictObject({
      sums: digestSchema.describe("digest of the sums file that was verified"),
      keep: z.int().min(1).max(1000).optional().describe("from the recipe: how many stable versions stay"),
      percent: z.number().min(0).max(100).optional().describe("of the customers, who see it at first; 100 by default"),
      machines: z.number().min(0).max(100).optional().describe("of each customer's machines that their updaters offer it to at first; 100 by default"),
      bypass: z.boolean().optional().describe("a security release: no rollout holds it back"),
      tuf: tufTextSchema.optional().describe("the channel's next TUF metadata, signed by a release key"),
    }),
    success: { status: 200, json: releaseSchema.extend({ isNew: z.boolean() }), text: "It is published" },
    run: async (call) => {
      const { store, repositoryKey } = call.context;
      const tuf = call.body.tuf === undefined ? undefined : { kek: call.context.kek, channel: call.body.tuf };
      const { release, isNew } = await publishRelease(store, {
        ...call.params,
        ...call.body,
        share: call.body.percent === undefined ? undefined : shareOf(call.body.percent),
        machines: call.body.machines === undefined ? undefined : shareOf(call.body.machines),
        isBypass: call.body.bypass,
        tuf,
        repositoryKey,
        actor: actorOf(adminOf(call)),
      });
      if (isNew)
        await retainAfterPublishing(store, {
          product: release.product,
          repositoryKey,
          onFailure: (error) => call.context.log.error({ event: "retained_failed", err: error }),
        });
      return { ...releaseJson(await readRelease(store, release.product, release.version)), isNew };
    },
  }),
  route({
    method: "POST",
    path: "/api/v1/products/:product/releases/:version/withdraw",
    access: "admin",
    tag: "releases",
    summary: "Take a published release back from every view",
    params: releaseParams,
    body: z.strictObject({ reason: z.string().trim().min(1).max(500).optional() }).optional(),
    success: { status: 200, json: releaseSummarySchema, text: "It is withdrawn" },
    run: async (call) => {
      const { store, repositoryKey } = call.context;
      return summaryJson(await withdrawRelease(store, { ...call.params, reason: call.body?.reason, repositoryKey, actor: actorOf(adminOf(call)) }));
    },
  }),
];
