/** The updater's operations on an installation whose strategy is settled, each under the lock, each ending in a value or a typed failure. */
import { acquireLock, lockOwner } from "../io/lock.ts";
import { SlipwayError } from "../model/errors.ts";
import { compareVersions, tryParseVersion, type Version } from "../model/version.ts";
import { newTransactionId } from "./acquire.ts";
import { beforeStart } from "./before-start.ts";
import { finish } from "./finish.ts";
import { readHistory } from "./history.ts";
import { emptyState, type InstalledState, type PreviousVersion, readState } from "./installed-state.ts";
import { foreignJournalError, type JournalReading, readJournal, writeJournal } from "./journal.ts";
import type { Machine } from "./machine.ts";
import type { Updater } from "./operations.ts";
import { type InstallResult, resultOf, rollbackResult } from "./outcome.ts";
import { requireUnpackaged } from "./package-owner.ts";
import { chooseArtifact, chooseRelease, describePlan, type Offer, requireProgress } from "./plan.ts";
import { proveDescription, readTrustPolicy } from "./prove.ts";
import { releaseSource } from "./release-source.ts";
import { resumeTransaction, runTransaction } from "./run.ts";
import type { SettledInstallation } from "./settle.ts";
import { findStateDirectory, prepareStateDirectory, type StateDirectory, stateDirectoryOf } from "./state-directory.ts";
import type { Live } from "./strategy.ts";
import { isFinal, isSwitching, type Transaction } from "./transaction.ts";
import { observePhase, startWork, strategyOf, type Work } from "./work.ts";

const lockWaitMs = 10_000;
const approvalMs = 15 * 60_000;
const maxAttempts = 3;

