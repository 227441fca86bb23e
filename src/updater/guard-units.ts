/** The systemd side of the guard: a drop-in that calls it before each start, and a unit that ends what is unfinished: at boot, after a killed updater or a final failure. */
import { isAbsolute, join } from "node:path";
import { SlipwayError } from "../model/errors.ts";
import type { Installation } from "./installation.ts";
import { stateDirectoryOf } from "./state-directory.ts";

export type UnitFile = { readonly path: string; readonly text: string };

export type GuardUnits = {
  readonly files: readonly UnitFile[];
  /** To be enabled. */
  readonly resumeUnit: string;
};

/** A word of an Exec line: `%` and `$` would be expanded, quotes and white space split it (systemd.syntax(7), systemd.service(5)). */
function word(text: string): string {
  if (text.split("").some((unit) => unit.charCodeAt(0) < 32)) throw new SlipwayError("installation_invalid", `${JSON.stringify(text)} cannot stand in a unit`);
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("%", "%%").replaceAll("$", "$$$$")}"`;
}

/**
 * The units as text. `slipway` is the absolute path that they call; `shellGuard` is the shell guard's where that one counts. Throws
 * `installation_invalid` where the installation's service is no systemd unit.
 */
export function guardUnits(options: {
  readonly installation: Installation;
  readonly slipway: string;
  readonly shellGuard?: string | undefined;
  readonly unitDir: string;
}): GuardUnits {
  const { installation, slipway, shellGuard, unitDir } = options;
  const unit = installation.service?.systemd;
  if (unit === undefined) throw new SlipwayError("installation_invalid", "the guard for systemd needs service: { systemd: … }", { place: installation.place });
  if (!isAbsolute(slipway)) throw new SlipwayError("usage", `${slipway} is not an absolute path`);
  const service = unit.endsWith(".service") ? unit : `${unit}.service`;
  const resumeUnit = `${service.slice(0, -".service".length)}-rollback.service`; // not after the product: there may be two of it
  const { tries, deadline_seconds: deadline, bake_seconds: bake } = installation.health;
  const call = (...words: readonly string[]): string => [slipway, "upgrade", "resume", ...words, "--installation", installation.place].map(word).join(" ");
  const before = shellGuard === undefined ? call("--before-start") : [shellGuard, stateDirectoryOf(installation.stateDir).path].map(word).join(" ");
  const trialFile = join(stateDirectoryOf(installation.stateDir).guard, "trial.env");
  const seconds = Math.ceil((deadline + bake) * (tries + 1));
  const dropIn = `# Written by slipway guard install; run it again instead of changing this.
[Unit]
# All tries of a new version, one start of the old one, and one to spare; then the unit below takes over.
StartLimitIntervalSec=${seconds}
StartLimitBurst=${tries + 2}
OnFailure=${resumeUnit}

[Service]
ExecStartPre=+${before}
# In the middle of an upgrade the unit below waits beside the updater, and takes over where that one is killed.
ExecStartPost=-+systemctl start --no-block ${resumeUnit}
ExecStopPost=-+systemctl start --no-block --job-mode=fail ${resumeUnit}
`;
  const resume = `# Written by slipway guard install; run it again instead of changing this.
[Unit]
Description=Finish or undo an interrupted upgrade of ${installation.product}
After=network.target ${service}
# Only a switched or half-switched installation is for this unit; an interrupted download waits for the operator's timer.
ConditionPathExists=${trialFile.replaceAll("%", "%%")}

[Service]
Type=oneshot
ExecStart=${call("--if-needed", "--wait")}
# 40: the old version runs again and is healthy; 75: an updater began just now.
SuccessExitStatus=40 75
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
`;
  return {
    files: [
      { path: `${unitDir}/${service}.d/50-slipway-guard.conf`, text: dropIn },
      { path: `${unitDir}/${resumeUnit}`, text: resume },
    ],
    resumeUnit,
  };
}
