/** Rows of the command table. Release keys, signatures and their verification. */
import type { CommandRow } from "./command.ts";

export const signCommands: readonly CommandRow[] = [
  {
    name: "keys new",
    summary: "Make a release key in the key folder",
    description:
      "The folder is $SLIPWAY_KEYS_DIR, by default ~/.config/slipway/keys (0700). The private half is protected by a passphrase from SLIPWAY_KEY_PASSPHRASE, --passphrase-file or the terminal, and is never printed.",
    arguments: [{ name: "name", text: "name of the key, by default release", isOptional: true }],
    options: [
      { flags: "--type <type>", text: "openpgp (gpg, apt, rpm), minisign, or apk (RSA-4096)", choices: ["openpgp", "minisign", "apk"], default: "openpgp" },
      { flags: "--algorithm <algorithm>", text: "of an OpenPGP key; every client reads rsa4096", choices: ["rsa4096", "ed25519"], default: "rsa4096" },
      { flags: "--user-id <text>", text: 'of an OpenPGP key: "Acme Releases <release@acme.example>"' },
      { flags: "--passphrase-file <file>", text: "its first line is the passphrase" },
      { flags: "--no-passphrase", text: "leave the private half readable for whoever has the file" },
    ],
    examples: [
      'slipway keys new release --user-id "Acme Releases <release@acme.example>"',
      "slipway keys new release --type minisign",
      "slipway keys new release --type apk",
    ],
    load: async () => ({ run: (await import("./keys.ts")).runNew }),
  },
  {
    name: "keys list",
    summary: "List the release keys in the key folder",
    load: async () => ({ run: (await import("./keys.ts")).runList }),
  },
  {
    name: "keys export",
    summary: "Print the public half of a release key",
    description: "A private half is never printed; copy the file from the key folder to move one.",
    arguments: [{ name: "name", text: "name of the key" }],
    options: [
      {
        flags: "--format <format>",
        text: "asc (armored), gpg (binary, for apt signed-by and gpgv) minisign or apk (PEM, for /etc/apk/keys); by default asc where there is an OpenPGP key",
        choices: ["asc", "gpg", "minisign", "apk"],
      },
      { flags: "-o, --out <file>", text: "write here instead of to stdout" },
    ],
    examples: ["slipway keys export release --format gpg --out acme.gpg", "slipway keys export release --format minisign"],
    load: async () => ({ run: (await import("./keys.ts")).runExport }),
  },
  {
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
];
