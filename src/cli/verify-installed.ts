/** `slipway verify installed`: is what is installed what was signed? */
import { type CommandRun, flagOption } from "./command.ts";
import { updaterFor } from "./open-updater.ts";

const exitCodes = { PASS: 0, FAIL: 20, INCOMPLETE: 44 } as const;

export const run: CommandRun = async (invocation) => {
  const { output, options, signal } = invocation;
  const report = await (await updaterFor(invocation)).verifyInstalled({ isOffline: flagOption(options, "offline"), signal });
  output.result(report);
  for (const { path, problem, detail } of report.findings) output.line(`${problem.padEnd(8)}  ${path}  ${detail}`);
  const lists = {
    release: "the signed release, fetched and verified now",
    record: "what was signed when it was installed",
    "package manager": "the package manager's own records",
  } as const;
  output.line(`${report.product} ${report.version ?? ""}: ${report.result}; compared with ${lists[report.list]}`);
  if (report.result === "FAIL")
    output.note(
      "find out who changed it; then put back what is named (`slipway verify artifact` proves a copy of the release's file), or install a newer version",
    );
  return exitCodes[report.result];
};
