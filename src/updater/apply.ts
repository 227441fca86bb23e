/**
 * Rows 5 to 14: from a verified artifact to the new version, proven healthy. Until the arming nothing that runs is touched; from then on
 * every failure leads to the rollback, and only a healthy version ends a transaction.
 */
import { rm } from "node:fs/promises";
import { bootId } from "../io/lock.ts";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import { backupPath, newBackupId } from "./backup.ts";
import { finish } from "./finish.ts";
import { requireMayGoOn } from "./gate.ts";
import { renewGuardProgram } from "./guard-program.ts";
import { passHealthGate, type Verdict } from "./health.ts";
import { type InstalledState, readState, writeState } from "./installed-state.ts";
import { outcomesOf, proveOutcomes } from "./prove-outcomes.ts";
import { runHook } from "./service.ts";
import { backUpSections, sectionsFor } from "./state-backup.ts";
import type { HeldArtifact } from "./strategy.ts";
import type { Transaction } from "./transaction.ts";
import { nowMs, recordError, requireGoOn, type Work } from "./work.ts";

/** Throws `needs_confirmation` where nobody has said yes recently enough; the journal stays where it is. */
export function requireApproval(work: Work): void {
  const { approval, to } = work.journal.current();
  if (nowMs(work) <= approval.until) return;
  throw new SlipwayError("needs_confirmation", `the approval to install ${to.version} ended at ${new Date(approval.until).toISOString()}`);
}

/** Step prepare: old code kept, state backed up, new files placed beside; the journal is armed afterwards. */
export async function prepare(work: Work, held: HeldArtifact): Promise<void> {
  const { journal, strategy, installation } = work;
  requireApproval(work);
  await strategy.backUpCode(journal.current());
  requireGoOn(work);
  await backUpState(work);
  requireGoOn(work);
  await strategy.place(journal.current(), held);
  requireGoOn(work);
  requireApproval(work);
  await requireMayGoOn(work);
  await renewGuardProgram(work.directory);
  const { tries } = installation.health;
  await journal.advance({ step: "switch", trial: { triesLeft: tries, tries, bootId: await bootId() } });
}

async function backUpState(work: Work): Promise<void> {
  const { journal, installation, directory, machine } = work;
  if (sectionsFor(work).length === 0) return;
  const transaction = journal.current();
  // One that was made before a crash is older than the state: it is made again.
  if (transaction.backup !== undefined) await rm(backupPath(directory.backups, transaction.backup.id), { force: true });
  const id = newBackupId();
  const { quiesce, unquiesce, timeout_seconds: timeoutSeconds } = installation.backup;
  await journal.advance({ backup: { id, required: true, done: false, quiesced: quiesce !== undefined } });
  try {
    if (quiesce !== undefined) await runHook(machine, quiesce, { what: "quiesce", timeoutSeconds });
    const reason = `pre-upgrade ${transaction.from.version ?? "none"} -> ${transaction.to.version}`;
    const { sha256, bytes } = await backUpSections(work, { id, reason, runs: transaction.from });
    machine.observe({ event: "step", step: "backup", text: `${bytes} bytes of state in ${backupPath(directory.backups, id)}` });
    if (unquiesce !== undefined) await runHook(machine, unquiesce, { what: "unquiesce", timeoutSeconds });
    await journal.advance({ backup: { id, required: true, done: true, sha256, quiesced: false } });
  } catch (error) {
    await endQuiesce(work);
    throw error;
  }
}

/** Lets the product go on where a backup was cut between quiesce and unquiesce. */
export async function endQuiesce(work: Work): Promise<void> {
  const { journal, installation, machine } = work;
  const { backup } = journal.current();
  const { unquiesce, timeout_seconds: timeoutSeconds } = installation.backup;
  if (backup?.quiesced !== true || unquiesce === undefined) return;
  await runHook(machine, unquiesce, { what: "unquiesce", timeoutSeconds });
  await journal.advance({ backup: { ...backup, quiesced: false } });
}

