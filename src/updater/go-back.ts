/** An operator's rollback: which version, with which state, in a transaction that only goes back. */
import { SlipwayError } from "../model/errors.ts";
import { compareVersions, tryParseVersion, type Version } from "../model/version.ts";
import { type InstalledState, type PreviousVersion, readState } from "./installed-state.ts";
import type { Updater } from "./operations.ts";
import { rollbackResult } from "./outcome.ts";
import { runTransaction } from "./run.ts";
import type { Session } from "./session.ts";
import { requireReadableState } from "./state-backup.ts";
import { isFinal, isSwitching, type Transaction } from "./transaction.ts";

export function rollbackOperation(session: Session): Updater["rollback"] {
  const { product } = session.installation;
  return ({ version, restoreState = "auto", signal }) =>
    session.locked("rollback", async (directory) => {
      const unfinished = await session.journaled(directory);
      if (unfinished !== undefined) {
        if (isSwitching(unfinished)) {
          // Asked for in the middle of a trial: the transaction itself goes back.
          const work = session.workFor(directory, unfinished, signal);
          if (unfinished.step !== "rollback") {
            requireReadableState({ ...unfinished, restoreState });
            await work.journal.advance({ step: "rollback", rollbackReason: "operator", restoreState });
          }
          return rollbackResult(await runTransaction(work));
        }
        // Refused before the upgrade that waits is given up for it.
        requireWayBack(session, await readState(directory.state, product), { version, restoreState });
        if (!isFinal(unfinished)) await session.workFor(directory, unfinished, signal).journal.advance({ phase: "failed", retryable: false });
        await session.tidy(directory, { ...unfinished, phase: unfinished.phase === "applied" ? "applied" : "failed", retryable: false });
      }
      const transaction = requireWayBack(session, await readState(directory.state, product), { version, restoreState });
      return rollbackResult(await runTransaction(await session.begin(directory, transaction, signal)));
    });
}

type Wish = { readonly version: Version | undefined; readonly restoreState: "auto" | "always" | "never" };

/** The way back as a transaction that nobody has begun; throws where there is none. */
function requireWayBack(session: Session, state: InstalledState, wish: Wish): Transaction {
  if (session.installation.strategy === "manual") {
    throw new SlipwayError("conflict", "strategy manual: what was installed by hand goes back by hand", {
      hint: "nothing was changed; `slipway upgrade history` names the versions before",
    });
  }
  const transaction = describeRollback(session, state, wish);
  requireReadableState(transaction);
  return transaction;
}

function describeRollback(session: Session, state: InstalledState, wish: Wish): Transaction {
  const { installed } = state;
  const target = choosePrevious(state, wish.version);
  if (installed === undefined || target === undefined)
    throw new SlipwayError("version_not_found", "there is no previous version to go back to", {
      hint: "`slipway upgrade status` says what is kept; `slipway backup list` and `slipway restore` bring state back",
    });
  const blank = session.newTransaction(
    { version: target.version, files: target.files, ...(target.ref === undefined ? {} : { ref: target.ref }) },
    state,
    installed.version as Version,
  );
  return {
    ...blank,
    phase: "applying",
    step: "rollback",
    rollbackReason: "operator",
    restoreState: wish.restoreState,
    from: { ...blank.from, seq: target.seq, ...(target.contract === undefined ? {} : { contract: target.contract }) },
    to: {
      ...blank.to,
      seq: installed.seq,
      files: installed.files,
      ...(installed.ref === undefined ? {} : { ref: installed.ref }),
      ...(installed.contract === undefined ? {} : { contract: installed.contract }),
    },
    ...(target.backup === undefined ? {} : { backup: target.backup }),
  };
}

function choosePrevious(state: InstalledState, version: Version | undefined): PreviousVersion | undefined {
  if (version === undefined) return state.previous[0];
  const found = state.previous.find((entry) => entry.version === version);
  if (found !== undefined) return found;
  const installed = state.installed === undefined ? undefined : tryParseVersion(state.installed.version);
  const isNewer = installed !== undefined && compareVersions(version, installed) > 0;
  throw new SlipwayError("version_not_found", `${version} is not kept on this machine`, {
    hint: isNewer ? "use `slipway upgrade install` for a newer version" : `kept are: ${state.previous.map((entry) => entry.version).join(", ") || "none"}`,
  });
}
