/** `slipway upgrade …`: an installation's way to the next version and back; words and printing, no rules of its own. */
import { resolve } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import type { Skipped, Standing, UpgradePlan } from "../updater/plan.ts";
import type { InstallResult, RunbookReport } from "../updater/outcome.ts";
import { type CommandRun, flagOption, type Invocation, textOption } from "./command.ts";
import { updaterFor, versionOption } from "./open-updater.ts";
import { formatBytes, type Output } from "./output.ts";

const exitUpdateAvailable = 10;
const exitNothingToDo = 3;

const isHeldBack = ({ reason }: Skipped): boolean => reason !== "preview" && reason !== "other_channel";

/** Why a newer release is not installed, in words. */
function skippedText({ version, reason }: Skipped): string {
  const texts = {
    preview: "is a preview; --version installs it",
    blocked: "failed on this machine before, or was rolled back; `slipway upgrade unblock` offers it again",
    other_channel: "is on another channel",
    pinned: "is outside of the pin; `slipway upgrade unpin` lets it in",
    cohort: "has not reached this machine in its rollout yet; --version installs it",
    not_before: "has not begun its rollout yet; --version installs it",
    halted: "was halted by the vendor",
  } as const;
  return `${version} ${texts[reason]}`;
}

/** What the vendor says of the version that is installed, and the way out. */
function standingText(installed: string, { kind, retiresAt, reason, replacement, isBack }: Standing): string {
  if (kind === "leaving") return `${installed} leaves the vendor's repositories at ${retiresAt ?? ""}`;
  const what = kind === "withdrawn" ? `was withdrawn by the vendor${reason === null ? "" : ` (${reason})`}` : "is no longer supported";
  const way = isBack ? `\`slipway upgrade rollback --to ${replacement ?? ""}\` goes back to ${replacement ?? ""}` : `the vendor leads to ${replacement ?? ""}`;
  return `${installed} ${what}; ${replacement === null ? "the vendor names no replacement" : way}`;
}

const nothing = (invocation: Invocation): number => (flagOption(invocation.options, "detailedExitcode") ? exitNothingToDo : 0);

export const runCheck: CommandRun = async (invocation) => {
  const { output, signal } = invocation;
  const result = await (await updaterFor(invocation)).check({ signal });
  output.result(result);
  const { offer, installed } = result;
  for (const skipped of offer.skipped) output.note(skippedText(skipped));
  if (result.hold !== null) output.note(`upgrades are held: ${result.hold}`);
  if (result.standing !== null) output.note(standingText(installed ?? "", result.standing));
  if (offer.kind === "upgrade") {
    output.line(`${offer.version} is available on ${result.channel} (${installed === null ? "nothing" : installed} is installed)`);
    return flagOption(invocation.options, "detailedExitcode") ? exitUpdateAvailable : 0;
  }
  const texts = {
    up_to_date: `${installed ?? ""} is the newest version on ${result.channel}${offer.skipped.some(isHeldBack) ? " that may be installed here" : ""}`,
    source_is_older: `the source offers only older versions than ${installed ?? ""}`,
    no_release: `the source offers no release on ${result.channel}`,
  };
  output.line(texts[offer.reason]);
  return nothing(invocation);
};

function printPlan(output: Output, plan: UpgradePlan): void {
  output.line(`${plan.product} ${[plan.from ?? "(nothing)", ...plan.path].join(" -> ")}, in ${plan.root}`);
  if (plan.path.length > 1) output.line(`${plan.path.length} upgrades, each backed up, proven healthy and able to go back; the first of them:`);
  output.line(`strategy ${plan.strategy}: ${plan.strategyReason}`);
  output.line(`artifact ${plan.artifact.name}, ${formatBytes(plan.artifact.size)}, sha256 ${plan.artifact.sha256}`);
  output.line(`signed by ${plan.signatures.map(({ kind, keyId }) => `${kind} ${keyId}`).join(", ")}`);
  if (plan.summary !== null) output.line(`summary: ${plan.summary}`);
  if (plan.notes !== null) output.line(`read first: ${plan.notes}, beside the sums of ${plan.to} at the source`);
  const { added, changed, removed, unchanged } = plan.files;
  output.line(`files: ${added.length} added, ${changed.length} changed, ${removed.length} removed, ${unchanged} unchanged`);
  for (const [index, step] of plan.steps.entries()) output.line(`${String(index + 1).padStart(3)}. ${step}`);
}

