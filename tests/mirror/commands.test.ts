/** The commands as an operator types them: settings, sync, export, import, serve, timer, and runs that are killed. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { formatMinisignPublicKey } from "../../src/trust/minisign-key.ts";
import { apkKey } from "../formats/apk-sample.ts";
import { type CommandEnd, runSlipway } from "../support/vendor.ts";
import { createSampleVendor, product, type SampleVendor, serveVendor } from "./sample-source.ts";

const entry = resolve(import.meta.dirname, "..", "..", "src", "main.ts");

type Operator = {
  readonly folder: string;
  readonly run: (...words: string[]) => Promise<CommandEnd>;
  readonly result: (...words: string[]) => Promise<Record<string, unknown>>;
};

/** A folder with mirror.yaml and the vendor's keys. */
async function createOperator(t: TestContext, vendor: SampleVendor, settings: readonly string[]): Promise<Operator> {
  const folder = await mkdtemp(join(tmpdir(), "slipway-operator-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "vendor.asc"), vendor.repositoryKey.publicKey);
  await writeFile(join(folder, "vendor.pub"), formatMinisignPublicKey(vendor.releaseKey));
  await writeFile(join(folder, "vendor.rsa.pub"), apkKey.publicText);
  await writeFile(join(folder, "secret"), "the secret\n", { mode: 0o600 });
  const keys = "{ openpgp: vendor.asc, minisign: vendor.pub, apk: vendor.rsa.pub }";
  await writeFile(join(folder, "mirror.yaml"), [...settings, "directory: mirror", "products:", `  ${product}:`, `    keys: ${keys}`, ""].join("\n"));
  const run = (...words: string[]): Promise<CommandEnd> => runSlipway(["mirror", ...words], { cwd: folder, env: {} });
  return {
    folder,
    run,
    result: async (...words) => {
      const end = await run(...words, "--json");
      assert.equal(end.exitCode, 0, `${words.join(" ")}\n${end.stdout}\n${end.stderr}`);
      return JSON.parse(end.stdout.trim().split("\n").at(-1) ?? "") as Record<string, unknown>;
    },
  };
}

test("C7 an operator syncs, exports, and imports on the other side of an air gap, with the real commands", async (t) => {
  const vendor = await createSampleVendor();
  const asked: (string | undefined)[] = [];
  const server = await serveVendor(t, vendor, (_path, _response, headers) => {
    asked.push(headers.authorization);
    return false;
  });
  const outside = await createOperator(t, vendor, [`source: ${server.url}`, 'pair: { key_id: AKTEST, secret: "file:secret" }']);
  const inside = await createOperator(t, vendor, []);
  const human = await outside.run("sync");
  assert.equal(human.exitCode, 0, human.stderr);
  assert.match(human.stdout, /coequal +1\.0\.0 +as the vendor signed them/);
  assert.deepEqual([...new Set(asked)], [`Basic ${Buffer.from("AKTEST:the secret").toString("base64")}`]);
  assert.equal((await outside.result("sync"))["result"], "unchanged");
  const bundle = join(outside.folder, "acme.tar");
  await outside.result("export", bundle, "--split", "100K");
  const planned = await inside.result("import", `${bundle}.001`, "--dry-run");
  assert.equal(planned["result"], "planned");
  assert.equal((await inside.result("import", `${bundle}.001`))["result"], "synced");
  await requireCommand(["diff", "-r", join(outside.folder, "mirror/current"), join(inside.folder, "mirror/current")], { timeoutMs: 20_000 });
  const refused = await inside.run("sync");
  assert.deepEqual([refused.exitCode, /names no source/.test(refused.stderr)], [2, true]);
  const timer = await outside.run("timer", "--every", "6h");
  assert.match(timer.stdout, /OnUnitActiveSec=360min/);
  assert.match(timer.stdout, new RegExp(`ReadWritePaths=${outside.folder}/mirror\n`));
});

test("C7 a mistake in mirror.yaml is named with its line, and a secret in it is refused", async (t) => {
  const vendor = await createSampleVendor();
  const wrong = await createOperator(t, vendor, ["source: https://releases.example.com", "paralel: 3"]);
  const end = await wrong.run("sync");
  assert.equal(end.exitCode, 2);
  assert.match(end.stderr, /mirror\.yaml:2:1 unknown key "paralel" - did you mean "parallel"\?/);
  await writeFile(
    join(wrong.folder, "mirror.yaml"),
    "directory: mirror\nproducts:\n  acme:\n    chanels: [stable]\n    formats: [aptt]\n    keys: { minisig: x }\n",
  );
  const below = await wrong.run("sync");
  assert.equal(below.exitCode, 2);
  assert.match(below.stderr, /mirror\.yaml:4:5 unknown key "chanels" under products\.acme - did you mean "channels"\?/);
  assert.match(below.stderr, /mirror\.yaml:6:13 unknown key "minisig" under products\.acme\.keys - did you mean "minisign"\?/);
  assert.match(below.stderr, /mirror\.yaml:5:15 products\.acme\.formats\.0: .*did you mean "apt"\?/);
  const secret = await createOperator(t, vendor, ["source: https://releases.example.com", "pair: { key_id: AK, secret: hunter2hunter2 }"]);
  const refused = await secret.run("sync");
  assert.equal(refused.exitCode, 2);
  assert.ok(!/hunter2/.test(refused.stdout + refused.stderr));
});

test("C7 a mirror is served by `slipway serve --mirror`", async (t) => {
  const vendor = await createSampleVendor();
  const server = await serveVendor(t, vendor);
  const operator = await createOperator(t, vendor, [`source: ${server.url}`]);
  await operator.result("sync");
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", entry, "serve", "--mirror", join(operator.folder, "mirror"), "--listen", "127.0.0.1:0", "--json"],
    {
      stdio: ["ignore", "pipe", "ignore"],
    },
  );
  t.after(() => child.kill("SIGKILL"));
  const [line] = (await new Promise<Buffer>((done) => child.stdout.once("data", done))).toString().split("\n");
  const { address } = JSON.parse(line ?? "{}") as { address: string };
  assert.equal((await fetch(`${address}/releases/${product}/latest/SHA256SUMS`)).status, 200);
  const ended = new Promise((done) => child.once("exit", done));
  child.kill("SIGTERM");
  assert.equal(await ended, 0);
});

/** Starts a sync and kills it after so many answers of the server. */
async function killedSync(operator: Operator, afterRequests: number, log: readonly string[]): Promise<void> {
  const start = log.length;
  const child: ChildProcess = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", entry, "mirror", "sync"], {
    cwd: operator.folder,
    stdio: "ignore",
  });
  const ended = new Promise((done) => child.once("exit", done));
  const timer = setInterval(() => {
    if (log.length - start >= afterRequests) child.kill("SIGKILL");
  }, 1);
  await ended;
  clearInterval(timer);
}

