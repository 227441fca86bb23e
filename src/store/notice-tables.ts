/** The tables of advisories, notices and their deliveries; part of the schema in schema.ts. */
import type { Version } from "../model/version.ts";

/** One advisory: the checked file as the vendor wrote it, and what queries ask for. */
export type AdvisoryTable = {
  /** The vendor's id, `ACME-2026-001`: one for all products of this server. */
  id: string;
  product_id: string;
  state: "published" | "withdrawn";
  severity: "critical" | "high" | "medium" | "low";
  fixed_in: Version;
  /** JSON: advisoryFileSchema (src/releases/advisory-file.ts). */
  document: string;
  /** JSON: every publication of it, oldest first: number, instant, what changed. */
  revisions: string;
  published_at: number;
  updated_at: number;
};

/** Something that somebody is to be told. Without a customer it is for the vendor alone; webhooks get both. */
export type NoticeTable = {
  id: string;
  /** One of noticeKinds (outbox.ts). */
  kind: string;
  product: string | null;
  version: string | null;
  customer_id: string | null;
  /** Not told before. */
  due_at: number;
  subject: string;
  text: string;
  /** The same thing is told once, however often it is found. */
  dedupe_key: string;
  created_at: number;
  /** When it was made into deliveries, or found to have nobody to go to. */
  planned_at: number | null;
};

/** One message on its way to one address. */
export type DeliveryTable = {
  /** Goes out with the message: a receiver that knows it has had this message already. */
  id: string;
  transport: "mail" | "webhook";
  /** A mail's address, or the id of a webhook. */
  target: string;
  customer_id: string | null;
  /** JSON: what is sent; its form is the transport's. */
  payload: string;
  state: "pending" | "sent" | "dead";
  attempts: number;
  next_at: number;
  /** Set while one sender has it; after this instant another may take it. */
  leased_until: number | null;
  /** Which claim it is: an answer that comes after the lease ended changes nothing. */
  lease: string | null;
  last_error: string | null;
  created_at: number;
  ended_at: number | null;
};

/** Which notices a delivery carries: a mail may carry several. */
export type DeliveryNoticeTable = {
  delivery_id: string;
  notice_id: string;
};

export type WebhookTable = {
  id: string;
  url: string;
  /** JSON: list of notice kinds, empty for all. */
  kinds: string;
  /** AES-256-GCM envelope of the signing secret. */
  sealed_secret: string;
  created_at: number;
};

/** Where a customer is told things. */
export type CustomerContactTable = {
  customer_id: string;
  mail: string;
  /** In the link that ends mails without a login; 256 random bits, base64url. */
  unsubscribe_token: string;
  created_at: number;
};

/** A kind of notice that a customer does not want by mail. */
export type UnsubscriptionTable = {
  customer_id: string;
  kind: string;
  created_at: number;
};