/** Step switch: stop, then the one rename (or the renames) that decide. Finishes what a crash cut. */
export async function switchOver(work: Work): Promise<void> {
  const { journal, strategy, service } = work;
  const transaction = journal.current();
  const reality = await strategy.reality(transaction);
  if (reality === "old" && nowMs(work) > transaction.approval.until) {
    // The service may have been stopped already: the way back starts the old version and proves it.
    await journal.advance({
      step: "rollback",
      rollbackReason: "approval",
      lastError: recordError(new SlipwayError("needs_confirmation", "the approval ended before the switch"), nowMs(work)),
    });
    return;
  }
  const timings = { ...transaction.timings, stoppedAt: transaction.timings.stoppedAt ?? nowMs(work) };
  await orRunOldAgain(work, async () => {
    let isStopped = false;
    try {
      if (transaction.from.version !== undefined || reality !== "old") await service.stop();
      isStopped = true;
      await strategy.switchForward(transaction);
    } catch (error) {
      const failure = asSlipwayError(error);
      // Nothing was switched, and the new version is as good as before: the old one starts again, and this is tried later.
      const untried = !isStopped ? "stop" : failure.code === "lock_held" ? "busy" : undefined; // busy: another package manager came in between
      const isOld = untried !== undefined && (await strategy.reality(transaction)) === "old";
      await journal.advance({ step: "rollback", rollbackReason: isOld ? untried : "trial", lastError: recordError(failure, nowMs(work)), timings });
      return;
    }
    await journal.advance({ step: "trial", timings });
  });
}

/**
 * What is done between the stop and the first start of the new version. Where it throws, the journal cannot be written, and the new version never
 * ran: the old one runs on where its files are back or still there, instead of nothing until somebody mends the disk.
 */
async function orRunOldAgain(work: Work, run: () => Promise<unknown>): Promise<void> {
  try {
    await run();
  } catch (error) {
    await runOldAgain(work);
    throw error;
  }
}

async function runOldAgain({ journal, strategy, service, machine, installation }: Work): Promise<void> {
  const transaction = journal.current();
  const { trial, from } = transaction;
  if (from.version === undefined || trial?.triesLeft !== trial?.tries) return;
  const warn = (what: string, error: unknown): void =>
    machine.observe({ event: "warning", text: `${what}: ${error instanceof Error ? error.message : String(error)}` });
  try {
    // One rename: it counts although the disk does not confirm it. What needs more than that stays as it is.
    if (installation.strategy === "versions") await strategy.switchBack(transaction).catch((error: unknown) => warn("switch back", error));
    if ((await strategy.reality(transaction)) !== "old") return;
    await service.start();
    machine.observe({ event: "warning", text: `${from.version} runs again; \`slipway upgrade resume\` goes on once the journal can be written` });
  } catch (error) {
    warn(`${from.version} cannot be started again`, error);
  }
}

/** Step trial: each start is counted before it happens, so that a crash loop uses up the tries. `isStopped`: nothing of the service runs. */
export async function tryOut(work: Work, isStopped: boolean): Promise<void> {
  const { journal, directory, installation, service, machine } = work;
  const { to, trial } = journal.current();
  const state = await readState(directory.state, installation.product);
  if (state.installed?.version === to.version) {
    // Healthy and recorded before a crash took the last write away.
    await conclude(work, state);
    return;
  }
  if (!isStopped && (trial?.triesLeft ?? 0) > 0 && (await work.strategy.reality(journal.current())) === "old") {
    await journal.advance({ step: "switch" }); // a journal that could not be written led back to the old version
    return;
  }
  // The guard counted this start while no updater ran (a reboot, a crash of ours): it is watched, not repeated.
  const isStartedByGuard = trial?.isStartedByGuard === true && trial.bootId === (await bootId()) && !isStopped && (await service.isRunning()) === true;
  if (trial === undefined || (trial.triesLeft <= 0 && !isStartedByGuard)) {
    const lastError =
      journal.current().lastError ??
      recordError(new SlipwayError("health_failed", `${to.version} did not become healthy in ${trial?.tries ?? 0} starts`), nowMs(work));
    await journal.advance({ step: "rollback", rollbackReason: "trial", lastError });
    return;
  }
  const counted = { tries: trial.tries, triesLeft: trial.triesLeft - (isStartedByGuard ? 0 : 1), bootId: await bootId() };
  const count = (): Promise<Transaction> => journal.advance({ trial: counted });
  await (isStopped ? orRunOldAgain(work, count) : count());
  let verdict: Verdict;
  try {
    if (!isStopped && !isStartedByGuard) await stopForTry(work);
    if (!isStartedByGuard) await service.start();
    verdict = await passHealthGate({ installation, machine, service, version: to.version });
  } catch (error) {
    const failure = asSlipwayError(error);
    if (failure.code === "internal") machine.observe({ event: "warning", text: failure.message });
    verdict = { isHealthy: false, isOtherVersion: false, text: failure.message };
  }
  if (verdict.isHealthy) verdict = await proveBeforeCommit(work, verdict);
  if (verdict.isHealthy) {
    await commit(work, state);
    return;
  }
  machine.observe({ event: "warning", text: `${to.version}: ${verdict.text}` });
  const triesLeft = verdict.isOtherVersion ? 0 : counted.triesLeft;
  await journal.advance({ trial: { ...counted, triesLeft }, lastError: recordError(new SlipwayError("health_failed", verdict.text), nowMs(work)) });
}