/** The carried file, absolute: the journal remembers it. */
function fileOption({ options, cwd }: Invocation): string | undefined {
  const file = textOption(options, "file");
  return file === undefined ? undefined : resolve(cwd, file);
}

export const runPlan: CommandRun = async (invocation) => {
  const { output, signal } = invocation;
  const made = await (await updaterFor(invocation)).plan({
    version: versionOption(invocation, "version"),
    isUnlinked: flagOption(invocation.options, "unlinkPackage"),
    file: fileOption(invocation),
    signal,
  });
  output.result({ plan: made ?? null });
  if (made === undefined) {
    output.line("nothing to do");
    return nothing(invocation);
  }
  printPlan(output, made);
  return flagOption(invocation.options, "detailedExitcode") ? exitUpdateAvailable : 0;
};

/** The result of an installation, for people and as JSON; the exit code. */
export function printInstalled(invocation: Invocation, result: InstallResult): number {
  const { output } = invocation;
  output.result(result);
  if (result.kind === "nothing") {
    const held = result.skipped.filter(isHeldBack);
    for (const skipped of held) output.note(skippedText(skipped));
    output.line(
      result.installed === null
        ? "the source offers no release"
        : textOption(invocation.options, "version") !== undefined
          ? `${result.installed} is installed already`
          : `${result.installed} stays: ${held.length === 0 ? "it is the newest version" : "no newer version may be installed here"}`,
    );
    return nothing(invocation);
  }
  if (result.kind === "staged") {
    output.line(`${result.version} is verified and lies in ${result.path}; nothing was touched. Install it by hand:`);
    for (const command of result.commands) output.line(`  ${command}`);
    output.line("then `slipway upgrade resume` records it");
    return 0;
  }
  const downtime = result.downtimeMs === null ? "" : `, ${(result.downtimeMs / 1000).toFixed(1)} s from stop to healthy`;
  const way = result.hops === undefined ? result.version : result.hops.join(" -> ");
  output.line(`${result.from === null ? `installed ${result.version}` : `upgraded ${result.from} -> ${way}`}, healthy${downtime}`);
  return 0;
}

export const runInstall: CommandRun = async (invocation) => {
  if (flagOption(invocation.options, "dryRun")) return runPlan(invocation);
  const updater = await updaterFor(invocation);
  return printInstalled(
    invocation,
    await updater.install({
      version: versionOption(invocation, "version"),
      adopt: versionOption(invocation, "adopt"),
      isUnlinked: flagOption(invocation.options, "unlinkPackage"),
      isOutsideWindow: flagOption(invocation.options, "outsideWindow"),
      file: fileOption(invocation),
      signal: invocation.signal,
    }),
  );
};

export const runResume: CommandRun = async (invocation) => {
  const updater = await updaterFor(invocation);
  if (flagOption(invocation.options, "beforeStart")) {
    const kind = await updater.beforeStart();
    const texts = {
      nothing: "nothing is to be done before the start",
      finished: "the files are of one version again, and the start is counted",
      counted: "the start of a version on trial is counted",
      rolled_back: "the tries are used up: the old version is back, `slipway upgrade resume` proves it",
    } as const;
    invocation.output.result({ kind });
    invocation.output.line(texts[kind]);
    return 0;
  }
  try {
    return printInstalled(invocation, await updater.resume({ isPatient: flagOption(invocation.options, "wait"), signal: invocation.signal }));
  } catch (error) {
    // For a timer nothing unfinished is the usual case, and one that waits for the operator or the window is in order.
    const isIdle = error instanceof SlipwayError && error.code === "nothing_to_resume" && error.detail === undefined;
    const isWaiting = error instanceof SlipwayError && (error.code === "held" || error.code === "outside_window");
    if (!(isIdle || isWaiting) || !flagOption(invocation.options, "ifNeeded")) throw error;
    invocation.output.result({ kind: "nothing", reason: error.code });
    invocation.output.line(isIdle ? "there is no unfinished upgrade" : `the unfinished upgrade waits: ${error.message}`);
    return 0;
  }
};

/** The runbook's steps with their times, and whether the whole stayed below what was promised. */
export function printRunbook(output: Output, { steps, rtoMs, targetMs, isWithinTarget }: RunbookReport): void {
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
  output.table(["step", "took"], [...steps.map(({ step, ms }) => [step, seconds(ms)]), ["stop to healthy", seconds(rtoMs)]]);
  output.line(`${isWithinTarget ? "within" : "NOT within"} the ${Math.round(targetMs / 60_000)} minutes that a rollback may take`);
}

