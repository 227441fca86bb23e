/** The JSON of what the server thinks of access pairs, as schemas (see wire.ts). */
import { z } from "zod";

export const suspicionSchema = z.object({
  keyId: z.string(),
  score: z.int().min(0).max(100),
  level: z.enum(["none", "suspicious", "throttled", "suspendable"]),
  reasons: z.array(z.object({ signal: z.string(), points: z.number(), text: z.string() })).describe("of the last 24 hours, weightiest first"),
  scoredAt: z.string().nullable(),
  isExempt: z.boolean().describe("scored, and nothing follows"),
  suspendedAt: z.string().nullable(),
  suspendedFor: z.string().nullable(),
});
export type WireSuspicion = z.output<typeof suspicionSchema>;
