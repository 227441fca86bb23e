/** The systemd unit that runs the agent of an installation. */
import { SlipwayError } from "../model/errors.ts";
import type { Installation } from "../updater/installation.ts";

/** Its name and text. Throws `usage` for paths that systemd would read otherwise than they are written (systemd.service(5), "Command lines"). */
export function agentUnit(installation: Installation, slipway: string): { readonly name: string; readonly text: string } {
  for (const path of [slipway, installation.place]) {
    if (!/^\/[A-Za-z0-9._/+@-]*$/.test(path))
      throw new SlipwayError("usage", `a unit file cannot name ${JSON.stringify(path)}: use an absolute path of plain characters`);
  }
  return {
    name: `${installation.product}-agent.service`,
    text: `[Unit]
Description=Upgrades of ${installation.product}
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=${slipway} agent --installation ${installation.place}
Restart=on-failure
RestartSec=10
# An upgrade that has switched is brought to its end before the agent stops, and commands that it started are not killed with it.
KillMode=mixed
TimeoutStopSec=30min
# 75 is a temporary failure, 130 the end by a signal.
RestartForceExitStatus=75
SuccessExitStatus=130
UMask=0077
MemoryMax=512M

[Install]
WantedBy=multi-user.target
`,
  };
}
