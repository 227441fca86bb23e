/** The JSON that the server's API speaks, as schemas: routes validate with them, the OpenAPI document shows them, the command line reads with them. */
import { z } from "zod";
import { type Digest, isDigest } from "../model/digest.ts";

export const digestSchema = z
  .string()
  .regex(/^sha256:[0-9a-f]{64}$/)
  .refine((text): text is Digest => isDigest(text))
  .describe("sha256:<64 hex digits>");

/** Milliseconds would be ambiguous in JSON: instants are RFC 3339 in UTC. */
const instant = z.string().describe("RFC 3339, UTC");
const sizeBytes = z.int().nonnegative().describe("bytes");

export const productSchema = z.object({
  name: z.string(),
  keep: z.int().describe("newest stable releases that retention keeps"),
  createdAt: instant,
});

export const releaseKeysSchema = z.strictObject({
  openpgp: z
    .string()
    .max(1024 * 1024)
    .optional()
    .describe("armored public keys"),
  minisign: z.string().max(4096).optional().describe("a minisign public key file"),
  apk: z
    .string()
    .max(16 * 1024)
    .optional()
    .describe("PEM of the RSA public key that signs apks"),
});

export const artifactSchema = z.object({
  name: z.string(),
  kind: z.enum(["deb", "rpm", "apk", "file"]),
  digest: digestSchema,
  size: sizeBytes,
});

export const releaseSummarySchema = z.object({
  product: z.string(),
  version: z.string(),
  channel: z.string().describe("where it was published first"),
  channels: z
    .array(
      z.object({
        name: z.string(),
        promotedAt: instant,
        percent: z.number().describe("of the customers, who see it"),
        machines: z.number().describe("percent of their machines that updaters offer it to"),
        bypass: z.boolean(),
      }),
    )
    .describe("every channel that it is in"),
  state: z.enum(["draft", "published", "withdrawn", "retired"]),
  stage: z.enum(["announced", "unlisted"]).nullable().describe("where retention stands with it"),
  sequence: z.int().nullable(),
  createdAt: instant,
  publishedAt: instant.nullable(),
  endedAt: instant.nullable().describe("when it was withdrawn or retired"),
  replacement: z.string().nullable().describe("the version that a customer is led to once this one is gone"),
  reason: z.string().nullable().describe("why it was withdrawn; customers read it"),
});

export const releaseSchema = releaseSummarySchema.extend({ artifacts: z.array(artifactSchema) });

export const attachedSchema = z.object({ outcome: z.enum(["attached", "replaced", "unchanged"]), kind: z.enum(["deb", "rpm", "apk", "file"]) });

export const uploadSchema = z.object({
  state: z.enum(["absent", "partial", "live"]),
  offset: sizeBytes.describe("bytes that the server holds"),
});

export const customerSchema = z.object({ name: z.string(), createdAt: instant });

export const accessKeySchema = z.object({
  id: z.string(),
  customer: z.string(),
  products: z.array(z.string()),
  allowedFrom: z.array(z.string()).nullable().describe("networks that it may be used from; null: anywhere"),
  createdAt: instant,
  expiresAt: instant.nullable(),
  revokedAt: instant.nullable(),
  secrets: z
    .array(z.object({ createdAt: instant, retiresAt: instant.nullable() }))
    .describe("newest first; while two live, the older one says when it retires"),
});

export const accessPairSchema = z.object({
  id: z.string().describe("user name for Basic authentication"),
  secret: z.string().describe("password; shown this once"),
  address: z.string().describe("where the customer's tools find the server"),
  apkKey: z.object({ keyFile: z.string(), publicText: z.string() }).describe("what signs APK indexes: name in /etc/apk/keys, and PEM"),
  previousRetiresAt: instant.optional().describe("after a rotation: until then the secret before works too"),
});

export const auditEventSchema = z.object({
  id: z.string(),
  at: instant,
  actor: z.object({ kind: z.string(), id: z.string().nullable(), name: z.string().nullable() }),
  customer: z.string().nullable(),
  keyId: z.string().nullable(),
  action: z.string(),
  product: z.string().nullable(),
  version: z.string().nullable(),
  artifact: z.string().nullable(),
  path: z.string().nullable(),
  protocol: z.string().nullable(),
  address: z.string().nullable(),
  client: z.string().nullable(),
  status: z.int().nullable(),
  bytes: z.int().nullable(),
  result: z.string(),
  detail: z.string().nullable(),
  link: z
    .object({ seq: z.int(), hash: z.string() })
    .nullable()
    .describe("of administrative events: the link in their chain; SHA-256 over the hash before it, its number and the event"),
});

export const chainCheckSchema = z.object({
  state: z.enum(["whole", "broken"]),
  links: z.int().describe("links found whole, from the first one on"),
  head: z.string().describe("hash of the newest whole link; note it elsewhere"),
  fault: z.string().nullable().describe("what is wrong with the next one"),
});

export const usageSchema = z.object({
  usage: z.array(
    z.object({
      customer: z.string(),
      product: z.string(),
      version: z.string(),
      protocol: z.string(),
      pulls: z.int(),
      bytes: sizeBytes,
      addresses: z.int().describe("most different addresses on one day"),
      lastAt: instant,
    }),
  ),
});

export const auditPageSchema = z.object({
  events: z.array(auditEventSchema),
  /** Give it back as `after` for what came later. */
  next: z.string().nullable(),
});

export const releaseIndexSchema = z.object({
  schema: z.literal(1),
  product: z.string(),
  channels: z.record(z.string(), z.string()).describe("the newest version of each channel"),
  releases: z.array(
    z.object({
      version: z.string(),
      channel: z.string().describe("the most stable channel that it is in"),
      channels: z.array(z.string()),
      sequence: z.int(),
      publishedAt: instant,
      state: z.literal("published"),
      retiresAt: instant.optional().describe("announced: from about then on it is listed no more"),
      rollouts: z
        .record(z.string(), z.object({ salt: z.string(), percent: z.number(), halted: z.literal(true).optional() }))
        .optional()
        .describe("by channel, where updaters are to wait on some machines; package managers do not read it"),
    }),
  ),
  supported: z.array(z.string()).describe("the stable versions that are supported, newest first"),
  retired: z
    .array(
      z.object({
        version: z.string(),
        state: z.enum(["withdrawn", "retired"]).describe("withdrawn: the vendor took it back; retired: it left by retention"),
        replacement: z.string().optional().describe("the version to take instead"),
        reason: z.string().optional(),
        waypoint: z.literal(true).optional().describe("upgrades had to pass through it"),
      }),
    )
    .describe("the versions that are gone"),
});

export const errorSchema = z.object({
  error: z.object({
    code: z.string(),
    message: z.string(),
    hint: z.string(),
    detail: z.string().optional(),
    place: z.string().optional(),
    retryable: z.boolean(),
    requestId: z.string().optional(),
  }),
});

export type WireRelease = z.infer<typeof releaseSchema>;
export type WireAuditEvent = z.infer<typeof auditEventSchema>;
