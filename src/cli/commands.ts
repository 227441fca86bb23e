/** The table of all commands: help, completion, the reference in docs/ and the tests derive from it. */
import { settingKeys, settingName, settingRow } from "../config/settings.ts";
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

/** Every word that talks to a server as its vendor. The token itself is never a flag: other users of the machine can read those. */
const serverOptions: readonly OptionRow[] = [
  { flags: "--server <url>", text: "address of the server; http://127.0.0.1:8420 by default", env: "SLIPWAY_SERVER" },
  { flags: "--token-file <file>", text: "file with the admin token; the variable SLIPWAY_TOKEN holds the token itself", env: "SLIPWAY_TOKEN_FILE" },
];

const productOption: OptionRow = { flags: "--product <name>", text: "by default the recipe's, else the only one on the server" };
const recipeOption: OptionRow = { flags: "--recipe <file>", text: "the recipe; by default slipway.yaml in this folder, where there is one" };
const versionArgument = { name: "version", text: "as v1.4.2" } as const;

/** The environment and the file are read by the server itself (config/load.ts), so that a flag wins over both. */
const settingOptions: readonly OptionRow[] = settingKeys
  .filter((key) => settingRow(key).isSecret !== true)
  .map((key) => {
    const row = settingRow(key);
    return { flags: `--${settingName(key)} <${row.value}>`, text: row.default === "" ? row.text : `${row.text}; ${row.default} by default` };
  });

