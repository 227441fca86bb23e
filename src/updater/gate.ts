/** What may hold a transaction back before its switch: the operator's hold, the maintenance window, a release that was taken back or halted meanwhile. */
import { SlipwayError } from "../model/errors.ts";
import type { StateSection, UpgradeContract } from "../model/upgrade-contract.ts";
import { mayStep } from "../model/upgrade-path.ts";
import { tryParseVersion, type Version } from "../model/version.ts";
import { rolloutIn } from "./cohort.ts";
import type { Installation } from "./installation.ts";
import { type InstalledState, readState } from "./installed-state.ts";
import { whyNoStep } from "./path.ts";
import { goneText } from "./plan.ts";
import { goneRelease } from "./release-source.ts";
import { isReadableBy } from "./state-backup.ts";
import type { Transaction } from "./transaction.ts";
import { openingAt } from "./window.ts";
import { nowMs, type Work } from "./work.ts";

/** Throws `held` while the operator holds upgrades. */
export function requireNoHold({ hold }: InstalledState, now: Date): void {
  if (hold === undefined || (hold.until !== undefined && hold.until <= now.getTime())) return;
  const until = hold.until === undefined ? "" : ` until ${new Date(hold.until).toISOString()}`;
  throw new SlipwayError("held", `upgrades are held${until}: ${hold.reason}`);
}

/** Throws `outside_window`, which says when the next one opens. */
export function requireWindow({ window }: Installation, now: Date): void {
  const opening = openingAt(window, now);
  if (opening === undefined || opening.isOpen) return;
  throw new SlipwayError("outside_window", `the maintenance window opens at ${opening.opensAt.toISOString()} and closes at ${opening.closesAt.toISOString()}`, {
    detail: opening.opensAt.toISOString(),
  });
}

/**
 * Right before anything is changed, and before a resume is counted. Where the window has closed, the approval lasts through the next one: the
 * transaction waits, and a resume in that window goes on.
 */
export async function requireMayGoOn(work: Work): Promise<void> {
  const { journal, directory, installation, machine } = work;
  const now = machine.clock.now();
  requireNoHold(await readState(directory.state, installation.product), now);
  const { approval, phase } = journal.current();
  if (approval.isOutsideWindow === true) return;
  try {
    requireWindow(installation, now);
  } catch (error) {
    const closes = openingAt(installation.window, now)?.closesAt.getTime() ?? 0;
    if (phase !== "failed" && nowMs(work) <= approval.until && approval.until < closes)
      await journal.advance({ approval: { ...approval, mode: "auto", until: closes } });
    throw error;
  }
}

/** After the download, which may have taken long: is the release still offered? A source that cannot be asked changes nothing; what was verified is installed offline. */
export async function requireStillOffered(work: Work): Promise<void> {
  const { journal, source, machine, signal } = work;
  const { version } = journal.current().to;
  let index: Awaited<ReturnType<typeof source.index>>;
  try {
    index = await source.index(signal, { isOnce: true });
  } catch (error) {
    machine.observe({
      event: "warning",
      text: `whether ${version} is still offered cannot be asked: ${error instanceof Error ? error.message : String(error)}`,
    });
    return;
  }
  const wanted = tryParseVersion(version);
  if (wanted === undefined) return;
  const gone = goneRelease(index, wanted);
  if (gone?.state === "withdrawn") throw new SlipwayError("version_withdrawn", `while it was being downloaded, ${goneText(index.product, gone)}`);
  const release = index.releases.find((one) => tryParseVersion(one.version) === wanted);
  if (release !== undefined && rolloutIn(work.installation.channel, release)?.halted === true)
    throw new SlipwayError("held", `the vendor halted the rollout of ${version}`, { detail: "halted" });
}

/**
 * The signed promise of the release itself, whatever the index or a plan said. Throws `compat_violation` where it may not be installed over the present
 * version, `rollback_needs_restore` where there would be no way back: the present version cannot read the new state, and no backup is made (K5).
 */
export function requireContract(
  from: Transaction["from"],
  to: { readonly version: Version; readonly contract: UpgradeContract },
  sections: readonly StateSection[],
): void {
  const installed = from.version === undefined ? undefined : tryParseVersion(from.version);
  if (installed === undefined) return;
  const [old, fresh] = [
    { version: installed, compat: from.contract?.compat },
    { version: to.version, compat: to.contract.compat },
  ];
  if (!mayStep(old, fresh, [])) {
    const why = whyNoStep(old, fresh) ?? "its signed release.json says so";
    throw new SlipwayError("compat_violation", `${to.version} may not be installed over ${installed}: ${why}`);
  }
  if (isReadableBy(from.contract, to.contract) === false && sections.length === 0) {
    throw new SlipwayError(
      "rollback_needs_restore",
      `${installed} cannot read the state as ${to.version} leaves it, and no backup of the state would be made`,
      {
        detail: "no_backup",
      },
    );
  }
}
