/** The page behind the link in every mail: which kinds of notices a customer gets. */
import { noticeKindRows } from "../notices/plan-deliveries.ts";
import type { FeedPlace } from "../repositories/advisory.ts";
import type { NoticeKind } from "../store/outbox.ts";
import { html, type Page, table } from "./page.ts";

/** Kinds that only the vendor gets have no row. */
const customerKinds: readonly NoticeKind[] = ["advisory", "retirement", "withdrawal", "key-expiry"];

export function subscriptionPage(input: {
  readonly place: Pick<FeedPlace, "vendor">;
  readonly customer: { readonly name: string; readonly unsubscribed: readonly NoticeKind[] };
}): Page {
  const { place, customer } = input;
  const rows = noticeKindRows
    .filter(({ kind }) => customerKinds.includes(kind))
    .map(({ kind, text }) => {
      const isEnded = customer.unsubscribed.includes(kind);
      return [
        text,
        isEnded ? html`<span class="tag warn">no mail</span>` : html`<span class="tag good">mail</span>`,
        html`<form method="post"><input type="hidden" name="kind" value="${kind}"><input type="hidden" name="wanted" value="${isEnded ? "yes" : "no"}">
<button>${isEnded ? "Send them again" : "End these mails"}</button></form>`,
      ];
    });
  return {
    title: `Notices from ${place.vendor}`,
    heading: html`<h1>Notices from ${place.vendor}</h1><p class="soft">for the contact of ${customer.name}</p>`,
    body: html`<section class="card">${table(["Mail is sent when", "Now", ""], rows)}</section>`,
    footer: html`What you do not get by mail still stands on the portal.`,
  };
}
