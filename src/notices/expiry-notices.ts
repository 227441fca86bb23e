/** Notices of what ends soon: access pairs to their customers, keys that sign releases to the vendor; 30, 7 and 1 day before. */
import { listProducts, readReleaseKeys } from "../releases/products.ts";
import type { RepositoryKey } from "../releases/repository-key.ts";
import { enqueueNotice } from "../store/outbox.ts";
import type { Store } from "../store/store.ts";
import { fingerprintOf, keyExpiry, readPublicKeys } from "../trust/openpgp.ts";

const warningDays = [1, 7, 30] as const;
const dayMs = 86_400_000;

/** The warning that is due: the shortest that reaches the end; undefined where it is farther away, or past. */
function warningFor(endsAt: Date, now: Date): number | undefined {
  const leftMs = endsAt.getTime() - now.getTime();
  return leftMs <= 0 ? undefined : warningDays.find((days) => leftMs <= days * dayMs);
}

const dayOf = (date: Date): string => date.toISOString().slice(0, 10);

/** Writes what is due and not written yet; returns how many. Call it every hour or so. */
export async function noticeExpiries(store: Store, repositoryKey: Pick<RepositoryKey, "publicText">): Promise<number> {
  return (await noticePairs(store)) + (await noticeSigningKeys(store, repositoryKey));
}

async function noticePairs(store: Store): Promise<number> {
  const now = store.clock.now();
  const ending = await store.db
    .selectFrom("access_keys")
    .innerJoin("customers", "customers.id", "access_keys.customer_id")
    .select(["access_keys.id", "access_keys.expires_at", "access_keys.customer_id", "customers.name"])
    .where("access_keys.revoked_at", "is", null)
    .where("access_keys.expires_at", ">", now.getTime())
    .where("access_keys.expires_at", "<=", now.getTime() + Math.max(...warningDays) * dayMs)
    .execute();
  let written = 0;
  for (const key of ending) {
    const endsAt = new Date(key.expires_at ?? 0);
    const days = warningFor(endsAt, now);
    if (days === undefined) continue;
    const isNew = await enqueueNotice(store.db, store, {
      kind: "key-expiry",
      customerId: key.customer_id,
      subject: `The access pair ${key.id} ends on ${dayOf(endsAt)}`,
      text: `The access pair ${key.id} of ${key.name} ends at ${endsAt.toISOString()}.\nFrom then on apt, dnf, apk, docker, aws and downloads are refused with it.\nAsk your vendor for a new pair before that day.`,
      dedupeKey: `key-expiry:${key.id}:${endsAt.getTime()}:${days}`,
    });
    if (isNew) written += 1;
  }
  return written;
}

async function noticeSigningKeys(store: Store, repositoryKey: Pick<RepositoryKey, "publicText">): Promise<number> {
  const keyrings = [{ product: undefined as string | undefined, name: "repository key of this server", text: repositoryKey.publicText }];
  for (const product of await listProducts(store)) {
    const { openpgp } = await readReleaseKeys(store, product.name);
    if (openpgp !== undefined) keyrings.push({ product: product.name, name: `release key of ${product.name}`, text: openpgp });
  }
  const now = store.clock.now();
  let written = 0;
  for (const { product, name, text } of keyrings) {
    for (const key of await readPublicKeys(Buffer.from(text))) {
      const [fingerprint, expiresAt] = [fingerprintOf(key), await keyExpiry(key)];
      const days = expiresAt === undefined ? undefined : warningFor(expiresAt, now);
      if (expiresAt === undefined || days === undefined) continue;
      const isNew = await enqueueNotice(store.db, store, {
        kind: "signing-key-expiry",
        product,
        subject: `The ${name} ends on ${dayOf(expiresAt)}`,
        text: `The ${name}, ${fingerprint}, ends at ${expiresAt.toISOString()}.\nFrom then on customers' package managers refuse what it signed.\nExtend it or bring in the next one, and publish it to customers, before that day.`,
        dedupeKey: `signing-key-expiry:${fingerprint}:${expiresAt.getTime()}:${days}`,
      });
      if (isNew) written += 1;
    }
  }
  return written;
}
