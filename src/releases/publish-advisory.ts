/**
 * Publishing an advisory: checked against the product's releases, written as a revision, in the package indexes by one switch, and told
 * to the customers who run an affected version.
 */
import type { Transaction } from "kysely";
import { SlipwayError } from "../model/errors.ts";
import { compareVersions, isStable, lineOf, newestStable } from "../model/version.ts";
import { type Advisory, feedInstant, type Revision } from "../repositories/advisory.ts";
import { isAffected, parseAffectedRange } from "../repositories/affected-range.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import { enqueueNotice } from "../store/outbox.ts";
import type { Database } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { advisoryOf, formatRevisions, listAdvisories, requireAdvisory } from "./advisories.ts";
import { affectedCustomers } from "./advisory-customers.ts";
import type { AdvisoryFile } from "./advisory-file.ts";
import { type Product, requireProduct } from "./products.ts";
import { allReleases, type Release } from "./releases.ts";
import type { RepositoryKey } from "./repository-key.ts";
import { switchSnapshot } from "./snapshot.ts";

export type AdvisoryPublication = {
  readonly advisory: Advisory;
  readonly outcome: "published" | "revised" | "unchanged";
  /** Customers that were put on the list of those to tell. */
  readonly told: readonly string[];
};

/**
 * Checks an advisory against the product's releases (C8) and returns the fixing release. Throws `conflict` where the fix is not published,
 * lies in the affected range, comes before an affected version of its own line, or (without `isBackport`) is not of the newest minor;
 * and where no version that was ever published is affected.
 */
export function checkAdvisory(file: AdvisoryFile, releases: readonly Release[], options: { readonly isBackport: boolean }): Release {
  const range = parseAffectedRange(file.affected);
  const fixedIn = file.fixed_in;
  const fail = (message: string, hint: string): never => {
    throw new SlipwayError("conflict", `${file.id}: ${message}`, { hint });
  };
  if (isAffected(range, fixedIn)) fail(`the fix ${fixedIn} lies in the affected range ${file.affected}`, "end the range before the fix, with <");
  const fix = releases.find((release) => release.version === fixedIn);
  if (fix?.state !== "published") {
    return fail(`the fix ${file.product} ${fixedIn} is ${fix === undefined ? "not there" : `${fix.state}, not published`}`, "publish the release first");
  }
  const ever = releases.filter((release) => release.state !== "draft").map((release) => release.version);
  const affected = ever.filter((version) => isAffected(range, version));
  if (affected.length === 0) fail(`no version of ${file.product} that was ever published lies in ${file.affected}`, "correct the range");
  const unfixed = affected.find((version) => lineOf(version) === lineOf(fixedIn) && compareVersions(version, fixedIn) > 0);
  if (unfixed !== undefined) fail(`${unfixed} is affected and newer than the fix ${fixedIn}`, "name the newest fix");
  const newest = newestStable(releases.filter((release) => release.state === "published").map((release) => release.version));
  if (!options.isBackport && isStable(fixedIn) && newest !== undefined && lineOf(newest) !== lineOf(fixedIn)) {
    fail(
      `the fix ${fixedIn} is not of the newest minor, ${lineOf(newest)}: security fixes land there`,
      "publish the fix there and name that version, or say --backport",
    );
  }
  if (!isStable(fixedIn) && affected.some(isStable)) fail(`the fix ${fixedIn} is a preview, and stable versions are affected`, "publish a stable fix");
  return fix;
}

/**
 * Idempotent: the same file again changes nothing; a changed one is the next revision. Throws what checkAdvisory throws, `not_found` for an
 * unknown product, and `conflict` for an id that another product has.
 */
