/** When a mirror is brought up to date: intervals as people write them, spread so that all mirrors of a vendor do not come at once, and a systemd timer. */
import { SlipwayError } from "../model/errors.ts";

const unitsMs: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };
const leastMs = 60_000;
const mostMs = 31 * 86_400_000;

/** `30m`, `6h`, `1d` in ms; throws `usage` below a minute and above a month. */
export function readDuration(text: string): number {
  const [, count, unit] = /^(\d{1,5})([mhd])$/.exec(text) ?? [];
  const ms = Number(count) * (unitsMs[unit ?? ""] ?? Number.NaN);
  if (!(ms >= leastMs && ms <= mostMs)) throw new SlipwayError("usage", `"${text.slice(0, 40)}" is no interval; write 30m, 6h or 1d, from a minute to 31 days`);
  return ms;
}

/** The interval with up to a tenth more or less; `random` is from 0 to 1. */
export function withJitter(ms: number, random: number): number {
  return Math.round(ms * (0.9 + 0.2 * random));
}

export type TimerSettings = {
  /** The command's program: `/usr/bin/slipway`. */
  readonly program: string;
  /** Absolute path of mirror.yaml, and of the folder that it fills. */
  readonly config: string;
  readonly directory: string;
  readonly everyMs: number;
};

/**
 * Text of the two units, by file name. The service may write into the mirror's folder alone. Throws `usage` for paths that systemd would read
 * otherwise than they are written (systemd.service(5), "Command lines"; systemd.unit(5), specifiers).
 */
export function timerUnits(settings: TimerSettings): Readonly<Record<string, string>> {
  const { program, config, directory, everyMs } = settings;
  for (const path of [program, config, directory])
    if (!/^\/[A-Za-z0-9._/+@-]*$/.test(path))
      throw new SlipwayError("usage", `a unit file cannot name ${JSON.stringify(path)}: use a path of plain characters without spaces`);
  const minutes = Math.round(everyMs / 60_000);
  const service = [
    "[Unit]",
    "Description=Bring the Slipway mirror up to date",
    "Wants=network-online.target",
    "After=network-online.target",
    "StartLimitIntervalSec=1h",
    "StartLimitBurst=4",
    "",
    "[Service]",
    "Type=oneshot",
    `ExecStart=${program} mirror sync --config ${config}`,
    "EnvironmentFile=-/etc/slipway/mirror.env",
    // What may pass is tried again before the timer's next turn; settings, keys, refused signatures, older sources and pairs are not.
    "Restart=on-failure",
    "RestartPreventExitStatus=1 2 4 20 22 24 77",
    "RestartSec=5min",
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    `ReadWritePaths=${directory}`,
    "Nice=10",
    "IOSchedulingClass=idle",
  ];
  const timer = [
    "[Unit]",
    "Description=Bring the Slipway mirror up to date on schedule",
    "",
    "[Timer]",
    "OnBootSec=5min",
    `OnUnitActiveSec=${minutes}min`,
    `RandomizedDelaySec=${Math.max(1, Math.round(minutes / 10))}min`,
    "Persistent=true",
    "",
    "[Install]",
    "WantedBy=timers.target",
  ];
  return { "slipway-mirror.service": `${service.join("\n")}\n`, "slipway-mirror.timer": `${timer.join("\n")}\n` };
}
