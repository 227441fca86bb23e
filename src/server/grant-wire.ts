/** The JSON of grants and channels, as schemas (see wire.ts). */
import { z } from "zod";
import { grantFormats, lapseModes } from "../model/grant.ts";

const instant = z.string().describe("RFC 3339, UTC");

export const grantSchema = z.object({
  customer: z.string(),
  product: z.string(),
  channel: z.string().nullable().describe("the least stable channel that is read; null: all"),
  formats: z.array(z.enum(grantFormats)).nullable().describe("null: all"),
  versions: z.string().nullable().describe("a range of SemVer; null: all"),
  entitledUntil: instant.nullable(),
  lapse: z.enum(lapseModes).describe("after the end: keep what was published before it, or cut everything off"),
  pin: z.object({ version: z.string(), until: instant.nullable() }).nullable().describe("nothing newer is listed"),
  createdAt: instant,
  changedAt: instant,
});

/** What is given changes, null lifts a limit, what is absent stays. */
export const grantChangeSchema = z.strictObject({
  channel: z.string().max(64).nullable().optional(),
  formats: z.array(z.enum(grantFormats)).min(1).max(10).nullable().optional(),
  versions: z.string().max(200).nullable().optional(),
  entitledUntil: z.iso.datetime().nullable().optional(),
  lapse: z.enum(lapseModes).optional(),
  pin: z
    .strictObject({
      version: z.string().max(130).describe("of a published release"),
      until: z.iso.datetime().optional(),
      allowFuture: z.boolean().optional().describe("it need not be published yet"),
    })
    .nullable()
    .optional(),
});

export const channelSchema = z.object({
  name: z.string(),
  rank: z.int().describe("higher is more stable"),
  versions: z.array(z.string()).describe("listed in it, newest first"),
});

export type WireGrant = z.infer<typeof grantSchema>;
