/** Delivers what waits: due notices become messages, and each message is sent, tried again later, or given up. */
import type { MailSender } from "../io/mail.ts";
import type { ResolveName } from "../io/public-internet.ts";
import { callWebhook } from "../io/webhook.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import type { KeyEncryptionKey } from "../store/key-encryption-key.ts";
import { claimDelivery, type Delivery, type DeliveryEnd, endDelivery } from "../store/outbox.ts";
import type { Store } from "../store/store.ts";
import { applyDeliveryPlan, mailPayloadSchema, type NoticeSender, planDeliveries } from "./plan-deliveries.ts";
import { openWebhook } from "./webhooks.ts";

export type Transports = {
  /** Undefined where no mail server is set: waiting mails go on waiting. */
  readonly mail: { readonly sender: MailSender; readonly from: string } | undefined;
  readonly trustedHosts: readonly string[];
  readonly kek: KeyEncryptionKey;
  readonly resolve?: ResolveName;
};

/** With the delays below the last try comes about a day and a half after the first. */
export const attemptLimit = 12;
const firstDelayMs = 30_000;
const longestDelayMs = 6 * 3_600_000;
/** Messages in one round, so that a stop is not kept waiting. */
const roundLimit = 200;

export type DeliveryRound = { readonly planned: number; readonly sent: number; readonly failed: number };

/** One round. Several servers may run it at once: each message is one sender's at a time. `isStopping` ends it between two messages. */
export async function deliverDue(
  store: Store,
  input: { readonly sender: NoticeSender; readonly transports: Transports; readonly isStopping?: () => boolean },
): Promise<DeliveryRound> {
  const plan = await planDeliveries(store, input.sender);
  const isPlanned = await applyDeliveryPlan(store, plan);
  let [sent, failed] = [0, 0];
  for (let count = 0; count < roundLimit && input.isStopping?.() !== true; count += 1) {
    const claimed = await claimDelivery(store.db, store);
    if (claimed === undefined) break;
    const end = await attempt(store, claimed, input.transports);
    await endDelivery(store.db, store, claimed, end);
    if (end.kind === "sent") sent += 1;
    else failed += 1;
  }
  return { planned: isPlanned ? plan.deliveries.length : 0, sent, failed };
}

async function attempt(store: Store, delivery: Delivery, transports: Transports): Promise<DeliveryEnd> {
  try {
    if (delivery.transport === "mail") await sendMail(delivery, transports);
    else await sendWebhook(store, delivery, transports);
    return { kind: "sent" };
  } catch (thrown) {
    const error = asSlipwayError(thrown);
    // `gone`: the receiver will never take it. Everything else may be a fault of the moment, a wrong setting included.
    if (error.code === "gone" || delivery.attempts >= attemptLimit) return { kind: "dead", error: error.message };
    return { kind: "retry", at: new Date(store.clock.now().getTime() + delayMs(delivery.attempts)), error: error.message };
  }
}

/** Doubling, with a fifth of chance in it, so that a receiver that comes back is not met by all at once. */
export function delayMs(attempts: number, chance: number = Math.random()): number {
  return Math.round(Math.min(longestDelayMs, firstDelayMs * 2 ** (attempts - 1)) * (0.9 + chance / 5));
}

async function sendMail(delivery: Delivery, { mail }: Transports): Promise<void> {
  if (mail === undefined) throw new SlipwayError("unavailable", "no mail server is set");
  const payload = mailPayloadSchema.parse(JSON.parse(delivery.payload));
  const domain = mail.from.slice(mail.from.lastIndexOf("@") + 1);
  await mail.sender.send({ ...payload, from: mail.from, to: delivery.target, messageId: `<${delivery.id}@${domain}>` });
}

async function sendWebhook(store: Store, delivery: Delivery, transports: Transports): Promise<void> {
  const webhook = await openWebhook(store, delivery.target, transports.kek);
  if (webhook === undefined) throw new SlipwayError("gone", "the webhook was removed");
  await callWebhook({
    ...webhook,
    id: delivery.id,
    now: store.clock.now(),
    body: delivery.payload,
    trustedHosts: transports.trustedHosts,
    ...(transports.resolve === undefined ? {} : { resolve: transports.resolve }),
  });
}
