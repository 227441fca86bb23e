/** The backup of the state that a transaction makes before it changes anything, and what the state's formats mean for the way back. */
import { SlipwayError } from "../model/errors.ts";
import { type StateSection, unreadableEpoch, type UpgradeContract, writtenEpochs } from "../model/upgrade-contract.ts";
import { backupPath, createBackup, type MadeBackup } from "./backup.ts";
import { sectionsOf } from "./sections.ts";
import type { Transaction } from "./transaction.ts";
import type { Work } from "./work.ts";

/** What the installation keeps, as far as this transaction knows. */
export function sectionsFor({ installation, journal }: Work): readonly StateSection[] {
  const { from, to } = journal.current();
  return sectionsOf(installation, from.contract, to.contract);
}

/** Backs the state up under `id`; `runs` is the version that wrote it. Throws what createBackup throws. */
export function backUpSections(
  work: Work,
  options: {
    readonly id: string;
    readonly reason: string;
    /** The count commands are the old version's words; a newer one's schema may not know them. */
    readonly isCounted?: boolean;
    readonly runs: { readonly version?: string | undefined; readonly contract?: UpgradeContract | undefined };
  },
): Promise<MadeBackup> {
  const { installation, directory, machine } = work;
  const { id, reason, runs, isCounted = true } = options;
  const sections = sectionsFor(work);
  return createBackup({
    machine,
    product: installation.product,
    version: runs.version,
    epochs: writtenEpochs(runs.contract?.compat),
    reason,
    sections: isCounted ? sections : sections.map((section) => ({ ...section, count: undefined })),
    path: backupPath(directory.backups, id),
    onWarning: (text) => machine.observe({ event: "warning", text }),
  });
}

/** Can `older` read the state as `newer` leaves it? Undefined where neither says anything about it. */
export function isReadableBy(older: UpgradeContract | undefined, newer: UpgradeContract | undefined): boolean | undefined {
  const written = writtenEpochs(newer?.compat);
  if (newer?.migration?.backwardReadable === false || unreadableEpoch(older?.compat, written) !== undefined) return false;
  const isSaid = Object.keys(written).length > 0 && Object.keys(written).every((name) => older?.compat?.epochs?.[name] !== undefined);
  return newer?.migration?.backwardReadable === true || isSaid ? true : undefined;
}

export type RestoreMode = "auto" | "always" | "never";

export function restoreModeOf({ restoreState }: Transaction): RestoreMode {
  return restoreState === true ? "always" : restoreState === false ? "never" : (restoreState ?? "auto");
}

/** Throws `rollback_needs_restore` where the version that is gone back to could not read what it would find, and nothing is put back. */
export function requireReadableState(transaction: Transaction): void {
  const { from, to, backup } = transaction;
  const mode = restoreModeOf(transaction);
  const hasBackup = backup?.done === true && backup.sha256 !== undefined;
  if (mode === "always" && !hasBackup)
    throw new SlipwayError("rollback_needs_restore", `there is no backup of the state of ${from.version ?? "nothing"} to put back`, {
      detail: "no_backup",
      hint: "with --restore-state auto it goes back without one, where the versions say that the state can be read",
    });
  if (isReadableBy(from.contract, to.contract) !== false || (hasBackup && mode !== "never")) return;
  throw new SlipwayError(
    "rollback_needs_restore",
    `${from.version ?? "nothing"} cannot read the state as ${to.version} left it, and ${hasBackup ? "it would not be put back" : "there is no backup of it"}`,
    {
      detail: hasBackup ? "never" : "no_backup",
      hint: hasBackup ? "use --restore-state auto or always" : "restore a backup by hand (`slipway restore`), or stay on this version",
    },
  );
}
