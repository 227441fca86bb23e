/** The vendor's commands against a real server: publish and resume, verify by re-download, retain, customers, keys, the audit trail. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer as createNetServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { requireCommand } from "../../src/io/command.ts";
import { get, hexOf, pairOf, publish, releaseFiles, type RunningServer, startServer, type TestFile } from "../server/running-server.ts";
import { compiled } from "../support/compiled.ts";
import { type CommandEnd, freePort, runSlipway } from "../support/vendor.ts";

const entry = resolve(import.meta.dirname, "..", "..", "src", "main.ts");
let running: RunningServer;
let folder = "";
let env: Record<string, string> = {};

before(async () => {
  running = await startServer();
  folder = await mkdtemp(join(tmpdir(), "slipway-cli-"));
  env = { SLIPWAY_SERVER: running.url, SLIPWAY_TOKEN_FILE: join(running.dataDir, "admin-token") };
});
after(async () => {
  await running.stop();
  await rm(folder, { recursive: true, force: true });
});

function run(words: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<CommandEnd> {
  return runSlipway(words, { cwd: folder, env: { ...env, ...more } });
}

/** `slipway` in a folder of its own. */
async function runIn(cwd: string, words: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<CommandEnd> {
  return runSlipway(words, { cwd, env: { ...env, ...more } });
}

async function result(words: readonly string[]): Promise<Record<string, unknown>> {
  const end = await run([...words, "--json"]);
  assert.equal(end.exitCode, 0, `${words.join(" ")}\n${end.stdout}${end.stderr}`);
  return JSON.parse(end.stdout.trim().split("\n").at(-1) ?? "{}") as Record<string, unknown>;
}

async function errorOf(
  words: readonly string[],
  more: Readonly<Record<string, string>> = {},
): Promise<{ exitCode: number; code: string; message: string; text: string }> {
  const end = await run([...words, "--json"], more);
  const { error } = JSON.parse(end.stdout.trim().split("\n").at(-1) ?? "{}") as { error: { code: string; message: string } };
  return { exitCode: end.exitCode, code: error.code, message: error.message, text: end.stdout + end.stderr };
}

/** What `slipway build` would leave under dist/<version>. */
async function writeBuilt(product: string, version: string, extra: readonly TestFile[] = []): Promise<string> {
  const built = join(folder, "dist", version);
  await mkdir(built, { recursive: true });
  for (const file of await releaseFiles(product, version, extra)) await writeFile(join(built, file.name), file.content);
  return built;
}

test("J8 publish leaves a draft, release publish verifies it by re-download and makes it visible, both may be repeated (regression 21)", async () => {
  await writeBuilt("coequal", "1.0.0");
  const draft = await result(["publish", "dist/1.0.0"]);
  assert.deepEqual([draft["product"], draft["version"], draft["state"]], ["coequal", "1.0.0", "draft"]);
  assert.equal((await result(["publish", "dist/1.0.0"]))["sentBytes"], 0, "the second run has nothing to send");
  await result(["customer", "add", "acme"]);
  const issued = await result(["key", "issue", "acme", "--product", "coequal"]);
  const pair = pairOf(String(issued["id"]), String(issued["secret"]));
  assert.equal((await get(running, "/releases/coequal/1.0.0/SHA256SUMS", pair)).status, 404);
  const published = await result(["release", "publish", "v1.0.0", "--product", "coequal"]);
  assert.deepEqual([published["state"], published["isNew"]], ["published", true]);
  assert.equal((published["verified"] as { files: number }).files, 5);
  assert.equal((await get(running, "/releases/coequal/1.0.0/SHA256SUMS", pair)).status, 200);
  assert.equal((await result(["release", "publish", "v1.0.0", "--product", "coequal"]))["isNew"], false);
  assert.equal((await result(["publish", "dist/1.0.0"]))["state"], "published");
});

test("a publish that is killed goes on where it stopped when it is run again", async () => {
  const content = randomBytes(96 * 1024 * 1024);
  await writeBuilt("resumed", "1.0.0", [{ name: "resumed-1.0.0-large.bin", content }]);
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", entry, "publish", "dist/1.0.0", "--json"], {
    cwd: folder,
    env: { ...compiled, PATH: process.env["PATH"] ?? "", HOME: folder, ...env },
    stdio: ["ignore", "ignore", "ignore"],
  });
  const status = async (): Promise<{ state: string; offset: number }> => (await running.admin("GET", `/uploads/sha256:${hexOf(content)}`)).body as never;
  for (let attempt = 0; attempt < 2000 && (await status()).offset === 0 && child.exitCode === null; attempt += 1) await sleep(5);
  child.kill("SIGKILL");
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  const stopped = await status();
  assert.ok(stopped.offset > 0 && stopped.offset < content.length, `the kill came at byte ${stopped.offset}`);
  assert.equal(stopped.state, "partial");
  const again = await result(["publish", "dist/1.0.0"]);
  assert.ok(Number(again["sentBytes"]) < Number(again["bytes"]), "not everything was sent again");
  const published = await result(["release", "publish", "v1.0.0", "--product", "resumed"]);
  assert.equal(published["state"], "published");
  await rm(join(folder, "dist", "1.0.0"), { recursive: true });
});

