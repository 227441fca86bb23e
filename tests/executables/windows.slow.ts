/** The executable for Windows, run under Wine: what it does there, and what it refuses before it begins. */
import assert from "node:assert/strict";
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { createVendor, type Vendor } from "../support/vendor.ts";
import { type WineRoot, withWineRoot } from "../support/wine-root.ts";

const root = resolve(import.meta.dirname, "../..");
const version = "0.1.0-preview1";
const timeoutMs = 15 * 60_000;

const recipe = `name: acme
summary: Server of the Acme tests
maintainer: Acme Release <release@acme.example>
license: Apache-2.0
targets: [linux/amd64, windows/amd64]
build:
  prebuilt: "input/{version}/{bin}{exe}"
  binaries: [acme]
binaries: "{bin}-{version}-{os}-{arch}{exe}"
archives:
  - name: "{name}-{tag}-{os}-{arch}"
packages: { formats: [deb, rpm, apk], files: { /usr/bin/: [acme] } }
sign: { minisign: key:updates }
`;

let folder: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "slipway-windows-"));
});

after(() => rm(folder, { recursive: true, force: true }));

async function build(target: "windows/amd64" | "linux/amd64"): Promise<string> {
  const output = join(folder, target === "windows/amd64" ? "slipway.exe" : "slipway");
  const argv = [process.execPath, join(root, "executables/build.ts"), "--target", target, "--version", version, "--output", output];
  if ((await stat(output).catch(() => undefined)) === undefined) await requireCommand(argv, { timeoutMs });
  return output;
}

type Windows = WineRoot & {
  /** Runs slipway.exe; returns what it printed, both streams. */
  readonly slipway: (exitCode: number, words: readonly string[], env?: Readonly<Record<string, string>>) => Promise<string>;
};

async function onWindows(t: TestContext, fn: (windows: Windows) => Promise<void>): Promise<void> {
  await withWineRoot(t, async (wine) => {
    await copyFile(await build("windows/amd64"), join(wine.work, "slipway.exe"));
    await fn({
      ...wine,
      slipway: async (exitCode, words, env) => {
        const end = await wine.command(["Z:\\work\\slipway.exe", ...words], { NO_COLOR: "1", ...env });
        const said = `${end.stdout}${end.stderr}`.replaceAll("\r\n", "\n");
        assert.equal(end.exitCode, exitCode, `slipway ${words.join(" ")}\n${said}`);
        return said;
      },
    });
  });
}

/** Programs are text here: `type` prints the version. */
async function release(vendor: Vendor, one: string): Promise<string> {
  const input = join(vendor.folder, "input", one);
  await mkdir(input, { recursive: true });
  for (const name of ["acme", "acme.exe"]) await writeFile(join(input, name), `${one}\n`);
  await vendor.result(["build", "--version", one]);
  return join(vendor.folder, "dist", one);
}

async function makeVendor(t: TestContext): Promise<{ readonly vendor: Vendor; readonly publicKey: string }> {
  const vendor = await createVendor(t, recipe);
  await vendor.result(["keys", "new", "updates", "--type", "minisign"]);
  const { stdout } = await vendor.run(["keys", "export", "updates", "--format", "minisign"]);
  return { vendor, publicKey: stdout };
}

test("C1 the executable for Windows says its version and its words, and refuses what Windows cannot do before it begins", async (t) => {
  await onWindows(t, async ({ slipway, driveC }) => {
    assert.match(await slipway(0, ["--version"]), new RegExp(`^${version}$`, "m"));
    assert.match(await slipway(0, ["--help"]), /verify \[options\]/);
    assert.match(await slipway(2, ["upgrade", "check", "--installation", "C:\\none.yaml"]), /C:\\none\.yaml.*\[installation_invalid\]/);
    for (const words of ["serve --data-dir C:\\data", "agent", "guard install --systemd", "backup create --output C:\\b", "mirror sync"])
      assert.match(await slipway(69, words.split(" ")), /does not run on Windows: .*\[system_unsupported\]/, words);
    for (const left of ["data", "b"]) await assert.rejects(stat(join(driveC, left)), { code: "ENOENT" });
  });
});

test("J2 C14 the executable for Windows verifies a release, and refuses a changed file", async (t) => {
  const { vendor, publicKey } = await makeVendor(t);
  const dist = await release(vendor, "1.0.0");
  await onWindows(t, async ({ slipway, work }) => {
    await cp(dist, join(work, "dist"), { recursive: true });
    await writeFile(join(work, "acme.pub"), publicKey);
    const words = ["verify", "artifact", "--key", "Z:\\work\\acme.pub", "--sums", "Z:\\work\\dist\\SHA256SUMS", "Z:\\work\\dist\\acme-1.0.0-windows-amd64.exe"];
    assert.match(await slipway(0, words), /PASS +acme-1\.0\.0-windows-amd64\.exe/);
    await writeFile(join(work, "dist/acme-1.0.0-windows-amd64.exe"), "1.0.1\n");
    assert.match(await slipway(20, words), /FAIL +acme-1\.0\.0-windows-amd64\.exe +hash_mismatch/);
  });
});

