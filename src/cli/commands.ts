/** The table of all commands: help, completion, the reference in docs/ and the tests derive from it. */
import type { CommandRow, OptionRow } from "./command.ts";

export const commandGroups = ["Build", "Sign", "Serve and publish", "Customers", "Upgrade", "Tool"] as const;
export type CommandGroup = (typeof commandGroups)[number];

const planOptions: readonly OptionRow[] = [
  { flags: "--recipe <file>", text: "the recipe; by default slipway.yaml in this folder" },
  { flags: "--version <version>", text: "instead of the tag at HEAD" },
  { flags: "--target <targets>", text: "only these targets, as linux/amd64,linux/arm64" },
  { flags: "--only <kinds>", text: "only these kinds: deb, rpm, archive, binary" },
  { flags: "--unsigned", text: "make no signatures, for a preview without the release keys" },
];

const installationOption = { flags: "--installation <file>", text: "installation file; by default slipway-installation.yaml here, then in /etc/slipway" } as const;

export const commands: readonly (CommandRow & { readonly group: CommandGroup })[] = [
  {
    group: "Build",
    name: "init",
    summary: "Write a commented slipway.yaml, guessed from this folder",
    description: "Reads package.json, Cargo.toml or go.mod, the LICENSE and git's configuration. An existing slipway.yaml is never overwritten.",
    examples: ["slipway init"],
    load: () => import("./init.ts"),
  },
  {
    group: "Build",
    name: "schema",
    summary: "Print the JSON Schema of slipway.yaml",
    examples: ["slipway schema > slipway.schema.json"],
    load: () => import("./schema.ts"),
  },
  {
    group: "Build",
    name: "plan",
    summary: "Show every artifact with its name before anything is built",
    description: "Writes nothing. A recipe with a mistake ends with exit code 2 and the line and column of each.",
    options: planOptions,
    examples: ["slipway plan", "slipway plan --version 1.4.2 --only deb,rpm", "slipway plan --target linux/arm64 --json"],
    load: () => import("./plan.ts"),
  },
  {
    group: "Build",
    name: "build",
    summary: "Build, package, checksum and sign a release into dist/<version>/",
    description:
      "The version is the tag at HEAD, else git describe. The same inputs give the same bytes; SOURCE_DATE_EPOCH, by default the commit's time, is the only time in them. dist/<version>/ appears when everything is there, or stays as it was.",
    options: [
      ...planOptions,
      { flags: "--out <directory>", text: "where <version>/ appears; by default dist beside the recipe" },
      { flags: "--dry-run", text: "print the plan and build nothing" },
      { flags: "--passphrase-file <file>", text: "its first line is the passphrase of the release keys" },
    ],
    examples: ["slipway build", "slipway build --version 1.4.2 --only deb,rpm --target linux/arm64", "slipway build --unsigned --out /tmp/preview"],
    load: () => import("./build.ts"),
  },
  {
    group: "Sign",
    name: "keys new",
    summary: "Make a release key in the key folder",
    description:
      "The folder is $SLIPWAY_KEYS_DIR, by default ~/.config/slipway/keys (0700). The private half is protected by a passphrase from SLIPWAY_KEY_PASSPHRASE, --passphrase-file or the terminal, and is never printed.",
    arguments: [{ name: "name", text: "name of the key, by default release", isOptional: true }],
    options: [
      { flags: "--type <type>", text: "openpgp (gpg, apt, rpm) or minisign", choices: ["openpgp", "minisign"], default: "openpgp" },
      { flags: "--algorithm <algorithm>", text: "of an OpenPGP key; every client reads rsa4096", choices: ["rsa4096", "ed25519"], default: "rsa4096" },
      { flags: "--user-id <text>", text: 'of an OpenPGP key: "Acme Releases <release@acme.example>"' },
      { flags: "--passphrase-file <file>", text: "its first line is the passphrase" },
      { flags: "--no-passphrase", text: "leave the private half readable for whoever has the file" },
    ],
    examples: ['slipway keys new release --user-id "Acme Releases <release@acme.example>"', "slipway keys new release --type minisign"],
    load: async () => ({ run: (await import("./keys.ts")).runNew }),
  },
  {
    group: "Sign",
    name: "keys list",
    summary: "List the release keys in the key folder",
    load: async () => ({ run: (await import("./keys.ts")).runList }),
  },
  {
    group: "Sign",
    name: "keys export",
    summary: "Print the public half of a release key",
    description: "A private half is never printed; copy the file from the key folder to move one.",
    arguments: [{ name: "name", text: "name of the key" }],
    options: [
      {
        flags: "--format <format>",
        text: "asc (armored), gpg (binary, for apt signed-by and gpgv) or minisign; by default asc where there is an OpenPGP key",
        choices: ["asc", "gpg", "minisign"],
      },
      { flags: "-o, --out <file>", text: "write here instead of to stdout" },
    ],
    examples: ["slipway keys export release --format gpg --out acme.gpg", "slipway keys export release --format minisign"],
    load: async () => ({ run: (await import("./keys.ts")).runExport }),
  },
  {
    group: "Sign",
    name: "sign",
    summary: "Sign the SHA256SUMS of a built release",
    description:
      "Writes SHA256SUMS.sig and SHA256SUMS.minisig beside SHA256SUMS. Product, version and sequence come from release.json, which must be the one that the sums list. `slipway build` does the same where the recipe names keys; this is for keys that live on another machine.",
    arguments: [{ name: "directory", text: "the built release, dist/<version>" }],
    options: [
      { flags: "--gpg <reference>", text: "OpenPGP release key: env:NAME, file:PATH or key:NAME" },
      { flags: "--minisign <reference>", text: "minisign release key: env:NAME, file:PATH or key:NAME" },
      { flags: "--sums <file>", text: "name of the sums file", default: "SHA256SUMS" },
      { flags: "--passphrase-file <file>", text: "its first line is the passphrase" },
    ],
    examples: ["slipway sign dist/1.4.2 --gpg key:release --minisign key:release", "slipway sign dist/1.4.2 --gpg env:COEQUAL_RELEASE_KEY"],
    load: () => import("./sign.ts"),
  },
  {
    group: "Sign",
    name: "verify artifact",
    summary: "Verify downloaded files against signed sums",
    description:
      "Checks every signature beside the sums for which a key is given (it must be there and good), then the SHA-256 of each file, and with release.json beside the sums also product, version and size. Exit 0 only if all hold, 20 otherwise.",
    arguments: [{ name: "files", text: "the downloaded files", isVariadic: true }],
    options: [
      { flags: "--sums <file>", text: "SHA256SUMS; its signatures lie beside it as .sig and .minisig", isRequired: true },
      { flags: "--key <files>", text: "public keys that you trust, comma-separated: OpenPGP or minisign files, or a minisign key RW…", isRequired: true },
      { flags: "--fingerprint <hex>", text: "only these OpenPGP keys of the file, comma-separated" },
      { flags: "--product <name>", text: "the product that this must be" },
      { flags: "--version <version>", text: "the version that this must be" },
    ],
    examples: ["slipway verify artifact coequal_1.4.2_amd64.deb --sums SHA256SUMS --key coequal.gpg"],
    load: () => import("./verify.ts"),
  },
  {
    group: "Upgrade",
    name: "upgrade check",
    summary: "Is there a newer release for this installation?",
    description: "Asks the source and writes nothing. With --detailed-exitcode: 10 there is, 3 there is not.",
    options: [installationOption, { flags: "--detailed-exitcode", text: "say the answer in the exit code" }],
    examples: ["slipway upgrade check --detailed-exitcode"],
    load: async () => ({ run: (await import("./upgrade.ts")).runCheck }),
  },
  {
    group: "Upgrade",
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
    group: "Upgrade",
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
    group: "Upgrade",
    name: "upgrade resume",
    summary: "Bring an interrupted upgrade to its end",
    description: "For a timer, and before every start of the service (ExecStartPre with --if-needed): what is half switched is finished or undone first.",
    options: [installationOption, { flags: "--if-needed", text: "exit 0 where there is nothing to resume" }],
    examples: ["slipway upgrade resume --if-needed"],
    load: async () => ({ run: (await import("./upgrade.ts")).runResume }),
  },
  {
    group: "Upgrade",
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
    group: "Upgrade",
    name: "upgrade status",
    summary: "What is installed, what it can go back to, what is going on",
    options: [installationOption],
    examples: ["slipway upgrade status --json"],
    load: async () => ({ run: (await import("./upgrade.ts")).runStatus }),
  },
  {
    group: "Upgrade",
    name: "upgrade history",
    summary: "Every finished upgrade and rollback of this installation",
    options: [installationOption],
    examples: ["slipway upgrade history"],
    load: async () => ({ run: (await import("./upgrade.ts")).runHistory }),
  },
  {
    group: "Tool",
    name: "completion",
    summary: "Print a shell completion script",
    arguments: [{ name: "shell", text: "bash, zsh or fish" }],
    examples: ["slipway completion bash"],
    load: () => import("./completion.ts"),
  },
];
