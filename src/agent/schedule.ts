/** What the agent does by itself, and when: take up what waits, look for something new, and install it where the operator allows that. */
import { SlipwayError } from "../model/errors.ts";
import { intervalMs } from "../updater/agent-section.ts";
import type { Installation } from "../updater/installation.ts";
import type { Approver, Status } from "../updater/operations.ts";
import { isFinal, isSwitching } from "../updater/transaction.ts";
import type { Agent } from "./agent.ts";

export type Due = "resume" | "confirm" | "check" | "install" | "nothing";

/** Approves what the installation file allows: `automatic: true`. */
export const scheduleApprover: Approver = { mode: "auto", by: "schedule" };

/** How often it looks at the clock. Longer than any check of the journal takes, shorter than the shortest window by far. */
const tickMs = 30_000;

/**
 * What is to be done now. A transaction whose approval is too old waits for a person, unless the schedule itself had approved it; one that was held back
 * by its window is taken up when the next one opens.
 */
export function dueWork(question: {
  readonly status: Pick<Status, "journal" | "hold" | "window">;
  readonly now: Date;
  readonly nextCheckAt: Date | undefined;
  readonly isAutomatic: boolean;
  /** The last check found something that may be installed. */
  readonly hasOffer: boolean;
}): Due {
  const { status, now, nextCheckAt, isAutomatic, hasOffer } = question;
  const nowMs = now.getTime();
  const { journal, hold, window } = status;
  const isHeld = hold !== null && hold !== undefined && (hold.until === undefined || hold.until > nowMs);
  const isOpen = window === null || window.isOpen;
  if (journal.kind === "foreign") return "nothing";
  if (journal.kind === "known" && !isFinal(journal.transaction)) {
    const { transaction } = journal;
    const { approval, phase, notBefore } = transaction;
    if (isSwitching(transaction)) return "resume";
    if (isHeld || (!isOpen && approval.isOutsideWindow !== true)) return "nothing";
    if (phase === "failed" && nowMs < notBefore) return "nothing";
    if (nowMs <= approval.until) return "resume";
    return isAutomatic && approval.mode === "auto" ? "confirm" : "nothing";
  }
  if (nextCheckAt !== undefined && now >= nextCheckAt) return "check";
  return isAutomatic && hasOffer && isOpen && !isHeld ? "install" : "nothing";
}

/** Failures that are no news: somebody else works, or it is not the time. */
const expected = new Set<string>([
  "lock_held",
  "outside_window",
  "held",
  "needs_confirmation",
  "nothing_to_resume",
  "interrupted",
  "unavailable",
  "cohort_not_selected",
]);

/** Runs until the signal; its failures go to `onFailure` and never end it. */
export async function runSchedule(options: {
  readonly agent: Agent;
  readonly installation: Installation;
  readonly now: () => Date;
  /** Rejects when the signal is aborted. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** 0 to 1: spreads the machines of a vendor over time. */
  readonly random: () => number;
  readonly signal: AbortSignal;
  readonly onFailure: (error: SlipwayError) => void;
}): Promise<void> {
  const { agent, installation, now, sleep, random, signal, onFailure } = options;
  const { check_every: every, automatic: isAutomatic } = installation.agent;
  const everyMs = every === "off" ? undefined : intervalMs(every);
  // The first one soon after the start, at a random moment of the first tenth of the interval.
  let nextCheckAt = everyMs === undefined ? undefined : new Date(now().getTime() + (everyMs / 10) * random());
  /** An offer is tried once per check: a refusal does not come again every half a minute. */
  let tried: Date | undefined;
  while (!signal.aborted) {
    try {
      const seen = agent.lastCheck();
      const hasOffer = seen?.check?.offer.kind === "upgrade" && seen.at !== tried;
      const due = agent.current() === undefined ? dueWork({ status: await agent.status(), now: now(), nextCheckAt, isAutomatic, hasOffer }) : "nothing";
      if (due === "resume") await (await agent.resume())?.ended;
      else if (due === "confirm") await (await agent.confirm(scheduleApprover)).ended;
      else if (due === "check" && everyMs !== undefined) {
        nextCheckAt = new Date(now().getTime() + everyMs * (0.9 + 0.2 * random()));
        await agent.check();
        continue;
      } else if (due === "install") {
        tried = seen?.at;
        await (await agent.install({}, scheduleApprover)).ended;
      }
    } catch (error) {
      if (!(error instanceof SlipwayError)) throw error;
      if (!expected.has(error.code)) onFailure(error);
    }
    // An aborted sleep is the end of the loop, not a failure.
    await sleep(tickMs, signal).catch(() => undefined);
  }
}