export async function publishAdvisory(
  store: Store,
  input: {
    readonly file: AdvisoryFile;
    readonly isBackport: boolean;
    readonly repositoryKey: RepositoryKey;
    readonly actor: AuditActor;
    /** Only checks, and says who would be told. */
    readonly isDryRun?: boolean;
  },
): Promise<AdvisoryPublication> {
  const { file, isBackport } = input;
  const product = await requireProduct(store, file.product);
  const document = JSON.stringify(file);
  const plan = await planAdvisory(store, { product, file, document });
  checkAdvisory(file, await allReleases(store, product), { isBackport });
  if (plan.outcome === "unchanged") return { advisory: plan.after, outcome: "unchanged", told: [] };
  const told = (await affectedCustomers(store, plan.after)).filter((customer) => !customer.hasFix);
  if (input.isDryRun === true) return { advisory: plan.after, outcome: plan.outcome, told: told.map((customer) => customer.name) };
  await switchAdvisory(store, {
    product,
    repositoryKey: input.repositoryKey,
    decide: async (releases) => {
      checkAdvisory(file, releases, { isBackport });
      const { after, outcome } = await planAdvisory(store, { product, file, document });
      return outcome === "unchanged" ? undefined : { after, document };
    },
    apply: async (transaction, after) => {
      const number = after.revisions.length;
      await appendAuditEvent(transaction, store, {
        actor: input.actor,
        action: "advisory.publish",
        result: "complete",
        product: product.name,
        version: after.fixedIn,
        detail: `${after.id} revision ${number}`,
      });
      const text = noticeText(after);
      for (const customer of told) {
        await enqueueNotice(transaction, store, {
          kind: "advisory",
          product: product.name,
          version: after.fixedIn,
          customerId: customer.id,
          subject: text.subject,
          text: `${text.body}\n\nYour installations have fetched: ${customer.versions.join(", ")}`,
          dedupeKey: `advisory:${after.id}:${number}:${customer.id}`,
        });
      }
      await enqueueNotice(transaction, store, {
        kind: "advisory",
        product: product.name,
        version: after.fixedIn,
        subject: text.subject,
        text: text.body,
        dedupeKey: `advisory:${after.id}:${number}`,
      });
    },
  });
  return { advisory: await requireAdvisory(store, file.id), outcome: plan.outcome, told: told.map((customer) => customer.name) };
}

/** What the advisory would be after this publication. */
async function planAdvisory(
  store: Store,
  input: { readonly product: Product; readonly file: AdvisoryFile; readonly document: string },
): Promise<{ readonly after: Advisory; readonly outcome: AdvisoryPublication["outcome"] }> {
  const { product, file, document } = input;
  const now = store.clock.now();
  const row = await store.db.selectFrom("advisories").selectAll().where("id", "=", file.id).executeTakeFirst();
  if (row !== undefined && row.product_id !== product.id) throw new SlipwayError("conflict", `another product has the advisory ${file.id}`);
  const present = row === undefined ? undefined : advisoryOf(product.name, row);
  if (row !== undefined && present !== undefined && row.document === document && present.state === "published") return { after: present, outcome: "unchanged" };
  const before = present?.revisions ?? [];
  const summary = present === undefined ? "First published" : present.state === "withdrawn" ? "Published again" : "Corrected";
  // A revision never has the date of the one before: readers tell them apart by it, to the second.
  const at = new Date(Math.max(now.getTime(), (before.at(-1)?.at.getTime() ?? 0) + 1_000));
  const revisions: readonly Revision[] = [...before, { number: before.length + 1, at, summary }];
  const after = advisoryOf(product.name, {
    id: file.id,
    product_id: product.id,
    state: "published",
    severity: file.severity,
    fixed_in: file.fixed_in,
    document,
    revisions: formatRevisions(revisions),
    published_at: row?.published_at ?? at.getTime(),
    updated_at: at.getTime(),
  });
  return { after, outcome: present === undefined ? "published" : "revised" };
}

