/** Opens the updater for a command: which installation file, and how its events are shown. */
import { parseVersion, type Version } from "../model/version.ts";
import { findInstallation, loadInstallation } from "../updater/installation.ts";
import { type Machine, thisMachine, type UpdateEvent } from "../updater/machine.ts";
import { createUpdater, type Updater } from "../updater/updater.ts";
import { type Invocation, textOption } from "./command.ts";
import { formatBytes, type Output, type Progress } from "./output.ts";

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

/** The updater of the installation file that the command names, reporting to its output. */
export async function updaterFor(invocation: Invocation): Promise<Updater> {
  const file = await findInstallation(textOption(invocation.options, "installation"), invocation.cwd);
  const machine: Machine = { ...thisMachine(watchUpdater(invocation.output)), env: invocation.env };
  return createUpdater(await loadInstallation(file), machine);
}

export function versionOption(invocation: Invocation, name: string): Version | undefined {
  const text = textOption(invocation.options, name);
  return text === undefined ? undefined : parseVersion(text);
}