test("a built release that was changed after its sums were made is not uploaded", async () => {
  const built = await writeBuilt("coequal", "1.0.1");
  await writeFile(join(built, "coequal-1.0.1-linux-amd64"), "changed");
  const failure = await errorOf(["publish", built]);
  assert.deepEqual([failure.exitCode, failure.code], [20, "sums_invalid"]);
  assert.equal((await running.admin("GET", "/products/coequal/releases/1.0.1")).status, 404);
});

test("publish without a folder takes the only one under dist/, and names the choice where there are several", async () => {
  await rm(join(folder, "dist"), { recursive: true, force: true });
  const none = await errorOf(["publish"]);
  assert.deepEqual([none.exitCode, none.code], [3, "source_missing"]);
  await writeBuilt("coequal", "1.0.2");
  assert.equal((await result(["publish"]))["version"], "1.0.2");
  await writeBuilt("coequal", "1.0.3");
  const several = await errorOf(["publish"]);
  assert.deepEqual([several.exitCode, several.code], [2, "usage"]);
  assert.match(several.message, /dist\/1\.0\.2, dist\/1\.0\.3/);
  assert.match((await errorOf(["publish", "--version", "1.0.33"])).message, /did you mean dist\/1\.0\.3/);
  assert.equal((await result(["publish", "--version", "v1.0.3"]))["version"], "1.0.3");
});

test("a draft with a blob that rotted on the server's disk is not published", async () => {
  const built = await writeBuilt("rotten", "1.0.0");
  await result(["publish", built]);
  const name = "rotten-1.0.0-linux-amd64";
  const hex = hexOf(await readFile(join(built, name)));
  const blob = join(running.dataDir, "blobs", "sha256", hex.slice(0, 2), hex);
  const bytes = await readFile(blob);
  bytes[0] = (bytes[0] ?? 0) ^ 1;
  await writeFile(blob, bytes);
  const failure = await errorOf(["release", "publish", "v1.0.0", "--product", "rotten"]);
  assert.deepEqual([failure.exitCode, failure.code], [20, "data_damaged"]);
  assert.match(failure.message, new RegExp(name));
  assert.equal((await running.admin("GET", "/products/rotten/releases/1.0.0")).body["state"], "draft");
});

