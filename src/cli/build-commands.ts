/** Rows of the command table. What is made on the vendor's machine: recipe, plan, build. */
import type { CommandRow, OptionRow } from "./command.ts";

const planOptions: readonly OptionRow[] = [
  { flags: "--recipe <file>", text: "the recipe; by default slipway.yaml in this folder" },
  { flags: "--version <version>", text: "instead of the tag at HEAD" },
  { flags: "--target <targets>", text: "only these targets, as linux/amd64,linux/arm64" },
  { flags: "--only <kinds>", text: "only these kinds: deb, rpm, archive, binary, image" },
  { flags: "--unsigned", text: "make no signatures, for a preview without the release keys" },
];

export const buildCommands: readonly CommandRow[] = [
  {
    name: "init",
    summary: "Write a commented slipway.yaml, guessed from this folder",
    description: "Reads package.json, Cargo.toml or go.mod, the LICENSE and git's configuration. An existing slipway.yaml is never overwritten.",
    examples: ["slipway init"],
    load: () => import("./init.ts"),
  },
  {
    name: "schema",
    summary: "Print the JSON Schema of slipway.yaml",
    examples: ["slipway schema > slipway.schema.json"],
    load: () => import("./schema.ts"),
  },
  {
    name: "plan",
    summary: "Show every artifact with its name before anything is built",
    description: "Writes nothing. A recipe with a mistake ends with exit code 2 and the line and column of each.",
    options: planOptions,
    examples: ["slipway plan", "slipway plan --version 1.4.2 --only deb,rpm", "slipway plan --target linux/arm64 --json"],
    load: () => import("./plan.ts"),
  },
  {
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
    name: "lint",
    summary: "Say what lintian, rpmlint and apk would complain about, before building",
    description:
      "Looks at the recipe, its scripts, units and files; builds nothing and needs neither program. Each finding has the recipe's line, a rule and what to do. Exit code 3 where there is an error, or with --strict a warning.",
    options: [
      { flags: "--recipe <file>", text: "the recipe; by default slipway.yaml in this folder" },
      { flags: "--version <version>", text: "instead of the tag at HEAD" },
      { flags: "--target <targets>", text: "only these targets, as linux/amd64,linux/arm64" },
      { flags: "--strict", text: "end with exit code 3 for warnings as well" },
    ],
    examples: ["slipway lint", "slipway lint --strict --json"],
    load: () => import("./lint.ts"),
  },
];
