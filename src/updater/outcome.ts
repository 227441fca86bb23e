/** What a finished transaction means to whoever asked for it: a result, or the failure with the verdict on the old version. */
import { asSlipwayError, type ErrorCode, errorTable, SlipwayError } from "../model/errors.ts";
import type { Skipped } from "./plan.ts";
import type { Transaction } from "./transaction.ts";

export type InstallResult =
  | {
      readonly kind: "installed";
      readonly from: string | null;
      readonly version: string;
      /** From stop to healthy; of several hops the sum. */
      readonly downtimeMs: number | null;
      readonly transaction: string;
      /** The versions on the way, the last one included; absent where it was one step. */
      readonly hops?: readonly string[];
    }
  /** Strategy manual: verified, and what is to be run. */
  | {
      readonly kind: "staged";
      readonly from: string | null;
      readonly version: string;
      readonly path: string;
      readonly commands: readonly string[];
      readonly transaction: string;
    }
  | { readonly kind: "nothing"; readonly installed: string | null; readonly reason: "up_to_date" | "no_release"; readonly skipped: readonly Skipped[] };

/** The runbook (K7) as it ran: each step with its time. */
export type RunbookReport = {
  readonly steps: readonly { readonly step: string; readonly ms: number }[];
  /** From the first stop to proven healthy. */
  readonly rtoMs: number;
  readonly targetMs: number;
  readonly isWithinTarget: boolean;
};

/** What the third source document promises for going back: 15 minutes. */
const rtoTargetMs = 15 * 60_000;

export type RollbackResult = {
  readonly from: string;
  readonly to: string;
  readonly transaction: string;
  readonly downtimeMs: number;
  readonly isStateRestored: boolean;
  /** Backup id of the state as it was before the rollback. */
  readonly keptState: string | null;
  readonly report: RunbookReport;
};

const downtimeOf = ({ timings }: Transaction): number | null =>
  timings.stoppedAt === undefined || timings.healthyAt === undefined ? null : timings.healthyAt - timings.stoppedAt;

function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(errorTable, text);
}

/** A finished transaction as its outcome; a rollback is a failure of the upgrade, with the verdict on the old version. */
export function resultOf(transaction: Transaction): InstallResult {
  const { from, to, phase, rolledBack, rollbackFailed, lastError } = transaction;
  if (phase === "applied")
    return { kind: "installed", from: from.version ?? null, version: to.version, downtimeMs: downtimeOf(transaction), transaction: transaction.id };
  if (phase === "verified" && transaction.byHand !== undefined)
    return { kind: "staged", from: from.version ?? null, version: to.version, ...transaction.byHand, transaction: transaction.id };
  const why = lastError?.message ?? "no reason was recorded";
  if (rollbackFailed) {
    const first = transaction.trialError === undefined ? "" : `; before that: ${transaction.trialError.message}`;
    throw new SlipwayError(
      "rollback_failed",
      `${to.version} failed, and so did going back to ${from.version ?? "nothing"}: ${why}${first}`,
      lastError?.detail === undefined ? {} : { detail: lastError.detail },
    );
  }
  if (rolledBack && transaction.rollbackReason === "approval")
    throw new SlipwayError("needs_confirmation", `${why}; ${from.version ?? "nothing"} runs as before`);
  if (rolledBack && transaction.rollbackReason === "busy") throw new SlipwayError("lock_held", `${why}; ${from.version ?? "nothing"} runs as before`);
  if (rolledBack && transaction.rollbackReason === "stop") throw new SlipwayError("hook_failed", `${why}; ${from.version ?? "nothing"} runs as before`);
  if (rolledBack) {
    const back = from.version === undefined ? "it was taken away again; nothing was installed before" : `rolled back to ${from.version}, which is healthy`;
    const hint = from.version === undefined ? "`slipway upgrade history` keeps the report" : errorTable.health_failed.hint;
    throw new SlipwayError("health_failed", `${to.version} is not healthy (${why}); ${back}`, { detail: "rolled_back", hint });
  }
  throw new SlipwayError(
    lastError !== undefined && isErrorCode(lastError.code) ? lastError.code : "internal",
    why,
    lastError?.detail === undefined ? {} : { detail: lastError.detail },
  );
}

export function rollbackResult(transaction: Transaction): RollbackResult {
  if (!transaction.rolledBack) throw asSlipwayError(failureOf(transaction));
  return {
    from: transaction.to.version,
    to: transaction.from.version ?? "none",
    transaction: transaction.id,
    downtimeMs: downtimeOf(transaction) ?? 0,
    isStateRestored: transaction.backup?.restored === true,
    keptState: transaction.safetyBackup?.id ?? null,
    report: {
      steps: transaction.timings.runbook ?? [],
      rtoMs: downtimeOf(transaction) ?? 0,
      targetMs: rtoTargetMs,
      isWithinTarget: (downtimeOf(transaction) ?? 0) < rtoTargetMs,
    },
  };
}

function failureOf(transaction: Transaction): unknown {
  try {
    return resultOf(transaction);
  } catch (error) {
    return error;
  }
}
