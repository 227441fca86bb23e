/** Feeds of releases and advisories: Atom, OSV and CSAF, behind the pair, or for anybody where the vendor says so (C17). */
import { createHash } from "node:crypto";
import { z } from "zod";
import { mayRead } from "../access/principal.ts";
import { digestFromHex } from "../model/digest.ts";
import { readFeedFile } from "../releases/advisory-feeds.ts";
import { findProduct } from "../releases/products.ts";
import type { Release } from "../releases/releases.ts";
import { requireCaller } from "./caller.ts";
import { absent } from "./error-rim.ts";
import { feedPlace } from "./feed-place.ts";
import { versionsSeenBy } from "./seen-versions.ts";
import { type Call, type RouteRow, route } from "./route.ts";
import { sendBody } from "./send.ts";

/** Advisories are what a product may show to anybody; its releases stay behind the pair. */
const publicPath = /^(?:advisories\.atom|osv\.json|osv\/.+|csaf\/.+)$/;

async function answerFeed(call: Call, wanted: { readonly product: string; readonly path: string }): Promise<void> {
  const { context } = call;
  const place = feedPlace(call, wanted.product);
  const isOpen = place.isPublic && publicPath.test(wanted.path);
  const principal = isOpen ? undefined : await requireCaller(context, "customer", call);
  if (!isOpen && (principal === undefined || !mayRead(principal, wanted.product))) throw absent();
  const product = await findProduct(context.store, wanted.product);
  if (product === undefined) throw absent();
  const seen = principal === undefined ? undefined : await versionsSeenBy(call, principal, wanted.product);
  const maySee = ({ version }: Release): boolean => seen?.has(version) === true;
  const file = await readFeedFile(context.store, { product, path: wanted.path, place, repositoryKey: context.repositoryKey, maySee });
  if (file === undefined) throw absent();
  const bytes = Buffer.from(file.text);
  await sendBody({
    context,
    reply: call.reply,
    body: {
      digest: digestFromHex(createHash("sha256").update(bytes).digest("hex")),
      size: bytes.length,
      modifiedAt: file.modifiedAt,
      mediaType: file.mediaType,
      isImmutable: false,
      isPublic: isOpen,
      bytes,
    },
  });
}

export const feedRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/feed/:product/*",
    access: "open",
    tag: "feeds",
    summary:
      "Feeds: releases.atom, advisories.atom, osv.json, osv/<id>.json, csaf/provider-metadata.json and the documents that csaf/index.txt lists. " +
      "They ask for an access pair, but for the advisories of products in the setting public-advisories",
    params: z.object({ product: z.string().max(64), "*": z.string().max(300) }),
    success: { status: 200, media: "application/json", text: "The feed; 304 where the caller has it already" },
    run: async (call) => answerFeed(call, { product: call.params.product, path: call.params["*"] }),
  }),
];
