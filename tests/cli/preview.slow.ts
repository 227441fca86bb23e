/** J6 J7 with a real compiler: all tarballs of a Go program from one machine, its version injected at build time. */
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { cleanEnvironment, requireCommand, runCommand } from "../../src/io/command.ts";
import { natureOf, natureSizeBytes } from "../../src/packaging/executable.ts";
import { needClient } from "../support/clients.ts";
import { epochSeconds, temporaryFolder, writeFiles } from "../packaging/fixture.ts";

const program = fileURLToPath(new URL("../../bin/slipway", import.meta.url));
const targets = ["linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"];

const recipe = `name: acme
summary: Answers questions
maintainer: Acme <release@acme.example>
license: Apache-2.0
targets: [${targets.join(", ")}]
build:
  run: go build -trimpath -ldflags "-s -w -X main.version={tag}" -o {out} ./cmd/{bin}
  env: { CGO_ENABLED: "0" }
  binaries: [acme, acmed]
archives:
  - name: "{name}-{tag}-{os}-{arch}.tar.gz"
packages:
  formats: [deb, rpm, apk]
  files: { /usr/bin/: [acme, acmed] }
`;
const main = `package main

import "os"

var version = "unset"

func main() { os.Stdout.WriteString(version + "\\n") }
`;

test("J6 J7 Go programs are cross-built for linux and darwin, both architectures, with the tag inside", { timeout: 900_000 }, async (t) => {
  if (!needClient(t, "go", "tar")) return;
  const folder = await temporaryFolder(t);
  await writeFiles(folder, {
    "slipway.yaml": recipe,
    "go.mod": "module example.test/acme\n\ngo 1.19\n",
    "cmd/acme/main.go": main,
    "cmd/acmed/main.go": main,
    "README.md": "Read me.\n",
  });
  const built = await runCommand([program, "build", "--only", "archive,deb", "--version", "0.1.0"], {
    cwd: folder,
    timeoutMs: 800_000,
    env: { ...cleanEnvironment(), SOURCE_DATE_EPOCH: String(epochSeconds) },
  });
  assert.equal(built.exitCode, 0, built.stderr);
  for (const target of targets) {
    const [os, arch] = target.split("/") as [string, string];
    const unpacked = join(folder, `${os}-${arch}`);
    await mkdir(unpacked);
    await requireCommand(["tar", "-xzf", join(folder, `dist/0.1.0/acme-v0.1.0-${os}-${arch}.tar.gz`), "-C", unpacked], { timeoutMs: 120_000 });
    for (const name of ["acme", "acmed"]) {
      const bytes = await readFile(join(unpacked, name));
      const nature = natureOf(bytes.subarray(0, natureSizeBytes));
      const isRight = nature.kind === "program" && nature.systems.some((one) => one === os) && nature.arch === arch;
      assert.ok(isRight, `${target}: ${JSON.stringify(nature)}`);
      assert.ok(bytes.includes("v0.1.0"), `${target}: the version is in ${name}`);
    }
  }
  const here = join(folder, `linux-${process.arch === "arm64" ? "arm64" : "amd64"}/acmed`);
  assert.equal(await requireCommand([here], { timeoutMs: 120_000 }), "v0.1.0\n");
});
