/** Discards a draft on the server. */
import type { z } from "zod";
import { releaseSummarySchema } from "../server/wire.ts";
import type { ApiClient } from "./api-client.ts";

/** The draft as it was. Not repeated: after a lost answer a second try would say `not_found`. Throws `immutable` for what was ever published. */
export function discardRelease(api: ApiClient, product: string, version: string): Promise<z.output<typeof releaseSummarySchema>> {
  return api.call({ method: "DELETE", path: ["products", product, "releases", version], schema: releaseSummarySchema, isRepeatable: false });
}
