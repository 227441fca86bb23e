/** A release in the API's JSON. */
import { z } from "zod";
import type { Release } from "../releases/releases.ts";
import { productParams } from "./product-routes.ts";
import type { releaseSummarySchema } from "./wire.ts";

export const releaseParams = productParams.extend({ version: z.string().max(130) });

export function summaryJson(release: Release): z.output<typeof releaseSummarySchema> {
  return {
    product: release.product,
    version: release.version,
    channel: release.channel,
    channels: release.channels.map(({ channel, promotedAt, share, isBypass, machines }) => ({
      name: channel,
      promotedAt: promotedAt.toISOString(),
      percent: share / 100,
      machines: machines / 100,
      bypass: isBypass,
    })),
    state: release.state,
    stage: release.stage ?? null,
    sequence: release.sequence ?? null,
    createdAt: release.createdAt.toISOString(),
    publishedAt: release.publishedAt?.toISOString() ?? null,
    endedAt: release.endedAt?.toISOString() ?? null,
    replacement: release.replacement ?? null,
    reason: release.reason ?? null,
  };
}
