/**
 * Rows R1 to R3: the previous version and its state back, proven by the same gate. Every part looks at what is there first, so a rollback
 * that was cut goes on where it was.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { backupPath, newBackupId } from "./backup.ts";
import { finish } from "./finish.ts";
import { passHealthGate } from "./health.ts";
import { emptyState, type InstalledState, readState, writeState } from "./installed-state.ts";
import { restoreBackup } from "./restore.ts";
import { backUpSections, isReadableBy, restoreModeOf, sectionsFor } from "./state-backup.ts";
import type { Transaction } from "./transaction.ts";
import { nowMs, recordError, type Work } from "./work.ts";

/** Step rollback; the transaction is `failed` afterwards, with its verdict. Throws only where the journal itself cannot be written. */
export async function rollBack(work: Work): Promise<void> {
  const { journal, directory, installation } = work;
  let state: InstalledState;
  try {
    const givenUp = await goBack(work);
    state = await readState(directory.state, installation.product);
    if (givenUp !== undefined) {
      await journal.advance({ phase: "failed", retryable: false, lastError: recordError(givenUp, nowMs(work)) });
      await finish(work, state);
      return;
    }
  } catch (error) {
    const failure = asSlipwayError(error);
    const { lastError } = journal.current();
    await journal.advance({
      phase: "failed",
      retryable: false,
      rollbackFailed: true,
      lastError: recordError(
        failure.code === "rollback_failed" ? failure : new SlipwayError("rollback_failed", failure.message, { detail: failure.detail ?? failure.code }),
        nowMs(work),
      ),
      ...(lastError === undefined ? {} : { trialError: lastError }),
    });
    await finish(work, emptyState(installation.product)); // keeps everything where it is
    return;
  }
  const transaction = journal.current();
  const next = afterRollback(state, transaction, nowMs(work));
  await writeState(directory.state, next);
  work.machine.observe({
    event: "step",
    step: "rollback",
    text: isUntried(transaction) ? `${transaction.to.version} was not tried` : `${transaction.to.version} will not be offered again`,
  });
  await journal.advance({
    phase: "failed",
    retryable: isUntried(transaction),
    rolledBack: true,
    timings: { ...transaction.timings, healthyAt: nowMs(work) },
  });
  await finish(work, next);
}

/** Nothing was switched: the new version is as good as before. */
const isUntried = ({ rollbackReason }: Transaction): boolean => rollbackReason === "approval" || rollbackReason === "busy" || rollbackReason === "stop";

/** The version that failed is not offered again; after an operator's rollback the previous version is what is installed. */
function afterRollback(state: InstalledState, transaction: Transaction, now: number): InstalledState {
  const { from, to, rollbackReason, lastError, safetyBackup } = transaction;
  const reason = rollbackReason === "operator" ? "an operator rolled it back" : (lastError?.message ?? "it was rolled back");
  const blocked =
    isUntried(transaction) || state.blocked.some((entry) => entry.version === to.version)
      ? state.blocked
      : [...state.blocked, { version: to.version, reason, at: now, transaction: transaction.id }];
  if (rollbackReason !== "operator" || from.version === undefined) return { ...state, blocked };
  return {
    ...state,
    blocked,
    installed: {
      version: from.version,
      seq: from.seq ?? 0,
      files: from.files,
      at: now,
      ...(from.ref === undefined ? {} : { ref: from.ref }),
      ...(from.contract === undefined ? {} : { contract: from.contract }),
    },
    previous: state.previous.filter((entry) => entry.version !== from.version),
    safetyBackups: safetyBackup?.done === true ? [...new Set([...state.safetyBackups, safetyBackup.id])] : state.safetyBackups,
  };
}

/** Undefined once the previous version is back; what stopped an operator's rollback before anything was switched, with the present version running again. */
async function goBack(work: Work): Promise<SlipwayError | undefined> {
  const { journal, service, installation, machine } = work;
  const begun = journal.current();
  if (begun.timings.stoppedAt === undefined) await journal.advance({ timings: { ...begun.timings, stoppedAt: nowMs(work) } });
  try {
    await timed(work, "stop", () => service.stop());
  } catch (error) {
    // A version that crashed may have nothing left to stop; what still runs will fail the gate, which asks for the old version.
    machine.observe({ event: "warning", text: `stop: ${error instanceof Error ? error.message : String(error)}` });
  }
  try {
    await keepPresentState(work);
  } catch (error) {
    return startAgain(work, asSlipwayError(error));
  }
  await putBack(work);
  const { from } = journal.current();
  if (from.version === undefined) return undefined; // nothing was installed before, and nothing is now
  const { version } = from;
  await timed(work, "start", () => service.start());
  const verdict = await timed(work, "verify", () => passHealthGate({ installation, machine, service, version }));
  if (!verdict.isHealthy)
    throw new SlipwayError("rollback_failed", `${from.version} runs again but is not healthy: ${verdict.text}`, { detail: "old_unhealthy" });
  return undefined;
}

