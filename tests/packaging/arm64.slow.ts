/** Packages for arm64 on arm64, by qemu-user: installed, upgraded and removed by that architecture's own dpkg and rpm, their programs run. */
import assert from "node:assert/strict";
import { appendFile, copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { cleanEnvironment, runCommand } from "../../src/io/command.ts";
import { type Arm64Root, withArm64Root } from "../support/arm64-root.ts";
import { needClient } from "../support/clients.ts";
import { verifyApk } from "../formats/apk-verifier.ts";
import { epochSeconds, temporaryFolder, writeFiles } from "./fixture.ts";

const program = fileURLToPath(new URL("../../bin/slipway", import.meta.url));

const recipe = `name: acme
summary: Answers questions
description: Says its version and its processor.
maintainer: Acme <release@acme.example>
license: Apache-2.0
targets: [linux/arm64]
build:
  run: go build -trimpath -ldflags "-s -w -X main.version={version}" -o {out} .
  env: { CGO_ENABLED: "0" }
  binaries: [acme]
service: { unit: acme.service }
packages:
  formats: [deb, rpm, apk]
  files:
    /usr/bin/: [acme]
    /etc/acme.conf: { from: acme.conf, config: noreplace }
`;

const main = `package main

import ("os"; "runtime")

var version = "unset"

func main() { os.Stdout.WriteString(version + " " + runtime.GOARCH + "\\n") }
`;

const slipway = (folder: string, ...args: readonly string[]) =>
  runCommand([program, ...args], { cwd: folder, timeoutMs: 900_000, env: { ...cleanEnvironment(), SOURCE_DATE_EPOCH: String(epochSeconds) } });

async function must(root: Arm64Root, ...argv: readonly string[]): Promise<string> {
  const result = await root.command(argv);
  assert.equal(result.exitCode, 0, `${argv.join(" ")}\n${result.stdout}\n${result.stderr}`);
  return result.stdout.trim();
}

test("J1 J3 deb, rpm and apk for arm64 install, upgrade and run on arm64; an edit of the configuration survives", { timeout: 1_800_000 }, async (t) => {
  if (!needClient(t, "go")) return;
  const folder = join(await temporaryFolder(t), "product");
  await mkdir(folder);
  await withArm64Root(t, async (root) => {
    for (const version of ["1.0.0", "1.1.0"]) {
      await writeFiles(folder, {
        "slipway.yaml": recipe,
        "go.mod": "module example.test/acme\n\ngo 1.19\n",
        "main.go": main,
        "acme.conf": `# ${version}\n`,
        "acme.service": "[Unit]\nDescription=Acme\n[Service]\nExecStart=/usr/bin/acme\n[Install]\nWantedBy=multi-user.target\n",
      });
      const built = await slipway(folder, "build", "--version", version);
      assert.equal(built.exitCode, 0, built.stderr);
      for (const name of [`acme_${version}_arm64.deb`, `acme-${version}-1.aarch64.rpm`])
        await copyFile(join(folder, "dist", version, name), join(root.path, name));
    }
    assert.equal(await must(root, "dpkg", "--print-architecture"), "arm64");
    const rpm = ["rpm", "--force-debian", "--nodeps", "--nosignature"];
    for (const { install, remove, setAside } of [
      {
        install: (version: string) => ["dpkg", "--force-confold", "-i", `/acme_${version}_arm64.deb`],
        remove: ["dpkg", "--purge", "acme"],
        setAside: "/etc/acme.conf.dpkg-dist",
      },
      { install: (version: string) => [...rpm, "-U", `/acme-${version}-1.aarch64.rpm`], remove: [...rpm, "-e", "acme"], setAside: "/etc/acme.conf.rpmnew" },
    ]) {
      await must(root, ...install("1.0.0"));
      assert.equal(await must(root, "acme"), "1.0.0 arm64");
      await appendFile(join(root.path, "etc/acme.conf"), "edited\n");
      await must(root, ...install("1.1.0"));
      assert.equal(await must(root, "acme"), "1.1.0 arm64");
      assert.equal(await readFile(join(root.path, "etc/acme.conf"), "utf8"), "# 1.0.0\nedited\n");
      assert.equal(await readFile(join(root.path, setAside), "utf8"), "# 1.1.0\n");
      await must(root, ...remove);
      assert.notEqual((await root.command(["acme"])).exitCode, 0);
      await must(root, "sh", "-c", "rm -f /etc/acme.conf*");
    }

    // No apk is to be had here: a verifier of the tests' own, and the program that is inside.
    const apk = await readFile(join(folder, "dist/1.1.0/acme_1.1.0_aarch64.apk"));
    const { info, entries } = verifyApk(apk, undefined);
    assert.deepEqual(
      info.filter(([name]) => name === "arch"),
      [["arch", "aarch64"]],
    );
    const inside = entries.find(({ name }) => name === "usr/bin/acme");
    assert.ok(inside !== undefined);
    await writeFile(join(root.path, "usr/bin/from-apk"), inside.content, { mode: inside.mode });
    assert.equal(await must(root, "from-apk"), "1.1.0 arm64");

    const tested = await slipway(folder, "test-install", "dist/1.1.0", "--from", "dist/1.0.0");
    assert.equal(tested.exitCode, 0, `${tested.stdout}\n${tested.stderr}`);
    assert.match(tested.stdout, /passed acme_1\.1\.0_arm64\.deb with dpkg, upgraded from 1\.0\.0/);
    assert.match(tested.stdout, /passed acme-1\.1\.0-1\.aarch64\.rpm with rpm, upgraded from 1\.0\.0-1/);
  });
});
