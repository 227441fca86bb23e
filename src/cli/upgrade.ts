/** `slipway upgrade …`: an installation's way to the next version and back; words and printing, no rules of its own. */
import { SlipwayError } from "../model/errors.ts";
import { parseVersion, type Version } from "../model/version.ts";
import { findInstallation, loadInstallation } from "../updater/installation.ts";
import { type Machine, thisMachine, type UpdateEvent } from "../updater/machine.ts";
import type { UpgradePlan } from "../updater/plan.ts";
import type { InstallResult } from "../updater/outcome.ts";
import { createUpdater, type Updater } from "../updater/updater.ts";
import { type CommandRun, flagOption, type Invocation, textOption } from "./command.ts";
import { formatBytes, type Output, type Progress } from "./output.ts";

const exitUpdateAvailable = 10;
const exitNothingToDo = 3;

/** What happens, for people on stderr and as JSON lines with --json. */
export function watchUpdater(output: Output): (event: UpdateEvent) => void {
  let bar: Progress | undefined;
  let said = "";
  // A check that says the same every second is one line, not sixty.
  const noteOnce = (text: string): void => {
    if (text !== said) output.note(text);
    said = text;
  };
  return (event) => {
    if (event.event === "download") {
      bar ??= output.progress("download", event.total);
      bar.update(event.done, `${formatBytes(event.done)} of ${formatBytes(event.total)}`);
      if (event.done === event.total) {
        bar.end(formatBytes(event.total));
        bar = undefined;
      }
      return;
    }
    output.event(event);
    const { dim, yellow } = output.colors;
    switch (event.event) {
      case "phase":
        noteOnce(`${dim("·")} ${event.phase}${event.step === undefined ? "" : ` ${event.step}`}`);
        break;
      case "step":
        noteOnce(`${dim(`  ${event.step}:`)} ${event.text}`);
        break;
      case "health":
        noteOnce(`${dim("  health:")} ${event.isHealthy ? "" : "not yet: "}${event.text}`);
        break;
      case "retry":
        noteOnce(`${yellow("  again")} in ${Math.round(event.delayMs / 1000)} s: ${event.message}`);
        break;
      case "warning":
        noteOnce(`${yellow("  warning:")} ${event.text}`);
        break;
    }
  };
}

async function updaterFor(invocation: Invocation): Promise<Updater> {
  const file = await findInstallation(textOption(invocation.options, "installation"), invocation.cwd);
  const machine: Machine = { ...thisMachine(watchUpdater(invocation.output)), env: invocation.env };
  return createUpdater(await loadInstallation(file), machine);
}

function versionOption(invocation: Invocation, name: string): Version | undefined {
  const text = textOption(invocation.options, name);
  return text === undefined ? undefined : parseVersion(text);
}

const nothing = (invocation: Invocation): number => (flagOption(invocation.options, "detailedExitcode") ? exitNothingToDo : 0);

export const runCheck: CommandRun = async (invocation) => {
  const { output, signal } = invocation;
  const result = await (await updaterFor(invocation)).check({ signal });
  output.result(result);
  const { offer, installed } = result;
  for (const skipped of offer.skipped) output.note(`${skipped.version} is not offered: ${skipped.reason.replaceAll("_", " ")}`);
  if (offer.kind === "upgrade") {
    output.line(`${offer.version} is available on ${result.channel} (${installed === null ? "nothing" : installed} is installed)`);
    return flagOption(invocation.options, "detailedExitcode") ? exitUpdateAvailable : 0;
  }
  const texts = {
    up_to_date: `${installed ?? ""} is the newest version on ${result.channel}`,
    source_is_older: `the source offers only older versions than ${installed ?? ""}`,
    no_release: `the source offers no release on ${result.channel}`,
  };
  output.line(texts[offer.reason]);
  return nothing(invocation);
};

function printPlan(output: Output, plan: UpgradePlan): void {
  output.line(`${plan.product} ${plan.from ?? "(nothing)"} -> ${plan.to}, in ${plan.root}`);
  output.line(`strategy ${plan.strategy}: ${plan.strategyReason}`);
  output.line(`artifact ${plan.artifact.name}, ${formatBytes(plan.artifact.size)}, sha256 ${plan.artifact.sha256}`);
  output.line(`signed by ${plan.signatures.map(({ kind, keyId }) => `${kind} ${keyId}`).join(", ")}`);
  const { added, changed, removed, unchanged } = plan.files;
  output.line(`files: ${added.length} added, ${changed.length} changed, ${removed.length} removed, ${unchanged} unchanged`);
  for (const [index, step] of plan.steps.entries()) output.line(`${String(index + 1).padStart(3)}. ${step}`);
}

