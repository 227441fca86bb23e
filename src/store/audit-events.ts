/**
 * Audit events as rows: append-only, names copied in, so that they outlive what they name.
 *
 * Downloads come through access/audit-trail.ts in groups; an administrative change writes its event in its own transaction, so that
 * there is never the one without the other.
 */
import type { Kysely } from "kysely";
import { appendToChain } from "./audit-chain.ts";
import type { AuditEventTable } from "./audit-tables.ts";
import { newId } from "./id.ts";
import type { Database } from "./schema.ts";

export const auditActions = [
  "download",
  "login-failed",
  "installation.check-in",
  "product.create",
  "release-keys.set",
  "release.draft",
  "release.discard",
  "artifact.attach",
  "release.publish",
  "release.withdraw",
  "release.retire",
  "image.push",
  "image.delete",
  "customer.add",
  "key.issue",
  "key.rotate",
  "key.revoke",
  "key.restrict",
  "grant.set",
  "grant.remove",
  "channel.rank",
  "release.promote",
  "release.demote",
  "release.rollout",
  "retention.policy",
  "release.announce",
  "release.unlist",
  "advisory.publish",
  "advisory.withdraw",
  "webhook.add",
  "webhook.remove",
  "tuf.keys",
  "tuf.accept",
  "customer.contact",
  "notice.unsubscribe",
  "token.issue",
  "token.revoke",
  "repository-key.rotate",
  "repository-key.finish",
  "repository-key.revoke",
  "key.suspect",
  "key.suspend",
  "key.resume",
  "key.exempt",
] as const;
export type AuditAction = (typeof auditActions)[number];

export const auditResults = ["complete", "aborted", "denied", "gone"] as const;
export type AuditResult = (typeof auditResults)[number];

export type AuditActor = { readonly kind: "customer" | "admin" | "server" | "stranger"; readonly id?: string; readonly name?: string };

export type AuditEvent = {
  readonly actor: AuditActor;
  readonly action: AuditAction;
  readonly result: AuditResult;
  readonly customer?: string | undefined;
  readonly keyId?: string | undefined;
  readonly product?: string | undefined;
  readonly version?: string | undefined;
  readonly artifact?: string | undefined;
  readonly path?: string | undefined;
  /** `files`, `apt`, `yum`, `oci`, `s3`, `ecr`, `sts`, `api`. */
  readonly protocol?: string | undefined;
  readonly address?: string | undefined;
  /** The user agent, which clients choose: cut to 256 characters. */
  readonly client?: string | undefined;
  readonly status?: number | undefined;
  /** Bytes sent. */
  readonly bytes?: number | undefined;
  readonly detail?: string | undefined;
};

const textLimit = 256;
const pathLimit = 1024;

/** Most texts are plain ASCII: looking costs a tenth of cleaning. */
const plainText = /^[\x20-\x7e]*$/;

/** Text from outside must not be able to fail the insert of a whole group: PostgreSQL takes neither NUL nor half a surrogate pair. */
function cleanText(text: string | undefined, limit: number): string | null {
  if (text === undefined) return null;
  const cut = text.length > limit ? text.slice(0, limit) : text;
  return plainText.test(cut) ? cut : cut.toWellFormed().replaceAll(/\p{Cc}/gu, " ");
}

/** The event as a row, with its id; texts are cut and cleaned. */
export function auditRow(event: AuditEvent, now: Date): AuditEventTable {
  return {
    id: newId(now),
    at: now.getTime(),
    actor_kind: event.actor.kind,
    actor_id: cleanText(event.actor.id, textLimit),
    actor_name: cleanText(event.actor.name, textLimit),
    customer: cleanText(event.customer, textLimit),
    key_id: cleanText(event.keyId, textLimit),
    action: event.action,
    product: cleanText(event.product, textLimit),
    version: cleanText(event.version, textLimit),
    artifact: cleanText(event.artifact, textLimit),
    path: cleanText(event.path, pathLimit),
    protocol: cleanText(event.protocol, textLimit),
    address: cleanText(event.address, textLimit),
    client: cleanText(event.client, textLimit),
    status: event.status ?? null,
    bytes: event.bytes ?? null,
    result: event.result,
    detail: cleanText(event.detail, pathLimit),
  };
}

/** One administrative event and its link in the chain, inside the transaction of the change that it records. */
export async function appendAuditEvent(
  transaction: Kysely<Database>,
  store: { readonly clock: { readonly now: () => Date } },
  event: AuditEvent,
): Promise<void> {
  const row = auditRow(event, store.clock.now());
  await transaction.insertInto("audit_events").values(row).execute();
  await appendToChain(transaction, row);
}
