/** What the updater can be asked for, and what it answers. */
import type { LockOwner } from "../io/lock.ts";
import type { Version } from "../model/version.ts";
import type { BeforeStart } from "./before-start.ts";
import type { History } from "./history.ts";
import type { InstalledState } from "./installed-state.ts";
import type { InstallResult, RollbackResult } from "./outcome.ts";
import type { Offer, UpgradePlan } from "./plan.ts";
import type { Transaction } from "./transaction.ts";

export type CheckResult = { readonly installed: string | null; readonly channel: string; readonly offer: Offer };

export type Status = {
  readonly product: string;
  readonly strategy: string;
  /** Why this strategy. */
  readonly strategyReason: string;
  readonly installed: string | null;
  readonly live: string | null;
  readonly previous: readonly string[];
  readonly blocked: InstalledState["blocked"];
  readonly lock: LockOwner | null;
  readonly journal:
    | { readonly kind: "none" }
    | { readonly kind: "foreign"; readonly reason: string; readonly phase: string }
    | { readonly kind: "known"; readonly transaction: Transaction };
};

export type Updater = {
  readonly check: (options: { readonly signal: AbortSignal }) => Promise<CheckResult>;
  /** The verified plan; undefined where nothing is to be done. Writes nothing. */
  readonly plan: (options: {
    readonly version?: Version | undefined;
    readonly isUnlinked?: boolean | undefined;
    readonly signal: AbortSignal;
  }) => Promise<UpgradePlan | undefined>;
  /** Installs, continuing an unfinished transaction for the same version. `adopt` names the version that lies there unrecorded. */
  readonly install: (options: {
    readonly version?: Version | undefined;
    readonly adopt?: Version | undefined;
    /** Replace files that a package owns. */
    readonly isUnlinked?: boolean | undefined;
    readonly signal: AbortSignal;
  }) => Promise<InstallResult>;
  /** Brings an unfinished transaction to its end; throws `nothing_to_resume` where there is none. */
  readonly resume: (options: { readonly signal: AbortSignal }) => Promise<InstallResult>;
  /** The guard's part in the moment before the product starts; see before-start.ts. */
  readonly beforeStart: () => Promise<BeforeStart>;
  readonly rollback: (options: {
    readonly version?: Version | undefined;
    readonly isStateRestored: boolean;
    readonly signal: AbortSignal;
  }) => Promise<RollbackResult>;
  readonly status: () => Promise<Status>;
  readonly history: () => Promise<History>;
};
