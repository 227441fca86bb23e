/** `slipway mirror timer`: prints or writes the systemd units that sync on schedule. */
import { resolve } from "node:path";
import { writeFileAtomic } from "../io/atomic-file.ts";
import { readDuration, timerUnits } from "../mirror/schedule.ts";
import { type CommandRun, textOption } from "./command.ts";
import { loadMirrorSettings } from "./mirror-settings.ts";

export const run: CommandRun = async (invocation) => {
  const { options, output, cwd } = invocation;
  const { directory } = await loadMirrorSettings(invocation);
  const units = timerUnits({
    program: textOption(options, "program") ?? "/usr/bin/slipway",
    config: resolve(cwd, textOption(options, "config") ?? "mirror.yaml"),
    directory,
    everyMs: readDuration(textOption(options, "every") ?? "6h"),
  });
  const folder = textOption(options, "output");
  if (folder !== undefined) for (const [name, text] of Object.entries(units)) await writeFileAtomic(resolve(cwd, folder, name), text, { mode: 0o644 });
  output.result({ units, ...(folder === undefined ? {} : { written: resolve(cwd, folder) }) });
  if (folder === undefined) for (const [name, text] of Object.entries(units)) output.line(`# /etc/systemd/system/${name}\n${text}`);
  else output.line(`wrote ${Object.keys(units).join(" and ")} to ${resolve(cwd, folder)}`);
  output.note("then: mkdir -p the mirror's folder, systemctl daemon-reload, systemctl enable --now slipway-mirror.timer");
  return 0;
};
