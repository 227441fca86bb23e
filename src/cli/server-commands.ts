/** Rows of the command table. The server, its products and releases. */
import { settingKeys, settingName, settingRow } from "../config/settings.ts";
import { channelCommands } from "./channel-commands.ts";
import type { CommandRow, OptionRow } from "./command.ts";
import { repositoryKeyCommands } from "./repository-key-commands.ts";
import { retentionCommands } from "./retention-commands.ts";
import { serverOptions, tufKeyOptions } from "./shared-options.ts";

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

export const serverCommands: readonly CommandRow[] = [
  {
    name: "serve",
    summary: "Run the server: repositories, downloads, access pairs, audit trail, API",
    description:
      "Starts with no setting at all: an embedded database and blobs in the data folder, a repository key made on first start. Settings come from flags, SLIPWAY_… variables, slipway-server.yaml in the data folder, in this order; secrets have no flag. Logs are JSON lines on stderr. SIGTERM lets running downloads end.",
    options: [
      { flags: "--config <file>", text: "settings file; by default slipway-server.yaml in the data folder", env: "SLIPWAY_CONFIG" },
      { flags: "--mirror <folder>", text: "serve this mirror, read-only, instead of a data folder; as `slipway mirror serve` does" },
      { flags: "--pairs <file>", text: "with --mirror: pairs that may read it" },
      ...settingOptions,
    ],
    examples: ["slipway serve", "slipway serve --listen 0.0.0.0:8420 --public-url https://packages.acme.example", "slipway serve --mirror /srv/mirror"],
    load: () => import("./serve.ts"),
  },
  {
    name: "server check",
    summary: "Check a data folder: database, every blob against its digest, references, secrets, audit chain",
    description:
      "Run it on the server's machine, as the user that the server runs as and with the same settings, also while it runs: without --repair nothing is written. Each fault is named with what it is needed for and what brings it back. Exit code 20 where there is one.",
    options: [
      { flags: "--quick", text: "look at the sizes of blobs instead of reading them whole" },
      { flags: "--repair", text: "make lost indexes anew, take damaged blobs out of the way of good ones, bring back what lies in quarantine by mistake" },
      { flags: "--config <file>", text: "settings file; by default slipway-server.yaml in the data folder", env: "SLIPWAY_CONFIG" },
      { flags: "--data-dir <folder>", text: settingRow("dataDir").text },
    ],
    examples: ["slipway server check", "slipway server check --quick --json", "slipway server check --repair"],
    load: () => import("./server-check.ts"),
  },
  ...repositoryKeyCommands,
  {
    name: "product add",
    summary: "Make a product on the server, and register its public release keys",
    description: "`slipway publish` does both by itself; this is for replacing keys. A product that is there stays as it is.",
    arguments: [{ name: "name", text: "name of the product" }],
    options: [
      { flags: "--release-key <files>", text: "public keys, comma-separated: OpenPGP, minisign or apk (PEM) files; they replace those of their kind" },
      ...serverOptions,
    ],
    examples: ["slipway product add coequal --release-key coequal.asc,coequal.minisign.pub"],
    load: async () => ({ run: (await import("./product.ts")).runAdd }),
  },
  {
    name: "product list",
    summary: "List the products on the server",
    options: serverOptions,
    examples: ["slipway product list"],
    load: async () => ({ run: (await import("./product.ts")).runList }),
  },
  {
    name: "publish",
    summary: "Upload a built release into a draft that no customer sees",
    description:
      "Checks the folder against its sums, makes the product and registers the public halves of the recipe's release keys where they are missing, sends the bytes that the server lacks. A killed upload goes on where it stopped when run again. A draft that holds files of an earlier build is discarded and staged again.",
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
    name: "image push",
    summary: "Push the images of a built release to a registry, with all their tags",
    description:
      "Images are there for everybody who may read the registry as soon as they are pushed: push after `slipway release publish`. A tag of a version never moves; tags without a version, as latest, move to newer releases only. Logs in as --username, else as docker, podman or skopeo login left it. A killed push goes on where it stopped when run again.",
    arguments: [{ name: "directory", text: "the built release; by default the only one under dist/", isOptional: true }],
    options: [
      { flags: "--to <registry>", text: "HOST or HOST/NAMESPACE; by default the recipe's publish.oci" },
      { flags: "--version <version>", text: "the release under dist/<version>" },
      { flags: "--sums <file>", text: "name of the sums file; by default the recipe's, else SHA256SUMS" },
      { flags: "--username <name>", text: "user of the registry; the password is in SLIPWAY_REGISTRY_PASSWORD or a file", env: "SLIPWAY_REGISTRY_USERNAME" },
      { flags: "--password-file <file>", text: "its first line is the password" },
      recipeOption,
    ],
    examples: ["slipway image push", "slipway image push dist/1.4.2 --to registry.acme.example/team --username ci --password-file password"],
    load: async () => ({ run: (await import("./image.ts")).runPush }),
  },
  {
    name: "release list",
    summary: "List the releases of a product, drafts included",
    options: [productOption, recipeOption, ...serverOptions],
    examples: ["slipway release list --product coequal"],
    load: async () => ({ run: (await import("./release.ts")).runList }),
  },
  {
    name: "release show",
    summary: "Show one release with its artifacts",
    arguments: [versionArgument],
    options: [productOption, recipeOption, ...serverOptions],
    examples: ["slipway release show v1.4.2"],
    load: async () => ({ run: (await import("./release.ts")).runShow }),
  },
  {
    name: "release discard",
    summary: "Remove a draft from the server",
    description:
      "Asks nothing: customers never saw it, and its uploaded bytes stay on the server for two days, so that `slipway publish` need not send them again. What was ever published is refused.",
    arguments: [versionArgument],
    options: [productOption, recipeOption, ...serverOptions],
    examples: ["slipway release discard v1.4.2"],
    load: async () => ({ run: (await import("./release.ts")).runDiscard }),
  },
  {
    name: "release publish",
    summary: "Verify a draft by re-download, then make it visible everywhere at once",
    description:
      "Every file comes back over HTTP and is compared with the sums, the sums with the registered release keys; then the server checks the same and switches one snapshot. Run again, it changes nothing.",
    arguments: [versionArgument],
    options: [
      productOption,
      { flags: "--sums <file>", text: "name of the sums file; by default the recipe's, else SHA256SUMS" },
      { flags: "--percent <number>", text: "how many of the customers see it at first; 100 by default" },
      { flags: "--machines <number>", text: "percent of each customer's machines that `slipway upgrade` offers it to at first; 100 by default" },
      ...tufKeyOptions,
      recipeOption,
      ...serverOptions,
    ],
    examples: ["slipway release publish v1.4.2"],
    load: async () => ({ run: (await import("./release.ts")).runPublish }),
  },
  {
    name: "release withdraw",
    summary: "Take a published release back; its address answers 410 and names a replacement",
    arguments: [versionArgument],
    options: [
      productOption,
      { flags: "--reason <text>", text: "customers read it where they still ask for the version" },
      ...tufKeyOptions,
      recipeOption,
      ...serverOptions,
    ],
    examples: ['slipway release withdraw v1.4.2 --reason "loses sessions on restart"'],
    load: async () => ({ run: (await import("./release.ts")).runWithdraw }),
  },
  ...channelCommands,
  ...retentionCommands,
];
