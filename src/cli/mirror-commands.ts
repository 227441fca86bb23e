/** Rows of the command table. Mirrors: a customer's copy of what the vendor publishes. */
import type { CommandRow } from "./command.ts";

const configOption = { flags: "--config <file>", text: "the mirror's settings; mirror.yaml here by default" } as const;
const passphraseOption = { flags: "--passphrase-file <file>", text: "first line: passphrase of the mirror's own key, where it has one" } as const;
const olderOption = { flags: "--allow-older", text: "take a state that is older than the mirror's" } as const;
const dryRunOption = { flags: "--dry-run", text: "read and verify the indexes, say what would be fetched, change nothing that readers see" } as const;

export const mirrorCommands: readonly CommandRow[] = [
  {
    name: "mirror sync",
    summary: "Copy what the settings select, verified, and switch readers to it at once",
    description:
      "Every index and release is proven by the pinned keys, every file by the digest that was signed. A run that was killed goes on where it was. The tree in <directory>/current is always one whole set: the old one until the new one is complete. Exit 20 where something could not be proven, 22 where the source is older than the mirror.",
    options: [
      configOption,
      { flags: "--every <interval>", text: "go on for ever: 30m, 6h, 1d, spread by a tenth" },
      dryRunOption,
      olderOption,
      passphraseOption,
    ],
    examples: ["slipway mirror sync", "slipway mirror sync --config /etc/slipway/mirror.yaml --every 6h", "slipway mirror sync --dry-run --json"],
    load: async () => import("./mirror-sync.ts"),
  },
  {
    name: "mirror export",
    summary: "Write one bundle file that carries a mirror over an air gap",
    description:
      "A tar with the repositories, images as OCI layouts, keys, sums, signatures, and verify.sh, which proves it without Slipway. Beside it FILE.sha256 and FILE.manifest.json. The same set of the mirror gives the same bytes.",
    arguments: [{ name: "file", text: "the bundle, usually ending in .tar" }],
    options: [
      configOption,
      { flags: "--directory <folder>", text: "the mirror's folder, instead of the one that the settings name" },
      { flags: "--from-source", text: "read the source now and keep no mirror" },
      { flags: "--split <size>", text: "parts of at most this size: FILE.001 and so on; 4G fits FAT32" },
      { flags: "--since <bundle>", text: "leave out what an earlier bundle had; its FILE or FILE.manifest.json" },
      passphraseOption,
    ],
    examples: [
      "slipway mirror export acme.tar",
      "slipway mirror export acme.tar --split 4G",
      "slipway mirror export acme-more.tar --since acme.tar.manifest.json",
    ],
    load: async () => import("./mirror-export.ts"),
  },
  {
    name: "mirror import",
    summary: "Verify a bundle and merge it into the mirror",
    description:
      "The archive is read once and held against its own manifest, then every signature and digest is checked with the keys that the settings pin, then readers are switched. Products that the bundle does not carry stay. Exit 20 where something could not be proven, 22 where it is older than the mirror.",
    arguments: [{ name: "file", text: "the bundle, or the first of its parts" }],
    options: [
      configOption,
      dryRunOption,
      olderOption,
      { flags: "--allow-expired-metadata", text: "take TUF metadata that has expired on its way; noted in overrides.jsonl of the mirror" },
    ],
    examples: ["slipway mirror import /media/usb/acme.tar", "slipway mirror import /media/usb/acme.tar.001 --dry-run"],
    load: async () => import("./mirror-import.ts"),
  },
  {
    name: "mirror serve",
    summary: "Serve a mirror over HTTP: repositories, files, images at /v2",
    description:
      "Read-only, with ranges and conditional requests. nginx or file: serve the same folder <directory>/current; only /v2 needs this. `slipway serve --mirror <folder>` is the same.",
    arguments: [{ name: "folder", text: "the mirror's folder; the one that mirror.yaml names by default", isOptional: true }],
    options: [
      configOption,
      { flags: "--listen <host:port>", text: "address to listen on", default: "127.0.0.1:8420" },
      { flags: "--pairs <file>", text: "pairs that may read, made by `slipway mirror pair`; anybody by default" },
    ],
    examples: ["slipway mirror serve /srv/mirror --listen 0.0.0.0:8420 --pairs /etc/slipway/mirror.pairs"],
    load: async () => import("./mirror-serve.ts"),
  },
  {
    name: "mirror pair",
    summary: "Make an access pair for readers of a served mirror",
    arguments: [
      { name: "file", text: "the list of pairs; made where it is not there" },
      { name: "key-id", text: "name of the pair" },
    ],
    examples: ["slipway mirror pair /etc/slipway/mirror.pairs branch-office"],
    load: async () => import("./mirror-pair.ts"),
  },
  {
    name: "mirror timer",
    summary: "Print the systemd units that sync on schedule",
    options: [
      configOption,
      { flags: "--every <interval>", text: "30m, 6h, 1d", default: "6h" },
      { flags: "--program <path>", text: "the slipway program; /usr/bin/slipway by default" },
      { flags: "--output <folder>", text: "write them there instead of printing" },
    ],
    examples: ["slipway mirror timer --config /etc/slipway/mirror.yaml --every 6h --output /etc/systemd/system"],
    load: async () => import("./mirror-timer.ts"),
  },
];
