/** `slipway restore`: puts a backup back, replacing the state, and proves the product healthy with it. */
import { resolve } from "node:path";
import { type CommandRun, flagOption, textOption } from "./command.ts";
import { updaterFor } from "./open-updater.ts";
import { formatBytes, type Output } from "./output.ts";
import type { RestorePlan } from "../updater/restore-by-hand.ts";

function describe(output: Output, { product, version, createdAt, archiveOf, sections }: RestorePlan): void {
  output.line(`${product} ${version ?? "(nothing installed)"} of ${createdAt} (${archiveOf})`);
  output.table(
    ["section", "replaces", "files", "size"],
    sections.map((one) => [one.name, one.isPresent ? one.path : `${one.path} (will be gone: it was not there)`, String(one.files), formatBytes(one.bytes)]),
  );
}

export const run: CommandRun = async (invocation) => {
  const { options, output, cwd } = invocation;
  const updater = await updaterFor(invocation);
  const request = { path: resolve(cwd, textOption(options, "path") ?? ""), isForced: flagOption(options, "force") };
  if (flagOption(options, "dryRun")) {
    const plan = await updater.planRestore(request);
    output.result({ plan });
    describe(output, plan);
    output.line("the backup is whole and fits; nothing was changed");
    return 0;
  }
  const result = await updater.restore(request);
  output.result(result);
  describe(output, result);
  output.line(`restored, healthy, ${(result.downtimeMs / 1000).toFixed(1)} s from stop to healthy`);
  return 0;
};
