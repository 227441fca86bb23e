/** Rows of the command table. The updater on the customer's machine. */
import type { CommandRow } from "./command.ts";

const installationOption = {
  flags: "--installation <file>",
  text: "installation file; by default slipway-installation.yaml here, then in /etc/slipway",
} as const;

export const upgradeCommands: readonly CommandRow[] = [
  {
    name: "upgrade check",
    summary: "Is there a newer release for this installation?",
    description: "Asks the source and writes nothing. With --detailed-exitcode: 10 there is, 3 there is not.",
    options: [installationOption, { flags: "--detailed-exitcode", text: "say the answer in the exit code" }],
    examples: ["slipway upgrade check --detailed-exitcode"],
    load: async () => ({ run: (await import("./upgrade.ts")).runCheck }),
  },
  {
    name: "upgrade plan",
    summary: "Verify the release on offer and print what an upgrade would do",
    description: "The signatures are checked; nothing is written. With --detailed-exitcode: 10 there is something to do, 3 there is not.",
    options: [
      installationOption,
      { flags: "--version <version>", text: "this version instead of the newest of the channel; a preview only comes this way" },
      { flags: "--detailed-exitcode", text: "say the answer in the exit code" },
    ],
    examples: ["slipway upgrade plan", "slipway upgrade plan --version 1.5.0 --json"],
    load: async () => ({ run: (await import("./upgrade.ts")).runPlan }),
  },
  {
    name: "upgrade install",
    summary: "Upgrade, prove the new version healthy, or go back by itself",
    description:
      "Exit 0 healthy on the new version, 20 refused because a signature or a hash is wrong, 40 rolled back and the old version is healthy, 41 a human must look, 42 the approval is too old, 43 refused (older, blocked, not offered), 75 try again. Before 40 and 41 nothing that runs was touched.",
    options: [
      installationOption,
      { flags: "--version <version>", text: "this version instead of the newest of the channel; a preview only comes this way" },
      { flags: "--dry-run", text: "print the plan and stop" },
      { flags: "--adopt <version>", text: "strategy inplace: this version lies there already, put there by other means" },
      { flags: "--detailed-exitcode", text: "3 where there is nothing to do" },
    ],
    examples: ["slipway upgrade install", "slipway upgrade install --version 1.5.0", "slipway upgrade install --dry-run --json"],
    load: async () => ({ run: (await import("./upgrade.ts")).runInstall }),
  },
  {
    name: "upgrade resume",
    summary: "Bring an interrupted upgrade to its end",
    description:
      "After a crash or a power cut, by hand, at boot or from a timer (with --if-needed). A service whose start lies before that takes --before-start into its ExecStartPre: it finishes files that are half old and half new, and leaves the rest to the next resume.",
    options: [
      installationOption,
      { flags: "--if-needed", text: "exit 0 where there is nothing to resume" },
      { flags: "--before-start", text: "only make the files one version again; stops and starts nothing" },
    ],
    examples: ["slipway upgrade resume", "slipway upgrade resume --if-needed", "slipway upgrade resume --before-start"],
    load: async () => ({ run: (await import("./upgrade.ts")).runResume }),
  },
  {
    name: "upgrade rollback",
    summary: "Go back to the previous version: stop, previous files, state, start, verify",
    description: "Prints how long it took from stop to healthy. The version that is left is not offered again. Its state is kept as a backup of its own.",
    options: [
      installationOption,
      { flags: "--to <version>", text: "a version that is still kept; by default the one before" },
      { flags: "--restore-state <when>", text: "put the state back that was backed up before the upgrade", choices: ["always", "never"], default: "always" },
    ],
    examples: ["slipway upgrade rollback", "slipway upgrade rollback --to 1.4.2 --restore-state never"],
    load: async () => ({ run: (await import("./upgrade.ts")).runRollback }),
  },
  {
    name: "upgrade status",
    summary: "What is installed, what it can go back to, what is going on",
    options: [installationOption],
    examples: ["slipway upgrade status --json"],
    load: async () => ({ run: (await import("./upgrade.ts")).runStatus }),
  },
  {
    name: "upgrade history",
    summary: "Every finished upgrade and rollback of this installation",
    options: [installationOption],
    examples: ["slipway upgrade history"],
    load: async () => ({ run: (await import("./upgrade.ts")).runHistory }),
  },
];
