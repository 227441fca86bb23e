/** Checking: what the source offers to an installation as it is. */
import type { Version } from "../model/version.ts";
import type { CheckResult } from "./operations.ts";
import { chooseRelease, type Offer, standingOf } from "./plan.ts";
import type { ReleaseIndex } from "./release-source.ts";
import { type Present, versionOf, type View } from "./view.ts";

/** The release that is offered, or `requested`, which throws as chooseRelease does where it may not be. */
export function offerOf(view: View, index: ReleaseIndex, at: Pick<Present, "live" | "state">, requested?: Version): Offer {
  const { live, state } = at;
  return chooseRelease({
    index,
    channel: view.installation.channel,
    installed: versionOf(live),
    blocked: state.blocked,
    pin: state.pin?.range,
    machineId: state.machineId,
    now: view.machine.clock.now(),
    requested,
  });
}

/** One request for the index; nothing is written. */
export async function check(view: View, { signal }: { readonly signal: AbortSignal }): Promise<CheckResult> {
  const { state, live } = await view.present();
  const index = await view.source.index(signal);
  return {
    installed: live.version ?? null,
    channel: view.installation.channel,
    offer: offerOf(view, index, { live, state }),
    pin: state.pin?.range ?? null,
    hold: state.hold?.reason ?? null,
    standing: standingOf(index, versionOf(live)) ?? null,
  };
}
