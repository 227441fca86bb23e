/**
 * The guard's part: what must happen in the moment before the product starts, whoever starts it (systemd, the supervisor, a reboot).
 *
 * While an updater lives, it counts the starts itself and this only lets the start pass. Otherwise each start of a version on trial is counted
 * durably first; where the tries are used up, the old files and their state are put back, so that what starts is the old version. The rest
 * (health, verdict, history) is for `slipway upgrade resume`.
 */
import { join } from "node:path";
import { acquireLock, bootId, lockOwner } from "../io/lock.ts";
import { SlipwayError } from "../model/errors.ts";
import { lstatIfThere } from "./file-tree.ts";
import { readJournal } from "./journal.ts";
import { finishRestoreBeforeStart } from "./restore-by-hand.ts";
import { putBack } from "./roll-back.ts";
import { findStateDirectory } from "./state-directory.ts";
import type { StrategyContext } from "./strategy.ts";
import { isSwitching, type Transaction } from "./transaction.ts";
import type { View } from "./view.ts";
import { nowMs, recordError, startWork, type Work } from "./work.ts";

const lockWaitMs = 10_000;

/** `counted`: one try less. `finished`: half old and half new became one version. `rolled_back`: the old version starts. */
export type BeforeStart = "nothing" | "finished" | "counted" | "rolled_back";

/**
 * Stops and starts nothing. Throws where the product must not start: `lock_held` while files are being switched, `unavailable` where only the
 * package manager can make them whole, and what kept the old version from being put back.
 */
export async function beforeStart({ installation, machine, source, strategyAt }: View): Promise<BeforeStart> {
  const directory = await findStateDirectory(installation.stateDir);
  if (directory === undefined) return "nothing";
  const unfinished = async (): Promise<Transaction | undefined> => {
    const reading = await readJournal(directory.transaction, installation.product);
    // A journal that a newer slipway wrote must not keep the service down (it may be whole); the operator hears of it from every other command.
    if (reading.kind === "foreign") machine.observe({ event: "warning", text: `the journal cannot be read by this slipway: ${reading.reason}` });
    return reading.kind === "known" && isSwitching(reading.transaction) ? reading.transaction : undefined;
  };
  const isRestored = await finishCutRestore({ installation, machine, directory });
  const transaction = await unfinished();
  if (transaction === undefined) return isRestored ? "finished" : "nothing";
  const strategy = strategyAt(directory);
  if ((await lockOwner(directory.path)) !== undefined && (await strategy.isStartable(transaction))) return "nothing"; // the updater that lives counts
  const lock = await acquireLock(directory.path, "before start", { waitMs: lockWaitMs });
  try {
    const still = await unfinished();
    if (still === undefined) return "nothing";
    const work = startWork({ installation, machine, source, directory, strategy, transaction: still, signal: new AbortController().signal });
    await work.absorb();
    return strategy.canFinishBeforeStart ? await settleStart(work) : await permitStart(work);
  } finally {
    await lock.release();
  }
}

/** A restore by hand that was cut among its renames, and whose updater is gone. */
async function finishCutRestore(context: StrategyContext): Promise<boolean> {
  const { directory } = context;
  if ((await lstatIfThere(join(directory.path, "restore.json"))) === undefined || (await lockOwner(directory.path)) !== undefined) return false;
  const lock = await acquireLock(directory.path, "before start", { waitMs: lockWaitMs });
  try {
    return await finishRestoreBeforeStart(context);
  } finally {
    await lock.release();
  }
}

async function settleStart(work: Work): Promise<BeforeStart> {
  const { journal, strategy } = work;
  const { step, trial } = journal.current();
  const reality = await strategy.reality(journal.current());
  if (reality === "old" && (step === "switch" || (step === "trial" && (trial?.triesLeft ?? 0) > 0))) return "nothing"; // `resume` goes on from there
  if (step === "switch") {
    await strategy.switchForward(journal.current());
    await journal.advance({ step: "trial" });
  }
  if (journal.current().step === "trial" && (await countStart(work))) return reality === "mixed" ? "finished" : "counted";
  await putBack(work);
  return "rolled_back";
}

/** Scripts of a package may start services and are not run before one starts: the start is counted, or refused until `resume` has put things right. */
async function permitStart(work: Work): Promise<BeforeStart> {
  const { journal, strategy } = work;
  const transaction = journal.current();
  const refuse = (message: string): never => {
    throw new SlipwayError("unavailable", message, { hint: "`slipway upgrade resume` finishes it, and starts the service" });
  };
  if (!(await strategy.isStartable(transaction))) return refuse("the package is half unpacked");
  if (transaction.step === "trial" && !(await countStart(work))) return refuse(`${transaction.to.version} used up its starts`);
  if (journal.current().step === "rollback" && (await strategy.reality(transaction)) !== "old") return refuse(`${transaction.to.version} is on its way out`);
  return transaction.step === "trial" ? "counted" : "nothing";
}

/** False, and the journal at `rollback`, where no try is left. */
async function countStart(work: Work): Promise<boolean> {
  const { journal } = work;
  const { trial, to, lastError } = journal.current();
  if (trial !== undefined && trial.triesLeft > 0) {
    await journal.advance({ trial: { ...trial, triesLeft: trial.triesLeft - 1, bootId: await bootId(), isStartedByGuard: true } });
    return true;
  }
  const why = new SlipwayError("health_failed", `${to.version} used up its ${trial?.tries ?? 0} starts`);
  await journal.advance({ step: "rollback", rollbackReason: "trial", lastError: lastError ?? recordError(why, nowMs(work)) });
  return false;
}