test("C6 retain prints the plan with its basis; apply runs that very plan and refuses another", async () => {
  for (let patch = 0; patch < 12; patch += 1) await publish(running, "kept", `1.0.${patch}`);
  const dry = (await result(["release", "retain", "--product", "kept", "--dry-run"])) as {
    plan: { basis: string; retires: { version: string; replacement: string }[] };
    applied: boolean;
  };
  assert.equal(dry.applied, false);
  assert.deepEqual(
    dry.plan.retires.map(({ version, replacement }) => [version, replacement]),
    [
      ["1.0.0", "1.0.11"],
      ["1.0.1", "1.0.11"],
    ],
  );
  const stale = await errorOf(["release", "retain", "--product", "kept", "--apply", "--basis", "0".repeat(64)]);
  assert.deepEqual([stale.exitCode, stale.code], [24, "plan_stale"]);
  const applied = (await result(["release", "retain", "--product", "kept", "--apply", "--basis", dry.plan.basis])) as { plan: unknown; applied: boolean };
  assert.deepEqual([applied.applied, applied.plan], [true, dry.plan]);
  const { body } = await running.admin("GET", "/products/kept/releases/1.0.0");
  assert.deepEqual([body["state"], body["replacement"]], ["retired", "1.0.11"]);
});

test("C6 retain says what leaves, why and what replaces it; a plan of before another publication is refused and nothing leaves", async () => {
  for (let patch = 0; patch < 11; patch += 1) await publish(running, "shown", `2.0.${patch}`);
  const retain = ["release", "retain", "--product", "shown"];
  const dry = await run([...retain, "--dry-run"]);
  assert.equal(dry.exitCode, 0, dry.stderr);
  assert.match(dry.stdout, /^LEAVES +NEXT +WHEN +FILES +SIZE +REPLACED BY +WHY$/m);
  assert.match(dry.stdout, /^2\.0\.0 +retire +now +5 +[\d.]+ kB +2\.0\.10 +older than the newest 10 stable versions$/m);
  const [, command = "", basis = ""] = /carry it out with: slipway (release retain .* --basis ([0-9a-f]{64}))$/m.exec(dry.stdout) ?? [];
  assert.equal((await running.admin("GET", "/products/shown/releases/2.0.0")).body["state"], "published", "nothing was done");
  assert.equal(((await result([...retain, "--dry-run"])) as { plan: { basis: string } }).plan.basis, basis, "the same state has the same basis");

  await publish(running, "shown", "2.0.11");
  const stale = await errorOf(command.split(" "));
  assert.deepEqual([stale.exitCode, stale.code], [24, "plan_stale"]);
  const direct = await running.admin("POST", "/products/shown/retention", { basis });
  assert.deepEqual([direct.status, (direct.body["error"] as { code: string }).code], [409, "plan_stale"], "the server refuses it too");
  assert.equal((await running.admin("GET", "/products/shown/releases/2.0.0")).body["state"], "published");
  assert.equal((await errorOf([...retain, "--apply", "--dry-run"])).code, "usage");

  const applied = await run([...retain, "--apply"]);
  assert.match(applied.stdout, /^2\.0\.1 +retire +now +5 +[\d.]+ kB +2\.0\.11 +older/m);
  assert.match(applied.stdout, /^2 steps done, 2 releases retired/m);
});

test("a draft with files of an earlier build is staged again without sending bytes twice; discard removes a draft and refuses what was published", async () => {
  const content = randomBytes(100_000);
  const built = await writeBuilt("restaged", "1.0.0", [{ name: "restaged-1.0.0-old.bin", content }]);
  assert.ok(Number((await result(["publish", built]))["sentBytes"]) > content.length);
  await rm(built, { recursive: true });
  await writeBuilt("restaged", "1.0.0", [{ name: "restaged-1.0.0-new.bin", content }]);
  const again = await run(["publish", built]);
  assert.equal(again.exitCode, 0, again.stderr);
  assert.match(again.stderr, /the draft of restaged 1\.0\.0 held files that this build has not: restaged-1\.0\.0-old\.bin; it is discarded and staged again/);
  const { body } = await running.admin("GET", "/products/restaged/releases/1.0.0");
  const names = (body["artifacts"] as { name: string }[]).map(({ name }) => name);
  assert.ok(names.includes("restaged-1.0.0-new.bin") && !names.includes("restaged-1.0.0-old.bin"));

  const discard = ["release", "discard", "v1.0.0", "--product", "restaged"];
  assert.match((await run(discard)).stdout, /^the draft of restaged 1\.0\.0 is discarded/);
  assert.equal((await running.admin("GET", "/products/restaged/releases/1.0.0")).status, 404);
  assert.equal((await errorOf(discard)).code, "not_found");
  assert.equal((await result(["publish", built]))["sentBytes"], 0, "every byte was there already");
  await result(["release", "publish", "v1.0.0", "--product", "restaged"]);
  const refused = await errorOf(discard);
  assert.deepEqual([refused.exitCode, refused.code], [24, "immutable"]);
  const events = (await running.admin("GET", "/audit?product=restaged&action=release.discard")).body["events"] as unknown[];
  assert.equal(events.length, 2);
  await rm(built, { recursive: true });
});

