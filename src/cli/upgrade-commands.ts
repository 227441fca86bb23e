/** Rows of the command table. The updater on the customer's machine. */
import type { CommandRow } from "./command.ts";

const installationOption = {
  flags: "--installation <file>",
  text: "installation file; by default slipway-installation.yaml here, then in /etc/slipway",
} as const;

const unlinkOption = { flags: "--unlink-package", text: "replace files that a package owns; its package manager will not know" } as const;

const fileOption = {
  flags: "--file <bundle>",
  text: "from a bundle of `slipway mirror export`, a mirror's folder, or the files of one release (folder or tar), without a network",
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
      unlinkOption,
      fileOption,
      { flags: "--detailed-exitcode", text: "say the answer in the exit code" },
    ],
    examples: ["slipway upgrade plan", "slipway upgrade plan --version 1.5.0 --json"],
    load: async () => ({ run: (await import("./upgrade.ts")).runPlan }),
  },
  {
    name: "upgrade install",
    summary: "Upgrade, prove the new version healthy, or go back by itself",
    description:
      "Exit 0 healthy on the new version, 20 refused because a signature or a hash is wrong, 40 rolled back and the old version is healthy, 41 a human must look, 42 the approval is too old, 43 refused or not now (older, blocked, pinned, held, no way there, window closed), 75 try again. Before 40 and 41 nothing that runs was touched.",
    options: [
      installationOption,
      { flags: "--version <version>", text: "this version instead of the newest of the channel; a preview only comes this way" },
      { flags: "--dry-run", text: "print the plan and stop" },
      { flags: "--adopt <version>", text: "strategies inplace and container: this version is there already, put there by other means" },
      unlinkOption,
      fileOption,
      { flags: "--outside-window", text: "also while the maintenance window is closed" },
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
      { flags: "--wait", text: "beside an updater that is at work: where it is killed between two versions, go on at once" },
      { flags: "--before-start", text: "the guard's part only; stops and starts nothing" },
    ],
    examples: ["slipway upgrade resume", "slipway upgrade resume --if-needed", "slipway upgrade resume --before-start"],
    load: async () => ({ run: (await import("./upgrade.ts")).runResume }),
  },
  {
    name: "upgrade rollback",
    summary: "Go back to the previous version: stop, previous files, state, start, verify",
    description:
      "Prints every step with its time, and the whole from stop to healthy (15 minutes are promised). The version that is left is not offered again; its state is kept as a backup of its own. --restore-state auto puts the state back unless the releases say that the previous version reads it as it is; it refuses to go back to a version that could not.",
    options: [
      installationOption,
      { flags: "--to <version>", text: "a version that is still kept; by default the one before" },
      {
        flags: "--restore-state <when>",
        text: "put the state back that was backed up before the upgrade",
        choices: ["auto", "always", "never"],
        default: "auto",
      },
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
    name: "upgrade pin",
    summary: "Install only these versions",
    description: "A version, or a range as npm writes them. What lies outside is not offered, and refused when it is named (exit 43).",
    arguments: [{ name: "range", text: 'as 1.4.2 or "~1.4.0"' }],
    options: [installationOption],
    examples: ["slipway upgrade pin 1.4.2", 'slipway upgrade pin "~1.4.0"'],
    load: async () => ({ run: (await import("./upgrade-control.ts")).runPin }),
  },
  {
    name: "upgrade unpin",
    summary: "Offer every version of the channel again",
    options: [installationOption],
    examples: ["slipway upgrade unpin"],
    load: async () => ({ run: (await import("./upgrade-control.ts")).runUnpin }),
  },
  {
    name: "upgrade hold",
    summary: "No upgrades for now",
    description: "An upgrade that has not switched yet waits; one that has goes on to its end.",
    options: [
      installationOption,
      { flags: "--until <date>", text: "ends by itself then, as 2026-12-01 or 2026-12-01T08:00:00Z" },
      { flags: "--reason <text>", text: "for whoever reads the status" },
    ],
    examples: ['slipway upgrade hold --reason "end of quarter"'],
    load: async () => ({ run: (await import("./upgrade-control.ts")).runHold }),
  },
  {
    name: "upgrade unhold",
    summary: "End the hold",
    options: [installationOption],
    examples: ["slipway upgrade unhold"],
    load: async () => ({ run: (await import("./upgrade-control.ts")).runUnhold }),
  },
  {
    name: "upgrade unblock",
    summary: "Offer a version again that failed here, or was rolled back",
    arguments: [{ name: "version", text: "as `slipway upgrade status` lists it" }],
    options: [installationOption],
    examples: ["slipway upgrade unblock 1.5.0"],
    load: async () => ({ run: (await import("./upgrade-control.ts")).runUnblock }),
  },
  {
    name: "upgrade confirm",
    summary: "Approve an upgrade that waits, and go on with it",
    description: "After exit 42: an approval lasts 15 minutes, or through the next maintenance window where one was waited for.",
    options: [installationOption, { flags: "--detailed-exitcode", text: "3 where there is nothing to do" }],
    examples: ["slipway upgrade confirm"],
    load: async () => ({ run: (await import("./upgrade-control.ts")).runConfirm }),
  },
  {
    name: "upgrade cancel",
    summary: "Give up an upgrade that has not switched anything yet",
    options: [installationOption],
    examples: ["slipway upgrade cancel"],
    load: async () => ({ run: (await import("./upgrade-control.ts")).runCancel }),
  },
  {
    name: "upgrade gc",
    summary: "Remove what no kept version needs",
    description: "Every upgrade does the same at its end; this is for what a crash or a full disk left. Backups made by hand stay.",
    options: [installationOption],
    examples: ["slipway upgrade gc"],
    load: async () => ({ run: (await import("./upgrade-control.ts")).runGc }),
  },
  {
    name: "backup create",
    summary: "Back up the state of the installation as one verified file",
    description:
      "What the state is stands in the installation file (backup:), else in the signed release. Changes while it is read are noticed: after three tries it ends with backup_inconsistent. The file is private (0600), read back before it gets its name, and never overwrites.",
    options: [
      installationOption,
      { flags: "-o, --output <file>", text: "write here; by default to the updater's own backups" },
      { flags: "--gzip", text: "compress it: smaller, and slower to restore" },
    ],
    examples: ["slipway backup create --output acme.rbk"],
    load: async () => ({ run: (await import("./backup.ts")).runCreate }),
  },
  {
    name: "backup verify",
    summary: "Read a backup from end to end and compare every hash",
    description: "Warns of state that no section covers.",
    arguments: [{ name: "file", text: "the backup" }],
    options: [installationOption],
    examples: ["slipway backup verify acme.rbk"],
    load: async () => ({ run: (await import("./backup.ts")).runVerify }),
  },
  {
    name: "backup list",
    summary: "The backups that the updater keeps",
    options: [installationOption],
    examples: ["slipway backup list"],
    load: async () => ({ run: (await import("./backup.ts")).runList }),
  },
  {
    name: "restore",
    summary: "Put a backup back: verify, stop, replace, start, prove",
    description:
      "The whole backup is verified and unpacked beside the state before anything is stopped. It replaces, and never merges: what came to be since is gone. Killed at any moment, the next command of the updater undoes or finishes it. Where and by which commands sections are restored says the installation, never the backup.",
    options: [
      installationOption,
      { flags: "--path <file>", text: "the backup", isRequired: true },
      { flags: "--dry-run", text: "verify it, print what would be replaced, and stop" },
      { flags: "--force", text: "also a backup of a newer version, of a format that this one does not read, or with links that lead out of it" },
    ],
    examples: ["slipway restore --path acme.rbk --dry-run", "slipway restore --path acme.rbk"],
    load: async () => ({ run: (await import("./restore.ts")).run }),
  },
  {
    name: "drill rollback",
    summary: "Rehearse the rollback on a copy and measure it",
    description:
      "Versions and state are copied, the rollback's own code runs on the copy, and its times go into the history. Exit 0 where the copy came up healthy, 44 where the installation file does not say how a copy runs (drill:).",
    options: [installationOption, { flags: "--folder <folder>", text: "where the copy is made; by default in the updater's state directory" }],
    examples: ["slipway drill rollback"],
    load: async () => ({ run: (await import("./drill.ts")).runDrillRollback }),
  },
  {
    name: "verify",
    summary: "Check signatures and checksums, what is installed, and what it does",
    description: "With --outcome the same as `slipway verify outcome`.",
    options: [installationOption, { flags: "--outcome <name>", text: "an outcome of the release or of the installation file, or auto" }],
    examples: ["slipway verify --outcome auto"],
    load: () => import("./outcome.ts"),
  },
  {
    name: "verify outcome",
    summary: "Does the product do what it is for?",
    description:
      "Runs the checks of an outcome that the signed release or the installation file declares; auto runs all that apply here. Exit 0 PASS, 45 FAIL, 44 INCOMPLETE: a required check was skipped, or there was none.",
    arguments: [{ name: "name", text: "an outcome, or auto" }],
    options: [installationOption],
    examples: ["slipway verify outcome auto", "slipway verify outcome grading --json"],
    load: () => import("./outcome.ts"),
  },
  {
    name: "verify installed",
    summary: "Compare every live file with the signed release",
    description:
      "The list is fetched and its signature verified again; with --offline, or where the source cannot be reached, it is the one recorded at the installation. For packages dpkg, rpm or apk are asked; a configuration file that you changed is named and no fault. Exit 0 PASS, 20 FAIL, 44 INCOMPLETE.",
    options: [installationOption, { flags: "--offline", text: "do not ask the source" }],
    examples: ["slipway verify installed"],
    load: () => import("./verify-installed.ts"),
  },
  {
    name: "guard install",
    summary: "Let something outside of the new version count its starts and go back",
    description:
      "With --systemd: a drop-in that calls the guard before each start, and a unit that resumes at boot and when the service has failed for good. With --shell: the guard is a shell script that needs no Node (strategy versions). Where the upgrade replaces slipway itself, the guard keeps a copy of it. Repeat it after moving slipway.",
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
