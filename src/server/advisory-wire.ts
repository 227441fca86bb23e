/** Advisories, webhooks and notices in the API's JSON, as schemas: routes validate with them, the command line reads with them. */
import { z } from "zod";
import { severities } from "../repositories/advisory.ts";
import { noticeKinds } from "../store/outbox.ts";

const instant = z.string().describe("RFC 3339, UTC");

export const noticeKindSchema = z.enum(Object.keys(noticeKinds) as [keyof typeof noticeKinds]);

export const advisorySchema = z.object({
  id: z.string(),
  product: z.string(),
  state: z.enum(["published", "withdrawn"]),
  title: z.string(),
  severity: z.enum(severities),
  cves: z.array(z.string()),
  affected: z.string().describe("the range as written"),
  affectedVersions: z.array(z.string()).describe("of the versions that were ever published, oldest first"),
  fixedIn: z.string(),
  text: z.string(),
  workaround: z.string().nullable(),
  references: z.array(z.string()),
  credits: z.array(z.string()),
  publishedAt: instant,
  updatedAt: instant,
  revisions: z.array(z.object({ number: z.int(), at: instant, summary: z.string() })),
});

export const advisoryPublicationSchema = z.object({
  advisory: advisorySchema,
  outcome: z.enum(["published", "revised", "unchanged"]),
  told: z.array(z.string()).describe("customers that run an affected version and get a notice"),
});

export const affectedCustomerSchema = z.object({
  customer: z.string(),
  versions: z.array(z.string()).describe("affected versions that it pulled"),
  lastPullAt: instant,
  hasFix: z.boolean().describe("it pulled the fix or something newer since"),
});

export const contactSchema = z.object({
  customer: z.string(),
  mail: z.string().nullable(),
  unsubscribed: z.array(z.string()).describe("kinds of notices that it does not want by mail"),
});

export const webhookSchema = z.object({
  id: z.string(),
  url: z.string(),
  events: z.array(z.string()).describe("kinds of notices; empty for all"),
  createdAt: instant,
});

export const deliverySchema = z.object({
  id: z.string(),
  transport: z.enum(["mail", "webhook"]),
  target: z.string(),
  state: z.enum(["pending", "sent", "dead"]),
  attempts: z.int(),
  lastError: z.string().nullable(),
  createdAt: instant,
  nextAt: instant.nullable().describe("when it is tried next"),
  endedAt: instant.nullable(),
  notices: z.array(z.string()).describe("subjects of what it carries"),
});

export const noticeSchema = z.object({
  id: z.string(),
  kind: z.string(),
  product: z.string().nullable(),
  version: z.string().nullable(),
  customer: z.string().nullable().describe("null: for the vendor"),
  subject: z.string(),
  text: z.string(),
  dueAt: instant,
  createdAt: instant,
  plannedAt: instant.nullable().describe("when it was handed to its deliveries"),
});

export const plannedDeliverySchema = z.object({
  transport: z.enum(["mail", "webhook"]),
  target: z.string(),
  customer: z.string().nullable().describe("whom it is about; null for what concerns the vendor"),
  subject: z.string(),
  notices: z.int(),
});

export const setupTextSchema = z.object({
  customer: z.string(),
  product: z.string(),
  ask: z.string().describe("a line of its own: the shell asks for the secret"),
  blocks: z.array(z.object({ client: z.string(), title: z.string(), text: z.string() })),
});

export type WireAdvisory = z.infer<typeof advisorySchema>;
