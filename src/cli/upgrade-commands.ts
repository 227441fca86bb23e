/** Rows of the command table. The updater on the customer's machine. */
import type { CommandRow } from "./command.ts";

const installationOption = {
  flags: "--installation <file>",
  text: "installation file; by default slipway-installation.yaml here, then in /etc/slipway",
} as const;

const unlinkOption = { flags: "--unlink-package", text: "replace files that a package owns; its package manager will not know" } as const;

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
      unlinkOption,
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
      unlinkOption,
      { flags: "--detailed-exitcode", text: "3 where there is nothing to do" },
    ],
    examples: ["slipway upgrade install", "slipway upgrade install --version 1.5.0", "slipway upgrade install --dry-run --json"],
    load: async () => ({ run: (await import("./upgrade.ts")).runInstall }),
  },
  {
    name: "upgrade resume",
    summary: "Bring an interrupted upgrade to its end",
    description:
      "After a crash or a power cut, by hand, at boot or from a timer (with --if-needed). With --before-start it is the guard, called right before the product starts (`slipway guard install` writes that into the unit): while no updater runs it finishes files that are half old and half new, counts the start, or puts the old version back when the tries are used up; the rest is left to the next resume.",
    options: [
      installationOption,
      { flags: "--if-needed", text: "exit 0 where there is nothing to resume" },
      { flags: "--before-start", text: "the guard's part only; stops and starts nothing" },
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
    name: "guard install",
    summary: "Let something outside of the new version count its starts and go back",
    description:
      "With --systemd: a drop-in that calls the guard before each start, and a unit that resumes at boot and when the service has failed for good. With --shell: the guard is a shell script that needs no Node (strategy versions). Repeat it after moving slipway.",
    options: [
      installationOption,
      { flags: "--systemd", text: "write the drop-in and the unit for the service of the installation file" },
      { flags: "--shell", text: "the shell guard; alone, it is only copied, for other init systems to call" },
      { flags: "--slipway <path>", text: "the slipway that the units call; by default this one" },
      { flags: "--unit-dir <folder>", text: "where units go", default: "/etc/systemd/system" },
      { flags: "--dry-run", text: "print the files and stop" },
    ],
    examples: ["slipway guard install --systemd", "slipway guard install --systemd --shell --dry-run"],
    load: async () => ({ run: (await import("./guard.ts")).runGuardInstall }),
  },
  {
    name: "guard exec",
    summary: "Run the product, restart it while a new version is on trial, and go back when its tries are used up",
    description:
      "For containers and hosts without systemd, with service: { supervisor: true } in the installation file. Outside of a trial the product's end is the end, with its exit code. Signals go to the product.",
    arguments: [{ name: "command", text: "the product's program and its arguments, after --", isVariadic: true }],
    options: [installationOption],
    examples: ["slipway guard exec -- /opt/acme/current/bin/acmed --listen 127.0.0.1:8080"],
    load: async () => ({ run: (await import("./guard.ts")).runGuardExec }),
  },
  {
    name: "upgrade history",
    summary: "Every finished upgrade and rollback of this installation",
    options: [installationOption],
    examples: ["slipway upgrade history"],
    load: async () => ({ run: (await import("./upgrade.ts")).runHistory }),
  },
];
