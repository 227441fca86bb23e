/**
 * What a program imports as `slipway/updater`: the updater of one installation, with its effects as arguments and its events as a loop.
 *
 *     const updater = await createUpdater({ installation: "/etc/slipway/acme.yaml" });
 *     const { offer } = await updater.check();
 *     for await (const event of updater.events()) …
 */
import { resolve } from "node:path";
import type { Version } from "../model/version.ts";
import { parseVersion } from "../model/version.ts";
import { createEventStream } from "./event-stream.ts";
import { type Installation, loadInstallation, readInstallation } from "./installation.ts";
import { type Machine, thisMachine, type UpdateEvent } from "./machine.ts";
import type { CheckResult, Status, Updater } from "./operations.ts";
import type { History } from "./history.ts";
import type { InstallResult, RollbackResult } from "./outcome.ts";
import type { UpgradePlan } from "./plan.ts";
import type { OutcomeReport } from "./prove-outcomes.ts";
import { isFinal } from "./transaction.ts";
import { createUpdater as openUpdater } from "./updater.ts";

export { SlipwayError, type ErrorCode } from "../model/errors.ts";
export type { CheckResult, History, InstallResult, OutcomeReport, RollbackResult, Status, UpdateEvent, UpgradePlan, Version };

export type EmbeddingOptions = {
  /** Path of an installation file, or what stands in one. */
  readonly installation: string | Readonly<Record<string, unknown>>;
  /** Relative paths of an installation given as an object count from here; by default the working directory. */
  readonly folder?: string;
  readonly fetch?: Machine["fetch"];
  readonly clock?: Machine["clock"];
  readonly runCommand?: Machine["runCommand"];
  readonly sleep?: Machine["sleep"];
  /** Where `env:NAME` of the installation is looked up; by default this process's environment. */
  readonly env?: Machine["env"];
};

type Signal = { readonly signal?: AbortSignal };

/** Failures are SlipwayErrors: `code`, `detail`, `hint`, `isRetryable`, `exitCode`. Aborting stops before the switch, never after it. */
export type EmbeddedUpdater = {
  readonly installation: Installation;
  /** Is there something newer? Writes nothing. */
  readonly check: (options?: Signal) => Promise<CheckResult>;
  /** The verified plan; undefined where nothing is to be done. Writes nothing. */
  readonly plan: (options?: Signal & { readonly version?: string }) => Promise<UpgradePlan | undefined>;
  /** Ends healthy on the new version, or throws: `health_failed` after a proven rollback, `rollback_failed` where a human must look. */
  readonly install: (options?: Signal & { readonly version?: string; readonly isOutsideWindow?: boolean }) => Promise<InstallResult>;
  /** For the start of the program: brings to its end what a crash left; undefined where that is nothing. */
  readonly resume: (options?: Signal) => Promise<InstallResult | undefined>;
  readonly confirm: (options?: Signal) => Promise<InstallResult>;
  readonly cancel: Updater["cancel"];
  readonly rollback: (options?: Signal & { readonly version?: string; readonly restoreState?: "auto" | "always" | "never" }) => Promise<RollbackResult>;
  /** One outcome of the release or of the installation, or `auto`. */
  readonly prove: (name: string, options?: Signal) => Promise<OutcomeReport>;
  readonly status: () => Promise<Status>;
  readonly history: () => Promise<History>;
  /** What happens from now on, until the loop is left, the signal is aborted or `close` is called. */
  readonly events: (signal?: AbortSignal) => AsyncIterableIterator<UpdateEvent>;
  /** Ends the loops over events. */
  readonly close: () => void;
};

const never = new AbortController().signal;
const versionOf = (text: string | undefined): Version | undefined => (text === undefined ? undefined : parseVersion(text));

/** Reads the installation and touches nothing else. Throws `installation_invalid`. */
export async function createUpdater(options: EmbeddingOptions): Promise<EmbeddedUpdater> {
  const { installation: given, folder = process.cwd(), fetch, clock, runCommand, sleep, env } = options;
  const installation =
    typeof given === "string" ? await loadInstallation(given) : readInstallation(JSON.stringify(given), resolve(folder, "installation.json"));
  const stream = createEventStream<UpdateEvent>();
  const updater = openUpdater(installation, {
    ...thisMachine(stream.publish),
    ...(fetch === undefined ? {} : { fetch }),
    ...(clock === undefined ? {} : { clock }),
    ...(runCommand === undefined ? {} : { runCommand }),
    ...(sleep === undefined ? {} : { sleep }),
    ...(env === undefined ? {} : { env }),
  });
  return {
    installation,
    check: ({ signal = never } = {}) => updater.check({ signal }),
    plan: async ({ version, signal = never } = {}) => updater.plan({ version: versionOf(version), signal }),
    install: async ({ version, isOutsideWindow, signal = never } = {}) => updater.install({ version: versionOf(version), isOutsideWindow, signal }),
    resume: async ({ signal = never } = {}) => {
      const { journal } = await updater.status();
      return journal.kind === "known" && !isFinal(journal.transaction) ? updater.resume({ signal }) : undefined;
    },
    confirm: ({ signal = never } = {}) => updater.confirm({ signal }),
    cancel: updater.cancel,
    rollback: async ({ version, restoreState, signal = never } = {}) => updater.rollback({ version: versionOf(version), restoreState, signal }),
    prove: (name, { signal = never } = {}) => updater.prove({ name, signal }),
    status: updater.status,
    history: updater.history,
    events: stream.events,
    close: stream.close,
  };
}
