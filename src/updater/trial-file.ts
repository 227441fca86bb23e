/**
 * `guard/trial.env`: what the shell guard needs of the journal, and what it left behind while no updater ran.
 *
 *     TRANSACTION=… STEP=trial TRIES_LEFT=3 ROOT=/opt/p OLD=versions/1.4.2 NEW=versions/1.5.0     one per line
 *     BOOT=…                the boot in which the guard counted last
 *     guard/rolled-back     the id of the transaction whose link it led back
 *
 * Derived: the journal decides. The file appears after the journal is armed and goes before the journal is final, so that a crash in between
 * never leaves a guard that rolls back what was committed. It exists only where the folder `guard` does (`slipway guard install`).
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { syncDirectory, writeFileAtomic } from "../io/atomic-file.ts";
import { lstatIfThere } from "./file-tree.ts";
import { type Journal, readPrivateFile } from "./journal.ts";
import type { SettledInstallation } from "./settle.ts";
import type { StateDirectory } from "./state-directory.ts";
import { isSwitching, type Transaction } from "./transaction.ts";

const sizeLimitBytes = 64 * 1024;

export type TrialFile = {
  /** Before the journal is written: takes the file away where the next transaction needs no guard. */
  readonly before: (next: Transaction) => Promise<void>;
  /** After it: the file as the journal has it now. */
  readonly after: (written: Transaction) => Promise<void>;
  /** Takes over what the shell guard counted and did since, under the lock. */
  readonly absorb: (journal: Journal) => Promise<void>;
};

export function trialFile(directory: StateDirectory, installation: SettledInstallation): TrialFile {
  const path = join(directory.guard, "trial.env");
  const flag = join(directory.guard, "rolled-back");
  const isGuarded = async (): Promise<boolean> => (await lstatIfThere(directory.guard)) !== undefined;
  return {
    before: async (next) => {
      if (isSwitching(next) || !(await isGuarded())) return;
      for (const file of [path, flag]) await rm(file, { force: true });
      await syncDirectory(directory.guard);
    },
    after: async (written) => {
      if (!isSwitching(written) || !(await isGuarded())) return;
      await writeFileAtomic(path, trialText(written, installation));
    },
    absorb: async (journal) => {
      const transaction = journal.current();
      if (!isSwitching(transaction) || !(await isGuarded())) return;
      const values = parseTrial((await readPrivateFile(path, sizeLimitBytes))?.toString("utf8") ?? "");
      if (values.get("TRANSACTION") !== transaction.id || transaction.step === "rollback" || transaction.trial === undefined) return;
      const flagged = (await readPrivateFile(flag, sizeLimitBytes))?.toString("utf8").trim();
      const { trial } = transaction;
      const counted = Number(values.get("TRIES_LEFT") ?? trial.triesLeft);
      const triesLeft = Number.isInteger(counted) && counted >= 0 ? Math.min(trial.triesLeft, counted) : trial.triesLeft;
      if (flagged === transaction.id) {
        const at = transaction.updatedAt;
        const lastError = transaction.lastError ?? {
          code: "health_failed",
          message: `${transaction.to.version} used up its ${trial.tries} starts; the guard led back`,
          at,
        };
        await journal.advance({ step: "rollback", rollbackReason: "trial", trial: { ...trial, triesLeft: 0 }, lastError });
      } else if (triesLeft < trial.triesLeft)
        await journal.advance({ trial: { ...trial, triesLeft, bootId: values.get("BOOT") ?? trial.bootId, isStartedByGuard: true } });
    },
  };
}

function trialText(transaction: Transaction, installation: SettledInstallation): string {
  const { id, step, trial, from, to } = transaction;
  const values = {
    SCHEMA: "1",
    TRANSACTION: id,
    STRATEGY: installation.strategy,
    STEP: step ?? "",
    TRIES_LEFT: String(trial?.triesLeft ?? 0),
    ROOT: installation.root,
    OLD: from.ref ?? "",
    NEW: to.ref ?? "",
  };
  return Object.entries(values)
    .map(([key, value]) => `${key}=${value}\n`)
    .join("");
}

function parseTrial(text: string): ReadonlyMap<string, string> {
  return new Map(
    text.split("\n").flatMap((line) => (line.includes("=") ? [[line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)] as const] : [])),
  );
}
