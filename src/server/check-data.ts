/**
 * The check of a data folder: the database, every blob, the indexes' state, every sealed secret, the chain of the audit trail.
 *
 * It writes nothing to the database, and a server may go on working meanwhile. Parts are independent: where one cannot be looked at, that is
 * its fault, and the others are looked at all the same.
 */
import { checkAuditChain } from "../access/audit-chain-check.ts";
import { checkAccessSecrets } from "../access/sealed-secrets-check.ts";
import type { Digest } from "../model/digest.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { listWebhooks, openWebhook } from "../notices/webhooks.ts";
import { type BlobCheck, type BlobCheckOptions, type BlobFault, checkBlobs } from "../releases/check-blobs.ts";
import { listProducts } from "../releases/products.ts";
import { readRepositoryKey } from "../releases/repository-key.ts";
import { readHead } from "../releases/snapshot.ts";
import { parseViews } from "../releases/snapshot-views.ts";
import { serverKeys } from "../releases/tuf-files.ts";
import { checkDatabase } from "../store/database-check.ts";
import type { KeyEncryptionKey } from "../store/key-encryption-key.ts";
import type { Store } from "../store/store.ts";

export type DataFault = {
  readonly part: "database" | "blobs" | "indexes" | "secrets" | "audit";
  /** The thing that is damaged: a digest, a key id, a product; empty for the part as a whole. */
  readonly what: string;
  readonly text: string;
  /** What was done about it, or what the operator may do. */
  readonly remedy: string;
  /** It was there and is no more: a repair did all that was needed. */
  readonly isMended: boolean;
};

type FoundFault = Omit<DataFault, "part" | "isMended"> & { readonly isMended?: boolean };

export type DataCheck = {
  readonly database: Store["dialect"];
  readonly isQuick: boolean;
  readonly blobs: number;
  /** Of the blobs. */
  readonly bytes: number;
  /** Blobs that nothing needs: uploads under way, what the daily round will clear. */
  readonly unneeded: number;
  readonly secrets: number;
  readonly auditLinks: number;
  readonly faults: readonly DataFault[];
};

export type DataCheckOptions = BlobCheckOptions & {
  /** Undefined where the data folder has none. */
  readonly kek: KeyEncryptionKey | undefined;
  /** Makes a product's indexes anew; `lost` are the index files that are not there. Called with `isRepair` alone. */
  readonly rebuild: (product: string, lost: readonly Digest[]) => Promise<void>;
  /** Called as each part begins. */
  readonly onPart: (part: DataFault["part"]) => void;
};

const restoreDatabase = "stop the server, keep the damaged database for a look, and put the backup's in its place";

/** Throws `interrupted` alone: everything else that goes wrong is a fault. */
export async function checkData(store: Store, options: DataCheckOptions): Promise<DataCheck> {
  const faults: DataFault[] = [];
  const counts = { blobs: 0, bytes: 0, unneeded: 0, secrets: 0, auditLinks: 0 };
  const part = async (name: DataFault["part"], remedy: string, look: () => Promise<readonly FoundFault[]>): Promise<void> => {
    options.onPart(name);
    try {
      faults.push(...(await look()).map((fault) => ({ part: name, isMended: false, ...fault })));
    } catch (thrown) {
      const error = asSlipwayError(thrown);
      if (error.code === "interrupted") throw error;
      faults.push({ part: name, what: "", text: `cannot be looked at: ${error.message}`, remedy, isMended: false });
    }
    if (options.signal.aborted) throw new SlipwayError("interrupted", "the check was stopped");
  };
  await part("database", restoreDatabase, async () => (await checkDatabase(store)).map((text) => ({ what: "", text, remedy: restoreDatabase })));
  const found: BlobFault[] = [];
  await part("blobs", restoreDatabase, async () => {
    const { faults: inBlobs, ...looked } = await checkBlobs(store, options);
    Object.assign(counts, looked satisfies Omit<BlobCheck, "faults">);
    found.push(...inBlobs);
    return found
      .filter(({ users }) => users.indexesOf.length === 0)
      .map((fault) => ({ what: fault.digest, text: blobText(fault), remedy: blobRemedy(fault), isMended: isMended(fault) }));
  });
  await part("indexes", restoreDatabase, () => checkIndexes(store, found, options));
  await part("secrets", restoreDatabase, async () => {
    const checked = await checkSecrets(store, options.kek);
    counts.secrets = checked.secrets;
    return checked.faults;
  });
  await part("audit", restoreDatabase, async () => {
    const chain = await checkAuditChain(store);
    counts.auditLinks = chain.links;
    if (chain.fault === undefined) return [];
    return [{ what: "", text: chain.fault, remedy: "docs/audit.md: compare with an export or a backup, and treat the server's keys as stolen" }];
  });
  return { database: store.dialect, isQuick: options.isQuick, ...counts, faults };
}

