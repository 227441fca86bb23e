/** The JSON of the repository key's generations, as schemas (see wire.ts). */
import { z } from "zod";

export const keyGenerationSchema = z.object({
  generation: z.int(),
  state: z.enum(["current", "outgoing", "incoming", "retired"]).describe("outgoing and incoming sign side by side during an overlap"),
  fingerprint: z.string().describe("of the OpenPGP key, 40 hex digits"),
  apkKeyFile: z.string().describe("name in /etc/apk/keys"),
  createdAt: z.string(),
  retiredAt: z.string().nullable(),
  retiredFor: z.string().nullable().describe("rotated, or why it was revoked"),
});
export type WireKeyGeneration = z.output<typeof keyGenerationSchema>;

export const keyGenerationsSchema = z.object({ generations: z.array(keyGenerationSchema) });

export const rotatedKeySchema = keyGenerationsSchema.extend({ resigned: z.array(z.string()).describe("products whose indexes were signed anew") });
