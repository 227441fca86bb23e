/** What all operations on a settled installation share: looking at it, locking it, and starting transactions on it. */
import { acquireLock } from "../io/lock.ts";
import type { Version } from "../model/version.ts";
import { newTransactionId } from "./acquire.ts";
import { finish } from "./finish.ts";
import { finishRestore } from "./restore-by-hand.ts";
import { type InstalledState, readState } from "./installed-state.ts";
import { foreignJournalError, readJournal, writeJournal } from "./journal.ts";
import { forgetRegistryLogin } from "./registry-login.ts";
import { prepareStateDirectory, type StateDirectory } from "./state-directory.ts";
import type { Live } from "./strategy.ts";
import type { Approver } from "./operations.ts";
import type { Transaction } from "./transaction.ts";
import type { View } from "./view.ts";
import { observePhase, startWork, type Work } from "./work.ts";

const lockWaitMs = 10_000;
const approvalMs = 15 * 60_000;
const maxAttempts = 3;
const never = new AbortController().signal;

export type Session = View & {
  /** Runs under the lock; a restore that was cut is finished first. Throws `lock_held` after ten seconds. */
  readonly locked: <T>(operation: string, run: (directory: StateDirectory) => Promise<T>) => Promise<T>;
  /** The transaction of the journal; throws `journal_corrupt` for one that is not ours. */
  readonly journaled: (directory: StateDirectory) => Promise<Transaction | undefined>;
  readonly workFor: (directory: StateDirectory, transaction: Transaction, signal: AbortSignal) => Work;
  /** A final transaction whose last breath was cut: its history line and the cleaning. */
  readonly tidy: (directory: StateDirectory, transaction: Transaction) => Promise<void>;
  /** Writes the transaction as the journal's, durably. */
  readonly begin: (directory: StateDirectory, transaction: Transaction, signal: AbortSignal) => Promise<Work>;
  /** Fifteen minutes from now. `by` is this user unless said otherwise. */
  readonly approval: (options?: { readonly isOutsideWindow?: boolean | undefined; readonly approver?: Approver | undefined }) => Transaction["approval"];
  readonly newTransaction: (live: Live, state: InstalledState, version: Version) => Transaction;
};

export function openSession(view: View): Session {
  const { installation, machine, source } = view;
  const { product } = installation;
  const workFor: Session["workFor"] = (directory, transaction, signal) =>
    startWork({ installation, machine, source, directory, strategy: view.strategyAt(directory), transaction, signal });
  const approval: Session["approval"] = ({ isOutsideWindow, approver } = {}) => ({
    mode: approver?.mode ?? "explicit",
    by: approver?.by ?? `uid:${process.geteuid?.() ?? "-"}`,
    until: machine.clock.now().getTime() + approvalMs,
    ...(isOutsideWindow === true ? { isOutsideWindow } : {}),
  });
  return {
    ...view,
    workFor,
    approval,

    locked: async (operation, run) => {
      const directory = await prepareStateDirectory(installation.stateDir);
      const lock = await acquireLock(directory.path, operation, { waitMs: lockWaitMs });
      try {
        await forgetRegistryLogin(directory); // of a pull that was killed
        await finishRestore({ installation, machine, directory });
        return await run(directory);
      } finally {
        await lock.release();
      }
    },

    journaled: async (directory) => {
      const reading = await readJournal(directory.transaction, product);
      if (reading.kind === "foreign") throw foreignJournalError(directory.transaction, reading);
      return reading.kind === "none" ? undefined : reading.transaction;
    },

    tidy: async (directory, transaction) => finish(workFor(directory, transaction, never), await readState(directory.state, product)),

    begin: async (directory, transaction, signal) => {
      await writeJournal(directory.transaction, transaction);
      observePhase(machine, transaction);
      return workFor(directory, transaction, signal);
    },

    newTransaction: (live, { installed }, version) => {
      const now = machine.clock.now().getTime();
      const recorded = installed?.version === live.version ? installed : undefined;
      return {
        schema: 1,
        id: newTransactionId(),
        product,
        strategy: installation.strategy,
        phase: "created",
        from: {
          ...(live.version === undefined ? {} : { version: live.version }),
          ...(recorded === undefined ? {} : { seq: recorded.seq }),
          files: live.files,
          ...(live.ref === undefined ? {} : { ref: live.ref }),
          ...(recorded?.contract === undefined ? {} : { contract: recorded.contract }),
        },
        to: { version },
        source: { kind: installation.bundle === undefined ? "repo" : "mirror", url: source.displayUrl },
        trust: { checks: [] },
        download: { bytes: 0 },
        approval: approval(),
        attempt: 1,
        maxAttempts,
        notBefore: 0,
        retryable: true,
        rolledBack: false,
        rollbackFailed: false,
        timings: {},
        startedAt: now,
        updatedAt: now,
      };
    },
  };
}