/** The outcomes that the installation file demands; a skipped check that is required proves nothing. */
async function proveBeforeCommit(work: Work, verdict: Verdict): Promise<Verdict> {
  const { installation, journal, machine } = work;
  const { to } = journal.current();
  const outcomes = outcomesOf(installation, to.contract);
  for (const name of installation.verify) {
    const report = await proveOutcomes({ machine, outcomes, name, version: to.version, signal: work.signal });
    const first = report.checks.find((check) => check.result !== "PASS");
    machine.observe({ event: "step", step: "verify", text: `outcome ${name}: ${report.result}` });
    if (report.result !== "PASS")
      return {
        isHealthy: false,
        isOtherVersion: false,
        text: `outcome ${name} is ${report.result}${first === undefined ? "" : `: ${first.name}: ${first.detail}`}`,
      };
  }
  return verdict;
}

/** What cannot be stopped may be gone already; what still runs and is the wrong version fails the gate. */
async function stopForTry(work: Work): Promise<void> {
  try {
    await work.service.stop();
  } catch (error) {
    work.machine.observe({ event: "warning", text: `stop: ${error instanceof Error ? error.message : String(error)}` });
  }
}

/** Row 13: what is installed, then that it is. */
export async function commit(work: Work, state: InstalledState): Promise<void> {
  const { journal, directory, installation } = work;
  const transaction = journal.current();
  const { from, to, backup } = transaction;
  const seq = to.seq ?? 0;
  const left: InstalledState["previous"] =
    from.version === undefined
      ? []
      : [
          {
            version: from.version,
            seq: from.seq ?? 0,
            files: from.files,
            at: nowMs(work),
            ...(from.contract === undefined ? {} : { contract: from.contract }),
            ...(from.ref === undefined ? {} : { ref: from.ref }),
            ...(backup?.done === true ? { backup: { ...backup, restored: false } } : {}),
          },
        ];
  const next: InstalledState = {
    ...state,
    installed: {
      version: to.version,
      seq,
      files: to.files ?? {},
      at: nowMs(work),
      ...(to.ref === undefined ? {} : { ref: to.ref }),
      ...(to.contract === undefined ? {} : { contract: to.contract }),
    },
    previous: [...left, ...state.previous.filter((entry) => entry.version !== from.version && entry.version !== to.version)].slice(
      0,
      installation.keep_previous,
    ),
    highWater: state.highWater !== undefined && state.highWater.seq > seq ? state.highWater : { seq, version: to.version },
  };
  await writeState(directory.state, next);
  work.machine.observe({ event: "step", step: "commit", text: `${to.version} is recorded as installed` });
  await conclude(work, next);
}

async function conclude(work: Work, state: InstalledState): Promise<void> {
  const { journal } = work;
  const transaction: Transaction = journal.current();
  await journal.advance({ phase: "applied", retryable: false, timings: { ...transaction.timings, healthyAt: nowMs(work) } });
  await finish(work, state);
}
