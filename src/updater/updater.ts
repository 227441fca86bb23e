/** The updater: what an operator, a timer or an embedding program asks for. */
import type { Installation } from "./installation.ts";
import { readJournal } from "./journal.ts";
import type { Machine } from "./machine.ts";
import type { Updater } from "./operations.ts";
import { settledUpdater } from "./settled-updater.ts";
import { settleStrategy } from "./settle.ts";
import { findStateDirectory } from "./state-directory.ts";
import { isFinal } from "./transaction.ts";

export type { CheckResult, Status, Updater } from "./operations.ts";

/** An unfinished transaction keeps the strategy that it began with, whatever half-done files would suggest now. */
async function settled(installation: Installation, machine: Machine): Promise<Updater> {
  const directory = await findStateDirectory(installation.stateDir);
  const reading = directory === undefined ? undefined : await readJournal(directory.transaction, installation.product);
  const begun = reading?.kind === "known" && !isFinal(reading.transaction) ? reading.transaction.strategy : undefined;
  const wanted = installation.strategy === "auto" && begun !== undefined ? { ...installation, strategy: begun } : installation;
  return settledUpdater(await settleStrategy(wanted, machine), machine);
}

/** Every operation looks at the machine anew: a package may have been installed or removed in between. */
export function createUpdater(installation: Installation, machine: Machine): Updater {
  const now = (): Promise<Updater> => settled(installation, machine);
  return {
    check: async (options) => (await now()).check(options),
    plan: async (options) => (await now()).plan(options),
    install: async (options) => (await now()).install(options),
    resume: async (options) => (await now()).resume(options),
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
