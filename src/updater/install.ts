/** Installing: from what is offered to the last hop of the way there, continuing or ending what an earlier run left. */
import { SlipwayError } from "../model/errors.ts";
import type { Version } from "../model/version.ts";
import { newTransactionId } from "./acquire.ts";
import { offerOf } from "./check.ts";
import { newMachineId } from "./cohort.ts";
import { requireNoHold, requireWindow } from "./gate.ts";
import { type InstalledState, readState, writeState } from "./installed-state.ts";
import { writeJournal } from "./journal.ts";
import type { Updater } from "./operations.ts";
import { type InstallResult, resultOf } from "./outcome.ts";
import { requireUnpackaged } from "./package-owner.ts";
import { chooseArtifact, describePlan, type Offer, requireProgress, type Skipped } from "./plan.ts";
import { proveDescription, readTrustPolicy } from "./prove.ts";
import { routeTo } from "./route.ts";
import { resumeTransaction, runTransaction } from "./run.ts";
import { sectionsOf } from "./sections.ts";
import type { Session } from "./session.ts";
import type { StateDirectory } from "./state-directory.ts";
import type { Live } from "./strategy.ts";
import { isFinal, isSwitching, type Transaction } from "./transaction.ts";
import { versionOf } from "./view.ts";
import { startWork, type Work } from "./work.ts";

type Wish = {
  readonly requested: Version | undefined;
  readonly adopt?: Version | undefined;
  readonly isUnlinked: boolean;
  readonly approval: Transaction["approval"];
  readonly signal: AbortSignal;
};

type Installed = InstallResult & { readonly kind: "installed" };

