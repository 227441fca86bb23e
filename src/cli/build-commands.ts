/** Rows of the command table. What is made on the vendor's machine: recipe, plan, build. */
import { keepYoungHeapSmall } from "../io/young-heap.ts";
import type { CommandRow, OptionRow } from "./command.ts";
import { serverOptions } from "./shared-options.ts";

const planOptions: readonly OptionRow[] = [
  { flags: "--recipe <file>", text: "the recipe; by default slipway.yaml in this folder" },
  { flags: "--version <version>", text: "instead of the tag at HEAD" },
  { flags: "--target <targets>", text: "only these targets, as linux/amd64,linux/arm64" },
  { flags: "--only <kinds>", text: "only these kinds: deb, rpm, apk, archive, binary, image" },
  { flags: "--unsigned", text: "make no signatures, for a preview without the release keys" },
  {
    flags: "--delta-from <folders>",
    text: "make deltas from these earlier releases, as dist/1.4.2 or several with commas between; by default from as many as the recipe's `deltas` says",
  },
  ...serverOptions,
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
    description:
      "Writes nothing. Looks for every source and release key, and with `deltas` in the recipe at the server for earlier releases; a recipe with a mistake ends with exit code 2 and a missing source with 3, each with its line. What build.run makes is not looked for.",
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
      { flags: "--replace", text: "replace a complete release in dist/<version>/ by a part of it, or a signed one by an unsigned one" },
      { flags: "--passphrase-file <file>", text: "its first line is the passphrase of the release keys" },
      { flags: "--builder <uri>", text: "who builds, for the provenance, as the address of a CI workflow; by default nobody in particular" },
    ],
    examples: ["slipway build", "slipway build --version 1.4.2 --only deb,rpm --target linux/arm64", "slipway build --unsigned --out /tmp/preview"],
    load: () => {
      keepYoungHeapSmall(); // before its first garbage, which is that of loading it
      return import("./build.ts");
    },
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
  {
    name: "test-install",
    summary: "Install, upgrade, remove and purge the built packages in throw-away roots",
    description:
      "Uses the package managers of this machine (dpkg, apt, rpm, dnf, apk) in empty roots with busybox, which are gone afterwards; what the packages depend on is stood in for. Shows which scripts ran with which arguments, what they called and which files stayed. Needs root, or unprivileged user namespaces, and a static busybox. Packages for another processor run where qemu-user is registered.",
    arguments: [{ name: "dist", text: "folder of the built release; by default the newest under dist/", isOptional: true }],
    options: [
      { flags: "--from <dist>", text: "the release to upgrade from; by default the next older one beside it" },
      { flags: "--only <formats>", text: "only these: deb, rpm, apk" },
      { flags: "--version <version>", text: "the version under dist/" },
      { flags: "--recipe <file>", text: "the recipe; by default slipway.yaml in this folder, where there is one" },
    ],
    examples: ["slipway test-install", "slipway test-install dist/1.4.2 --from dist/1.4.1 --only deb"],
    load: () => import("./test-install.ts"),
  },
  {
    name: "rebuild",
    summary: "Build a release again from its tag and compare it byte for byte",
    description:
      "Checks the tag out into a folder of its own, builds what was released with the recipe at the tag, and names the first member and byte that differ; exit code 3 then. Without the release keys, rpm and apk are compared apart from their signatures. Your working tree is not touched.",
    options: [
      { flags: "--verify <tag>", text: "the release, as v1.4.2", isRequired: true },
      { flags: "--dist <directory>", text: "what was released; by default dist/<version> beside the recipe" },
      { flags: "--from-server", text: "compare with what the server holds" },
      { flags: "--unsigned", text: "do not look for the release keys" },
      { flags: "--passphrase-file <file>", text: "its first line is the passphrase of the release keys" },
      { flags: "--recipe <file>", text: "the recipe; by default slipway.yaml in this folder" },
      ...serverOptions,
    ],
    examples: ["slipway rebuild --verify v1.4.2", "slipway rebuild --verify v1.4.2 --from-server --unsigned"],
    load: () => import("./rebuild.ts"),
  },
];
