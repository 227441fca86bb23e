/** What the updater can be asked for, and what it answers. */
import type { LockOwner } from "../io/lock.ts";
import type { Version } from "../model/version.ts";
import type { BeforeStart } from "./before-start.ts";
import type { Control } from "./control.ts";
import type { History } from "./history.ts";
import type { InstalledState } from "./installed-state.ts";
import type { InstallResult, RollbackResult } from "./outcome.ts";
import type { Offer, Standing, UpgradePlan } from "./plan.ts";
import type { OutcomeReport } from "./prove-outcomes.ts";
import type { RestorePlan, RestoreResult } from "./restore-by-hand.ts";
import type { Transaction } from "./transaction.ts";
import type { InstalledReport } from "./verify-installed.ts";

export type CheckResult = {
  readonly installed: string | null;
  readonly channel: string;
  readonly offer: Offer;
  /** The operator's pin and the reason of a hold, where there are such. */
  readonly pin: string | null;
  readonly hold: string | null;
  /** What the vendor says of the installed version where it is not supported, or leaves soon. */
  readonly standing: Standing | null;
};

export type Status = {
  readonly product: string;
  readonly strategy: string;
  /** Why this strategy. */
  readonly strategyReason: string;
  readonly installed: string | null;
  readonly live: string | null;
  readonly previous: readonly string[];
  readonly blocked: InstalledState["blocked"];
  readonly pin: string | null;
  readonly hold: InstalledState["hold"] | null;
  /** The maintenance window that is open or opens next; null where there are none. */
  readonly window: { readonly isOpen: boolean; readonly opensAt: string; readonly closesAt: string } | null;
  readonly lock: LockOwner | null;
  readonly journal:
    | { readonly kind: "none" }
    | { readonly kind: "foreign"; readonly reason: string; readonly phase: string }
    | { readonly kind: "known"; readonly transaction: Transaction };
};

export type DrillReport = {
  /** PASS: the copy came up healthy on the previous version. INCOMPLETE: files and state went back, nobody said how a copy runs. */
  readonly result: "PASS" | "INCOMPLETE";
  readonly from: string;
  readonly to: string;
  readonly report: RollbackResult["report"];
  /** Of versions and state that were copied. */
  readonly stateBytes: number;
  readonly isHealthProven: boolean;
  /** What this strategy could not do on a copy, in words. */
  readonly notDone: string | null;
};

export type BackupSummary = {
  /** Of a backup in the state directory; null for one that an operator named. */
  readonly id: string | null;
  readonly path: string;
  readonly product: string;
  readonly version: string | null;
  readonly createdAt: string;
  readonly archiveOf: string;
  readonly sections: readonly string[];
  readonly files: number;
  readonly bytes: number;
  readonly sha256: string;
};

export type BackupCheck = BackupSummary & {
  /** What deserves a look, although the backup is whole. */
  readonly warnings: readonly string[];
};

/** Who approves an installation, for the journal: a person or token by name, or the schedule that an operator wrote (auto). */
export type Approver = Pick<Transaction["approval"], "mode" | "by">;

export type Updater = {
  readonly check: (options: { readonly signal: AbortSignal }) => Promise<CheckResult>;
  /** The verified plan; undefined where nothing is to be done. Writes nothing. */
  readonly plan: (options: {
    readonly version?: Version | undefined;
    readonly isUnlinked?: boolean | undefined;
    /** A bundle instead of the source; see bundle-source.ts. */
    readonly file?: string | undefined;
    readonly signal: AbortSignal;
  }) => Promise<UpgradePlan | undefined>;
  /** Installs, continuing an unfinished transaction for the same version. `adopt` names the version that lies there unrecorded. */
  readonly install: (options: {
    readonly version?: Version | undefined;
    readonly adopt?: Version | undefined;
    /** Replace files that a package owns. */
    readonly isUnlinked?: boolean | undefined;
    /** Also while the maintenance window is closed. */
    readonly isOutsideWindow?: boolean | undefined;
    readonly approver?: Approver | undefined;
    /** A bundle instead of the source, without any network; see bundle-source.ts. */
    readonly file?: string | undefined;
    readonly signal: AbortSignal;
  }) => Promise<InstallResult>;
  /** Brings an unfinished transaction to its end; throws `nothing_to_resume` where there is none. `isPatient`: only what a living updater, which is waited for, leaves between two versions. */
  readonly resume: (options: { readonly isPatient?: boolean | undefined; readonly signal: AbortSignal }) => Promise<InstallResult>;
  /** The guard's part in the moment before the product starts; see before-start.ts. */
  readonly beforeStart: () => Promise<BeforeStart>;
  /** Approves an unfinished transaction again, and goes on with it. */
  readonly confirm: (options: { readonly approver?: Approver | undefined; readonly signal: AbortSignal }) => Promise<InstallResult>;
  /** Gives up a transaction that has not switched anything; throws `conflict` for one that has. */
  readonly cancel: () => Promise<{ readonly version: string }>;
  /** Pins, holds, blocked versions. */
  readonly control: (control: Control) => Promise<InstalledState>;
  /** Removes what no kept version and no unfinished transaction needs; returns how many bytes that were. */
  readonly gc: () => Promise<{ readonly removedBytes: number }>;
  /** `restoreState`: `auto` puts the state back unless the releases say that the previous version reads it as it is. */
  readonly rollback: (options: {
    readonly version?: Version | undefined;
    readonly restoreState?: "auto" | "always" | "never" | undefined;
    readonly signal: AbortSignal;
  }) => Promise<RollbackResult>;
  /** The rollback on a copy, measured; see drill.ts. */
  readonly drill: (options: { readonly folder?: string | undefined; readonly signal: AbortSignal }) => Promise<DrillReport>;
  /** Without `output` among the updater's own backups, where it stays until the operator removes it. */
  readonly backup: (options: { readonly output?: string | undefined; readonly isGzipped?: boolean | undefined }) => Promise<BackupSummary>;
  readonly verifyBackup: (options: { readonly path: string }) => Promise<BackupCheck>;
  /** Newest first; damaged ones are reported and left out. */
  readonly backups: () => Promise<readonly BackupSummary[]>;
  readonly planRestore: (options: { readonly path: string; readonly isForced?: boolean | undefined }) => Promise<RestorePlan>;
  readonly restore: (options: { readonly path: string; readonly isForced?: boolean | undefined }) => Promise<RestoreResult>;
  /** One outcome, or `auto`. */
  readonly prove: (options: { readonly name: string; readonly signal: AbortSignal }) => Promise<OutcomeReport>;
  readonly verifyInstalled: (options: { readonly isOffline?: boolean | undefined; readonly signal: AbortSignal }) => Promise<InstalledReport>;
  readonly status: () => Promise<Status>;
  readonly history: () => Promise<History>;
};
