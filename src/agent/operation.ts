/** One thing that the agent does to the installation. It belongs to the agent: who asked for it may go away and ask again. */
import { randomBytes } from "node:crypto";
import { asSlipwayError, SlipwayError } from "../model/errors.ts";
import type { Version } from "../model/version.ts";
import type { Transaction } from "../updater/transaction.ts";
import type { Caller } from "./roles.ts";
import { type ErrorView, errorView, type TransactionView, transactionView } from "./view.ts";

export type OperationKind = "install" | "confirm" | "resume" | "rollback";

export type Wish = { readonly kind: OperationKind; readonly version?: Version | undefined };

export type Operation = Wish & {
  readonly id: string;
  /** Name of the token, `local` or `schedule`. */
  readonly by: string;
  readonly startedAt: Date;
  readonly cancel: AbortController;
  /** As soon as there is a transaction, or the end. */
  readonly begun: Promise<void>;
  readonly ended: Promise<void>;
  /** The transaction as it was last seen. */
  transaction: Transaction | undefined;
  outcome: Outcome | undefined;
};

export type Outcome = { readonly endedAt: Date } & (
  | { readonly kind: "done"; readonly result: Readonly<Record<string, unknown>> }
  | { readonly kind: "failed"; readonly error: SlipwayError }
);

export type OperationView = {
  readonly id: string;
  readonly kind: OperationKind;
  readonly state: "running" | "done" | "failed";
  /** What was asked for; null for the newest. */
  readonly version: string | null;
  readonly startedAt: string;
  readonly endedAt: string | null;
  readonly result: Readonly<Record<string, unknown>> | null;
  readonly error: ErrorView | null;
  readonly transaction: TransactionView | null;
};

/** Starts `run` in the background; its failure is kept, not thrown. */
export function startOperation(options: {
  readonly wish: Wish;
  readonly by: string;
  readonly now: () => Date;
  readonly signal: AbortSignal;
  readonly run: (signal: AbortSignal) => Promise<Readonly<Record<string, unknown>>>;
}): Operation & { readonly hasBegun: () => void } {
  const { wish, by, now, run } = options;
  const begun = Promise.withResolvers<void>();
  const cancel = new AbortController();
  const ended = run(AbortSignal.any([options.signal, cancel.signal])).then(
    (result) => void (operation.outcome = { kind: "done", result, endedAt: now() }),
    (thrown: unknown) => void (operation.outcome = { kind: "failed", error: asSlipwayError(thrown), endedAt: now() }),
  );
  void ended.then(begun.resolve);
  const operation: Operation = {
    ...wish,
    id: `op-${randomBytes(8).toString("hex")}`,
    by,
    startedAt: now(),
    cancel,
    begun: begun.promise,
    ended,
    transaction: undefined,
    outcome: undefined,
  };
  return Object.assign(operation, { hasBegun: begun.resolve });
}

/** Is a new wish what is being done already? Upgrades are the same when they end at the same version. */
export function isSameWish(operation: Operation, wish: Wish): boolean {
  if ((operation.kind === "rollback") !== (wish.kind === "rollback")) return false;
  if (wish.version === undefined || wish.version === operation.version) return true;
  if (operation.kind === "rollback") return operation.transaction?.from.version === wish.version;
  return (operation.transaction?.goal ?? operation.transaction?.to.version) === wish.version;
}

export function operationView(operation: Operation, caller: Caller): OperationView {
  const { id, kind, version, startedAt, outcome, transaction } = operation;
  return {
    id,
    kind,
    state: outcome?.kind ?? "running",
    version: version ?? null,
    startedAt: startedAt.toISOString(),
    endedAt: outcome?.endedAt.toISOString() ?? null,
    result: outcome?.kind === "done" ? outcome.result : null,
    error: outcome?.kind === "failed" ? errorView(outcome.error, caller) : null,
    transaction: transaction === undefined ? null : transactionView(transaction, caller),
  };
}
