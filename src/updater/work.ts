/** One transaction at work: the installation, the machine, the strategy and the journal that its steps share. */
import { SlipwayError } from "../model/errors.ts";
import { openJournal, type Journal } from "./journal.ts";
import type { Machine } from "./machine.ts";
import type { ReleaseSource } from "./release-source.ts";
import { type Service, serviceOf } from "./service.ts";
import type { SettledInstallation } from "./settle.ts";
import type { StateDirectory } from "./state-directory.ts";
import type { Strategy } from "./strategy.ts";
import type { Transaction } from "./transaction.ts";
import { trialFile } from "./trial-file.ts";

export type Work = {
  readonly installation: SettledInstallation;
  readonly machine: Machine;
  readonly directory: StateDirectory;
  readonly strategy: Strategy;
  readonly source: ReleaseSource;
  readonly service: Service;
  readonly journal: Journal;
  /** Takes over what a guard without Node did while no updater ran. */
  readonly absorb: () => Promise<void>;
  readonly signal: AbortSignal;
};

export function startWork(
  options: Pick<Work, "installation" | "machine" | "directory" | "strategy" | "source" | "signal"> & { readonly transaction: Transaction },
): Work {
  const { installation, machine, directory, strategy, source, transaction, signal } = options;
  const trial = trialFile(directory, installation);
  const journal = openJournal({
    path: directory.transaction,
    first: transaction,
    now: machine.clock.now,
    onWrite: (written) => observePhase(machine, written),
    beforeWrite: trial.before,
    afterWrite: trial.after,
  });
  return {
    installation,
    machine,
    directory,
    signal,
    strategy,
    source,
    service: serviceOf(installation, machine, directory),
    journal,
    absorb: () => trial.absorb(journal),
  };
}

export function observePhase(machine: Machine, { id, phase, step, from, to }: Transaction): void {
  machine.observe({
    event: "phase",
    transaction: id,
    phase,
    ...(phase === "applying" && step !== undefined ? { step } : {}),
    ...(from.version === undefined ? {} : { from: from.version }),
    to: to.version,
  });
}

export const nowMs = (work: Work): number => work.machine.clock.now().getTime();

/** Throws where the operator wants to stop; only called where stopping leaves the installation as it is. */
export function requireGoOn(work: Work): void {
  if (work.signal.aborted) {
    throw new SlipwayError("interrupted", "interrupted; nothing that runs was changed", { hint: "`slipway upgrade resume` goes on from here" });
  }
}

/** A failure as the journal keeps it. */
export function recordError(error: SlipwayError, at: number): NonNullable<Transaction["lastError"]> {
  return { code: error.code, message: error.message.slice(0, 4000), ...(error.detail === undefined ? {} : { detail: error.detail }), at };
}
