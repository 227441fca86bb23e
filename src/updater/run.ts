/**
 * Drives one transaction to its end, from wherever its journal stands: a fresh upgrade and a recovery run through the same loop.
 *
 * The order of durable changes is that of updater facts 3.4; what a crash leaves behind and what happens then is 3.5.
 */
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { download, holdArtifact } from "./acquire.ts";
import { endQuiesce, prepare, requireApproval, switchOver, tryOut } from "./apply.ts";
import { finish } from "./finish.ts";
import { requireMayGoOn, requireStillOffered } from "./gate.ts";
import { readState } from "./installed-state.ts";
import { stageByHand } from "./manual-stage.ts";
import { rollBack } from "./roll-back.ts";
import type { HeldArtifact } from "./strategy.ts";
import { isSwitching, type Transaction } from "./transaction.ts";
import { nowMs, recordError, requireGoOn, type Work } from "./work.ts";

/** Timers come back after 15 min, 1 h, 6 h, 24 h (updater facts 3.6). */
const laterMs = [900_000, 3_600_000, 21_600_000, 86_400_000] as const;
const oldestMs = 7 * 86_400_000;

/**
 * Runs until the transaction is applied, failed, or waits for somebody; returns it when it is `applied`, `failed` after a rollback, or `verified` and the rest is by hand.
 * Throws what stopped it before the switch; the installation is then untouched.
 */
export async function runTransaction(work: Work): Promise<Transaction> {
  let held: HeldArtifact | undefined;
  let isStopped = false;
  try {
    await work.absorb();
    for (;;) {
      const { phase, step } = work.journal.current();
      switch (phase) {
        case "applied":
        case "failed":
          return work.journal.current();
        case "created":
          requireGoOn(work);
          await work.journal.advance({ phase: "downloading" });
          break;
        case "downloading":
          requireGoOn(work);
          await download(work);
          break;
        case "downloaded":
          requireGoOn(work);
          held = await holdArtifact(work);
          await work.journal.advance({ phase: "verified" });
          break;
        case "verified":
          if (work.installation.strategy === "manual") {
            if (!(await stageByHand(work))) return work.journal.current();
            break;
          }
          requireApproval(work);
          await requireMayGoOn(work);
          await requireStillOffered(work);
          await work.journal.advance({ phase: "applying", step: "prepare" });
          break;
        case "applying":
          if (step === "prepare") {
            held ??= await holdArtifact(work); // after a crash everything is proven again
            await prepare(work, held);
          } else if (step === "switch") {
            await switchOver(work);
            isStopped = true;
          } else if (step === "trial") {
            await tryOut(work, isStopped);
            isStopped = false;
          } else await rollBack(work);
          break;
      }
    }
  } catch (error) {
    await recordFailure(work, asSlipwayError(error));
    throw error;
  } finally {
    await held?.handle.close();
  }
}

/** No failures: the transaction waits where it is. */
const waiting = new Set<string>(["needs_confirmation", "interrupted", "outside_window"]);

/** Before the switch a failure ends the attempt; whether it may be taken up again stands in the journal. */
async function recordFailure(work: Work, failure: SlipwayError): Promise<void> {
  const { journal, directory, installation, machine } = work;
  const transaction = journal.current();
  if (isSwitching(transaction)) return; // recovery looks at what is there
  if (waiting.has(failure.code)) {
    if (transaction.phase === "applying") await endQuiesce(work);
    return;
  }
  try {
    if (transaction.phase === "applying") await endQuiesce(work);
    const isRetryable = failure.isRetryable && transaction.attempt < transaction.maxAttempts;
    const pauseMs = laterMs[Math.min(transaction.attempt, laterMs.length) - 1] ?? 0;
    await journal.advance({
      phase: "failed",
      retryable: isRetryable,
      lastError: recordError(failure, nowMs(work)),
      notBefore: isRetryable ? nowMs(work) + pauseMs : 0,
    });
    await finish(work, await readState(directory.state, installation.product));
  } catch (error) {
    // The first failure is the one to report; the journal is still whole, and says what was done last.
    machine.observe({ event: "warning", text: `the failure could not be recorded: ${error instanceof Error ? error.message : String(error)}` });
  }
}

/**
 * Takes up a transaction that was left unfinished. The attempt is counted before the work: a crash loop uses up its budget. What is past
 * the switch is always brought to an end. Throws the recorded failure where the budget or seven days are over.
 */
export async function resumeTransaction(work: Work): Promise<Transaction> {
  const { journal, directory, installation } = work;
  const transaction = journal.current();
  const waitsForHands = installation.strategy === "manual" && transaction.phase === "verified"; // and does not lose its place by waiting
  if (isSwitching(transaction) || waitsForHands) return runTransaction(work);
  await requireMayGoOn(work); // a timer that finds the window closed uses up no attempt
  const isOld = nowMs(work) - transaction.startedAt > oldestMs;
  if (isOld || transaction.attempt >= transaction.maxAttempts) {
    const why = isOld ? "it is older than seven days" : `all ${transaction.maxAttempts} attempts are used up`;
    const last = transaction.lastError;
    await endQuiesce(work);
    await journal.advance({ phase: "failed", retryable: false, lastError: last ?? recordError(new SlipwayError("conflict", `given up: ${why}`), nowMs(work)) });
    await finish(work, await readState(directory.state, installation.product));
    throw new SlipwayError(
      "nothing_to_resume",
      `the upgrade to ${transaction.to.version} is given up: ${why}${last === undefined ? "" : `; the last failure was ${last.message}`}`,
      {
        detail: isOld ? "expired" : "attempts_exhausted",
        hint: "`slipway upgrade install` starts a new one",
      },
    );
  }
  await endQuiesce(work);
  const counted = { attempt: transaction.attempt + 1, notBefore: 0 };
  if (transaction.phase === "failed") {
    await journal.advance({ ...counted, phase: "downloading", rolledBack: false, timings: {} }, ["step", "lastError", "rollbackReason", "trial", "backup"]);
  } else await journal.advance(counted);
  return runTransaction(work);
}
