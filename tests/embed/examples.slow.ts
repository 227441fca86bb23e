/** The example programs, compiled and run for real against a vendor: a good release, a bad one, a broken signature, nothing to do. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, test, type TestContext, after } from "node:test";
import { packNpm } from "../../executables/npm-package.ts";
import { serveAgent } from "../../src/agent/serve.ts";
import { cleanEnvironment, requireCommand, runCommand } from "../../src/io/command.ts";
import { thisMachine } from "../../src/updater/machine.ts";
import { needClient } from "../support/clients.ts";
import { makeSite, noSignal, type Site, startVendor, toyFiles, type Vendor } from "../updater/support.ts";

const root = join(import.meta.dirname, "../..");
const examples = join(root, "examples/embed");
let folder = "";

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "slipway-examples-"));
});
after(() => rm(folder, { recursive: true, force: true }));

type Run = (site: Site) => Promise<{ readonly exitCode: number | null; readonly stdout: string; readonly stderr: string }>;

const env = (): Record<string, string> => ({
  ...cleanEnvironment(),
  SLIPWAY: join(root, "bin/slipway"),
  GOCACHE: join(folder, "go"),
  GOFLAGS: "-mod=mod",
  GOTOOLCHAIN: "local",
});
const call =
  (...argv: readonly string[]): Run =>
  (site) =>
    runCommand([...argv, site.file], { timeoutMs: 120_000, env: env() });

/** 1.4.2 runs, 1.5.0 is good, 1.6.0 crashes, 1.7.0 has no signature. */
async function prove(t: TestContext, run: Run): Promise<void> {
  const vendor: Vendor = await startVendor(t);
  await vendor.release("1.4.2");
  const site = await makeSite(vendor, { extra: 'agent: { check_every: "off" }' }, t);
  await (await site.updater()).install({ signal: noSignal });
  const expect = async (words: RegExp, running: string): Promise<number | null> => {
    const { exitCode, stdout, stderr } = await run(site);
    assert.match(stdout, words, stderr);
    assert.equal(await site.running(), running);
    return exitCode;
  };
  assert.equal(await expect(/^nothing newer$/m, "1.4.2"), 0);
  await vendor.release("1.5.0");
  assert.equal(await expect(/^1\.5\.0 is available\n[^]*now verified[^]*now applying trial[^]*runs 1\.5\.0$/m, "1.5.0"), 0);
  await vendor.release("1.6.0", { files: toyFiles("1.6.0", "crashes") });
  assert.notEqual(await expect(/^back on the old version: health_failed: 1\.6\.0 is not healthy/m, "1.5.0"), 0);
  await vendor.release("1.7.0");
  vendor.releases.get("1.7.0")?.delete("SHA256SUMS.minisig");
  assert.notEqual(await expect(/upgrade_verification_failed/, "1.5.0"), 0);
}

test("K9 the Go example upgrades, reports a rollback and a refusal", { timeout: 300_000 }, async (t) => {
  if (!needClient(t, "go")) return;
  const program = join(folder, "upgrade-go");
  await requireCommand(["go", "vet", "./..."], { cwd: join(examples, "go"), env: env(), timeoutMs: 200_000 });
  await requireCommand(["go", "build", "-o", program, "."], { cwd: join(examples, "go"), env: env(), timeoutMs: 200_000 });
  await prove(t, call(program));
});

test("K9 the Rust example upgrades, reports a rollback and a refusal", { timeout: 300_000 }, async (t) => {
  if (!needClient(t, "rustc")) return;
  const program = join(folder, "upgrade-rust");
  await requireCommand(["rustc", "--edition", "2021", "-D", "warnings", "-o", program, join(examples, "rust/src/main.rs")], { timeoutMs: 200_000, env: env() });
  await prove(t, call(program));
});

test("K9 the Python example upgrades, reports a rollback and a refusal", { timeout: 300_000 }, async (t) => {
  if (!needClient(t, "python3")) return;
  await prove(t, call("python3", "-W", "error", join(examples, "python/upgrade.py")));
});

test("K9 the Python example over the agent's Unix socket upgrades, reports a rollback and a refusal", { timeout: 300_000 }, async (t) => {
  if (!needClient(t, "python3")) return;
  await prove(t, async (site) => {
    const { observe: _observe, ...machine } = thisMachine(() => undefined);
    const agent = await serveAgent({ installation: await site.installation(), machine, onFailure: () => undefined });
    try {
      return await runCommand(["python3", join(examples, "python/agent.py"), join(site.updates, "agent.sock")], { timeoutMs: 120_000 });
    } finally {
      await agent.stop();
    }
  });
});

test("J9 the packed npm package is installed, imported by an embedding program without a build, typed, and its command runs", {
  timeout: 300_000,
}, async (t) => {
  const modules = join(folder, "consumer/node_modules");
  const tarball = await packNpm(join(folder, "packed"));
  await mkdir(join(modules, "slipway"), { recursive: true });
  // What npm would do, without a network: the package as packed, and its dependencies beside it.
  await requireCommand(["tar", "-xzf", tarball, "-C", join(modules, "slipway"), "--strip-components=1"], { timeoutMs: 120_000 });
  for (const name of await readdir(join(root, "node_modules")))
    if (!name.startsWith(".") && name !== "slipway") await symlink(join(root, "node_modules", name), join(modules, name));
  const packed = await readdir(join(modules, "slipway"), { recursive: true });
  assert.deepEqual(
    packed.filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts")),
    [],
    "Node takes no TypeScript from node_modules",
  );
  const program = join(folder, "consumer/upgrade.mjs");
  await requireCommand(["cp", join(examples, "node/upgrade.mjs"), program], { timeoutMs: 120_000 });
  await prove(t, call(process.execPath, program));
  await writeFile(
    join(folder, "consumer/typed.mts"),
    `import { createUpdater, type UpdateEvent } from "slipway/updater";
import { parseVersion, verifyRelease } from "slipway/trust";
import { writeDeb } from "slipway/formats";
const updater = await createUpdater({ installation: { product: "acme" }, clock: { now: () => new Date() } });
const result = await updater.install({ version: "1.5.0" });
const version: string | null = result.kind === "nothing" ? result.installed : result.version;
const seen: UpdateEvent[] = [];
for await (const event of updater.events()) seen.push(event);
// @ts-expect-error a number is no version
await updater.install({ version: 1 });
export { parseVersion, seen, verifyRelease, version, writeDeb };
`,
  );
  const types = await runCommand(
    [
      process.execPath,
      join(root, "node_modules/typescript/bin/tsc"),
      "--noEmit",
      "--strict",
      "--module",
      "nodenext",
      "--target",
      "es2024",
      "--lib",
      "esnext",
      "--skipLibCheck",
      "--types",
      "node",
      "typed.mts",
    ],
    { cwd: join(folder, "consumer"), timeoutMs: 120_000 },
  );
  assert.equal(types.exitCode, 0, types.stdout);
  const said = await runCommand([process.execPath, join(modules, "slipway/bin/slipway"), "--version"], { timeoutMs: 120_000 });
  assert.match(said.stdout, /^\d+\.\d+\.\d+/, said.stderr);
});