test("C1 J1 the executable for Windows builds and signs the same bytes as the one for Linux, with a key that it made", async (t) => {
  const vendor = await createVendor(t, recipe);
  await onWindows(t, async ({ slipway, work }) => {
    const env = { SOURCE_DATE_EPOCH: "1767225600", SLIPWAY_KEY_PASSPHRASE: "correct horse", SLIPWAY_KEYS_DIR: "Z:\\work\\keys" };
    await slipway(0, ["keys", "new", "updates", "--type", "minisign"], env);
    const input = join(vendor.folder, "input/1.0.0");
    await mkdir(input, { recursive: true });
    for (const name of ["acme", "acme.exe"]) await writeFile(join(input, name), "#!/bin/sh\necho 1.0.0\n");
    await cp(vendor.folder, join(work, "product"), { recursive: true });
    await slipway(0, ["build", "--recipe", "Z:\\work\\product\\slipway.yaml", "--version", "1.0.0", "--out", "Z:\\work\\dist"], env);
    const here = { PATH: process.env["PATH"] ?? "", HOME: folder, ...env, SLIPWAY_KEYS_DIR: join(work, "keys") };
    await requireCommand(["chmod", "700", here.SLIPWAY_KEYS_DIR], { timeoutMs });
    await requireCommand([await build("linux/amd64"), "build", "--version", "1.0.0", "--out", join(folder, "dist")], {
      cwd: vendor.folder,
      env: here,
      timeoutMs,
    });
    for (const name of ["SHA256SUMS", "SHA256SUMS.minisig"])
      assert.equal(await readFile(join(work, "dist/1.0.0", name), "utf8"), await readFile(join(folder, "dist/1.0.0", name), "utf8"));
  });
});

test("85 J9 on Windows an upgrade is checked, planned, fetched and verified; the running program stays, and its successor is recorded once an operator put it there", async (t) => {
  const { vendor, publicKey } = await makeVendor(t);
  await vendor.serve();
  const dist = await release(vendor, "1.1.0");
  await vendor.result(["publish", dist]);
  await vendor.result(["release", "publish", "v1.1.0", "--product", "acme"]);
  const { id, secret } = await vendor.pair("windows-customer");
  await onWindows(t, async ({ slipway, work, driveC, command }) => {
    const live = join(driveC, "Program Files/Acme/acme.exe");
    await mkdir(join(driveC, "Program Files/Acme"), { recursive: true });
    await writeFile(live, "1.0.0\n");
    await writeFile(join(work, "secret"), secret);
    const installation = (strategy: string): string => `product: acme
strategy: ${strategy}
root: 'C:\\Program Files\\Acme'
source: { url: "${vendor.url}", key_id: ${id}, secret: "file:secret" }
trust: { minisign: ["${publicKey.trim().split("\n").at(-1) ?? ""}"] }
artifact: { kind: binary }
health:
  bake_seconds: 0
  checks: [{ command: { argv: [cmd.exe, /c, type, 'C:\\Program Files\\Acme\\acme.exe'], version: "([0-9.]+)" } }]
`;
    for (const strategy of ["auto", "inplace", "versions"]) await writeFile(join(work, `${strategy}.yaml`), installation(strategy));
    const upgrade = (exitCode: number, words: string, strategy = "auto"): Promise<string> =>
      slipway(exitCode, ["upgrade", ...words.split(" "), "--installation", `Z:\\work\\${strategy}.yaml`]);
    for (const strategy of ["inplace", "versions"]) assert.match(await upgrade(69, "install", strategy), /strategy: manual/);
    assert.match(await upgrade(0, "check"), /1\.1\.0 is available/);
    assert.match(await upgrade(0, "plan"), /strategy manual: on Windows there is no other/);
    const [, byHand = ""] = /^ +copy \/y (".*")$/m.exec(await upgrade(0, "install")) ?? [];
    assert.equal(await readFile(live, "utf8"), "1.0.0\n");
    const [from = "", to = ""] = byHand.split('" "').map((path) => path.replaceAll('"', ""));
    assert.equal(to, "C:\\Program Files\\Acme\\acme.exe");
    assert.match(from, /^C:\\users\\[^\\]+\\AppData\\Local\\acme\\updates\\staging\\/i);
    assert.equal((await command(["cmd.exe", "/c", "copy", "/y", from, to])).exitCode, 0);
    await upgrade(0, "resume");
    assert.match(await upgrade(0, "status"), /installed +1\.1\.0/);
    assert.match(await upgrade(0, "check"), /1\.1\.0 is the newest|up to date|nothing newer/i);
  });
});