function blobText({ text, users }: BlobFault): string {
  return users.words.length === 0 ? `${text}; nothing needs it` : `${text}; needed for ${users.words.join(", ")}`;
}

function isMended({ kind, users, repair }: BlobFault): boolean {
  return repair !== undefined && (kind === "quarantined" || users.words.length === 0);
}

function blobRemedy(fault: BlobFault): string {
  const { digest, kind, repair } = fault;
  const hex = digest.slice("sha256:".length);
  const backup = `put blobs/sha256/${hex.slice(0, 2)}/${hex} of a backup in its place, or publish the same build again`;
  if (kind === "unreadable") return "look at the disk (smartctl, the kernel's log) before anything else";
  if (repair !== undefined) return isMended(fault) ? repair : `${repair}; ${backup}`;
  return kind === "missing" ? backup : "run the check with --repair";
}

/** Index files and what they grow from, by product: a repair makes all of them anew. */
async function checkIndexes(store: Store, found: readonly BlobFault[], options: DataCheckOptions): Promise<readonly FoundFault[]> {
  const faults: FoundFault[] = [];
  for (const product of await listProducts(store)) {
    const lost = found.filter(({ users }) => users.indexesOf.includes(product.name));
    const texts = lost.map((fault) => ({ what: fault.digest as string, text: blobText(fault) }));
    try {
      parseViews((await readHead(store, product)).snapshot);
    } catch (error) {
      texts.push({ what: product.name, text: asSlipwayError(error).message });
    }
    if (texts.length === 0) continue;
    const digests = lost.map(({ digest }) => digest);
    if (options.isRepair) await options.rebuild(product.name, digests);
    const remedy = options.isRepair ? `all indexes of ${product.name} were made anew` : "run the check with --repair, which makes the indexes anew";
    faults.push(...texts.map((fault) => ({ ...fault, remedy, isMended: options.isRepair })));
  }
  return faults;
}

const keyRemedy = "start with the key-encryption key that belongs to this database: it is in the backup of the same day";

async function checkSecrets(store: Store, kek: KeyEncryptionKey | undefined): Promise<{ readonly secrets: number; readonly faults: readonly FoundFault[] }> {
  if (kek === undefined) return { secrets: 0, faults: [{ what: "", text: "there is no key-encryption key", remedy: keyRemedy }] };
  const { checked, unopened } = await checkAccessSecrets(store, kek);
  const faults = unopened.map((id) => ({
    what: id,
    text: "the secret of this access key does not open",
    remedy: `${keyRemedy}; else: slipway key rotate ${id}`,
  }));
  const webhooks = await listWebhooks(store);
  const products = await listProducts(store);
  const others: readonly (readonly [what: string, open: () => Promise<unknown>])[] = [
    ["repository key", () => readRepositoryKey(store, kek)],
    ...webhooks.map(({ id }) => [`webhook ${id}`, () => openWebhook(store, id, kek)] as const),
    ...products.flatMap((product) =>
      (["online", "offline"] as const).map((repository) => [`TUF key of ${product.name}`, () => serverKeys(store.db, { kek, product, repository })] as const),
    ),
  ];
  for (const [what, open] of others) {
    try {
      await open();
    } catch (error) {
      faults.push({ what, text: asSlipwayError(error).message, remedy: keyRemedy });
    }
  }
  return { secrets: checked + others.length, faults };
}
