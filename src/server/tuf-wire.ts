/** TUF over the vendor's API: signed metadata goes as text, so that its bytes stay what was signed. */
import { z } from "zod";
import { tufRepositories } from "../repositories/tuf.ts";
import { trustedRootSizeLimit } from "../trust/sigstore-policy.ts";
import { tufLimits } from "../trust/tuf-metadata.ts";

const text = (limit: number): z.ZodString => z.string().min(2).max(limit);

/** A channel's role as it was signed. */
export const tufTextSchema = text(tufLimits.targets);

export const signedTufSchema = z.strictObject({
  roots: z.strictObject({ online: text(tufLimits.root).optional(), offline: text(tufLimits.root).optional() }).optional(),
  targets: tufTextSchema.optional(),
  channels: z.record(z.string().max(64), tufTextSchema).optional(),
  sigstoreRoot: text(trustedRootSizeLimit).optional().describe("the trusted_root.json that targets lists"),
});

const keySchema = z.object({ keyId: z.string(), json: z.looseObject({ keytype: z.string(), scheme: z.string(), keyval: z.record(z.string(), z.string()) }) });

/** The newest of everything, and the server's newest key for each repository. */
export const tufStateSchema = z.object({
  product: z.string(),
  serverKeys: z.object({ online: keySchema, offline: keySchema }).nullable().describe("the keys that the next root must name"),
  files: z.array(
    z.object({
      repository: z.enum([...tufRepositories, "both"]),
      role: z.string(),
      version: z.int(),
      expires: z.string(),
      content: z.string().describe("the signed file"),
    }),
  ),
});

export type WireTufState = z.output<typeof tufStateSchema>;