export function settledUpdater(installation: SettledInstallation, machine: Machine): Updater {
  const { product } = installation;
  const source = releaseSource(installation, machine);
  const never = new AbortController().signal;

  const stateOf = async (directory: StateDirectory | undefined): Promise<InstalledState> =>
    directory === undefined ? emptyState(product) : readState(directory.state, product);

  const look = async (directory: StateDirectory, state: InstalledState): Promise<Live> =>
    strategyOf({ installation, machine, directory }).look(state.installed);

  /** Reading only: the directory is not made, nothing is locked. */
  const present = async (): Promise<{ readonly directory: StateDirectory; readonly state: InstalledState; readonly live: Live }> => {
    const found = await findStateDirectory(installation.stateDir);
    const directory = found ?? stateDirectoryOf(installation.stateDir);
    const state = await stateOf(found);
    return { directory, state, live: await look(directory, state) };
  };

  const versionOf = (live: Live): Version | undefined => (live.version === undefined ? undefined : tryParseVersion(live.version));

  const offerFor = async (live: Live, state: InstalledState, requested: Version | undefined, signal: AbortSignal): Promise<Offer> =>
    chooseRelease({ index: await source.index(signal), channel: installation.channel, installed: versionOf(live), blocked: state.blocked, requested });

  const locked = async <T>(operation: string, run: (directory: StateDirectory) => Promise<T>): Promise<T> => {
    const directory = await prepareStateDirectory(installation.stateDir);
    const lock = await acquireLock(directory.path, operation, { waitMs: lockWaitMs });
    try {
      return await run(directory);
    } finally {
      await lock.release();
    }
  };

  const known = (reading: JournalReading, directory: StateDirectory): Transaction | undefined => {
    if (reading.kind === "foreign") throw foreignJournalError(directory.transaction, reading);
    return reading.kind === "none" ? undefined : reading.transaction;
  };

  const workFor = (directory: StateDirectory, transaction: Transaction, signal: AbortSignal): Work =>
    startWork({ installation, machine, directory, transaction, signal });

  /** A final transaction whose last breath was cut: its history line and the cleaning. */
  const tidy = async (directory: StateDirectory, transaction: Transaction): Promise<void> => {
    await finish(workFor(directory, transaction, never), await readState(directory.state, product));
  };

  const begin = async (directory: StateDirectory, transaction: Transaction, signal: AbortSignal): Promise<Work> => {
    await writeJournal(directory.transaction, transaction);
    observePhase(machine, transaction);
    return workFor(directory, transaction, signal);
  };

  const approval = (): Transaction["approval"] => ({
    mode: "explicit",
    by: `uid:${process.geteuid?.() ?? "-"}`,
    until: machine.clock.now().getTime() + approvalMs,
  });

  const newTransaction = (live: Live, seq: number | undefined, version: Version): Transaction => {
    const now = machine.clock.now().getTime();
    return {
      schema: 1,
      id: newTransactionId(),
      product,
      strategy: installation.strategy,
      phase: "created",
      from: {
        ...(live.version === undefined ? {} : { version: live.version }),
        ...(seq === undefined ? {} : { seq }),
        files: live.files,
        ...(live.ref === undefined ? {} : { ref: live.ref }),
      },
      to: { version },
      source: { kind: "repo", url: source.displayUrl },
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
  };

  /** An unfinished transaction in the way of a new install: continued, finished first, or given up. */
  const settle = async (
    directory: StateDirectory,
    transaction: Transaction,
    requested: Version | undefined,
    signal: AbortSignal,
  ): Promise<InstallResult | undefined> => {
    if (isFinal(transaction)) {
      await tidy(directory, transaction);
      return undefined;
    }
    const work = workFor(directory, transaction, signal);
    if (isSwitching(transaction)) {
      const result = resultOf(await runTransaction(work));
      return requested === undefined || requested === transaction.to.version ? result : undefined;
    }
    if (requested === undefined || requested === transaction.to.version) {
      await work.journal.advance({ approval: approval(), attempt: 1 });
      return resultOf(transaction.phase === "failed" ? await resumeTransaction(work) : await runTransaction(work));
    }
    const lastError = { code: "conflict", message: `given up for ${requested}`, detail: "superseded", at: machine.clock.now().getTime() };
    await work.journal.advance({ phase: "failed", retryable: false, lastError });
    await tidy(directory, work.journal.current());
    return undefined;
  };

  return {
    check: async ({ signal }) => {
      const { state, live } = await present();
      return { installed: live.version ?? null, channel: installation.channel, offer: await offerFor(live, state, undefined, signal) };
    },

    plan: async ({ version, isUnlinked = false, signal }) => {
      const { directory, state, live } = await present();
      const offer = await offerFor(live, state, version, signal);
      if (offer.kind === "none") return undefined;
      const description = await proveDescription({
        files: await source.files(offer.version, signal),
        installation,
        policy: await readTrustPolicy(installation),
        version: offer.version,
        now: machine.clock.now(),
      });
      requireProgress(description, state);
      const artifact = chooseArtifact(description.manifest, installation);
      const strategy = strategyOf({ installation, machine, directory });
      const { files } = strategy.target(artifact, offer.version);
      if (!isUnlinked) await requireUnpackaged(machine, strategy.livePaths(files));
      return describePlan({ installation, live, description, artifact, files });
    },

    install: ({ version, adopt, isUnlinked = false, signal }) =>
      locked("install", async (directory) => {
        await readTrustPolicy(installation); // a policy that cannot be read stops before anything is written
        const unfinished = known(await readJournal(directory.transaction, product), directory);
        if (unfinished !== undefined) {
          const result = await settle(directory, unfinished, version, signal);
          if (result !== undefined) return result;
        }
        const state = await readState(directory.state, product);
        const seen = await look(directory, state);
        const live: Live = seen.version === undefined && adopt !== undefined ? { version: adopt, files: {} } : seen;
        const offer = await offerFor(live, state, version, signal);
        if (offer.kind === "none") {
          if (offer.reason === "source_is_older") {
            throw new SlipwayError("downgrade_refused", `the newest release that the source offers is older than ${live.version ?? ""}, which is installed`);
          }
          return { kind: "nothing", installed: live.version ?? null, reason: offer.reason };
        }
        const seq = state.installed?.version === live.version ? state.installed?.seq : undefined;
        return resultOf(
          await runTransaction(await begin(directory, { ...newTransaction(live, seq, offer.version), ...(isUnlinked ? { isUnlinked } : {}) }, signal)),
        );
      }),

    resume: ({ signal }) =>
      locked("resume", async (directory) => {
        const transaction = known(await readJournal(directory.transaction, product), directory);
        if (transaction === undefined || isFinal(transaction)) {
          if (transaction !== undefined) await tidy(directory, transaction);
          if (transaction?.rollbackFailed === true) return resumeRollback(workFor(directory, transaction, signal));
          throw new SlipwayError("nothing_to_resume", "there is no unfinished upgrade");
        }
        return resultOf(await resumeTransaction(workFor(directory, transaction, signal)));
      }),

    beforeStart: () => beforeStart({ installation, machine }),

    rollback: ({ version, isStateRestored, signal }) =>
      locked("rollback", async (directory) => {
        const unfinished = known(await readJournal(directory.transaction, product), directory);
        if (unfinished !== undefined) {
          if (isSwitching(unfinished)) {
            // Asked for in the middle of a trial: the transaction itself goes back.
            const work = workFor(directory, unfinished, signal);
            if (unfinished.step !== "rollback") await work.journal.advance({ step: "rollback", rollbackReason: "operator", restoreState: isStateRestored });
            return rollbackResult(await runTransaction(work));
          }
          if (!isFinal(unfinished)) await workFor(directory, unfinished, signal).journal.advance({ phase: "failed", retryable: false });
          await tidy(directory, { ...unfinished, phase: unfinished.phase === "applied" ? "applied" : "failed", retryable: false });
        }
        const state = await readState(directory.state, product);
        const installed = state.installed;
        const target = choosePrevious(state, version);
        if (installed === undefined || target === undefined) throw new SlipwayError("version_not_found", "there is no previous version to go back to");
        const blank = newTransaction(
          { version: target.version, files: target.files, ...(target.ref === undefined ? {} : { ref: target.ref }) },
          target.seq,
          installed.version as Version,
        );
        const transaction: Transaction = {
          ...blank,
          phase: "applying",
          step: "rollback",
          rollbackReason: "operator",
          restoreState: isStateRestored,
          to: { ...blank.to, seq: installed.seq, files: installed.files, ...(installed.ref === undefined ? {} : { ref: installed.ref }) },
          ...(target.backup === undefined ? {} : { backup: target.backup }),
        };
        return rollbackResult(await runTransaction(await begin(directory, transaction, signal)));
      }),

    status: async () => {
      const { directory, state, live } = await present();
      const reading = await readJournal(directory.transaction, product);
      const isThere = (await findStateDirectory(installation.stateDir)) !== undefined;
      return {
        product,
        strategy: installation.strategy,
        strategyReason: installation.strategyReason,
        installed: state.installed?.version ?? null,
        live: live.version ?? null,
        previous: state.previous.map((entry) => entry.version),
        blocked: state.blocked,
        lock: isThere ? ((await lockOwner(directory.path)) ?? null) : null,
        journal: reading.kind === "foreign" ? { kind: "foreign", reason: reading.reason, phase: reading.phase ?? "unreadable" } : reading,
      };
    },

    history: async () => readHistory((await present()).directory.history),
  };
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

function choosePrevious(state: InstalledState, version: Version | undefined): PreviousVersion | undefined {
  if (version === undefined) return state.previous[0];
  const found = state.previous.find((entry) => entry.version === version);
  if (found !== undefined) return found;
  const installed = state.installed === undefined ? undefined : tryParseVersion(state.installed.version);
  const isNewer = installed !== undefined && compareVersions(version, installed) > 0;
  throw new SlipwayError("version_not_found", `${version} is not kept on this machine`, {
    hint: isNewer ? "use `slipway upgrade install` for a newer version" : `kept are: ${state.previous.map((entry) => entry.version).join(", ") || "none"}`,
  });
}