export const runPlan: CommandRun = async (invocation) => {
  const { output, signal } = invocation;
  const made = await (await updaterFor(invocation)).plan({
    version: versionOption(invocation, "version"),
    isUnlinked: flagOption(invocation.options, "unlinkPackage"),
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

function printInstalled(invocation: Invocation, result: InstallResult): number {
  const { output } = invocation;
  output.result(result);
  if (result.kind === "nothing") {
    output.line(result.installed === null ? "the source offers no release" : `${result.installed} is the newest version`);
    return nothing(invocation);
  }
  const downtime = result.downtimeMs === null ? "" : `, ${(result.downtimeMs / 1000).toFixed(1)} s from stop to healthy`;
  output.line(`${result.from === null ? `installed ${result.version}` : `upgraded ${result.from} -> ${result.version}`}, healthy${downtime}`);
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
    return printInstalled(invocation, await updater.resume({ signal: invocation.signal }));
  } catch (error) {
    // For a timer nothing unfinished is the usual case.
    const isIdle = error instanceof SlipwayError && error.code === "nothing_to_resume" && error.detail === undefined;
    if (!isIdle || !flagOption(invocation.options, "ifNeeded")) throw error;
    invocation.output.result({ kind: "nothing", reason: "nothing_to_resume" });
    invocation.output.line("there is no unfinished upgrade");
    return 0;
  }
};

export const runRollback: CommandRun = async (invocation) => {
  const { output, options, signal } = invocation;
  const updater = await updaterFor(invocation);
  const result = await updater.rollback({ version: versionOption(invocation, "to"), isStateRestored: textOption(options, "restoreState") !== "never", signal });
  output.result(result);
  output.line(`rolled back ${result.from} -> ${result.to}, healthy, ${(result.downtimeMs / 1000).toFixed(1)} s from stop to healthy`);
  output.line(result.isStateRestored ? "the state is as it was before the upgrade" : "the state was left as it is");
  if (result.keptState !== null) output.line(`the state of ${result.from} is kept as backup ${result.keptState}`);
  return 0;
};

export const runStatus: CommandRun = async (invocation) => {
  const { output } = invocation;
  const seen = await (await updaterFor(invocation)).status();
  output.result(seen);
  const { journal, lock } = seen;
  output.table(
    ["", ""],
    [
      ["product", seen.product],
      ["installed", seen.installed ?? "nothing recorded"],
      ["live", seen.live ?? "nothing"],
      ["previous", seen.previous.join(", ") || "none"],
      ["blocked", seen.blocked.map(({ version, reason }) => `${version} (${reason})`).join(", ") || "none"],
      ["strategy", `${seen.strategy}: ${seen.strategyReason}`],
      ["at work", lock === null ? "nobody" : `process ${lock.pid}, ${lock.operation} since ${lock.startedAt}`],
      ["journal", journal.kind === "known" ? journalText(journal.transaction) : journal.kind === "none" ? "none" : `failed, not retryable: ${journal.reason}`],
    ],
  );
  return 0;
};

function journalText({
  phase,
  step,
  from,
  to,
  retryable,
  rolledBack,
  lastError,
}: {
  phase: string;
  step?: string | undefined;
  from: { version?: string | undefined };
  to: { version: string };
  retryable: boolean;
  rolledBack: boolean;
  lastError?: { code: string; message: string } | undefined;
}): string {
  const pieces = [`${from.version ?? "nothing"} -> ${to.version}: ${phase}${phase === "applying" ? ` ${step ?? ""}` : ""}`];
  if (phase === "failed") pieces.push(rolledBack ? "rolled back" : retryable ? "can be resumed" : "final");
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
      line.rollbackFailed ? "rollback failed" : line.rolledBack ? "rolled back" : line.phase,
      line.downtimeMs === undefined ? "-" : `${(line.downtimeMs / 1000).toFixed(1)} s`,
      line.error === undefined ? (line.reason ?? "") : `${line.error.code}: ${line.error.message}`,
    ]),
  );
  if (!isChainWhole) output.note("warning: a line of the history was changed or removed");
  return 0;
};
