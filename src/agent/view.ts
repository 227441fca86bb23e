/**
 * What callers get to see. Role read gets codes, versions, times and numbers, and no free text at all: a message may quote a path, an address
 * or a command's output. Other roles get the texts, without what may be a secret in an address.
 */
import { type ErrorCode, errorTable, type SlipwayError } from "../model/errors.ts";
import type { UpdateEvent } from "../updater/machine.ts";
import type { Status } from "../updater/operations.ts";
import type { Transaction } from "../updater/transaction.ts";
import type { Caller } from "./roles.ts";

const seesTexts = ({ roles }: Caller): boolean => roles.has("install") || roles.has("rollback");

/** User names, passwords and queries of addresses go. */
export function withoutSecrets(text: string): string {
  return text.replace(/\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@"']*@/gi, "$1").replace(/\b([a-z][a-z0-9+.-]*:\/\/[^\s?"']*)\?[^\s"')]*/gi, "$1");
}

const plainDetail = /^[A-Za-z0-9_.:-]{1,80}$/;
const isErrorCode = (text: string): text is ErrorCode => Object.hasOwn(errorTable, text);

export type ErrorView = { readonly code: string; readonly message: string; readonly detail?: string; readonly hint: string; readonly retryable: boolean };

/** For role read the message is the one of the table. */
export function errorView(error: Pick<SlipwayError, "code" | "message" | "detail" | "hint">, caller: Caller): ErrorView {
  const { code, message, detail, hint } = error;
  const row = isErrorCode(code) ? errorTable[code] : errorTable.internal;
  const hasTexts = seesTexts(caller);
  return {
    code,
    message: hasTexts ? withoutSecrets(message) : code.replaceAll("_", " "),
    ...(detail !== undefined && (hasTexts || plainDetail.test(detail)) ? { detail } : {}),
    hint: hasTexts ? withoutSecrets(hint) : row.hint,
    retryable: row.retryable,
  };
}

export type TransactionView = {
  readonly id: string;
  readonly phase: string;
  readonly step?: string;
  readonly from: string | null;
  readonly to: string;
  readonly goal: string | null;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly notBefore: number;
  readonly retryable: boolean;
  readonly rolledBack: boolean;
  readonly rollbackFailed: boolean;
  readonly downloadedBytes: number;
  readonly sizeBytes: number | null;
  readonly lastError?: ErrorView;
  readonly startedAt: number;
  readonly updatedAt: number;
};

export function transactionView(transaction: Transaction, caller: Caller): TransactionView {
  const { id, phase, step, from, to, goal, attempt, maxAttempts, notBefore, retryable, rolledBack, rollbackFailed, download, lastError } = transaction;
  return {
    id,
    phase,
    ...(phase === "applying" && step !== undefined ? { step } : {}),
    from: from.version ?? null,
    to: to.version,
    goal: goal ?? null,
    attempt,
    maxAttempts,
    notBefore,
    retryable,
    rolledBack,
    rollbackFailed,
    downloadedBytes: download.bytes,
    sizeBytes: to.size ?? null,
    ...(lastError === undefined ? {} : { lastError: errorView(errorOf(lastError), caller) }),
    startedAt: transaction.startedAt,
    updatedAt: transaction.updatedAt,
  };
}

function errorOf(recorded: NonNullable<Transaction["lastError"]>): Parameters<typeof errorView>[0] {
  const code = isErrorCode(recorded.code) ? recorded.code : "internal";
  return { code, message: recorded.message, detail: recorded.detail, hint: errorTable[code].hint };
}

export type StatusView = {
  readonly product: string;
  readonly strategy: string;
  readonly installed: string | null;
  readonly live: string | null;
  readonly previous: readonly string[];
  readonly blocked: readonly { readonly version: string; readonly at: number }[];
  readonly pin: string | null;
  readonly hold: { readonly until: number | null; readonly reason?: string } | null;
  readonly window: Status["window"];
  /** What works on the installation now, here or in another process. */
  readonly atWork: string | null;
  /** The journal; `foreign` where a newer slipway wrote it. */
  readonly transaction: TransactionView | "foreign" | null;
};

export function statusView(status: Status, caller: Caller): StatusView {
  const { product, strategy, installed, live, previous, blocked, pin, hold, window, lock, journal } = status;
  return {
    product,
    strategy,
    installed,
    live,
    previous,
    blocked: blocked.map(({ version, at }) => ({ version, at })),
    pin,
    hold: hold === null || hold === undefined ? null : { until: hold.until ?? null, ...(seesTexts(caller) ? { reason: hold.reason } : {}) },
    window,
    atWork: lock?.operation ?? null,
    transaction: journal.kind === "known" ? transactionView(journal.transaction, caller) : journal.kind === "foreign" ? "foreign" : null,
  };
}

/** An event of the updater, without its texts for role read. */
export function progressView(event: UpdateEvent, caller: Caller): Readonly<Record<string, unknown>> {
  if (seesTexts(caller)) {
    return Object.fromEntries(Object.entries(event).map(([key, value]) => [key, typeof value === "string" ? withoutSecrets(value) : value]));
  }
  switch (event.event) {
    case "phase":
    case "download":
      return event;
    case "step":
      return { event: "step", step: event.step };
    case "retry":
      return { event: "retry", code: event.code, delayMs: event.delayMs };
    case "health":
      return { event: "health", isHealthy: event.isHealthy };
    default:
      return { event: event.event };
  }
}