export function installOperations(session: Session): Pick<Updater, "plan" | "install" | "resume" | "confirm" | "cancel"> {
  const { installation, machine, source } = session;
  const { product } = installation;

  /** Hop after hop, each a whole transaction, until the wanted version runs. The first hop's failure is the whole's. */
  const goTo = async (directory: StateDirectory, wish: Wish): Promise<InstallResult> => {
    const done: Installed[] = [];
    let goal = wish.requested;
    for (;;) {
      const state = await rememberMachine(directory, product);
      const seen = await session.look(directory, state);
      const live: Live = seen.version === undefined && wish.adopt !== undefined ? { version: wish.adopt, files: {} } : seen;
      const index = await source.index(wish.signal);
      const offer = offerOf(session, index, { live, state }, goal);
      if (offer.kind === "none") {
        if (done.length > 0) return joined(done);
        return refuseOrNothing(offer, live);
      }
      goal ??= offer.version;
      const [hop = goal, ...rest] = await routeTo({ installation, machine, source, index, state, installed: versionOf(live), to: goal, signal: wish.signal });
      if (rest.length > 0 && done.length === 0)
        machine.observe({ event: "step", step: "path", text: `${live.version ?? "nothing"} -> ${[hop, ...rest].join(" -> ")}` });
      const transaction: Transaction = {
        ...session.newTransaction(live, state, hop),
        // The whole way was approved, and whoever did it is still waiting for its end.
        approval: done.length === 0 ? wish.approval : session.approval({ isOutsideWindow: wish.approval.isOutsideWindow, approver: wish.approval }),
        ...(hop === goal ? {} : { goal }),
        ...(wish.isUnlinked ? { isUnlinked: true } : {}),
      };
      const result = resultOf(await runTransaction(await session.begin(directory, transaction, wish.signal)));
      if (result.kind !== "installed") return result;
      done.push(result);
      if (hop === goal) return joined(done);
    }
  };

  /** An unfinished transaction in the way of a new install: continued, finished first, or given up. */
  const settle = async (directory: StateDirectory, transaction: Transaction, wish: Wish): Promise<InstallResult | undefined> => {
    if (isFinal(transaction)) {
      await session.tidy(directory, transaction);
      return undefined;
    }
    const { requested, signal } = wish;
    const work = session.workFor(directory, transaction, signal);
    const isWanted = requested === undefined || requested === transaction.to.version || requested === transaction.goal;
    if (isSwitching(transaction)) {
      const result = resultOf(await runTransaction(work));
      return isWanted ? goOn(directory, transaction, result, wish) : undefined;
    }
    if (isWanted) {
      await work.journal.advance({ approval: wish.approval, attempt: 1 });
      const result = resultOf(transaction.phase === "failed" ? await resumeTransaction(work) : await runTransaction(work));
      return goOn(directory, transaction, result, wish);
    }
    await giveUp(work, `given up for ${requested}`, "superseded");
    await session.tidy(directory, work.journal.current());
    return undefined;
  };

  /** After a hop: the rest of the way, for as long as the approval lasts. */
  const goOn = async (directory: StateDirectory, { goal }: Transaction, result: InstallResult, wish: Wish): Promise<InstallResult> => {
    if (result.kind !== "installed" || goal === undefined || goal === result.version) return result;
    if (machine.clock.now().getTime() > wish.approval.until) {
      machine.observe({ event: "warning", text: `${goal} was asked for, and the approval is too old: \`slipway upgrade install --version ${goal}\` goes on` });
      return result;
    }
    const rest = await goTo(directory, { ...wish, requested: goal as Version });
    return rest.kind === "installed" ? joined([result, { ...rest, hops: rest.hops ?? [rest.version] }]) : result;
  };

  const takeUp = async (directory: StateDirectory, signal: AbortSignal, approval: Transaction["approval"] | undefined): Promise<InstallResult> => {
    const transaction = await session.journaled(directory);
    if (transaction === undefined || isFinal(transaction)) {
      if (transaction !== undefined) await session.tidy(directory, transaction);
      if (transaction?.rollbackFailed === true) return resumeRollback(session.workFor(directory, transaction, signal));
      throw new SlipwayError("nothing_to_resume", "no upgrade of this installation was left unfinished");
    }
    const work = session.workFor(directory, transaction, signal);
    if (approval !== undefined && !isSwitching(transaction)) await work.journal.advance({ approval });
    const result = resultOf(await resumeTransaction(work));
    return goOn(directory, transaction, result, { requested: undefined, isUnlinked: false, approval: work.journal.current().approval, signal });
  };

  return {
    plan: async ({ version, isUnlinked = false, signal }) => {
      const { directory, state, live } = await session.present();
      const index = await source.index(signal);
      const offer = offerOf(session, index, { live, state }, version);
      if (offer.kind === "none") return undefined;
      const route = await routeTo({ installation, machine, source, index, state, installed: versionOf(live), to: offer.version, signal });
      const [hop = offer.version] = route;
      const policy = await readTrustPolicy(installation);
      const description = await proveDescription({ files: await source.files(hop, signal), installation, policy, version: hop, now: machine.clock.now() });
      requireProgress(description, state);
      const artifact = chooseArtifact(description.manifest, installation);
      const strategy = session.strategyAt(directory);
      const { files } = strategy.target(artifact, hop);
      if (!isUnlinked) await requireUnpackaged(machine, strategy.livePaths(files));
      const sections = sectionsOf(installation, state.installed?.contract, description.manifest);
      return describePlan({ installation, live, description, artifact, files, route, sections });
    },

    install: ({ version, adopt, isUnlinked = false, isOutsideWindow, approver, signal }) =>
      session.locked("install", async (directory) => {
        await readTrustPolicy(installation); // a policy that cannot be read stops before anything is written
        const unfinished = await session.journaled(directory);
        const now = machine.clock.now();
        const isBusy = unfinished !== undefined && isSwitching(unfinished);
        if (!isBusy) requireNoHold(await readState(directory.state, product), now);
        if (!isBusy && isOutsideWindow !== true) requireWindow(installation, now);
        const wish = { requested: version, adopt, isUnlinked, approval: session.approval({ isOutsideWindow, approver }), signal };
        const settled = unfinished === undefined ? undefined : await settle(directory, unfinished, wish);
        return settled ?? goTo(directory, wish);
      }),

    resume: ({ signal }) => session.locked("resume", (directory) => takeUp(directory, signal, undefined)),

    confirm: ({ approver, signal }) => session.locked("confirm", (directory) => takeUp(directory, signal, session.approval({ approver }))),

    cancel: () =>
      session.locked("cancel", async (directory) => {
        const transaction = await session.journaled(directory);
        if (transaction === undefined || isFinal(transaction)) throw new SlipwayError("nothing_to_resume", "there is no unfinished upgrade to cancel");
        if (isSwitching(transaction)) {
          throw new SlipwayError("conflict", `${transaction.to.version} is being put in place`, {
            hint: "`slipway upgrade rollback` goes back to the previous version",
          });
        }
        const work = session.workFor(directory, transaction, new AbortController().signal);
        await giveUp(work, "an operator cancelled it", "cancelled");
        await session.tidy(directory, work.journal.current());
        return { version: transaction.to.version };
      }),
  };
}

