/**
 * Retention carried out: the plan that was shown is the plan that is applied (C6).
 *
 * One switch takes all steps that are due: announced and unlisted releases get their stage, retired ones leave with their replacement, and
 * every customer who pulled one of them is told in the same transaction. Bytes follow when the grace is over (sweep.ts).
 */
import type { Transaction } from "kysely";
import { SlipwayError } from "../model/errors.ts";
import { planRetention as decideRetention, type RetentionPlan, type RetentionStep, type RetiringRelease } from "../policy/retention.ts";
import { type AuditActor, appendAuditEvent } from "../store/audit-events.ts";
import { enqueueNotice } from "../store/outbox.ts";
import type { Database } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { type Pull, pulledVersions } from "./advisory-customers.ts";
import { listProducts, type Product, requireProduct } from "./products.ts";
import { listPackages } from "./publish.ts";
import { allReleases, listedIn, type Release } from "./releases.ts";
import type { RepositoryKey } from "./repository-key.ts";
import { readRetention, readRetentionFacts } from "./retention-facts.ts";
import { switchSnapshot } from "./snapshot.ts";
import { quarantineUnreferenced } from "./sweep.ts";

const byItself: AuditActor = { kind: "server", name: "retention" };
const dayMs = 86_400_000;

/** What would leave now, and what comes next. Reads only; `basis` is what applyRetention asks for. Throws `not_found`. */
export async function planRetention(store: Store, productName: string): Promise<RetentionPlan> {
  return decideRetention(await readRetentionFacts(store, await requireProduct(store, productName)));
}

/** Releases that are leaving, for those who still pull them: by their stage, and where none is kept, by their number. Throws `not_found`. */
export async function leavingReleases(store: Store, productName: string): Promise<readonly RetiringRelease[]> {
  return (await planRetention(store, productName)).steps.filter(({ step }) => step !== "announce");
}

export type RetentionOutcome = {
  readonly plan: RetentionPlan;
  /** Bytes of blobs that nothing names any more; they are purged after the quarantine. */
  readonly quarantinedBytes: number;
};

type Applying = { readonly product: string; readonly repositoryKey: RepositoryKey; readonly actor: AuditActor };

/**
 * Applies the plan with this `basis`: one switch does every step that is due, then the blobs that nothing needs leave. Throws `plan_stale`
 * where the plan of now is another one, `not_found`.
 *
 * A crash after the switch leaves blobs that nothing names, which the sweep takes later.
 */
export async function applyRetention(store: Store, input: Applying & { readonly basis: string }): Promise<RetentionOutcome> {
  let applied: RetentionPlan | undefined;
  let retired: readonly Release[] = [];
  const product = await requireProduct(store, input.product);
  const pulls = await pulledVersions(store, product.name);
  await switchSnapshot(store, {
    product,
    repositoryKey: input.repositoryKey,
    decide: async () => {
      const plan = decideRetention(await readRetentionFacts(store, await requireProduct(store, input.product)));
      if (plan.basis !== input.basis) {
        throw new SlipwayError("plan_stale", `the releases of ${product.name} or its retention changed since the plan ${input.basis.slice(0, 12)} was made`);
      }
      applied = plan;
      const due = plan.steps.filter((step) => step.isDue);
      if (due.length === 0 && plan.restores.length === 0) return undefined;
      const now = store.clock.now();
      const before = await allReleases(store, product);
      const policy = await readRetention(store, product);
      const after = before.map((release) => changed(release, { plan, due, now, announceDays: policy.announceDays }));
      retired = after.filter((release, index) => release.state === "retired" && before[index]?.state === "published");
      const [add, remove] = [await movedPackages(store, after, before), await movedPackages(store, before, after)];
      return {
        change: { add, remove, releases: after, isRestamped: true },
        apply: async (transaction) => {
          for (const release of after.filter((one) => plan.restores.includes(one.version))) await forgetStage(transaction, release.id);
          for (const step of due) {
            const release = after.find(({ version }) => version === step.version);
            if (release === undefined) throw new SlipwayError("internal", `${product.name} ${step.version} is in the plan and not there`);
            await applyStep(transaction, store, { product, release, step, now, actor: input.actor });
            const users = pulls.filter((pull) => pull.version === step.version);
            await tellUsers(transaction, store, { product, step, now, users, daysLeft: step.step === "announce" ? policy.announceDays : policy.unlistDays });
          }
        },
      };
    },
  });
  if (applied === undefined) throw new SlipwayError("internal", "the retention was applied without a plan");
  const quarantinedBytes = await quarantineUnreferenced(store, await blobsOf(store, retired));
  return { plan: applied, quarantinedBytes };
}

type Deciding = { readonly plan: RetentionPlan; readonly due: readonly RetentionStep[]; readonly now: Date; readonly announceDays: number };

/** The release as it stands after the switch. */
function changed(release: Release, { plan, due, now, announceDays }: Deciding): Release {
  if (plan.restores.includes(release.version)) return { ...release, stage: undefined, retiresAt: undefined };
  const step = due.find(({ version }) => version === release.version);
  if (step === undefined) return release;
  if (step.step === "announce") return { ...release, stage: "announced", retiresAt: new Date(now.getTime() + announceDays * dayMs) };
  if (step.step === "unlist") return { ...release, stage: "unlisted", replacement: step.replacement };
  return { ...release, state: "retired", stage: undefined, endedAt: now, replacement: step.replacement };
}