test("C7 a sync that is killed anywhere shows readers a whole set, and the next one fetches no file again", async (t) => {
  const vendor = await createSampleVendor(["1.0.0"]);
  const server = await serveVendor(t, vendor);
  const operator = await createOperator(t, vendor, [`source: ${server.url}`, "parallel: 1"]);
  await operator.result("sync");
  const current = join(operator.folder, "mirror/current");
  const whole = (await readdir(current, { recursive: true })).sort();
  await new Promise((done) => setTimeout(done, 1100));
  await vendor.publish("1.1.0");
  server.log.length = 0;
  const kills = [8, 45, 60];
  for (const requests of kills) {
    await killedSync(operator, requests, server.log);
    const seen = (await readdir(current, { recursive: true })).sort();
    assert.ok(seen.length >= whole.length, "the old set, or the new one where the kill came late");
    assert.equal(
      JSON.stringify(JSON.parse(await readFile(join(current, `releases/${product}/index.json`), "utf8"))).includes("1.1.0"),
      seen.some((path) => path.includes("1.1.0")),
    );
  }
  await operator.result("sync");
  const debs = server.log.filter((path) => /1\.1\.0.*\.(?:deb|rpm|apk)$/.test(path));
  // One file at a time is on its way: a kill can only make that one be asked for again.
  assert.ok(debs.length - new Set(debs).size <= kills.length, "no package that had arrived is fetched again");
  assert.ok((await readdir(current, { recursive: true })).some((path) => path.includes("1.1.0")));
});
