/** `slipway drill rollback`: the rollback on a copy, measured. */
import { resolve } from "node:path";
import { type CommandRun, textOption } from "./command.ts";
import { updaterFor } from "./open-updater.ts";
import { formatBytes } from "./output.ts";
import { printRunbook } from "./upgrade.ts";

const exitCodes = { PASS: 0, INCOMPLETE: 44 } as const;

export const runDrillRollback: CommandRun = async (invocation) => {
  const { output, options, cwd, signal } = invocation;
  const folder = textOption(options, "folder");
  const report = await (await updaterFor(invocation)).drill({ folder: folder === undefined ? undefined : resolve(cwd, folder), signal });
  output.result(report);
  output.line(`drilled ${report.from} -> ${report.to} on a copy, with ${formatBytes(report.stateBytes)} of state; the live installation was only read`);
  printRunbook(output, report.report);
  if (report.notDone !== null) output.line(`not done: ${report.notDone}`);
  if (!report.isHealthProven) output.line("INCOMPLETE: how a copy runs is not said under drill: in the installation file, so start and health were not proven");
  return exitCodes[report.result];
};
