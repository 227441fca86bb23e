/** What is left after a transaction is final: its line in the history, and the removal of what nobody needs any more. Safe to repeat. */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import { appendHistory, readHistory } from "./history.ts";
import type { InstalledState } from "./installed-state.ts";
import { cleanRestore } from "./restore.ts";
import { sectionsFor } from "./state-backup.ts";
import { isFinal, type Transaction } from "./transaction.ts";
import type { Work } from "./work.ts";

/** Removing is no part of the outcome: a file that cannot be removed is reported, and removed by the next transaction. */
export async function finish(work: Work, state: InstalledState): Promise<void> {
  const { directory, journal, machine } = work;
  const transaction = journal.current();
  if (isFinal(transaction)) await appendHistory(directory.history, transaction, machine.clock.now());
  if (transaction.rollbackFailed) return; // a human must look: everything stays
  try {
    await removeUnneeded(work, state, transaction);
  } catch (error) {
    machine.observe({ event: "warning", text: `not everything could be cleaned up: ${error instanceof Error ? error.message : String(error)}` });
    if (error instanceof SlipwayError && error.code === "internal") throw error;
  }
}

async function removeUnneeded(work: Work, state: InstalledState, transaction: Transaction): Promise<void> {
  const { directory, strategy } = work;
  const keep = new Set<string>(state.previous.map((entry) => entry.version));
  if (state.installed !== undefined) keep.add(state.installed.version);
  const { lines } = await readHistory(directory.history);
  const drop = new Set(lines.flatMap((line) => [line.to, ...(line.from === undefined ? [] : [line.from])]).filter((version) => !keep.has(version)));
  if (transaction.from.version !== undefined && !keep.has(transaction.from.version)) {
    if (transaction.phase === "failed") keep.add(transaction.from.version); // a version from before our time runs on
    drop.delete(transaction.from.version);
  }
  await strategy.clean(transaction, keep, [...drop]);

  const staging = join(directory.path, "staging");
  for (const name of await readdir(staging)) {
    if (name !== transaction.id || isFinal(transaction)) await rm(join(staging, name), { recursive: true, force: true });
  }
  for (const name of await readdir(directory.path)) {
    if (name.startsWith("drill-")) await rm(join(directory.path, name), { recursive: true, force: true }); // of one that was killed: a drill holds the lock
  }
  const needed = new Set([...state.previous.flatMap((entry) => (entry.backup === undefined ? [] : [entry.backup.id])), ...state.safetyBackups]);
  if (!isFinal(transaction) && transaction.backup !== undefined) needed.add(transaction.backup.id);
  for (const name of await readdir(directory.backups)) {
    if (!needed.has(name.split(".")[0] ?? "")) await rm(join(directory.backups, name), { force: true });
  }
  if (transaction.backup === undefined) return;
  const paths = sectionsFor(work).flatMap(({ path }) => (path === undefined ? [] : [path]));
  await cleanRestore(paths, transaction.backup.id);
  await rm(join(directory.path, `restore-${transaction.backup.id}`), { recursive: true, force: true });
}
