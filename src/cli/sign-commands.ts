/** Rows of the command table. Release keys, signatures and their verification. */
import type { CommandRow } from "./command.ts";
import { trustOptionRows } from "./trust-option-rows.ts";

const keySetOption = { flags: "--keys <file>", text: "the key set, by default slipway-keys.json" } as const;

export const signCommands: readonly CommandRow[] = [
  {
    name: "keys new",
    summary: "Make a release key in the key folder",
    description:
      "The folder is $SLIPWAY_KEYS_DIR, by default ~/.config/slipway/keys (0700). The private half is protected by a passphrase from SLIPWAY_KEY_PASSPHRASE, --passphrase-file or the terminal, and is never printed.",
    arguments: [{ name: "name", text: "name of the key, by default release", isOptional: true }],
    options: [
      {
        flags: "--type <type>",
        text: "openpgp (gpg, apt, rpm), minisign, apk (RSA-4096) or tuf (ed25519)",
        choices: ["openpgp", "minisign", "apk", "tuf"],
        default: "openpgp",
      },
      { flags: "--algorithm <algorithm>", text: "of an OpenPGP key; every client reads rsa4096", choices: ["rsa4096", "ed25519"], default: "rsa4096" },
      { flags: "--user-id <text>", text: 'of an OpenPGP key: "Acme Releases <release@acme.example>"' },
      { flags: "--passphrase-file <file>", text: "its first line is the passphrase" },
      { flags: "--no-passphrase", text: "leave the private half readable for whoever has the file" },
      { flags: "--standby", text: "make its successor as well, and a key set that names both" },
      keySetOption,
    ],
    examples: [
      'slipway keys new release --user-id "Acme Releases <release@acme.example>"',
      "slipway keys new release --type minisign --standby",
      "slipway keys new release --type apk",
    ],
    load: async () => ({ run: (await import("./keys.ts")).runNew }),
  },
  {
    name: "keys list",
    summary: "List the release keys in the key folder, and when they expire",
    load: async () => ({ run: (await import("./keys.ts")).runList }),
  },
  {
    name: "keys rotate",
    summary: "Let the standby key follow the active one, step by step",
    description:
      "Without options: the active key begins to retire, the standby key becomes active, a new standby key is made; then says what the next release needs. With --published: checks that release and ends the old key with it. Releases carry the key set (release.json), so that machines which have seen it refuse the old key from then on.",
    options: [
      keySetOption,
      { flags: "--type <type>", text: "which keys", choices: ["minisign", "openpgp"], default: "minisign" },
      { flags: "--published <directory>", text: "the release that introduced the new key, as it was built and published" },
      { flags: "--compromised", text: "the active key was stolen: it counts no more, and its successor signs without an introduction" },
      { flags: "--last-sequence <number>", text: "with --compromised: sequence of the last release that you signed yourselves" },
      { flags: "--algorithm <algorithm>", text: "of a new OpenPGP key", choices: ["rsa4096", "ed25519"], default: "rsa4096" },
      { flags: "--user-id <text>", text: "of a new OpenPGP key" },
      { flags: "--passphrase-file <file>", text: "its first line is the passphrase of the new standby key" },
      { flags: "--no-passphrase", text: "leave the new key's private half readable for whoever has the file" },
    ],
    examples: ["slipway keys rotate", "slipway keys rotate --published dist/1.5.0"],
    load: () => import("./rotate.ts"),
  },
  {
    name: "keys revoke",
    summary: "End a key of the key set with a release",
    arguments: [{ name: "key", text: "name or id of the key" }],
    options: [keySetOption, { flags: "--last-sequence <number>", text: "sequence of the last release that it may have signed", isRequired: true }],
    examples: ["slipway keys revoke release-2 --last-sequence 1772000000"],
    load: async () => ({ run: (await import("./keys-check.ts")).runRevoke }),
  },
  {
    name: "keys check",
    summary: "Say what will go wrong with the release keys: for CI",
    description:
      "Looks for keys that expire, an unfinished rotation, a missing standby key, and one that lies beside the active one. Exit 0 where there is nothing to do, 4 otherwise.",
    options: [keySetOption, { flags: "--warn-days <days>", text: "how long before a key expires", default: "180" }],
    examples: ["slipway keys check --warn-days 90"],
    load: async () => ({ run: (await import("./keys-check.ts")).runCheck }),
  },
  {
    name: "keys export",
    summary: "Print the public half of a release key",
    description: "A private half is never printed; copy the file from the key folder to move one.",
    arguments: [{ name: "name", text: "name of the key" }],
    options: [
      {
        flags: "--format <format>",
        text: "asc (armored), gpg (binary, for apt signed-by and gpgv) minisign, apk (PEM, for /etc/apk/keys) or tuf (PEM); by default asc where there is an OpenPGP key",
        choices: ["asc", "gpg", "minisign", "apk", "tuf"],
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
      { flags: "--gpg <reference>", text: "OpenPGP release key: env:NAME, file:PATH, key:NAME, agent:gpg:FINGERPRINT or command:PATH" },
      { flags: "--minisign <reference>", text: "minisign release key: env:NAME, file:PATH, key:NAME or command:PATH" },
      { flags: "--minisign-next <reference>", text: "the key that follows, during a rotation: signs SHA256SUMS.<key id>.minisig besides" },
      { flags: "--sigstore", text: "keyless, as this CI run: <file>.bundle beside every file; services and outputs come from the recipe's sign.sigstore" },
      { flags: "--recipe <file>", text: "the recipe that names a private Sigstore instance, by default slipway.yaml where there is one" },
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
      { flags: "--sums <file>", text: "SHA256SUMS; its signatures lie beside it as .sig, .minisig and .bundle. Bundles alone need none" },
      ...trustOptionRows,
      { flags: "--product <name>", text: "the product that this must be" },
      { flags: "--version <version>", text: "the version that this must be; a workflow must have signed at its tag" },
      { flags: "--attestation", text: "the bundle may also be an in-toto attestation of the file, as forges make them" },
    ],
    examples: [
      "slipway verify artifact coequal_1.4.2_amd64.deb --sums SHA256SUMS --key coequal.gpg",
      "slipway verify artifact cara-x86_64-linux --version 0.2.0 --sigstore-repository https://github.com/puremachinery/carapace --sigstore-workflow .github/workflows/release.yml --sigstore-root trusted_root.json",
    ],
    load: () => import("./verify.ts"),
  },
  {
    name: "verify release",
    summary: "Verify a published release from the outside, file by file, and write a report",
    description:
      "Fetches everything that the sums list, verifies every signature and bundle that is trusted, hashes every file again, and writes <report>.json and <report>.txt. Exit 0 only if all hold, 20 otherwise. The access pair comes from SLIPWAY_KEY_ID and SLIPWAY_KEY_SECRET, or from the installation file.",
    arguments: [{ name: "version", text: "v1.5.0" }],
    options: [
      { flags: "--from <url>", text: "a Slipway server" },
      { flags: "--base <url>", text: "where the files lie side by side: a bucket, a forge's download page" },
      { flags: "--folder <directory>", text: "the same on this machine" },
      { flags: "--installation <file>", text: "an installation file names server, access pair, product and trust" },
      { flags: "--product <name>", text: "the product that this must be; a trust file names it, too" },
      { flags: "--sums <file>", text: "name of the sums file", default: "SHA256SUMS" },
      ...trustOptionRows,
      { flags: "--report <path>", text: "where the report goes, without ending; by default verification-<product>-<version> here" },
    ],
    examples: [
      "slipway verify release v1.5.0 --from https://releases.example.com --trust acme-trust.yaml",
      "slipway verify release v1.5.0 --folder dist/1.5.0 --product acme --key acme.pub",
    ],
    load: () => import("./verify-release.ts"),
  },
  {
    name: "trust show",
    summary: "Show whom this installation trusts now, and since which release",
    options: [{ flags: "--installation <file>", text: "installation file; by default slipway-installation.yaml here, then in /etc/slipway" }],
    examples: ["slipway trust show"],
    load: async () => ({ run: (await import("./trust.ts")).runShow }),
  },
  {
    name: "trust import",
    summary: "Learn the key set of a verified release without installing it: for air gaps",
    description: "The release's sums, signatures and release.json must lie in the folder, and be signed by a key that is trusted now.",
    arguments: [{ name: "directory", text: "the release's files" }],
    options: [
      { flags: "--installation <file>", text: "installation file; by default slipway-installation.yaml here, then in /etc/slipway" },
      { flags: "--sums <file>", text: "name of the sums file", default: "SHA256SUMS" },
    ],
    examples: ["slipway trust import acme-1.5.0"],
    load: async () => ({ run: (await import("./trust.ts")).runImport }),
  },
  {
    name: "trust check",
    summary: "Check a trust file or the trust of an installation file, and its keys",
    description: "Exit 0 where all is well, 4 where a key is unfit or expires within 180 days, 2 where the policy is not valid.",
    arguments: [{ name: "file", text: "a trust file or an installation file" }],
    examples: ["slipway trust check acme-trust.yaml"],
    load: async () => ({ run: (await import("./trust.ts")).runCheck }),
  },
];
