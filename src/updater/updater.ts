/** The updater: what an operator, a timer or an embedding program asks for. */
import { fileURLToPath } from "node:url";
import { lockOwner } from "../io/lock.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Version } from "../model/version.ts";
import { check } from "./check.ts";
import type { Installation } from "./installation.ts";
import { readJournal, readUnfinished } from "./journal.ts";
import type { Machine } from "./machine.ts";
import type { Updater } from "./operations.ts";
import { settleStrategy } from "./settle.ts";
import { findStateDirectory } from "./state-directory.ts";
import { isSwitching, type Transaction } from "./transaction.ts";
import { openView, type View } from "./view.ts";

export type { CheckResult, Status, Updater } from "./operations.ts";

/** Where releases come from: the source, a file that was carried here, or the one of both that the unfinished transaction began with. */
type Origin = { readonly kind: "source" } | { readonly kind: "journaled" } | { readonly kind: "file"; readonly path: string };

const lookAgainMs = 1000;

/** An unfinished transaction keeps the strategy that it began with, whatever half-done files would suggest now. */
async function viewOf(installation: Installation, machine: Machine, origin: Origin): Promise<View> {
  const directory = await findStateDirectory(installation.stateDir);
  const unfinished = directory === undefined ? undefined : await readUnfinished(directory.transaction, installation.product);
  const begun = unfinished?.strategy;
  const wanted = installation.strategy === "auto" && begun !== undefined ? { ...installation, strategy: begun } : installation;
  const carried = origin.kind === "file" ? origin.path : origin.kind === "journaled" ? bundleOf(unfinished) : undefined;
  const from = carried === undefined ? { installation: wanted, machine } : (await import("./bundle-source.ts")).fromBundle(wanted, machine, carried);
  return openView(await settleStrategy(from.installation, machine), from.machine);
}

/** What was begun from a file goes on from it. */
function bundleOf(transaction: Transaction | undefined): string | undefined {
  const url = transaction?.source.url ?? "";
  return url.startsWith("file:///") ? fileURLToPath(url) : undefined;
}

/** A file that holds one release is the wish for that release. */
async function meantVersion(installation: Installation, { version, file }: { readonly version?: Version | undefined; readonly file?: string | undefined }) {
  return version !== undefined || file === undefined ? version : (await import("./bundle-source.ts")).onlyVersion(file, installation.product);
}

/** Waits beside a living updater, without a lock of its own. Throws `nothing_to_resume` unless that one left files switched and not proven. */
async function untilLeftAlone(installation: Installation, machine: Machine, signal: AbortSignal): Promise<void> {
  const directory = await findStateDirectory(installation.stateDir);
  if (directory !== undefined) {
    while ((await lockOwner(directory.path)) !== undefined) await machine.sleep(lookAgainMs, signal);
    const reading = await readJournal(directory.transaction, installation.product);
    if (reading.kind === "foreign" || (reading.kind === "known" && isSwitching(reading.transaction))) return;
  }
  throw new SlipwayError("nothing_to_resume", "no upgrade of this installation was left between two versions");
}

/**
 * Every operation looks at the machine anew: a package may have been installed or removed in between. A check, which timers ask for day and night,
 * loads only what it needs; everything else loads all operations before it begins.
 */
export function createUpdater(installation: Installation, machine: Machine): Updater {
  const look = (origin: Origin = { kind: "journaled" }): Promise<View> => viewOf(installation, machine, origin);
  const now = async (origin?: Origin): Promise<Omit<Updater, "check">> => (await import("./settled-updater.ts")).settledUpdater(await look(origin));
  const originOf = (file: string | undefined): Origin => (file === undefined ? { kind: "source" } : { kind: "file", path: file });
  return {
    check: async (options) => check(await look(), options),
    plan: async (options) => (await now(originOf(options.file))).plan({ ...options, version: await meantVersion(installation, options) }),
    install: async (options) => (await now(originOf(options.file))).install({ ...options, version: await meantVersion(installation, options) }),
    resume: async (options) => {
      if (options.isPatient === true) {
        // Loads what it goes on with: the upgrade that it waits beside may replace these very files. What is amiss now is seen again afterwards.
        await now().catch(() => undefined);
        await untilLeftAlone(installation, machine, options.signal);
      }
      return (await now()).resume(options);
    },
    beforeStart: async () => (await now()).beforeStart(),
    confirm: async (options) => (await now()).confirm(options),
    cancel: async () => (await now()).cancel(),
    control: async (control) => (await now()).control(control),
    gc: async () => (await now()).gc(),
    rollback: async (options) => (await now()).rollback(options),
    drill: async (options) => (await now()).drill(options),
    backup: async (options) => (await now()).backup(options),
    verifyBackup: async (options) => (await now()).verifyBackup(options),
    backups: async () => (await now()).backups(),
    planRestore: async (options) => (await now()).planRestore(options),
    restore: async (options) => (await now()).restore(options),
    prove: async (options) => (await now()).prove(options),
    verifyInstalled: async (options) => (await now()).verifyInstalled(options),
    status: async () => (await now()).status(),
    history: async () => (await now()).history(),
  };
}
