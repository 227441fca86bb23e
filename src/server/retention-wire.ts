/** The JSON of retention, as schemas (see wire.ts). */
import { z } from "zod";

const instant = z.string().describe("RFC 3339, UTC");
const days = z.int().min(0).max(3650);
const leaving = z.object({ version: z.string(), files: z.int(), bytes: z.int().nonnegative(), replacement: z.string().nullable(), why: z.string() });

export const retentionPolicySchema = z.strictObject({
  keep: z.int().min(1).max(1000).describe("newest stable versions that stay, and as many previews"),
  announceDays: days.describe("from the announcement to leaving the indexes"),
  unlistDays: days.describe("from there to the answer 410"),
  graceDays: days.describe("that the bytes stay after that"),
  keepIfPulledDays: days.nullable().describe("a version that was pulled in so many days stays; null: pulls keep nothing"),
  automatic: z.boolean().describe("the server does what is due by itself"),
});

export const retentionPlanSchema = z.object({
  product: z.string(),
  keep: z.int(),
  basis: z.string().describe("names the state that the plan was made from; apply refuses another one"),
  keeps: z.array(z.string()).describe("versions that stay, newest first"),
  steps: z
    .array(leaving.extend({ step: z.enum(["announce", "unlist", "retire"]), dueAt: instant.nullable(), isDue: z.boolean() }))
    .describe("what comes next for each version that leaves, oldest first"),
  retires: z.array(leaving).describe("of these, what is retired now"),
  blocked: z
    .array(
      z.object({
        version: z.string(),
        blockedBy: z.array(z.object({ kind: z.enum(["pin", "waypoint", "path", "fix", "pulled"]), text: z.string() })),
      }),
    )
    .describe("versions that would leave if nothing kept them"),
  restores: z.array(z.string()).describe("versions that were leaving and stay after all"),
});

export type WireRetentionPlan = z.infer<typeof retentionPlanSchema>;
