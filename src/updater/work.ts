/** One transaction at work: the installation, the machine, the strategy and the journal that its steps share. */
import { SlipwayError } from "../model/errors.ts";
import { openJournal, type Journal } from "./journal.ts";
import { inplaceStrategy } from "./inplace-strategy.ts";
import type { Installation } from "./installation.ts";
import type { Machine } from "./machine.ts";
import { type ReleaseSource, releaseSource } from "./release-source.ts";
import { type Service, serviceOf } from "./service.ts";
import type { StateDirectory } from "./state-directory.ts";
import type { Strategy, StrategyContext } from "./strategy.ts";
import type { Transaction } from "./transaction.ts";
import { versionsStrategy } from "./versions-strategy.ts";

export type Work = {
  readonly installation: Installation;
  readonly machine: Machine;
  readonly directory: StateDirectory;
  readonly strategy: Strategy;
  readonly source: ReleaseSource;
  readonly service: Service;
  readonly journal: Journal;
  readonly signal: AbortSignal;
};

const strategies = { versions: versionsStrategy, inplace: inplaceStrategy } as const;

export function strategyOf(context: StrategyContext): Strategy {
  return strategies[context.installation.strategy](context);
}

export function startWork(options: StrategyContext & { readonly transaction: Transaction; readonly signal: AbortSignal }): Work {
  const { installation, machine, directory, transaction, signal } = options;
  return {
    installation,
    machine,
    directory,
    signal,
    strategy: strategyOf(options),
    source: releaseSource(installation, machine),
    service: serviceOf(installation, machine),
    journal: openJournal({
      path: directory.transaction,
      first: transaction,
      now: machine.clock.now,
      onWrite: (written) => observePhase(machine, written),
    }),
  };
}

export function observePhase(machine: Machine, { phase, step, from, to }: Transaction): void {
  machine.observe({
    event: "phase",
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
