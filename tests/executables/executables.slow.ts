/** The single-file executables: built for every target, the same bytes twice, signed as macOS wants, and this machine's passes the command's own tests. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { copyFile, mkdtemp, open, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { after, before, test } from "node:test";
import { checkSignature, signAdHoc } from "../../executables/mach-o-signature.ts";
import { type ExecutableTarget, executableTargets, hostTarget } from "../../executables/runtimes.ts";
import { requireCommand, runCommand } from "../../src/io/command.ts";
import { arm64Base } from "../support/arm64-root.ts";
import { needClient, needRoot } from "../support/clients.ts";
import { withMuslRoot } from "../support/musl-root.ts";

const root = resolve(import.meta.dirname, "../..");
const version = "0.1.0-preview1";
const timeoutMs = 15 * 60_000;

let folder: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "slipway-executables-"));
});

after(() => rm(folder, { recursive: true, force: true }));

async function build(target: ExecutableTarget, name: string): Promise<string> {
  const output = join(folder, name, target.startsWith("windows") ? "slipway.exe" : "slipway");
  const argv = [process.execPath, join(root, "executables/build.ts"), "--target", target, "--version", version, "--output", output];
  await requireCommand(argv, { timeoutMs });
  return output;
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

/** What file(1) would say: the magic number and the machine's field (elf(5), mach-o/loader.h, PE format). */
async function kindOf(path: string): Promise<string> {
  const handle = await open(path, "r");
  try {
    const head = Buffer.alloc(4096);
    await handle.read(head, 0, head.length, 0);
    if (head.readUInt32BE(0) === 0x7f454c46) return `ELF ${head.readUInt16LE(18)}`;
    if (head.readUInt32LE(0) === 0xfeedfacf) return `Mach-O ${head.readUInt32LE(4).toString(16)}`;
    if (head.toString("latin1", 0, 2) === "MZ") return `PE ${head.readUInt16LE(head.readUInt32LE(60) + 4).toString(16)}`;
    return head.toString("hex", 0, 4);
  } finally {
    await handle.close();
  }
}

const kinds: Readonly<Record<ExecutableTarget, string>> = {
  "linux/amd64": "ELF 62",
  "linux/arm64": "ELF 183",
  "linux/amd64/musl": "ELF 62",
  "linux/arm64/musl": "ELF 183",
  "darwin/amd64": "Mach-O 1000007",
  "darwin/arm64": "Mach-O 100000c",
  "windows/amd64": "PE 8664",
  "windows/arm64": "PE aa64",
};

for (const target of executableTargets) {
  test(`J9 K8 the executable for ${target} is one program of that machine, the same bytes twice`, async () => {
    const [first, second] = [await build(target, "first"), await build(target, "second")];
    assert.equal(await kindOf(first), kinds[target]);
    assert.equal(await digestOf(first), await digestOf(second));
    if (target.startsWith("darwin")) {
      const { pages, badPages, uncovered } = await checkSignature(first);
      assert.ok(pages > 10_000);
      assert.deepEqual([badPages, uncovered], [0, 0]);
    }
    await rm(second);
  });
}

test("a Mach-O program that was changed after it was signed has a bad page, and a good signature after it is signed anew", async () => {
  const path = await build("darwin/amd64", "changed");
  const handle = await open(path, "r+");
  await handle.write(Buffer.from("changed"), 0, 7, 20_000_000);
  await handle.close();
  assert.equal((await checkSignature(path)).badPages, 1);
  await signAdHoc(path, "slipway");
  assert.deepEqual((await checkSignature(path)).badPages, 0);
});

test("this machine's executable says its version, from any folder, whatever lies there", async () => {
  const path = await build(hostTarget(), "host");
  const hostile = await mkdtemp(join(folder, "hostile-"));
  await writeFile(join(hostile, "evil.ts"), 'console.log("EVIL");');
  await writeFile(join(hostile, "bunfig.toml"), 'preload = ["./evil.ts"]\n');
  await writeFile(join(hostile, ".env"), "SLIPWAY_LOG_LEVEL=trace\n");
  const stdout = await requireCommand([path, "--version"], { timeoutMs: 120_000, cwd: hostile });
  assert.equal(stdout, `${version}\n`);
});

test("the executable for arm64 runs under qemu", async (t) => {
  if (!needClient(t, "qemu-aarch64-static", "mmdebstrap") || !needRoot(t, "a private root for arm64")) return;
  const path = await build("linux/arm64", "foreign");
  const stdout = await requireCommand(["qemu-aarch64-static", "-L", await arm64Base(), path, "--version"], { timeoutMs: 120_000 });
  assert.equal(stdout, `${version}\n`);
});

for (const arch of ["amd64", "arm64"] as const) {
  test(`the executable for Alpine's C library runs on ${arch}: with libstdc++ and libgcc it needs nothing else, and verifies, makes keys and builds`, async (t) => {
    await withMuslRoot(t, arch, async ({ path, command }) => {
      await copyFile(await build(`linux/${arch}/musl`, `musl-${arch}`), join(path, "usr/bin/slipway"));
      const slipway = async (...words: readonly string[]): Promise<string> => {
        const end = await command(["sh", "-c", `SOURCE_DATE_EPOCH=1767225600 SLIPWAY_KEY_PASSPHRASE="correct horse" exec slipway ${words.join(" ")}`]);
        assert.equal(end.exitCode, 0, end.stdout + end.stderr);
        return end.stdout;
      };
      assert.equal(await slipway("--version"), `${version}\n`);
      await writeFile(join(path, "root/acme"), "#!/bin/sh\n");
      await writeFile(
        join(path, "root/slipway.yaml"),
        `name: acme
summary: Acme
maintainer: Acme <release@acme.example>
license: Apache-2.0
targets: [linux/amd64]
build: { prebuilt: acme, binaries: [acme] }
packages: { formats: [deb, rpm, apk], files: { /usr/bin/: [acme] } }
sign: { minisign: "key:release" }
`,
      );
      await slipway("keys", "new", "--type", "minisign");
      await slipway("build", "--recipe", "/root/slipway.yaml", "--version", "1.0.0", "--out", "/root/dist");
      await slipway("keys", "export", "release", "--format", "minisign", "--out", "/root/acme.pub");
      const [sums, file] = ["/root/dist/1.0.0/SHA256SUMS", "/root/dist/1.0.0/acme_1.0.0_x86_64.apk"];
      assert.match(await slipway("verify", "artifact", "--key", "/root/acme.pub", "--sums", sums, file), /PASS +acme_1\.0\.0_x86_64\.apk/);
    });
  });
}

test("this machine's executable passes the tests of the command", async () => {
  const path = await build(hostTarget(), "tested");
  const files = (await readdir(join(root, "tests/cli"))).filter((name) => name.endsWith(".test.ts")).map((name) => `tests/cli/${name}`);
  const env = { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "", SLIPWAY_EXECUTABLE: path };
  const result = await runCommand([process.execPath, "--test", "--test-reporter=tap", ...files], { timeoutMs, cwd: root, env, outputLimit: 8 * 1024 * 1024 });
  assert.equal(
    result.exitCode,
    0,
    result.stdout
      .split("\n")
      .filter((line) => /^ *not ok|error:/.test(line))
      .join("\n"),
  );
});