const installationOption = {
  flags: "--installation <file>",
  text: "installation file; by default slipway-installation.yaml here, then in /etc/slipway",
} as const;

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
    group: "Serve and publish",
    name: "serve",
    summary: "Run the server: repositories, downloads, access pairs, audit trail, API",
    description:
      "Starts with no setting at all: an embedded database and blobs in the data folder, a repository key made on first start. Settings come from flags, SLIPWAY_… variables, slipway-server.yaml in the data folder, in this order; secrets have no flag. Logs are JSON lines on stderr. SIGTERM lets running downloads end.",
    options: [{ flags: "--config <file>", text: "settings file; by default slipway-server.yaml in the data folder", env: "SLIPWAY_CONFIG" }, ...settingOptions],
    examples: ["slipway serve", "slipway serve --listen 0.0.0.0:8420 --public-url https://packages.acme.example"],
    load: () => import("./serve.ts"),
  },
  {
    group: "Serve and publish",
    name: "product add",
    summary: "Make a product on the server, and register its public release keys",
    description: "`slipway publish` does both by itself; this is for replacing keys. A product that is there stays as it is.",
    arguments: [{ name: "name", text: "name of the product" }],
    options: [
      { flags: "--release-key <files>", text: "public keys, comma-separated: OpenPGP or minisign files; they replace those of their kind" },
      ...serverOptions,
    ],
    examples: ["slipway product add coequal --release-key coequal.asc,coequal.minisign.pub"],
    load: async () => ({ run: (await import("./product.ts")).runAdd }),
  },
  {
    group: "Serve and publish",
    name: "product list",
    summary: "List the products on the server",
    options: serverOptions,
    examples: ["slipway product list"],
    load: async () => ({ run: (await import("./product.ts")).runList }),
  },
  {
    group: "Serve and publish",
    name: "publish",
    summary: "Upload a built release into a draft that no customer sees",
    description:
      "Checks the folder against its sums, makes the product and registers the public halves of the recipe's release keys where they are missing, sends the bytes that the server lacks. A killed upload goes on where it stopped when run again.",
    arguments: [{ name: "directory", text: "the built release; by default the only one under dist/", isOptional: true }],
    options: [
      { flags: "--version <version>", text: "the release under dist/<version>" },
      { flags: "--sums <file>", text: "name of the sums file; by default the recipe's, else SHA256SUMS" },
      { flags: "--release-key <files>", text: "public release keys to register, comma-separated; by default the recipe's" },
      { flags: "--passphrase-file <file>", text: "for a recipe that names a protected minisign key with env: or file:" },
      recipeOption,
      ...serverOptions,
    ],
    examples: ["slipway publish", "slipway publish dist/1.4.2 --server https://packages.acme.example --token-file admin-token"],
    load: () => import("./publish.ts"),
  },
  {
    group: "Serve and publish",
    name: "release list",
    summary: "List the releases of a product, drafts included",
    options: [productOption, recipeOption, ...serverOptions],
    examples: ["slipway release list --product coequal"],
    load: async () => ({ run: (await import("./release.ts")).runList }),
  },
  {
    group: "Serve and publish",
    name: "release show",
    summary: "Show one release with its artifacts",
    arguments: [versionArgument],
    options: [productOption, recipeOption, ...serverOptions],
    examples: ["slipway release show v1.4.2"],
    load: async () => ({ run: (await import("./release.ts")).runShow }),
  },
  {
    group: "Serve and publish",
    name: "release publish",
    summary: "Verify a draft by re-download, then make it visible everywhere at once",
    description:
      "Every file comes back over HTTP and is compared with the sums, the sums with the registered release keys; then the server checks the same and switches one snapshot. Run again, it changes nothing.",
    arguments: [versionArgument],
    options: [
      productOption,
      { flags: "--sums <file>", text: "name of the sums file; by default the recipe's, else SHA256SUMS" },
      recipeOption,
      ...serverOptions,
    ],
    examples: ["slipway release publish v1.4.2"],
    load: async () => ({ run: (await import("./release.ts")).runPublish }),
  },
  {
    group: "Serve and publish",
    name: "release withdraw",
    summary: "Take a published release back; its address answers 410 and names a replacement",
    arguments: [versionArgument],
    options: [productOption, { flags: "--reason <text>", text: "for the audit trail" }, recipeOption, ...serverOptions],
    examples: ['slipway release withdraw v1.4.2 --reason "loses sessions on restart"'],
    load: async () => ({ run: (await import("./release.ts")).runWithdraw }),
  },
  {
    group: "Serve and publish",
    name: "release retain",
    summary: "Print the retention plan, or apply it",
    description:
      "Without --apply nothing is done. The plan is named by its basis; --apply carries out exactly the plan that is printed, and with --basis only if it is still the one that you looked at.",
    options: [
      productOption,
      { flags: "--dry-run", text: "print the plan only (the default)" },
      { flags: "--apply", text: "retire what the plan lists" },
      { flags: "--basis <hex>", text: "refuse unless the plan of now has this basis" },
      recipeOption,
      ...serverOptions,
    ],
    examples: ["slipway release retain --dry-run", "slipway release retain --apply"],
    load: async () => ({ run: (await import("./release.ts")).runRetain }),
  },
  {
    group: "Customers",
    name: "customer add",
    summary: "Add a customer",
    arguments: [{ name: "name", text: "lower-case letters, digits and dashes" }],
    options: serverOptions,
    examples: ["slipway customer add acme"],
    load: async () => ({ run: (await import("./customer.ts")).runAdd }),
  },
  {
    group: "Customers",
    name: "customer list",
    summary: "List the customers",
    options: serverOptions,
    examples: ["slipway customer list"],
    load: async () => ({ run: (await import("./customer.ts")).runList }),
  },
  {
    group: "Customers",
    name: "key issue",
    summary: "Issue an access pair and print it once, with the customer's set-up",
    arguments: [{ name: "customer", text: "who gets it" }],
    options: [
      { flags: "--product <name>", text: "the product that it may read", isRequired: true },
      { flags: "--channel <name>", text: "the channel in the set-up text; stable by default" },
      { flags: "--expires <days>", text: "the pair ends after so many days" },
      ...serverOptions,
    ],
    examples: ["slipway key issue acme --product coequal"],
    load: async () => ({ run: (await import("./key.ts")).runIssue }),
  },
  {
    group: "Customers",
    name: "key list",
    summary: "List a customer's access keys, without secrets",
    arguments: [{ name: "customer", text: "whose keys" }],
    options: serverOptions,
    examples: ["slipway key list acme"],
    load: async () => ({ run: (await import("./key.ts")).runList }),
  },
  {
    group: "Customers",
    name: "key rotate",
    summary: "Give a key a second secret; the old one works on for a while",
    arguments: [{ name: "key", text: "key id" }],
    options: [{ flags: "--overlap <hours>", text: "how long the old secret lives on; 72 by default" }, ...serverOptions],
    examples: ["slipway key rotate SLKABCDEFGHIJKLMNOPQRST --overlap 24"],
    load: async () => ({ run: (await import("./key.ts")).runRotate }),
  },
  {
    group: "Customers",
    name: "key revoke",
    summary: "End a key for good, at once",
    arguments: [{ name: "key", text: "key id" }],
    options: [{ flags: "--reason <text>", text: "for the audit trail" }, ...serverOptions],
    examples: ["slipway key revoke SLKABCDEFGHIJKLMNOPQRST"],
    load: async () => ({ run: (await import("./key.ts")).runRevoke }),
  },
  {
    group: "Customers",
    name: "audit",
    summary: "Print the audit trail: who did and downloaded what, when, with which result",
    options: [
      { flags: "--product <name>", text: "only of this product" },
      { flags: "--customer <name>", text: "only of this customer" },
      { flags: "--action <action>", text: "only these, as download, login-failed, release.publish" },
      { flags: "--limit <count>", text: "the newest so many; 100 by default" },
      { flags: "--follow", text: "go on printing new events until Ctrl-C" },
      ...serverOptions,
    ],
    examples: ["slipway audit --product coequal --limit 20", "slipway audit --follow --json"],
    load: () => import("./audit.ts"),
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
