/** What is told when a release comes or is taken back: both to the vendor's webhooks, and a withdrawal to each customer that fetched the version. */
import type { Transaction } from "kysely";
import type { Version } from "../model/version.ts";
import { enqueueNotice } from "../store/outbox.ts";
import type { Database } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { type Pull, pulledVersions } from "./advisory-customers.ts";

type Told = { readonly product: string; readonly version: Version; readonly channel: string };

/** In the transaction of the publication. Customers follow releases by feed: a mail for each would teach them to read none. */
export async function noticeRelease(transaction: Transaction<Database>, store: Store, { product, version, channel }: Told): Promise<void> {
  await enqueueNotice(transaction, store, {
    kind: "release",
    product,
    version,
    subject: `${product} ${version} is published`,
    text: `${product} ${version} is published on the channel ${channel}.`,
    dedupeKey: `release ${product} ${version}`,
  });
}

/** Customers that ever fetched the version; ask before the transaction. */
export async function pullersOf(store: Store, product: string, version: Version): Promise<readonly Pull[]> {
  return (await pulledVersions(store, product)).filter((pull) => pull.version === version);
}

/** In the transaction of the withdrawal. */
export async function noticeWithdrawal(
  transaction: Transaction<Database>,
  store: Store,
  told: {
    readonly product: string;
    readonly version: Version;
    readonly reason: string | undefined;
    readonly replacement: Version | undefined;
    readonly pullers: readonly Pull[];
  },
): Promise<void> {
  const { product, version, reason, replacement } = told;
  const lines = [
    `${product} ${version} was withdrawn by its vendor${reason === undefined ? "." : `: ${reason}`}`,
    "It is in no repository any more and can no longer be fetched.",
    ...(replacement === undefined ? [] : [`Take ${product} ${replacement} instead.`]),
  ];
  const notice = { kind: "withdrawal", product, version, subject: `${product} ${version} was withdrawn`, text: lines.join("\n") } as const;
  for (const customerId of [undefined, ...told.pullers.map((pull) => pull.id)]) {
    await enqueueNotice(transaction, store, { ...notice, customerId, dedupeKey: `withdrawal ${product} ${version} ${customerId ?? ""}` });
  }
}
