/** Rows of the command table. The TUF metadata of a product: ceremonies with offline keys, and what the server has. */
import type { CommandRow, OptionRow } from "./command.ts";
import { serverOptions } from "./shared-options.ts";

const productOption: OptionRow = { flags: "--product <name>", text: "the product; by default the recipe's" };
const recipeOption: OptionRow = { flags: "--recipe <file>", text: "recipe in the working directory; slipway.yaml by default" };
const keyOption: OptionRow = { flags: "--key <reference>", text: "TUF key: env:NAME, file:PATH or key:NAME", isRequired: true };
const passphraseOption: OptionRow = { flags: "--passphrase-file <file>", text: "its first line is the passphrase" };
const folderArgument = { name: "folder", text: "the folder of the ceremony" } as const;
const rootOptions: readonly OptionRow[] = [
  { flags: "--root-keys <keys>", text: "public root keys, comma-separated: files, or key:NAME of the key folder; three, kept in different places" },
  { flags: "--threshold <number>", text: "how many root keys must sign; 2 by default" },
  { flags: "--targets-keys <keys>", text: "public keys that sign what channels list: the one in CI, and a standby" },
];

export const tufCommands: readonly CommandRow[] = [
  {
    name: "tuf init",
    summary: "Begin a product's TUF metadata: a folder of files that wait for their signatures",
    description:
      "Asks the server for its snapshot and timestamp keys and writes the roots of the online and the offline repository, the targets role and one role for each channel. Nothing is signed yet: every key holder runs `slipway tuf sign` on the folder, or on a copy of it, then `slipway tuf join` and `slipway tuf upload`.",
    arguments: [folderArgument],
    options: [
      ...rootOptions,
      { flags: "--channels <names>", text: "channels of the product", default: "stable,preview" },
      productOption,
      recipeOption,
      ...serverOptions,
    ],
    examples: ["slipway tuf init ceremony --product acme --root-keys alice.pub,bob.pub,carol.pub --targets-keys key:ci,standby.pub"],
    load: async () => ({ run: (await import("./tuf.ts")).runInit }),
  },
  {
    name: "tuf rotate",
    summary: "Prepare the next version of the roots and what hangs on them",
    description:
      "Keys that are not named stay. Without any it is the yearly renewal. A root with changed keys needs the signatures of enough old and enough new root keys. --server-keys makes the server use fresh keys once the new root is uploaded: the way back when its keys were stolen.",
    arguments: [folderArgument],
    options: [
      ...rootOptions,
      { flags: "--channels <names>", text: "channels of the product; by default those of now" },
      { flags: "--server-keys", text: "let the server make fresh snapshot and timestamp keys" },
      productOption,
      recipeOption,
      ...serverOptions,
    ],
    examples: ["slipway tuf rotate ceremony --root-keys alice.pub,bob.pub,dora.pub"],
    load: async () => ({ run: (await import("./tuf.ts")).runRotate }),
  },
  {
    name: "tuf sign",
    summary: "Sign the files of a ceremony that a key may sign",
    description: "Works without a network. Prints what each file says before it signs it: read it.",
    arguments: [folderArgument],
    options: [keyOption, passphraseOption],
    examples: ["slipway tuf sign ceremony --key key:root-alice"],
    load: async () => ({ run: (await import("./tuf-ceremony.ts")).runSign }),
  },
  {
    name: "tuf join",
    summary: "Join the signatures of several copies of a ceremony's folder",
    arguments: [folderArgument, { name: "copies", text: "folders that other key holders signed", isVariadic: true }],
    examples: ["slipway tuf join ceremony from-bob from-carol"],
    load: async () => ({ run: (await import("./tuf-ceremony.ts")).runJoin }),
  },
  {
    name: "tuf upload",
    summary: "Give the signed files of a ceremony to the server",
    description: "The server checks them as a client would and takes all of them or none.",
    arguments: [folderArgument],
    options: [...serverOptions],
    examples: ["slipway tuf upload ceremony"],
    load: async () => ({ run: (await import("./tuf.ts")).runUpload }),
  },
  {
    name: "tuf targets",
    summary: "Sign again what a channel lists: renewed, without releases that were withdrawn, with those that were promoted",
    description:
      "Entries are taken only from metadata that --key, or a key of --trust, signed before; a release that no such metadata lists is never added here, only by `slipway release publish`. A rollout that was halted or narrowed on the server is signed so; one that was widened is signed by `slipway release rollout`, or with --raise-rollouts.",
    options: [
      keyOption,
      passphraseOption,
      { flags: "--channel <name>", text: "only this channel; all by default" },
      { flags: "--trust <files>", text: "public keys besides --key whose entries are taken over" },
      {
        flags: "--sigstore-trusted-root <file>",
        text: "list this trusted_root.json as well: installations with a Sigstore policy follow it from then on",
      },
      { flags: "--raise-rollouts", text: "sign the server's rollouts also where they reach more machines than was signed before" },
      { flags: "--dry-run", text: "print what would change" },
      productOption,
      recipeOption,
      ...serverOptions,
    ],
    examples: ["slipway tuf targets --key key:ci --channel stable", "slipway tuf targets --key key:ci --sigstore-trusted-root trusted_root.json"],
    load: async () => ({ run: (await import("./tuf-targets.ts")).run }),
  },
  {
    name: "tuf status",
    summary: "Show the versions and expiry of a product's TUF metadata",
    options: [productOption, recipeOption, ...serverOptions],
    examples: ["slipway tuf status --product acme"],
    load: async () => ({ run: (await import("./tuf.ts")).runStatus }),
  },
  {
    name: "tuf export",
    summary: "Write the present root, for installers to carry",
    options: [
      { flags: "--repository <name>", text: "for machines that ask the server, or for bundles", choices: ["online", "offline"], default: "online" },
      { flags: "-o, --out <file>", text: "write here", isRequired: true },
      productOption,
      recipeOption,
      ...serverOptions,
    ],
    examples: ["slipway tuf export --product acme -o acme.root.json"],
    load: async () => ({ run: (await import("./tuf.ts")).runExport }),
  },
];