/** Packages that `has` lists and `lacks` does not. */
async function movedPackages(store: Store, has: readonly Release[], lacks: readonly Release[]) {
  const moved = await Promise.all(
    has.map(async (release, index) => {
      const others = new Set(listedIn(lacks[index] ?? release));
      const channels = listedIn(release).filter((channel) => !others.has(channel));
      return channels.length === 0 ? [] : listPackages(store, release, channels);
    }),
  );
  return moved.flat();
}

async function forgetStage(transaction: Transaction<Database>, releaseId: string): Promise<void> {
  await transaction.deleteFrom("retention_stages").where("release_id", "=", releaseId).execute();
}

const actions = { announce: "release.announce", unlist: "release.unlist", retire: "release.retire" } as const;

type Stepping = { readonly product: Product; readonly release: Release; readonly step: RetentionStep; readonly now: Date; readonly actor: AuditActor };

async function applyStep(transaction: Transaction<Database>, store: Store, { product, release, step, now, actor }: Stepping): Promise<void> {
  const at = now.getTime();
  if (step.step === "retire") {
    await forgetStage(transaction, release.id);
    await transaction
      .updateTable("releases")
      .set({ state: "retired", ended_at: at, replacement: step.replacement ?? null })
      .where("id", "=", release.id)
      .execute();
  } else {
    const stage = step.step === "announce" ? "announced" : "unlisted";
    const unlisted_at = step.step === "unlist" ? at : null;
    await transaction
      .insertInto("retention_stages")
      .values({ release_id: release.id, stage, announced_at: at, unlisted_at })
      .onConflict((conflict) => conflict.column("release_id").doUpdateSet({ stage, unlisted_at }))
      .execute();
  }
  await appendAuditEvent(transaction, store, {
    actor,
    action: actions[step.step],
    result: "complete",
    product: product.name,
    version: release.version,
    detail: step.replacement === undefined ? undefined : `replaced by ${step.replacement}`,
  });
}

type Telling = {
  readonly product: Product;
  readonly step: RetentionStep;
  readonly now: Date;
  readonly users: readonly Pull[];
  /** Until the next step. */
  readonly daysLeft: number;
};

/** Each customer who ever pulled it hears of every step once: what runs where is his to know. */
async function tellUsers(transaction: Transaction<Database>, store: Store, { product, step, now, users, daysLeft }: Telling): Promise<void> {
  const name = `${product.name} ${step.version}`;
  const day = new Date(now.getTime() + daysLeft * dayMs).toISOString().slice(0, 10);
  const instead = step.replacement === undefined ? "" : ` Upgrade to ${product.name} ${step.replacement}.`;
  const subject = { announce: `${name} leaves on ${day}`, unlist: `${name} is no longer listed`, retire: `${name} is no longer kept` }[step.step];
  const what = {
    announce: `${name} is ${step.why}. From ${day} on it is in no index of the repositories any more.`,
    unlist: `${name} is in no index of the repositories any more. Its files can still be fetched by their address until ${day}.`,
    retire: `${name} can no longer be fetched.`,
  }[step.step];
  for (const { id } of users) {
    await enqueueNotice(transaction, store, {
      kind: "retirement",
      product: product.name,
      version: step.version,
      customerId: id,
      subject,
      text: `${what}${instead}\n`,
      dedupeKey: `retirement ${product.name} ${step.version} ${step.step} ${id}`,
    });
  }
}

async function blobsOf(store: Store, releases: readonly Release[]) {
  if (releases.length === 0) return [];
  const ids = releases.map((release) => release.id);
  const rows = await store.db.selectFrom("artifacts").select("digest").distinct().where("release_id", "in", ids).execute();
  return rows.map((row) => row.digest);
}

/** Applies what is due now, of one product. Undefined where nothing is. */
export async function retainNow(store: Store, input: Applying): Promise<RetentionPlan | undefined> {
  const plan = await planRetention(store, input.product);
  if (plan.restores.length === 0 && !plan.steps.some((step) => step.isDue)) return undefined;
  return (await applyRetention(store, { ...input, basis: plan.basis })).plan;
}

/** Where retention is automatic the eleventh version pushes out the first at once (C6). A failure does not undo the publication: the next round tries again. */
export async function retainAfterPublishing(
  store: Store,
  input: { readonly product: string; readonly repositoryKey: RepositoryKey; readonly onFailure: (error: unknown) => void },
): Promise<void> {
  try {
    const product = await requireProduct(store, input.product);
    if ((await readRetention(store, product)).isAutomatic) await retainNow(store, { ...input, actor: byItself });
  } catch (error) {
    input.onFailure(error);
  }
}

/** The server's round: what is due of every product whose retention is automatic; returns how many steps were taken. A stale plan waits for the next round. */
export async function retainAutomatically(store: Store, repositoryKey: RepositoryKey): Promise<number> {
  let steps = 0;
  for (const product of await listProducts(store)) {
    if (!(await readRetention(store, product)).isAutomatic) continue;
    const plan = await retainNow(store, { product: product.name, repositoryKey, actor: byItself });
    steps += plan?.steps.filter(({ isDue }) => isDue).length ?? 0;
  }
  return steps;
}
