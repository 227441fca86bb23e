/** The commented slipway.yaml that `slipway init` writes for a guessed product. */
import { stringify } from "yaml";
import type { ProductGuess, ProductKind } from "./guess-product.ts";

/** How a product of a kind is built; lines of the `build:` part. */
const buildLines: Readonly<Record<ProductKind, (product: ProductGuess) => readonly string[]>> = {
  go: (product) => [
    "  # Run for each target and binary, without a shell; GOOS and GOARCH are set, {out} is where the binary must go.",
    `  run: go build -trimpath -ldflags "-s -w -X main.version={tag}" -o {out} ${product.binaries.length > 1 || product.binaries[0] !== product.name ? "./cmd/{bin}" : "."}`,
    '  env: { CGO_ENABLED: "0" }',
  ],
  rust: () => [
    "  # Run for each target, without a shell; the result is taken from `prebuilt`.",
    "  run: cargo build --release --locked --target {arch:gnu}-unknown-linux-musl",
    "  prebuilt: target/{arch:gnu}-unknown-linux-musl/release/{bin}",
  ],
  node: () => ["  # Binaries that your own build leaves there, as a single executable for each target.", "  prebuilt: build/{os}_{arch}/{bin}{exe}"],
  other: () => [
    "  # Binaries that your own build leaves there; or use `run:` with a command that writes to {out}.",
    "  prebuilt: build/{os}_{arch}/{bin}{exe}",
  ],
};

/** A recipe that loads as it stands; every value from outside goes through YAML's own quoting. */
export function draftRecipe(product: ProductGuess): string {
  const value = (content: unknown): string => stringify(content, { collectionStyle: "flow", lineWidth: 0 }).trimEnd();
  const targets = product.kind === "rust" ? ["linux/amd64", "linux/arm64"] : ["linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64"];
  const lines = [
    "# The recipe of one product. `slipway plan` shows what it makes; `slipway schema` prints the JSON Schema for your editor.",
    `name: ${value(product.name)}`,
    `summary: ${value(product.summary)}`,
    `maintainer: ${value(product.maintainer)}`,
    `license: ${value(product.license)}`,
    ...(product.homepage === undefined ? [] : [`homepage: ${value(product.homepage)}`]),
    "",
    `targets: ${value(targets)}`,
    "",
    "build:",
    ...buildLines[product.kind](product),
    `  binaries: ${value(product.binaries)}`,
    "",
    "# One archive for each target: the binaries and these files. Windows gets .zip, the others .tar.gz.",
    "archives:",
    `  - files: ${value(product.documents)}`,
    "",
    "# Debian and rpm packages for the linux targets.",
    "packages:",
    "  formats: [deb, rpm]",
    "  files:",
    `    /usr/bin/: ${value(product.binaries)}`,
    `    # /etc/${product.name}/${product.name}.yaml: { from: packaging/${product.name}.yaml, config: noreplace }`,
    "  # depends:",
    '  #   deb: ["libc6 (>= 2.31)"]',
    '  #   rpm: ["glibc >= 2.31"]',
    "",
    "# What runs, and as whom: units, OpenRC scripts, accounts and maintainer scripts are made from it.",
    `# service: { unit: { exec: /usr/bin/${product.binaries.at(-1) ?? product.name}, user: ${product.name}, state: ${product.name} } }`,
    `# users: { ${product.name}: { home: /var/lib/${product.name} } }`,
    "",
    "# Release keys, named by where they are; `slipway keys new` makes them.",
    "# sign:",
    "#   gpg: key:release",
    "#   minisign: key:release",
    "",
    "# What went into each artifact (CycloneDX, SPDX), and from what the release was made (SLSA).",
    "# sbom: true",
    "# provenance: true",
    "",
    "publish:",
    "  retention: { keep: 10 }",
  ];
  return `${lines.join("\n")}\n`;
}