test("C9 issue prints the pair once with the set-up of each tool that finds something, list shows no secret, rotate and revoke work by id", async () => {
  await result(["customer", "add", "beta"]);
  const shown = await run(["key", "issue", "beta", "--product", "coequal"]);
  assert.equal(shown.exitCode, 0);
  const [, id = "", secret = ""] = /key id {2}(SLK\S+)\n {2}secret {2}(\S+)/.exec(shown.stdout) ?? [];
  for (const wanted of ["/etc/apt/auth.conf.d/coequal.conf", "/etc/yum.repos.d/coequal.repo", "~/.netrc", `key_id: ${id}`])
    assert.ok(shown.stdout.includes(wanted), wanted);
  assert.doesNotMatch(shown.stdout, /podman login|apk add/, "the product has no images and no apks");
  const listed = await run(["key", "list", "beta"]);
  assert.ok(listed.stdout.includes(id));
  assert.ok(!listed.stdout.includes(secret));
  const rotated = await result(["key", "rotate", id, "--overlap", "1"]);
  assert.notEqual(rotated["secret"], secret);
  assert.match((await run(["key", "list", "beta"])).stdout, /old secret until/);
  await result(["key", "revoke", id, "--reason", "test"]);
  assert.match((await run(["key", "list", "beta"])).stdout, /revoked/);
  assert.equal((await get(running, "/releases/coequal/index.json", pairOf(id, secret))).status, 401);
});

