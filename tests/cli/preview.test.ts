/** J7: what a developer builds on the own machine between two releases, with the example of JACO and the real command. */
import assert from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { cleanEnvironment, type CommandResult, requireCommand, runCommand } from "../../src/io/command.ts";
import { formatMinisignPublicKey, formatMinisignSecretKey, generateMinisignKey } from "../../src/trust/minisign-key.ts";
import { needClient } from "../support/clients.ts";
import { epochSeconds, exampleProduct, writeFiles } from "../packaging/fixture.ts";
import { compiled } from "../support/compiled.ts";

const program = fileURLToPath(new URL("../../bin/slipway", import.meta.url));

const slipway = (folder: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<CommandResult> =>
  runCommand([program, ...args], {
    cwd: folder,
    timeoutMs: 120_000,
    env: { PATH: process.env["PATH"] ?? "", HOME: folder, ...compiled, SOURCE_DATE_EPOCH: String(epochSeconds), ...env },
  });

const preview = ["build", "--only", "deb,rpm,apk", "--target", "linux/arm64", "--version", "0.1.0"];

test("J7 packages for a chosen architecture and version are built without the release's key, and the missing signature is said", async (t) => {
  const folder = await exampleProduct(t, "jaco");
  const built = await slipway(folder, preview);
  assert.equal(built.exitCode, 0, built.stderr);
  assert.match(built.stderr, /warning: sign\.minisign: the variable MINISIGN_SIGNING_KEY is not set, so this preview is not signed/);
  assert.deepEqual((await readdir(join(folder, "dist/0.1.0"))).sort(), [
    "SHA256SUMS",
    "jaco-0.1.0-1.aarch64.rpm",
    "jaco_0.1.0_aarch64.apk",
    "jaco_0.1.0_arm64.deb",
    "release.json",
  ]);
  const whole = await slipway(folder, ["build", "--version", "0.1.0"]);
  assert.equal(whole.exitCode, 4);
  assert.match(whole.stderr, /the variable MINISIGN_SIGNING_KEY is not set/);
  assert.equal((await slipway(folder, ["build", "--version", "0.1.0", "--unsigned"])).exitCode, 0);
});

test("J7 the version comes from git describe, every tarball is cross-built, and the sums are signed where the key is given", async (t) => {
  if (!needClient(t, "git", "minisign", "tar")) return;
  const folder = await exampleProduct(t, "jaco");
  const git = (...args: readonly string[]): Promise<string> =>
    requireCommand(["git", "-c", "user.name=T", "-c", "user.email=t@example.test", ...args], { cwd: folder, timeoutMs: 30_000, env: cleanEnvironment() });
  await git("init", "-q", "-b", "main");
  await git("add", ".");
  await git("commit", "-qm", "First");
  await git("tag", "v0.2.0");
  await git("commit", "-q", "--allow-empty", "-m", "Second");
  const hash = (await git("rev-parse", "--short=7", "HEAD")).trim();
  const key = generateMinisignKey();
  const env = { MINISIGN_SIGNING_KEY: await formatMinisignSecretKey(key) };
  const built = await slipway(folder, ["build", "--only", "archive"], env);
  assert.equal(built.exitCode, 0, built.stderr);
  const version = `0.2.1-git.1.g${hash}`;
  const out = join(folder, "dist", version);
  const tarballs = ["amd64", "arm64"].map((arch) => `jaco-v${version}-linux-${arch}.tar.gz`);
  assert.deepEqual((await readdir(out)).sort(), ["SHA256SUMS", "SHA256SUMS.minisig", ...tarballs, "release.json"]);
  await writeFile(join(folder, "jaco.pub"), formatMinisignPublicKey(key));
  await requireCommand(["minisign", "-V", "-m", join(out, "SHA256SUMS"), "-p", join(folder, "jaco.pub")], { timeoutMs: 30_000 });
  for (const tarball of tarballs) {
    const listed = await requireCommand(["tar", "-tzf", join(out, tarball)], { timeoutMs: 30_000 });
    assert.equal(listed, "INSTALL.md\nLICENSE\nREADME.md\njaco\njaco.service\njacod\njacod.yaml\n");
  }
  const unsigned = await slipway(folder, ["build", "--only", "archive"]);
  assert.equal(unsigned.exitCode, 0, unsigned.stderr);
  assert.ok(!(await readdir(out)).includes("SHA256SUMS.minisig"));
});

test("a build that fails says which artifact and what is kept; the next one says what it took", async (t) => {
  const folder = await exampleProduct(t, "jaco");
  const recipe = await readFile(join(folder, "slipway.yaml"), "utf8");
  // The build command is said to make it, and does not.
  const late = recipe.replace("  binaries:", "  outputs: [docs/late.md]\n  binaries:").replace("INSTALL.md]", "INSTALL.md, docs/late.md]");
  await writeFile(join(folder, "slipway.yaml"), late);
  const failed = await slipway(folder, ["build", "--version", "0.1.0", "--unsigned"]);
  assert.equal(failed.exitCode, 3, failed.stderr);
  assert.match(failed.stderr, /archives: there is no docs\/late\.md \(for jaco-v0\.1\.0-linux-/);
  assert.match(failed.stderr, /finished artifacts are kept: the next build of 0\.1\.0 goes on from there/);
  await writeFiles(folder, { "docs/late.md": "Late.\n" });
  const resumed = await slipway(folder, ["build", "--version", "0.1.0", "--unsigned", "--json"]);
  assert.equal(resumed.exitCode, 0, resumed.stderr);
  const last = JSON.parse(resumed.stdout.trimEnd().split("\n").at(-1) ?? "") as { readonly reused: readonly string[] };
  assert.ok(last.reused.includes("jaco_0.1.0_amd64.deb"), String(last.reused));
  assert.deepEqual(await readdir(join(folder, "dist")), ["0.1.0"]);
});
