/** Webhooks: the vendor's own endpoints that are told of notices, each with a secret that its messages are signed with. */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { parseNewWebhookUrl, webhookSecretPrefix } from "../io/webhook.ts";
import { SlipwayError } from "../model/errors.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import { newId } from "../store/id.ts";
import { type KeyEncryptionKey, seal, unseal } from "../store/key-encryption-key.ts";
import type { WebhookTable } from "../store/notice-tables.ts";
import { isNoticeKind, type NoticeKind } from "../store/outbox.ts";
import type { Store } from "../store/store.ts";

export type Webhook = {
  readonly id: string;
  readonly url: string;
  /** Empty for all. */
  readonly kinds: readonly NoticeKind[];
  readonly createdAt: Date;
};

/** More would be a mistake, and each costs a call for every notice. */
const webhookLimit = 100;

const kindsSchema = z.array(z.string());

function secretContext(id: string): string {
  return `webhook:${id}`;
}

export function webhookOf(row: WebhookTable): Webhook {
  return { id: row.id, url: row.url, kinds: kindsSchema.parse(JSON.parse(row.kinds)).filter(isNoticeKind), createdAt: new Date(row.created_at) };
}

/** The secret is in the result and nowhere else in clear. Throws `usage` for an address that is never called, `conflict` above the limit. */
export async function addWebhook(
  store: Store,
  input: {
    readonly url: string;
    readonly kinds: readonly NoticeKind[];
    readonly trustedHosts: readonly string[];
    readonly kek: KeyEncryptionKey;
    readonly actor: AuditActor;
  },
): Promise<Webhook & { readonly secret: string }> {
  const url = parseNewWebhookUrl(input.url, input.trustedHosts).href;
  if ((await listWebhooks(store)).length >= webhookLimit) throw new SlipwayError("conflict", `there are ${webhookLimit} webhooks already`);
  const now = store.clock.now();
  const id = newId(now);
  const secret = webhookSecretPrefix + randomBytes(32).toString("base64");
  const row: WebhookTable = {
    id,
    url,
    kinds: JSON.stringify([...new Set(input.kinds)]),
    sealed_secret: seal(input.kek, secret, secretContext(id)),
    created_at: now.getTime(),
  };
  await store.db.transaction().execute(async (transaction) => {
    await transaction.insertInto("webhooks").values(row).execute();
    await appendAuditEvent(transaction, store, { actor: input.actor, action: "webhook.add", result: "complete", detail: `${id} ${new URL(url).host}` });
  });
  return { ...webhookOf(row), secret };
}

/** Oldest first. */
export async function listWebhooks(store: Store): Promise<readonly Webhook[]> {
  return (await store.db.selectFrom("webhooks").selectAll().orderBy("id").execute()).map(webhookOf);
}

/** Its messages that still wait are given up. Throws `not_found`. */
export async function removeWebhook(store: Store, input: { readonly id: string; readonly actor: AuditActor }): Promise<void> {
  await store.db.transaction().execute(async (transaction) => {
    const row = await transaction.deleteFrom("webhooks").where("id", "=", input.id).returning("url").executeTakeFirst();
    if (row === undefined) throw new SlipwayError("not_found", `there is no webhook "${input.id.slice(0, 40)}"`, { hint: "`slipway webhook list` shows all" });
    await transaction
      .updateTable("deliveries")
      .set({ state: "dead", last_error: "the webhook was removed", ended_at: store.clock.now().getTime() })
      .where("target", "=", input.id)
      .where("state", "=", "pending")
      .execute();
    await appendAuditEvent(transaction, store, {
      actor: input.actor,
      action: "webhook.remove",
      result: "complete",
      detail: `${input.id} ${new URL(row.url).host}`,
    });
  });
}

/** Where and with what to call; undefined where it was removed in between. Throws `key_locked`. */
export async function openWebhook(store: Store, id: string, kek: KeyEncryptionKey): Promise<{ readonly url: string; readonly secret: string } | undefined> {
  const row = await store.db.selectFrom("webhooks").selectAll().where("id", "=", id).executeTakeFirst();
  return row === undefined ? undefined : { url: row.url, secret: unseal(kek, row.sealed_secret, secretContext(id)) };
}
