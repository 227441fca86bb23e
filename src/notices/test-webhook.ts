/** A call of one webhook right now, for whoever sets it up: the failure is thrown instead of tried again. */
import { callWebhook } from "../io/webhook.ts";
import { SlipwayError } from "../model/errors.ts";
import { newId } from "../store/id.ts";
import type { Store } from "../store/store.ts";
import type { Transports } from "./deliver.ts";
import { openWebhook } from "./webhooks.ts";

/** The status of the 2xx answer. Throws `not_found`, and what callWebhook throws. */
export async function testWebhook(store: Store, id: string, transports: Pick<Transports, "kek" | "trustedHosts" | "resolve">): Promise<number> {
  const webhook = await openWebhook(store, id, transports.kek);
  if (webhook === undefined) throw new SlipwayError("not_found", `there is no webhook "${id.slice(0, 40)}"`, { hint: "`slipway webhook list` shows all" });
  const now = store.clock.now();
  const body = JSON.stringify({ type: "test", timestamp: now.toISOString(), data: { subject: "A test message", text: "The webhook works." } });
  return callWebhook({
    ...webhook,
    id: `test-${newId(now)}`,
    now,
    body,
    trustedHosts: transports.trustedHosts,
    ...(transports.resolve === undefined ? {} : { resolve: transports.resolve }),
  });
}