test("audit prints who did what; follow goes on until it is told to stop", async () => {
  const text = (await run(["audit", "--product", "coequal"])).stdout;
  assert.match(text, /release\.publish\s+coequal 1\.0\.0/);
  const { events } = (await result(["audit", "--customer", "beta", "--limit", "1"])) as { events: { action: string }[] };
  assert.deepEqual(
    events.map(({ action }) => action),
    ["key.revoke"],
  );
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", entry, "audit", "--follow", "--json", "--limit", "1"], {
    cwd: folder,
    env: { ...compiled, PATH: process.env["PATH"] ?? "", HOME: folder, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const printed: string[] = [];
  child.stdout.on("data", (piece: Buffer) => printed.push(piece.toString()));
  for (let attempt = 0; attempt < 200 && printed.length === 0; attempt += 1) await sleep(50);
  await running.admin("POST", "/customers", { name: "followed" });
  for (let attempt = 0; attempt < 200 && !printed.join("").includes("followed"); attempt += 1) await sleep(50);
  assert.match(printed.join(""), /"customer":"followed"[^\n]*"action":"customer\.add"/);
  child.kill("SIGINT");
  const [code] = await once(child, "exit");
  assert.equal(code, 0);
});

test("without a token, with a wrong one, at a dead address and on a name that is taken: the code, the exit code and what to do", async () => {
  const none = await errorOf(["product", "list"], { SLIPWAY_TOKEN_FILE: "" });
  assert.deepEqual([none.exitCode, none.code], [24, "unauthorized"]);
  const wrong = await errorOf(["product", "list"], { SLIPWAY_TOKEN_FILE: "", SLIPWAY_TOKEN: "slipway_admin_wrong-token-text" });
  assert.deepEqual([wrong.exitCode, wrong.code], [24, "unauthorized"]);
  assert.doesNotMatch(wrong.text, /wrong-token-text/);
  const dead = await errorOf(["product", "list"], { SLIPWAY_SERVER: `http://127.0.0.1:${await freePort()}` });
  assert.deepEqual([dead.exitCode, dead.code], [75, "network_unreachable"]);
  const taken = await errorOf(["customer", "add", "acme"]);
  assert.deepEqual([taken.exitCode, taken.code], [24, "conflict"]);
  assert.equal((await errorOf(["product", "list", "--server", "https://user:word@host"])).code, "usage");
});

test("a connection that breaks is tried again until it works", async () => {
  const port = await freePort();
  let refused = 0;
  const flaky = createNetServer((socket) => {
    refused += 1;
    socket.destroy();
    if (refused === 2) flaky.close();
  });
  await new Promise<void>((done) => flaky.listen(port, "127.0.0.1", done));
  flaky.once("close", () => void proxied(port));
  const end = await run(["product", "list", "--json"], { SLIPWAY_SERVER: `http://127.0.0.1:${port}` });
  proxy?.close();
  assert.equal(end.exitCode, 0, end.stdout + end.stderr);
  assert.equal(refused, 2);
});

let proxy: ReturnType<typeof createNetServer> | undefined;

/** From now on the port leads to the real server. */
async function proxied(port: number): Promise<void> {
  proxy = createNetServer((socket) => {
    const real = connect(Number(new URL(running.url).port), "127.0.0.1");
    socket.pipe(real).pipe(socket);
    socket.on("error", () => real.destroy());
    real.on("error", () => socket.destroy());
  });
  await new Promise<void>((done) => proxy?.listen(port, "127.0.0.1", done));
}

test("of several built releases publish takes the one of the tag at HEAD, and asks where there is none", async () => {
  const project = join(folder, "tagged");
  await mkdir(project);
  for (const version of ["3.0.0", "3.1.0"]) {
    await mkdir(join(project, "dist", version), { recursive: true });
    for (const file of await releaseFiles("tagged", version)) await writeFile(join(project, "dist", version, file.name), file.content);
  }
  const asked = await runIn(project, ["publish"]);
  assert.equal(asked.exitCode, 2);
  assert.match(asked.stderr, /which one: dist\/3\.0\.0, dist\/3\.1\.0/);
  const identity = ["-c", "user.name=A", "-c", "user.email=a@acme.example", "-c", "commit.gpgsign=false"];
  for (const words of [
    ["init", "-q"],
    ["commit", "-q", "--allow-empty", "-m", "one"],
    ["tag", "v3.0.0"],
  ])
    await requireCommand(["git", ...identity, ...words], { cwd: project, timeoutMs: 30_000 });
  const sent = await runIn(project, ["publish"]);
  assert.equal(sent.exitCode, 0, sent.stderr);
  assert.match(sent.stdout, /^tagged 3\.0\.0 \(stable\): draft/);
});

test("a wrong address, no TLS, no token and a token file that is not there each say what to do next", async () => {
  const none = { SLIPWAY_TOKEN_FILE: "", SLIPWAY_TOKEN: "" };
  for (const [more, words, exitCode, text] of [
    [none, [], 24, /there is no admin token[^]*--token-file/],
    [{ SLIPWAY_TOKEN_FILE: "nowhere" }, [], 24, /cannot read the token file[^]*nowhere[^]*slipway serve/],
    [{}, ["--server", running.url.replace("http:", "https:")], 75, /does not speak TLS[^]*http:\/\//],
    [{}, ["--server", "banana"], 2, /--server/],
  ] as const) {
    const end = await run(["customer", "list", ...words], more);
    assert.equal(end.exitCode, exitCode, end.stderr);
    assert.match(end.stderr, text);
  }
});