/**
 * The present state could not be kept, and nothing has been switched: what ran goes on running. In the middle of a trial that is no end, because
 * nobody knows whether the new version is any good: a human must look.
 */
async function startAgain(work: Work, failure: SlipwayError): Promise<SlipwayError> {
  const { service, machine, journal } = work;
  const { to, trial } = journal.current();
  machine.observe({ event: "warning", text: `the present state could not be kept (${failure.message}); ${to.version} is started again` });
  await timed(work, "start", () => service.start());
  if (trial !== undefined) throw failure;
  return new SlipwayError(failure.code, `${failure.message}; nothing was rolled back, and ${to.version} runs again`, {
    ...(failure.detail === undefined ? {} : { detail: failure.detail }),
    hint: "make the backup possible, or leave the state as it is with `slipway upgrade rollback --restore-state never`",
    cause: failure,
  });
}

/** The old files and their state, while nothing of the product runs. Each part looks at what is there first. */
export async function putBack(work: Work): Promise<void> {
  await keepPresentState(work);
  await timed(work, "reinstall", () => work.strategy.switchBack(work.journal.current()));
  if (isRestoreWanted(work.journal.current())) await timed(work, "restore", () => restoreState(work));
}

type RunbookStep = NonNullable<Transaction["timings"]["runbook"]>[number]["step"];

/** One step of the runbook (K7); its time goes to the journal with the next write, a failed one's too. */
async function timed<T>(work: Work, step: RunbookStep, run: () => Promise<T>): Promise<T> {
  const from = nowMs(work);
  try {
    return await run();
  } finally {
    const { timings } = work.journal.current();
    const runbook = [...(timings.runbook ?? []), { step, ms: Math.max(0, nowMs(work) - from) }].slice(-100);
    await work.journal.advance({ timings: { ...timings, runbook } });
  }
}

/** Before an operator's rollback: the state as the newer version left it, so that going back loses nothing for good. */
async function keepPresentState(work: Work): Promise<void> {
  const { journal, directory, machine } = work;
  const transaction = journal.current();
  if (transaction.rollbackReason !== "operator" || !isRestoreWanted(transaction) || transaction.safetyBackup?.done === true) return;
  if (sectionsFor(work).length === 0) return;
  const id = newBackupId();
  const reason = `pre-rollback ${transaction.to.version} -> ${transaction.from.version ?? "none"}`;
  const { sha256, bytes } = await backUpSections(work, { id, reason, isCounted: false, runs: transaction.to });
  await journal.advance({ safetyBackup: { id, required: true, done: true, sha256 } });
  machine.observe({ event: "step", step: "backup", text: `the present state is kept: ${bytes} bytes in ${backupPath(directory.backups, id)}` });
}

/** Does the old version need its own state? Where the operator leaves it to us: unless the releases say that it reads what the new one wrote. */
function isRestoreWanted(transaction: Transaction): boolean {
  const { backup, trial, from, to, rollbackReason } = transaction;
  if (backup?.done !== true || backup.sha256 === undefined) return false;
  const mode = restoreModeOf(transaction);
  if (mode !== "auto") return mode === "always";
  if (rollbackReason === "operator") return isReadableBy(from.contract, to.contract) !== true;
  return trial !== undefined && trial.triesLeft < trial.tries; // only if the new version ever ran on it
}

async function restoreState(work: Work): Promise<void> {
  const { journal, directory, installation, machine } = work;
  const transaction = journal.current();
  const { backup } = transaction;
  if (!isRestoreWanted(transaction) || backup?.sha256 === undefined || backup.restored === true) return;
  const dumps = join(directory.path, `restore-${backup.id}`);
  await restoreBackup({
    machine,
    sections: sectionsFor(work),
    dumps,
    path: backupPath(directory.backups, backup.id),
    id: backup.id,
    sha256: backup.sha256,
    product: installation.product,
    onStep: (text) => machine.observe({ event: "step", step: "restore", text }),
  });
  await rm(dumps, { recursive: true, force: true });
  await journal.advance({ backup: { ...backup, restored: true } });
}
