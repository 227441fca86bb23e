/** `slipway backup create|verify|list`: the state of an installation as one verified file. */
import { resolve } from "node:path";
import { type CommandRun, flagOption, textOption } from "./command.ts";
import { updaterFor } from "./open-updater.ts";
import { formatBytes, type Output } from "./output.ts";
import type { BackupSummary } from "../updater/operations.ts";

function describe(output: Output, { path, product, version, createdAt, sections, files, bytes, sha256 }: BackupSummary): void {
  output.line(`${path}: ${product} ${version ?? "(nothing installed)"} of ${createdAt}`);
  output.line(`sections ${sections.join(", ")}; ${files} files, ${formatBytes(bytes)}; sha256 ${sha256}`);
}

export const runCreate: CommandRun = async (invocation) => {
  const { options, output, cwd } = invocation;
  const file = textOption(options, "output");
  const made = await (await updaterFor(invocation)).backup({
    output: file === undefined ? undefined : resolve(cwd, file),
    isGzipped: flagOption(options, "gzip"),
  });
  output.result(made);
  describe(output, made);
  output.line("written, read back and verified");
  return 0;
};

export const runVerify: CommandRun = async (invocation) => {
  const { output } = invocation;
  const checked = await (await updaterFor(invocation)).verifyBackup({ path: resolve(invocation.cwd, invocation.args[0] ?? "") });
  output.result({ result: "PASS", ...checked });
  for (const warning of checked.warnings) output.note(`warning: ${warning}`);
  describe(output, checked);
  output.line("PASS: every file has the hash that the manifest says");
  return 0;
};

export const runList: CommandRun = async (invocation) => {
  const { output } = invocation;
  const list = await (await updaterFor(invocation)).backups();
  output.result({ backups: list });
  output.table(
    ["id", "made", "version", "why", "size"],
    list.map((one) => [one.id ?? "-", one.createdAt, one.version ?? "-", one.archiveOf, formatBytes(one.bytes)]),
  );
  return 0;
};