/** Why there is nothing to install; what is only held back for now is said as a refusal, so that a script sees it. */
function refuseOrNothing(offer: Offer & { readonly kind: "none" }, live: Live): InstallResult {
  const { reason, skipped } = offer;
  if (reason === "source_is_older")
    throw new SlipwayError("downgrade_refused", `the newest release that the source offers is older than ${live.version ?? ""}, which is installed`);
  const waits = (...reasons: readonly Skipped["reason"][]): Skipped | undefined => skipped.find((one) => reasons.includes(one.reason));
  const halted = waits("halted");
  const later = waits("cohort", "not_before");
  if (halted !== undefined) throw new SlipwayError("held", `the vendor halted the rollout of ${halted.version}`, { detail: "halted" });
  if (later !== undefined)
    throw new SlipwayError("cohort_not_selected", `the rollout of ${later.version} has not reached this machine yet`, { detail: later.reason });
  return { kind: "nothing", installed: live.version ?? null, reason, skipped };
}

/** Several hops as one result. */
function joined(results: readonly Installed[]): InstallResult {
  const [first] = results;
  const last = results.at(-1);
  if (first === undefined || last === undefined) throw new SlipwayError("internal", "no hop was made");
  if (results.length === 1) return last;
  const downtimeMs = results.reduce((sum, { downtimeMs: ms }) => sum + (ms ?? 0), 0);
  return { ...last, from: first.from, downtimeMs, hops: results.flatMap(({ hops, version }) => hops ?? [version]) };
}

/** The state, with this installation's random id, which is made once. */
async function rememberMachine(directory: StateDirectory, product: string): Promise<InstalledState> {
  const state = await readState(directory.state, product);
  if (state.machineId !== undefined) return state;
  const next = { ...state, machineId: newMachineId() };
  await writeState(directory.state, next);
  return next;
}

async function giveUp(work: Work, message: string, detail: string): Promise<void> {
  const lastError = { code: "conflict", message, detail, at: work.machine.clock.now().getTime() };
  await work.journal.advance({ phase: "failed", retryable: false, lastError });
}

/** After `rollback_failed`, when a human has repaired something: the same rollback again, in a transaction of its own. */
async function resumeRollback(work: Work): Promise<InstallResult> {
  const failed = work.journal.current();
  const now = work.machine.clock.now().getTime();
  const again: Transaction = {
    ...failed,
    id: newTransactionId(),
    phase: "applying",
    step: "rollback",
    rollbackFailed: false,
    retryable: true,
    startedAt: now,
    updatedAt: now,
  };
  await writeJournal(work.directory.transaction, again);
  return resultOf(await runTransaction(startWork({ ...work, transaction: again })));
}
