/** The updater's operations on an installation whose strategy is settled, each under the lock, each ending in a value or a typed failure. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { lockOwner } from "../io/lock.ts";
import { SlipwayError } from "../model/errors.ts";
import { beforeStart } from "./before-start.ts";
import { applyControl } from "./control.ts";
import { drillRollback } from "./drill.ts";
import { lstatIfThere } from "./file-tree.ts";
import { rollbackOperation } from "./go-back.ts";
import { readHistory } from "./history.ts";
import { installOperations } from "./install.ts";
import { readJournal } from "./journal.ts";
import type { Updater } from "./operations.ts";
import { openSession } from "./session.ts";
import { stateOperations } from "./state-operations.ts";
import { findStateDirectory } from "./state-directory.ts";
import { isFinal } from "./transaction.ts";
import { verifyInstalled } from "./verify-installed.ts";
import type { View } from "./view.ts";
import { openingAt } from "./window.ts";

export function settledUpdater(view: View): Omit<Updater, "check"> {
  const { installation, machine } = view;
  const { product } = installation;
  const session = openSession(view);
  return {
    ...installOperations(session),
    ...stateOperations(session),
    rollback: rollbackOperation(session),
    beforeStart: () => beforeStart(view),
    drill: ({ folder, signal }) => drillRollback(session, { folder, signal }),
    verifyInstalled: ({ isOffline = false, signal }) => verifyInstalled(session, { isOffline, signal }),
    control: (control) => session.locked(control.kind, (directory) => applyControl(directory, product, control, machine.clock.now())),

    gc: () =>
      session.locked("gc", async (directory) => {
        const transaction = await session.journaled(directory);
        if (transaction === undefined) return { removedBytes: 0 };
        if (!isFinal(transaction))
          throw new SlipwayError("conflict", "an upgrade is unfinished", { hint: "`slipway upgrade resume` or `slipway upgrade cancel` first" });
        const folders = [directory.path, join(installation.root, "versions")];
        const before = await bytesBelow(folders);
        await session.tidy(directory, transaction);
        return { removedBytes: Math.max(0, before - (await bytesBelow(folders))) };
      }),

    status: async () => {
      const { directory, state, live } = await session.present();
      const reading = await readJournal(directory.transaction, product);
      const isThere = (await findStateDirectory(installation.stateDir)) !== undefined;
      const opening = openingAt(installation.window, machine.clock.now());
      return {
        product,
        strategy: installation.strategy,
        strategyReason: installation.strategyReason,
        installed: state.installed?.version ?? null,
        live: live.version ?? null,
        previous: state.previous.map((entry) => entry.version),
        blocked: state.blocked,
        pin: state.pin?.range ?? null,
        hold: state.hold ?? null,
        window: opening === undefined ? null : { isOpen: opening.isOpen, opensAt: opening.opensAt.toISOString(), closesAt: opening.closesAt.toISOString() },
        lock: isThere ? ((await lockOwner(directory.path)) ?? null) : null,
        journal: reading.kind === "foreign" ? { kind: "foreign", reason: reading.reason, phase: reading.phase ?? "unreadable" } : reading,
      };
    },

    history: async () => readHistory((await session.present()).directory.history),
  };
}

async function bytesBelow(folders: readonly string[]): Promise<number> {
  let bytes = 0;
  for (const folder of folders) {
    if ((await lstatIfThere(folder)) === undefined) continue;
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      if (entry.isFile()) bytes += (await lstatIfThere(join(entry.parentPath, entry.name)))?.size ?? 0;
    }
  }
  return bytes;
}