export const runRollback: CommandRun = async (invocation) => {
  const { output, options, signal } = invocation;
  const updater = await updaterFor(invocation);
  const restoreState = textOption(options, "restoreState");
  const result = await updater.rollback({
    version: versionOption(invocation, "to"),
    restoreState: restoreState === "always" || restoreState === "never" ? restoreState : "auto",
    signal,
  });
  output.result(result);
  output.line(`rolled back ${result.from} -> ${result.to}, healthy`);
  output.line(result.isStateRestored ? "the state is as it was before the upgrade" : "the state was left as it is");
  if (result.keptState !== null) output.line(`the state of ${result.from} is kept as backup ${result.keptState}`);
  printRunbook(output, result.report);
  return 0;
};

export const runStatus: CommandRun = async (invocation) => {
  const { output } = invocation;
  const seen = await (await updaterFor(invocation)).status();
  output.result(seen);
  const { journal, lock } = seen;
  output.table(
    ["product", seen.product],
    [
      ["installed", seen.installed ?? "nothing recorded"],
      ["live", seen.live ?? "nothing"],
      ["previous", seen.previous.join(", ") || "none"],
      ["blocked", seen.blocked.map(({ version, reason }) => `${version} (${reason})`).join(", ") || "none"],
      ["pinned to", seen.pin ?? "nothing"],
      [
        "held",
        seen.hold === null || seen.hold === undefined
          ? "no"
          : `${seen.hold.reason}${seen.hold.until === undefined ? "" : ` until ${new Date(seen.hold.until).toISOString()}`}`,
      ],
      [
        "window",
        seen.window === null ? "always" : `${seen.window.isOpen ? "open until" : "opens"} ${seen.window.isOpen ? seen.window.closesAt : seen.window.opensAt}`,
      ],
      ["strategy", `${seen.strategy}: ${seen.strategyReason}`],
      ["at work", lock === null ? "nobody" : `process ${lock.pid}, ${lock.operation} since ${lock.startedAt}`],
      [
        "last upgrade",
        journal.kind === "known"
          ? journalText(journal.transaction)
          : journal.kind === "none"
            ? "none"
            : `its journal cannot be gone on with: ${journal.reason}`,
      ],
    ],
  );
  return 0;
};

function journalText({
  byHand,
  phase,
  step,
  from,
  to,
  retryable,
  rolledBack,
  rollbackFailed,
  lastError,
  updatedAt,
}: {
  byHand?: { commands: readonly string[] } | undefined;
  phase: string;
  step?: string | undefined;
  from: { version?: string | undefined };
  to: { version: string };
  retryable: boolean;
  rolledBack: boolean;
  rollbackFailed: boolean;
  lastError?: { code: string; message: string } | undefined;
  updatedAt: number;
}): string {
  const pieces = [
    `${from.version ?? "nothing"} -> ${to.version}: ${phase}${phase === "applying" ? ` ${step ?? ""}` : ""} at ${new Date(updatedAt).toISOString()}`,
  ];
  if (phase === "applying") pieces.push("unfinished: `slipway upgrade resume` ends it, forwards or back");
  if (phase === "verified" && byHand !== undefined) pieces.push(`staged; run: ${byHand.commands.join("; ")}; then \`slipway upgrade resume\``);
  if (rollbackFailed) pieces.push('NOT rolled back: docs/upgrade.md, "At 3 a.m."');
  else if (phase === "failed") pieces.push(rolledBack ? "rolled back" : retryable ? "`slipway upgrade resume` tries it again" : "final: nothing was touched");
  if (lastError !== undefined) pieces.push(`${lastError.code}: ${lastError.message}`);
  return pieces.join("; ");
}

export const runHistory: CommandRun = async (invocation) => {
  const { output } = invocation;
  const { lines, isChainWhole } = await (await updaterFor(invocation)).history();
  output.result({ lines, isChainWhole });
  output.table(
    ["when", "from", "to", "outcome", "downtime", "why"],
    lines.map((line) => [
      new Date(line.at).toISOString(),
      line.from ?? "-",
      line.to,
      line.rollbackFailed ? "rollback failed" : line.rolledBack && line.phase !== "drilled" ? "rolled back" : line.phase,
      line.downtimeMs === undefined ? "-" : `${(line.downtimeMs / 1000).toFixed(1)} s`,
      line.error === undefined ? (line.reason ?? "") : `${line.error.code}: ${line.error.message}`,
    ]),
  );
  if (!isChainWhole) output.note("warning: a line of the history was changed or removed");
  return 0;
};