/** Takes an advisory back: package indexes stop naming it, the feeds say that it was withdrawn. Idempotent. Throws `not_found`. */
export async function withdrawAdvisory(
  store: Store,
  input: { readonly id: string; readonly reason?: string | undefined; readonly repositoryKey: RepositoryKey; readonly actor: AuditActor },
): Promise<Advisory> {
  const found = await requireAdvisory(store, input.id);
  const product = await requireProduct(store, found.product);
  await switchAdvisory(store, {
    product,
    repositoryKey: input.repositoryKey,
    decide: async () => {
      const present = await requireAdvisory(store, input.id);
      if (present.state === "withdrawn") return undefined;
      const at = new Date(Math.max(store.clock.now().getTime(), present.updatedAt.getTime() + 1_000));
      const summary = `Withdrawn${input.reason === undefined ? "" : `: ${input.reason}`}`;
      const [first, ...later] = present.revisions;
      return {
        after: { ...present, state: "withdrawn", updatedAt: at, revisions: [first, ...later, { number: present.revisions.length + 1, at, summary }] },
        document: undefined,
      };
    },
    apply: async (transaction, after) => {
      await appendAuditEvent(transaction, store, {
        actor: input.actor,
        action: "advisory.withdraw",
        result: "complete",
        product: product.name,
        detail: `${after.id}${input.reason === undefined ? "" : ` ${input.reason}`}`,
      });
      await enqueueNotice(transaction, store, {
        kind: "advisory",
        product: product.name,
        subject: `${after.id} was withdrawn`,
        text: `The advisory ${after.id} (${after.title}) was withdrawn.${input.reason === undefined ? "" : `\n${input.reason}`}`,
        dedupeKey: `advisory:${after.id}:${after.revisions.length}`,
      });
    },
  });
  return requireAdvisory(store, input.id);
}

type AdvisoryChange = { readonly after: Advisory /** Undefined: stays as it is. */; readonly document: string | undefined };

/** One switch: the advisory's row and the indexes that show it, together or not at all. */
async function switchAdvisory(
  store: Store,
  input: {
    readonly product: Product;
    readonly repositoryKey: RepositoryKey;
    readonly decide: (releases: readonly Release[]) => Promise<AdvisoryChange | undefined>;
    readonly apply: (transaction: Transaction<Database>, after: Advisory) => Promise<void>;
  },
): Promise<void> {
  const { product } = input;
  await switchSnapshot(store, {
    product,
    repositoryKey: input.repositoryKey,
    decide: async () => {
      const releases = await allReleases(store, product);
      const change = await input.decide(releases);
      if (change === undefined) return undefined;
      const { after, document } = change;
      const others = (await listAdvisories(store, product.id)).filter((other) => other.id !== after.id);
      return {
        change: { add: [], remove: [], releases, advisories: [...others, after] },
        apply: async (transaction) => {
          const set = {
            state: after.state,
            severity: after.severity,
            fixed_in: after.fixedIn,
            revisions: formatRevisions(after.revisions),
            updated_at: after.updatedAt.getTime(),
            ...(document === undefined ? {} : { document }),
          };
          if (document === undefined) await transaction.updateTable("advisories").set(set).where("id", "=", after.id).execute();
          else {
            await transaction
              .insertInto("advisories")
              .values({ ...set, id: after.id, product_id: product.id, document, published_at: after.publishedAt.getTime() })
              .onConflict((conflict) => conflict.column("id").doUpdateSet(set))
              .execute();
          }
          await input.apply(transaction, after);
        },
      };
    },
  });
}

function noticeText(advisory: Advisory): { readonly subject: string; readonly body: string } {
  const { id, product, title, severity, fixedIn, affected, cves } = advisory;
  const revision = advisory.revisions.length > 1 ? ` (revision ${advisory.revisions.length})` : "";
  const lines = [
    `${id}${revision}: ${title}`,
    `Severity: ${severity}${cves.length === 0 ? "" : `, ${cves.join(", ")}`}`,
    `Affected: ${product} ${affected}`,
    `Fixed in: ${product} ${fixedIn}`,
    `Date: ${feedInstant(advisory.updatedAt)}`,
    "",
    advisory.text.trim(),
    ...(advisory.workaround === undefined ? [] : ["", `Until the upgrade: ${advisory.workaround.trim()}`]),
    ...(advisory.references.length === 0 ? [] : ["", ...advisory.references]),
  ];
  return { subject: `${product}: ${severity} security advisory ${id}${revision}`, body: lines.join("\n") };
}
